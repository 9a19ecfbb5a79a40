// Frames that come packed: their rows strip by strip, and cakes that are, byte for byte, those of the frames unpacked.
// LZ4 is stood in for by a copy.
#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "cake.hpp"
#include "cake_map.hpp"
#include "check.hpp"
#include "error.hpp"
#include "packed_strips.hpp"
#include "polygon.hpp"

using midas::PI;
using midas_test::check;

namespace {

using Bytes = std::vector<std::uint8_t>;

int copied(const char* from, char* to, int size, int capacity) {
  if (size > capacity) return -1;
  std::memcpy(to, from, static_cast<std::size_t>(size));
  return size;
}

void put(Bytes& to, std::uint64_t value, int bytes) {
  for (int i = bytes - 1; i >= 0; --i) to.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
}

// The format as bitshuffle.hpp says, in blocks of `block` elements.
template <class T>
Bytes packed(const std::vector<T>& frame, std::size_t block) {
  Bytes out;
  put(out, frame.size() * sizeof(T), 8);
  put(out, block * sizeof(T), 4);
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(frame.data());
  std::size_t done = 0;
  while (frame.size() - done >= 8) {
    const std::size_t n = std::min(block, (frame.size() - done) / 8 * 8);
    put(out, n * sizeof(T), 4);
    const std::size_t at = out.size();
    out.resize(at + n * sizeof(T), 0);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t bit = 0; bit < 8 * sizeof(T); ++bit)
        if ((bytes[(done + i) * sizeof(T) + bit / 8] >> (bit % 8) & 1) != 0)
          out[at + bit * (n / 8) + i / 8] = static_cast<std::uint8_t>(out[at + bit * (n / 8) + i / 8] | 1 << (i % 8));
    done += n;
  }
  out.insert(out.end(), bytes + done * sizeof(T), bytes + frame.size() * sizeof(T));
  return out;
}

// Frames, packed and not.
template <class T>
struct Stack {
  std::vector<std::vector<T>> frames;
  std::vector<Bytes> bytes;
  std::vector<midas::PackedChunk> chunks;
  std::vector<const T*> pointers;

  Stack(std::size_t n, std::size_t n_pixels, std::size_t block, T most) {
    std::uint32_t state = 7;
    for (std::size_t f = 0; f < n; ++f) {
      std::vector<T> frame(n_pixels);
      for (T& v : frame) {
        state = state * 1664525u + 1013904223u;
        v = static_cast<T>(state >> 28);
        if (state >> 24 == 17) v = most;
      }
      frames.push_back(frame);
      bytes.push_back(packed(frame, block));
    }
    for (std::size_t f = 0; f < n; ++f) {
      chunks.push_back({bytes[f].data(), static_cast<std::int64_t>(bytes[f].size())});
      pointers.push_back(frames[f].data());
    }
  }
  midas::PackedFrames packed_frames() const {
    return {chunks.data(), static_cast<std::int64_t>(chunks.size()), copied};
  }
};

void test_rows() {
  constexpr std::int64_t ROWS = 37, COLUMNS = 29;  // 1073 elements: the last is left over by blocks
  for (const std::size_t block : {8u, 40u, 232u, 1072u, 4096u}) {
    const Stack<std::uint16_t> stack(3, ROWS * COLUMNS, block, 300);
    for (const std::int64_t skip : {1, 2, 5}) {
      midas::PackedStrips<std::uint16_t> strips(stack.packed_frames(), 1, 2, ROWS, COLUMNS);
      for (int round = 0; round < 2; ++round) {
        for (std::int64_t row = 0; row < ROWS; row += 8 * skip) {
          const std::int64_t end = std::min(row + 8, ROWS);
          const auto rows = strips.rows(row, end);
          for (std::size_t f = 0; f < midas::LANES; ++f) {
            const auto& expected = stack.frames[f == 0 ? 1 : 2];
            check(std::equal(rows[f], rows[f] + (end - row) * COLUMNS, expected.begin() + row * COLUMNS),
                  "the rows asked for, of a frame or of the last one");
          }
        }
        strips.finish();
        strips.restart();
      }
    }
  }
}

std::shared_ptr<const midas::CakeMap> map_of(std::int64_t n_rows, std::int64_t n_columns, double from, double to) {
  midas::Geometry g;
  g.distance = 2e5;
  g.beam_y = 0.4 * static_cast<double>(n_columns);
  g.beam_z = 0.5 * static_cast<double>(n_rows);
  g.pixel_size = 100.0;
  const midas::PixelLayout layout{n_columns, n_rows, 0, 1, n_columns};
  const std::vector<double> radii = {from, 0.5 * (from + to), to};
  return std::make_shared<midas::CakeMap>(
      midas::build_cake_map(midas::Projection(g), layout, radii, {-PI, -0.5, 1.0, PI}, nullptr, 1));
}

