// Ridge points of a straight line and of a spot.
#include <cmath>
#include <cstdint>
#include <vector>

#include "check.hpp"
#include "error.hpp"
#include "ridges.hpp"

namespace {

using midas_test::check;
using midas_test::check_close;

constexpr std::int64_t N = 50;

template <class Value>
std::vector<float> image(Value value) {
  std::vector<float> out;
  for (std::int64_t z = 0; z < N; ++z)
    for (std::int64_t y = 0; y < N; ++y)
      out.push_back(static_cast<float>(value(static_cast<double>(y), static_cast<double>(z))));
  return out;
}

std::vector<midas::RidgePoint> ridges(const std::vector<float>& values, int n_threads) {
  const std::vector<std::uint8_t> blocked(values.size(), 0);
  midas::RidgeOptions options;
  options.n_threads = n_threads;
  return midas::find_ridges(values.data(), blocked.data(), N, N, options);
}

void test_line() {
  const auto points =
      ridges(image([](double y, double) { return 20.0 * std::exp(-0.5 * (y - 20.3) * (y - 20.3)); }), 1);
  check(points.size() == static_cast<std::size_t>(N), "one point a row");
  for (const auto& p : points) {
    check_close(p.y, 20.3, 0.02, "a line is where it is");
    check_close(std::abs(p.normal_y), 1.0, 1e-6, "its normal is across it");
  }
}

void test_spot() {
  const auto values = image(
      [](double y, double z) { return 30.0 * std::exp(-0.25 * ((y - 25.2) * (y - 25.2) + (z - 24.7) * (z - 24.7))); });
  int spots = 0;
  for (const auto& p : ridges(values, 1)) {
    if (p.normal_y != 0.0 || p.normal_z != 0.0) continue;
    ++spots;
    check_close(p.y, 25.2, 0.05, "column of a spot");
    check_close(p.z, 24.7, 0.05, "row of a spot");
  }
  check(spots == 1, "a spot is one point");
}

void test_threads() {
  const auto values = image([](double y, double z) { return 10.0 * std::sin(0.3 * y) * std::cos(0.2 * z); });
  const auto one = ridges(values, 1);
  check(!one.empty(), "waves have crests");
  for (const int n : {2, 7}) {
    const auto other = ridges(values, n);
    check(other.size() == one.size(), "as many points for any number of threads");
    for (std::size_t i = 0; i < one.size(); ++i)
      check(other[i].y == one[i].y && other[i].z == one[i].z, "the same points");
  }
}

void test_refused() {
  bool thrown = false;
  try {
    midas::RidgeOptions options;
    options.scale = 0.0;
    const float value = 0.0F;
    const std::uint8_t blocked = 0;
    midas::find_ridges(&value, &blocked, 1, 1, options);
  } catch (const midas::InputError&) {
    thrown = true;
  }
  check(thrown, "a scale of zero is refused");
}

}  // namespace

int main() {
  test_line();
  test_spot();
  test_threads();
  test_refused();
  return midas_test::failures() == 0 ? 0 : 1;
}
