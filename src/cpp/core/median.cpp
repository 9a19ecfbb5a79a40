// Sliding median; method in median.hpp.
#include "median.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "error.hpp"
#include "parallel.hpp"

namespace midas {

namespace {

constexpr std::int64_t BLOCK = 256;  // ranks of a coarse bin
constexpr std::int64_t ROWS = 16;    // rows a thread takes at a time

// Counts of ranks, by rank and by block of ranks; it remembers the block in which the last median was.
class RankHistogram {
 public:
  explicit RankHistogram(std::int64_t n_ranks)
      : fine_(static_cast<std::size_t>((n_ranks / BLOCK + 1) * BLOCK), 0),
        coarse_(static_cast<std::size_t>(n_ranks / BLOCK + 1), 0) {}

  void change(std::int32_t rank, std::int32_t by) {
    fine_[static_cast<std::size_t>(rank)] += by;
    coarse_[static_cast<std::size_t>(rank / BLOCK)] += by;
    if (rank / BLOCK < block_) below_ += by;
  }

  // The rank that `before` of the values in the window precede.
  std::int64_t rank_after(std::int64_t before) {
    while (below_ > before) below_ -= coarse_[static_cast<std::size_t>(--block_)];
    while (below_ + coarse_[static_cast<std::size_t>(block_)] <= before) {
      below_ += coarse_[static_cast<std::size_t>(block_++)];
    }
    std::int64_t rank = block_ * BLOCK, count = below_ + fine_[static_cast<std::size_t>(rank)];
    while (count <= before) count += fine_[static_cast<std::size_t>(++rank)];
    return rank;
  }

 private:
  std::vector<std::int32_t> fine_, coarse_;
  std::int64_t block_ = 0;  // coarse bin
  std::int64_t below_ = 0;  // values in the bins before it
};

std::int64_t mirrored(std::int64_t i, std::int64_t n) {
  if (n == 1) return 0;
  const std::int64_t period = 2 * (n - 1);
  const std::int64_t k = ((i % period) + period) % period;
  return k < n ? k : period - k;
}

}  // namespace

void median_filter(const float* values, std::int64_t n_z, std::int64_t n_y, std::int64_t half, float* median,
                   int n_threads) {
  const std::int64_t n = n_z * n_y;
  if (n < 1) throw InputError("the image has no pixel; expected at least one row and one column");
  if (half < 0) throw InputError("the half width of the median is negative; expected 0 or more pixels");
  if (!std::all_of(values, values + n, [](float v) { return std::isfinite(v); })) {
    throw InputError("the image holds NaN or infinite values, which have no rank; fill them first");
  }
  std::vector<float> sorted(values, values + n);
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  const int threads = resolve_threads(n_threads);
  const std::int64_t n_blocks = (n_z + ROWS - 1) / ROWS;
  std::vector<std::int32_t> ranks(static_cast<std::size_t>(n));
  parallel_for(n_blocks, threads, [&](std::int64_t i) {
    for (std::int64_t k = i * ROWS * n_y; k < std::min((i + 1) * ROWS * n_y, n); ++k) {
      ranks[static_cast<std::size_t>(k)] =
          static_cast<std::int32_t>(std::lower_bound(sorted.begin(), sorted.end(), values[k]) - sorted.begin());
    }
  });
  const std::int64_t middle = (2 * half + 1) * (2 * half + 1) / 2;
  parallel_for(n_blocks, threads, [&](std::int64_t i) {
    RankHistogram histogram(static_cast<std::int64_t>(sorted.size()));
    const auto column = [&](std::int64_t z, std::int64_t y, std::int32_t by) {
      const std::int64_t at = mirrored(y, n_y);
      for (std::int64_t a = z - half; a <= z + half; ++a) {
        histogram.change(ranks[static_cast<std::size_t>(mirrored(a, n_z) * n_y + at)], by);
      }
    };
    for (std::int64_t z = i * ROWS; z < std::min((i + 1) * ROWS, n_z); ++z) {
      for (std::int64_t y = -half; y <= half; ++y) column(z, y, 1);
      for (std::int64_t y = 0; y < n_y; ++y) {
        median[z * n_y + y] = sorted[static_cast<std::size_t>(histogram.rank_after(middle))];
        column(z, y - half, -1);
        column(z, y + half + 1, 1);
      }
      for (std::int64_t y = n_y - half; y <= n_y + half; ++y) column(z, y, -1);
    }
  });
}

}  // namespace midas
