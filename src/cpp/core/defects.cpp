// Hot and dead pixels; definitions in defects.hpp.
#include "defects.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "error.hpp"
#include "parallel.hpp"

namespace midas {

namespace {

constexpr std::int64_t TILE = 16;
constexpr std::int64_t THIN = 2;  // every second pixel and row are enough for a quartile
constexpr float NO_LEVEL = std::numeric_limits<float>::infinity();

// The lower quartile of n values, interpolated between order statistics as numpy does: position (n - 1) / 4.
float lower_quartile(float* values, std::int64_t n) {
  if (n == 0) return NO_LEVEL;
  const double position = 0.25 * static_cast<double>(n - 1);
  const auto k = static_cast<std::int64_t>(position);
  std::nth_element(values, values + k, values + n);
  const double low = values[k];
  const double high = k + 1 < n ? *std::min_element(values + k + 1, values + n) : low;
  return static_cast<float>(low + (position - static_cast<double>(k)) * (high - low));
}

// The quartile of each tile, infinity where all its pixels are masked.
std::vector<float> quartiles(const float* counts, const std::uint8_t* mask, std::int64_t n_z, std::int64_t n_y,
                             std::int64_t tiles_z, std::int64_t tiles_y, int n_threads) {
  std::vector<float> level(static_cast<std::size_t>(tiles_z * tiles_y));
  parallel_for(tiles_z, n_threads, [&](std::int64_t i) {
    std::array<float, (TILE / THIN) * (TILE / THIN)> values;
    for (std::int64_t j = 0; j < tiles_y; ++j) {
      std::int64_t n = 0;
      for (std::int64_t z = i * TILE; z < std::min((i + 1) * TILE, n_z); z += THIN) {
        for (std::int64_t y = j * TILE; y < std::min((j + 1) * TILE, n_y); y += THIN) {
          if (mask[z * n_y + y] == 0) values[static_cast<std::size_t>(n++)] = counts[z * n_y + y];
        }
      }
      level[static_cast<std::size_t>(i * tiles_y + j)] = lower_quartile(values.data(), n);
    }
  });
  return level;
}

// The smallest level of tile (i, j) and its neighbours.
float lowest_around(const std::vector<float>& level, std::int64_t tiles_z, std::int64_t tiles_y, std::int64_t i,
                    std::int64_t j) {
  float lowest = NO_LEVEL;
  for (std::int64_t a = std::max<std::int64_t>(i - 1, 0); a <= std::min(i + 1, tiles_z - 1); ++a) {
    for (std::int64_t b = std::max<std::int64_t>(j - 1, 0); b <= std::min(j + 1, tiles_y - 1); ++b) {
      lowest = std::min(lowest, level[static_cast<std::size_t>(a * tiles_y + b)]);
    }
  }
  return lowest;
}

// The largest of the neighbours of pixel (z, y); masked and negative ones are 0.
float brightest_neighbour(const float* counts, const std::uint8_t* mask, std::int64_t n_z, std::int64_t n_y,
                          std::int64_t z, std::int64_t y) {
  float brightest = 0.0F;
  for (std::int64_t a = std::max<std::int64_t>(z - 1, 0); a <= std::min(z + 1, n_z - 1); ++a) {
    for (std::int64_t b = std::max<std::int64_t>(y - 1, 0); b <= std::min(y + 1, n_y - 1); ++b) {
      if (a == z && b == y) continue;
      brightest = std::max(brightest, mask[a * n_y + b] == 0 ? counts[a * n_y + b] : 0.0F);
    }
  }
  return brightest;
}

}  // namespace

void find_defects(const float* counts, const std::uint8_t* mask, std::int64_t n_z, std::int64_t n_y,
                  const DefectLimits& limits, std::uint8_t* defects, int n_threads) {
  if (n_z < 1 || n_y < 1) throw InputError("the image has no pixel; expected at least one row and one column");
  const int threads = resolve_threads(n_threads);
  const std::int64_t tiles_z = (n_z + TILE - 1) / TILE, tiles_y = (n_y + TILE - 1) / TILE;
  const std::vector<float> level = quartiles(counts, mask, n_z, n_y, tiles_z, tiles_y, threads);
  // No neighbour can make a pixel hot that is not above hot_sigma itself: most are not, and need no look around.
  const double least_hot = limits.hot_sigma;
  parallel_for(tiles_z, threads, [&](std::int64_t i) {
    std::vector<double> dark(static_cast<std::size_t>(tiles_y));  // counts below which a pixel is dead
    for (std::int64_t j = 0; j < tiles_y; ++j) {
      const double b = lowest_around(level, tiles_z, tiles_y, i, j);
      dark[static_cast<std::size_t>(j)] =
          std::isfinite(b) && b > limits.dead_level ? limits.dead_ratio * b : -std::numeric_limits<double>::infinity();
    }
    for (std::int64_t z = i * TILE; z < std::min((i + 1) * TILE, n_z); ++z) {
      for (std::int64_t y = 0; y < n_y; ++y) {
        const std::int64_t k = z * n_y + y;
        defects[k] = DEFECT_NONE;
        if (mask[k] != 0) continue;
        const double c = counts[k];
        if (c < dark[static_cast<std::size_t>(y / TILE)]) {
          defects[k] = DEFECT_DEAD;
        } else if (c > least_hot) {
          // Rings and background fail at their first neighbour on the row, before all eight are looked at.
          const double beside = y > 0 && mask[k - 1] == 0 ? counts[k - 1] : 0.0;
          if (c <= limits.hot_ratio * beside) continue;
          const double m = brightest_neighbour(counts, mask, n_z, n_y, z, y);
          if (c > limits.hot_ratio * m + limits.hot_sigma * std::sqrt(std::max(m, 1.0))) defects[k] = DEFECT_HOT;
        }
      }
    }
  });
}

}  // namespace midas