template <class T>
struct Cakes {
  std::vector<float> intensity, variance;
  std::vector<midas::OwnBin> own;
  midas::CakeOutput<float> output;

  Cakes(std::size_t n, std::size_t n_bins, bool with_variance) : intensity(n * n_bins), variance(n * n_bins) {
    output = {intensity.data(), with_variance ? variance.data() : nullptr};
  }
  bool operator==(const Cakes& other) const {
    const auto same = [](const auto& a, const auto& b) {  // NaN equals itself
      return std::memcmp(a.data(), b.data(), a.size() * sizeof(a[0])) == 0;
    };
    const auto same_bin = [](const midas::OwnBin& a, const midas::OwnBin& b) {
      return a.frame == b.frame && a.bin == b.bin && a.pixels == b.pixels && a.area == b.area;
    };
    return same(intensity, other.intensity) && same(variance, other.variance) &&
           std::equal(own.begin(), own.end(), other.own.begin(), other.own.end(), same_bin);
  }
};

template <class T>
void test_cakes(T most) {
  constexpr std::int64_t ROWS = 45, COLUMNS = 71;
  for (const auto& range : {std::array<double, 2>{0.0, 60.0}, std::array<double, 2>{3.0, 9.0}}) {
    const auto map = map_of(ROWS, COLUMNS, range[0], range[1]);
    const midas::Integrator integrator(map, {});
    for (const std::size_t n : {1u, 5u, 16u, 40u}) {
      const Stack<T> stack(n, ROWS * COLUMNS, 1024 / sizeof(T), most);
      for (const bool with_variance : {false, true}) {
        Cakes<T> expected(n, static_cast<std::size_t>(map->n_bins()), with_variance);
        expected.own = integrator.apply(stack.pointers.data(), static_cast<std::int64_t>(n), expected.output, 1);
        for (const int n_threads : {1, 2, 7}) {
          Cakes<T> found(n, static_cast<std::size_t>(map->n_bins()), with_variance);
          found.own = integrator.apply<T>(stack.packed_frames(), found.output, n_threads);
          check(found == expected, "cakes of packed frames are those of the frames");
        }
      }
    }
  }
}

// Damage anywhere in a frame is refused with its number, in a batch and alone, and does no harm to what comes after.
void test_damage() {
  constexpr std::int64_t ROWS = 21, COLUMNS = 13;
  const auto map = map_of(ROWS, COLUMNS, 0.0, 40.0);
  const midas::Integrator integrator(map, {});
  for (const std::size_t n : {2u, 20u}) {
    const Stack<std::uint16_t> stack(n, ROWS * COLUMNS, 64, 9);
    const auto n_bins = static_cast<std::size_t>(map->n_bins());
    Cakes<std::uint16_t> expected(n, n_bins, false), found(n, n_bins, false);
    expected.own = integrator.apply(stack.pointers.data(), static_cast<std::int64_t>(n), expected.output, 1);
    auto damaged = stack;
    for (std::size_t i = 0; i < n; ++i) damaged.chunks[i] = stack.chunks[i];
    const std::size_t last = n - 1;
    for (std::int64_t size = 0; size < stack.chunks[last].size; ++size) {
      damaged.chunks[last].size = size;
      std::string said;
      try {
        found.own = integrator.apply<std::uint16_t>(damaged.packed_frames(), found.output, 2);
      } catch (const midas::FormatError& error) {
        said = error.what();
      }
      check(said.find("compressed chunk " + std::to_string(last)) != std::string::npos, "the damaged frame is named");
    }
    found.own = integrator.apply<std::uint16_t>(stack.packed_frames(), found.output, 2);
    check(found == expected, "later frames are not touched by damage");
  }
}

}  // namespace

int main() {
  test_rows();
  test_cakes<std::uint8_t>(255);
  test_cakes<std::uint16_t>(65535);
  test_cakes<std::uint32_t>(std::numeric_limits<std::uint32_t>::max());
  test_cakes<std::uint32_t>(1u << 24);  // counts that single precision would round: from the first row again
  test_cakes<std::int16_t>(-1);
  test_cakes<std::int32_t>(-2);
  test_cakes<float>(std::numeric_limits<float>::quiet_NaN());
  test_cakes<double>(1e300);
  test_damage();
  return midas_test::failures();
}
