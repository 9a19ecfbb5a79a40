// Ring fits when memory runs out: an exception for the caller, wherever the allocation was.
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <new>
#include <vector>

#include "check.hpp"
#include "parallel.hpp"
#include "peak.hpp"

namespace {

std::atomic<long> allocations_left{-1};  // negative: no limit

void* allocate(std::size_t size) {
  if (allocations_left.load() >= 0 && allocations_left.fetch_sub(1) <= 0) {
    allocations_left = 0;  // from here on nothing is to be had
    throw std::bad_alloc();
  }
  void* memory = std::malloc(size > 0 ? size : 1);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size); }
void* operator new[](std::size_t size) { return allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

using midas_test::check;
using midas_test::throws;

constexpr std::int64_t SIZE = 70;

midas::Projection flat_detector() {
  midas::Geometry g;
  g.distance = 2e5;
  g.beam_y = g.beam_z = 35.0;
  g.pixel_size = 100.0;
  return midas::Projection(g);
}

std::vector<float> ring_image(const midas::Projection& projection) {
  std::vector<float> image;
  for (std::int64_t i = 0; i < SIZE * SIZE; ++i) {
    const double r = projection.radius(static_cast<double>(i % SIZE), static_cast<double>(i / SIZE)) / 100.0 - 25.0;
    image.push_back(static_cast<float>(10.0 + 500.0 * std::exp(-0.3 * r * r)));
  }
  return image;
}

void memory_may_run_out_anywhere() {
  const midas::Projection projection = flat_detector();
  const std::vector<float> image = ring_image(projection);
  const std::vector<midas::RingGroup> groups = {{18.0, 32.0, {25.0}, {0}}};
  midas::PeakOptions options;
  options.eta_step = midas::PI / 3.0;
  options.n_threads = 2;
  const auto fit = [&] {
    return midas::fit_rings(projection, image.data(), nullptr, SIZE, SIZE, groups, {}, options).size();
  };
  check(fit() == 6, "every bin of the ring is fitted");
  long failed = 0;
  for (bool out_of_memory = true; out_of_memory && failed < 10000; failed += out_of_memory) {
    out_of_memory = false;
    allocations_left = failed;
    try {
      fit();
    } catch (const std::bad_alloc&) {
      out_of_memory = true;
    }
    allocations_left = -1;
  }
  check(failed > 20 && failed < 10000, "each allocation failed once, then all succeeded");
}

void exceptions_leave_parallel_loops() {
  for (const int n_threads : {1, 2, 7}) {
    std::atomic<int> done{0};
    midas::parallel_for(100, n_threads, [&](std::int64_t) { ++done; });
    check(done == 100, "every index runs once");
    check(throws<std::bad_alloc>([&] {
            midas::parallel_for(100, n_threads, [](std::int64_t i) {
              if (i == 40) throw std::bad_alloc();
            });
          }),
          "bad_alloc comes out of a parallel loop");
    check(throws<int>([&] { midas::parallel_for(100, n_threads, [](std::int64_t) { throw 7; }); }),
          "so does any other exception");
  }
}

}  // namespace

int main() {
  exceptions_leave_parallel_loops();
  memory_may_run_out_anywhere();
  return midas_test::failures() == 0 ? 0 : 1;
}
