// LANES frames, or fewer, summed side by side.
#ifndef MIDAS_CAKE_BATCH_HPP
#define MIDAS_CAKE_BATCH_HPP

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "cake_kernels.hpp"
#include "cake_workspace.hpp"
#include "missing_counts.hpp"
#include "prepared_cake.hpp"
#include "strips.hpp"
#include "tile_reader.hpp"

namespace midas {

// A bit for each of n frames.
inline std::uint32_t all_frames(std::int64_t n) { return (1u << n) - 1u; }

template <class T, class Real, class Sum>
class CakeBatch {
 public:
  CakeBatch(const PreparedCake& cake, CakeWorkspace& work, std::int64_t n, bool with_variance)
      : cake_(cake),
        map_(*cake.map),
        work_(work),
        kernels_(cake_kernels<Real>(cake.set)),
        tiles_(cake, work, LANES),
        n_(n),
        with_variance_(with_variance),
        stride_(with_variance ? 2 * LANES : LANES),
        sums_(work.sums.get<Sum>(cake.n_bins() * static_cast<std::size_t>(stride_))) {}

  // Returns a bit for each frame that has counts which Real has rounded; where all have, the rest is left out.
  std::uint32_t add(Strips<T>& frames) {
    for (std::int64_t row = 0; row < map_.n_rows; row += TILE_ROWS) {
      const std::int64_t first = row / TILE_ROWS * map_.tiles_across(), end = first + map_.tiles_across();
      if (map_.first_run[static_cast<std::size_t>(first)] == map_.first_run[static_cast<std::size_t>(end)]) continue;
      add_strip(frames, row, first, end);
      if (wide_ == all_frames(n_)) return wide_;
    }
    frames.finish();
    return wide_;
  }

  // The cakes of some frames, a bit for each; the first of all is number `number`. `variance` may hold null pointers.
  template <class Out>
  void write(std::uint32_t frames, std::int64_t number, const std::array<Out*, LANES>& intensity,
             const std::array<float*, LANES>& variance, std::vector<OwnBin>& own) {
    write_common(frames, intensity, variance);
    for (std::int64_t f = 0; f < n_; ++f) {
      if ((frames >> f & 1u) == 0) continue;
      const auto k = static_cast<std::size_t>(f);
      const auto sum_of = [&](std::size_t b) { return static_cast<double>(of_bin(b)[k]); };
      const auto square_of = [&](std::size_t b) { return static_cast<double>(of_bin(b)[LANES + k]); };
      mend(cake_, number + f, missing_[k], sum_of, square_of, intensity[k], variance[k], own);
    }
  }

 private:
  static constexpr std::size_t BLOCK = 64;  // bins at a time, whose sums stay in the cache

  const Sum* of_bin(std::size_t b) const { return sums_ + static_cast<std::int64_t>(b) * stride_; }

  void add_strip(Strips<T>& frames, std::int64_t row, std::int64_t first, std::int64_t end) {
    const typename Strips<T>::Rows rows = frames.rows(row, std::min(row + TILE_ROWS, map_.n_rows));
    tiles_.begin_strip(row);
    for (std::int64_t t = first; t < end; ++t) {
      const auto k = static_cast<std::size_t>(t);
      tiles_.ask_for_nothing();
      if (frames.in_memory()) ask_ahead(rows.data(), row, t - first);
      if (map_.first_run[k] == map_.first_run[k + 1]) continue;
      wide_ |= tiles_.read(rows.data(), t, with_variance_) & all_frames(n_);
      add_tile();
    }
  }

  // Asks for a share of the next block of tiles, as large as that of the tile at hand in its own block.
  void ask_ahead(const T* const* frames, std::int64_t row, std::int64_t tile) {
    const std::int64_t block = tile / BLOCK_TILES, across = map_.tiles_across(), next = (block + 1) * BLOCK_TILES;
    const std::int64_t n_shares = std::min(BLOCK_TILES, across - block * BLOCK_TILES);
    if (next < across) {
      tiles_.ask_for(frames, row, next * TILE_COLUMNS, tile % BLOCK_TILES, n_shares);
    } else if (row + TILE_ROWS < map_.n_rows) {
      tiles_.ask_for(frames, row + TILE_ROWS, 0, tile % BLOCK_TILES, n_shares);
    }
  }

  // The sums of a bin and, with the variance, their squares' beside them.
  void add_tile() {
    const TileRuns runs = tiles_.runs(stride_);
    if (with_variance_ && !tiles_.own_variance()) {
      add_both(runs);
    } else {
      add_one(runs, Weight::AREA, tiles_.tile(), sums_);
      if (with_variance_) add_one(runs, Weight::AREA_SQUARED, tiles_.variance(), sums_ + LANES);
    }
    if (tiles_.any_absent()) collect_missing(runs);
  }

