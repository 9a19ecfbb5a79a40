// The nearest usable cell against a search over all cells.
#include <cstdint>
#include <vector>

#include "check.hpp"
#include "error.hpp"
#include "nearest.hpp"

using midas_test::check;

int main() {
  const std::int64_t n_z = 23, n_y = 31;
  for (const unsigned modulus : {2U, 7U, 97U, 700U}) {
    std::vector<std::uint8_t> mask(static_cast<std::size_t>(n_z * n_y));
    unsigned state = 12345;
    for (auto& m : mask) {
      state = state * 1664525U + 1013904223U;
      m = (state >> 8U) % modulus != 0;
    }
    mask[5] = 0;
    std::vector<std::int64_t> nearest(mask.size());
    midas::nearest_usable(mask.data(), n_z, n_y, nearest.data(), 2);
    bool exact = true;
    for (std::int64_t k = 0; k < n_z * n_y; ++k) {
      const auto squared = [&](std::int64_t i) {
        const std::int64_t dz = i / n_y - k / n_y, dy = i % n_y - k % n_y;
        return dz * dz + dy * dy;
      };
      std::int64_t least = n_z * n_z + n_y * n_y;
      for (std::int64_t i = 0; i < n_z * n_y; ++i) {
        if (mask[static_cast<std::size_t>(i)] == 0 && squared(i) < least) least = squared(i);
      }
      const std::int64_t found = nearest[static_cast<std::size_t>(k)];
      exact = exact && mask[static_cast<std::size_t>(found)] == 0 && squared(found) == least;
    }
    check(exact, "no usable cell is nearer than the one named");
  }
  const std::vector<std::uint8_t> full(6, 1);
  std::vector<std::int64_t> nearest(6);
  check(midas_test::throws<midas::InputError>([&] { midas::nearest_usable(full.data(), 2, 3, nearest.data(), 1); }),
        "an image without a usable cell is refused");
  return midas_test::failures();
}
