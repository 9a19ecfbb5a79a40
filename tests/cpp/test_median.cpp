// Sliding medians against sorting each square.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "check.hpp"
#include "error.hpp"
#include "median.hpp"

using midas_test::check;

int main() {
  const std::int64_t n_z = 19, n_y = 26;
  for (const unsigned levels : {3U, 1000000U}) {
    std::vector<float> values(static_cast<std::size_t>(n_z * n_y));
    unsigned state = 4711;
    for (auto& v : values) {
      state = state * 1664525U + 1013904223U;
      v = static_cast<float>((state >> 8U) % levels) - 1.0F;
    }
    for (const std::int64_t half : {0, 2, 5}) {
      std::vector<float> found(values.size());
      midas::median_filter(values.data(), n_z, n_y, half, found.data(), 2);
      bool exact = true;
      const auto mirrored = [](std::int64_t i, std::int64_t n) { return n - 1 - std::abs(n - 1 - std::abs(i)); };
      for (std::int64_t z = 0; z < n_z; ++z) {
        for (std::int64_t y = 0; y < n_y; ++y) {
          std::vector<float> square;
          for (std::int64_t a = z - half; a <= z + half; ++a) {
            for (std::int64_t b = y - half; b <= y + half; ++b) {
              square.push_back(values[static_cast<std::size_t>(mirrored(a, n_z) * n_y + mirrored(b, n_y))]);
            }
          }
          std::sort(square.begin(), square.end());
          exact = exact && found[static_cast<std::size_t>(z * n_y + y)] == square[square.size() / 2];
        }
      }
      check(exact, "the median of each square");
    }
  }
  float one = 1.0F;
  check(midas_test::throws<midas::InputError>([&] { midas::median_filter(&one, 1, 1, -1, &one, 1); }),
        "a negative half width is refused");
  return midas_test::failures();
}