  void add_one(const TileRuns& runs, Weight weight, const Real* tile, Sum* sums) const {
    if constexpr (std::is_same_v<Sum, float>) kernels_.add_float(runs, weight, tile, sums);
    if constexpr (std::is_same_v<Sum, double>) kernels_.add_double(runs, weight, tile, sums);
  }
  void add_both(const TileRuns& runs) const {
    if constexpr (std::is_same_v<Sum, float>) kernels_.add_both_float(runs, tiles_.tile(), sums_, sums_ + LANES);
    if constexpr (std::is_same_v<Sum, double>) kernels_.add_both_double(runs, tiles_.tile(), sums_, sums_ + LANES);
  }

  // Sums the tile's pixels without counts, run by run.
  void collect_missing(TileRuns runs) {
    const CakeKernels<double>& exact = cake_kernels<double>(cake_.set);
    const std::size_t size = static_cast<std::size_t>(cake_.most_runs * LANES);
    double* const area = work_.missing.get(3 * size);
    double *const pixels = area + size, *const dark = pixels + size;
    const std::int32_t* const bin = runs.bin;
    while (static_cast<std::int64_t>(run_numbers_.size()) < cake_.most_runs)
      run_numbers_.push_back(static_cast<std::int32_t>(run_numbers_.size()));
    all_first_.resize(static_cast<std::size_t>(cake_.most_runs), 1);
    runs.bin = run_numbers_.data();
    runs.first = all_first_.data();
    runs.stride = LANES;
    runs.n_asked = 0;
    exact.add_double(runs, Weight::AREA, tiles_.absent(), area);
    exact.add_double(runs, Weight::ONE, tiles_.absent(), pixels);
    if (!cake_.dark.empty()) exact.add_double(runs, Weight::AREA, tiles_.absent_dark(), dark);
    for (std::int64_t r = 0; r < runs.n; ++r) {
      for (std::int64_t f = 0; f < n_; ++f) {
        const std::int64_t i = r * LANES + f;
        if (pixels[i] == 0.0) continue;
        const auto n = static_cast<std::int32_t>(std::lround(pixels[i]));
        missing_[static_cast<std::size_t>(f)].push_back({bin[r], n, area[i], cake_.dark.empty() ? 0.0 : dark[i]});
      }
    }
  }

  template <class Out>
  void write_common(std::uint32_t frames, const std::array<Out*, LANES>& intensity,
                    const std::array<float*, LANES>& variance) const {
    const auto take = take_frames<Sum, Out>(cake_.set);
    const auto take_variance = take_frames<Sum, float>(cake_.set);
    std::array<double, BLOCK> none{}, squared{};
    std::array<Out, BLOCK> unwanted{};
    std::array<float, BLOCK> unwanted_variance{};
    std::array<Out*, LANES> to{};
    std::array<float*, LANES> to_variance{};
    for (std::size_t first = 0; first < cake_.n_bins(); first += BLOCK) {
      const std::size_t n = std::min(cake_.n_bins() - first, BLOCK);
      const double* const factor = cake_.factor.data() + first;
      for (std::size_t f = 0; f < static_cast<std::size_t>(n_); ++f) {
        const bool wanted = (frames >> f & 1u) != 0;
        to[f] = wanted ? intensity[f] + first : unwanted.data();
        if (with_variance_) to_variance[f] = wanted ? variance[f] + first : unwanted_variance.data();
      }
      const auto n_bins = static_cast<std::int64_t>(n);
      take(of_bin(first), stride_, n_bins, n_, cake_.dark_sum.data() + first, factor, to.data());
      if (!with_variance_) continue;
      for (std::size_t i = 0; i < n; ++i) squared[i] = factor[i] * factor[i];
      take_variance(of_bin(first) + LANES, stride_, n_bins, n_, none.data(), squared.data(), to_variance.data());
    }
  }

  const PreparedCake& cake_;
  const CakeMap& map_;
  CakeWorkspace& work_;
  const CakeKernels<Real>& kernels_;
  TileReader<T, Real> tiles_;
  std::int64_t n_;
  bool with_variance_;
  std::int64_t stride_;
  Sum* sums_;
  std::uint32_t wide_ = 0;
  std::array<std::vector<Missing>, LANES> missing_;
  std::vector<std::int32_t> run_numbers_;  // 0, 1, .. for as many runs as a tile has at most
  std::vector<std::uint8_t> all_first_;
};

}  // namespace midas

#endif
