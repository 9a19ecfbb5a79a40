// Tiles of frames, made ready for the kernels of caking: corrected, and 0 where there is no count.
#ifndef MIDAS_TILE_READER_HPP
#define MIDAS_TILE_READER_HPP

#include <algorithm>
#include <array>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "cake_kernels.hpp"
#include "cake_workspace.hpp"
#include "prepared_cake.hpp"
#include "tile_load.hpp"

namespace midas {

constexpr std::int64_t BLOCK_TILES = 8;  // tiles side by side whose counts are asked for together

// Reads tiles of some frames and makes them ready for the kernels.
template <class T, class Real>
class TileReader {
 public:
  TileReader(const PreparedCake& cake, CakeWorkspace& work, std::int64_t lanes)
      : cake_(cake),
        map_(*cake.map),
        lanes_(lanes),
        valid_(valid_counts<T>(cake.saturation, cake.negative_counts, cake.bad_values)),
        loader_(tile_loader<T, Real>(cake.set)),
        tile_(work.tile.get<Real>(TILE_PIXELS * LANES)),
        variance_(work.variance.get<Real>(TILE_PIXELS * LANES)),
        absent_(work.absent.get(TILE_PIXELS * LANES)),
        absent_dark_(work.absent_dark.get(TILE_PIXELS * LANES)) {}

  // The first row of the frames that `read` and `ask_for` are given.
  void begin_strip(std::int64_t row) { strip_ = row; }

  // The tile's counts: corrected, and 0 where there are none. Returns a bit for each frame that Real has rounded.
  std::uint32_t read(const T* const* frames, std::int64_t t, bool with_variance) {
    const std::int64_t row = t / map_.tiles_across() * TILE_ROWS, column = t % map_.tiles_across() * TILE_COLUMNS;
    const TileState state = load(frames, row, column);
    row_ = row;
    column_ = column;
    tile_number_ = t;
    any_absent_ = false;
    const bool scaled = !cake_.scale.empty();
    own_variance_ = with_variance && (scaled || cake_.negative_counts);
    if (state.invalid) mark_absent();
    if (any_absent_) clear_absent();
    if (own_variance_) make_variance();
    if (scaled) scale_counts();
    if (cake_.masked_tile[static_cast<std::size_t>(t)] != 0) clear_masked();
    return std::is_same_v<Real, float> ? state.wide : 0;
  }

  const Real* tile() const { return tile_; }
  // What stands for the counts in the variance; the counts themselves where they do.
  const Real* variance() const { return own_variance_ ? variance_ : tile_; }
  bool own_variance() const { return own_variance_; }
  bool any_absent() const { return any_absent_; }
  // 1 for each pixel and frame without a count.
  const double* absent() const { return absent_; }
  // The corrected dark of each of these.
  const double* absent_dark() const { return absent_dark_; }

  // The sums of bins stand `stride` apart.
  TileRuns runs(std::int64_t stride) const {
    const auto t = static_cast<std::size_t>(tile_number_);
    const auto run = static_cast<std::size_t>(map_.first_run[t]), entry = static_cast<std::size_t>(map_.first_entry[t]);
    return {map_.run_bin.data() + run,
            stride,
            cake_.first_of_bin.data() + run,
            map_.run_groups.data() + run,
            map_.first_run[t + 1] - map_.first_run[t],
            map_.pixel.data() + entry,
            map_.area.data() + entry,
            asked_.data(),
            n_asked_};
  }

  // Has a share of the counts of a block of tiles fetched while the tile at hand is summed: line after line of each
  // row, which is how the processor foresees what comes next.
  void ask_for(const T* const* frames, std::int64_t row, std::int64_t column, std::int64_t share,
               std::int64_t n_shares) {
    const std::int64_t n_rows = std::min(TILE_ROWS, map_.n_rows - row);
    const std::int64_t end_column = std::min(column + BLOCK_TILES * TILE_COLUMNS, map_.n_columns);
    const std::int64_t end = (share + 1) * lanes_ * n_rows / n_shares;
    const std::int64_t lines = (end_column - column + LINE - 1) / LINE;
    n_asked_ = 0;
    asked_.resize(std::max(asked_.size(), static_cast<std::size_t>(lanes_ * n_rows * lines)));
    for (std::int64_t i = share * lanes_ * n_rows / n_shares; i < end; ++i) {
      const T* const line = frames[i / n_rows] + (row - strip_ + i % n_rows) * map_.n_columns;
      for (std::int64_t c = column; c < end_column; c += LINE) asked_[static_cast<std::size_t>(n_asked_++)] = line + c;
    }
  }
  void ask_for_nothing() { n_asked_ = 0; }

  // Has the counts of a tile of one frame fetched.
  void fetch(const T* frame, std::int64_t t) const {
    const std::int64_t row = t / map_.tiles_across() * TILE_ROWS, column = t % map_.tiles_across() * TILE_COLUMNS;
    const std::int64_t end_row = std::min(row + TILE_ROWS, map_.n_rows);
    for (std::int64_t r = row; r < end_row; ++r)
      for (std::int64_t c = 0; c < TILE_COLUMNS; c += LINE)
        __builtin_prefetch(frame + (r - strip_) * map_.n_columns + std::min(column + c, map_.n_columns - 1), 0, 2);
  }

 private:
  static constexpr std::int64_t LINE = 64 / static_cast<std::int64_t>(sizeof(T));  // counts in a line of the cache

  TileState load(const T* const* frames, std::int64_t row, std::int64_t column) {
    const std::int64_t offset = (row - strip_) * map_.n_columns + column;
    std::array<const T*, LANES> from{};
    for (std::int64_t f = 0; f < lanes_; ++f) from[static_cast<std::size_t>(f)] = frames[f] + offset;
    std::int64_t stride = map_.n_columns;
    if (row + TILE_ROWS > map_.n_rows || column + TILE_COLUMNS > map_.n_columns) {
      pad(from, row, column);
      stride = TILE_COLUMNS;
    }
    return lanes_ == 1 ? loader_.frame(from[0], stride, valid_, tile_)
                       : loader_.frames(from.data(), stride, valid_, tile_);
  }

  // A tile that reaches over the edge of the image is copied, with zeros beyond.
  void pad(std::array<const T*, LANES>& from, std::int64_t row, std::int64_t column) {
    padded_.assign(static_cast<std::size_t>(TILE_PIXELS * lanes_), T{0});
    const std::int64_t rows = std::min(TILE_ROWS, map_.n_rows - row),
                       columns = std::min(TILE_COLUMNS, map_.n_columns - column);
    for (std::int64_t f = 0; f < lanes_; ++f) {
      T* const to = padded_.data() + f * TILE_PIXELS;
      for (std::int64_t i = 0; i < rows; ++i) {
        const T* const line = from[static_cast<std::size_t>(f)] + i * map_.n_columns;
        std::copy(line, line + columns, to + i * TILE_COLUMNS);
      }
      from[static_cast<std::size_t>(f)] = to;
    }
  }

  bool is_used(std::int64_t p) const {
    const std::uint32_t bits = cake_.used[static_cast<std::size_t>(tile_number_ * TILE_ROWS + p / TILE_COLUMNS)];
    return ((bits >> (p % TILE_COLUMNS)) & 1u) != 0;
  }
  std::size_t element(std::int64_t p) const {
    return static_cast<std::size_t>((row_ + p / TILE_COLUMNS) * map_.n_columns + column_ + p % TILE_COLUMNS);
  }

  void mark_absent() {
    const auto low = static_cast<Real>(valid_.low), limit = static_cast<Real>(valid_.limit);
    for (std::int64_t p = 0; p < TILE_PIXELS; ++p) {
      Real* const counts = tile_ + p * lanes_;
      double* const absent = absent_ + p * lanes_;
      const bool used = is_used(p);
      for (std::int64_t f = 0; f < lanes_; ++f) {
        bool no_count = !(counts[f] >= low && counts[f] < limit);
        for (const T bad : valid_.bad) no_count = no_count || counts[f] == static_cast<Real>(bad);
        absent[f] = no_count ? 1.0 : 0.0;
      }
      if (!used) continue;
      for (std::int64_t f = 0; f < lanes_; ++f) any_absent_ = any_absent_ || absent[f] != 0.0;
    }
  }

  void make_variance() {
    for (std::int64_t p = 0; p < TILE_PIXELS; ++p) {
      if (!is_used(p)) continue;
      const Real s = cake_.scale.empty() ? Real{1} : static_cast<Real>(cake_.scale[element(p)]);
      for (std::int64_t f = 0; f < lanes_; ++f) {
        variance_[p * lanes_ + f] = s * s * std::max(tile_[p * lanes_ + f], Real{0});
      }
    }
  }

  void clear_absent() {
    const bool has_dark = !cake_.dark.empty();
    for (std::int64_t p = 0; p < TILE_PIXELS; ++p) {
      if (!is_used(p)) continue;
      const double dark = has_dark ? cake_.corrected_dark(element(p)) : 0.0;
      for (std::int64_t f = 0; f < lanes_; ++f) {
        const std::int64_t i = p * lanes_ + f;
        if (absent_[i] != 0.0) tile_[i] = Real{0};
        if (has_dark) absent_dark_[i] = absent_[i] * dark;
      }
    }
  }

  void scale_counts() {
    for (std::int64_t p = 0; p < TILE_PIXELS; ++p) {
      if (!is_used(p)) continue;
      const auto s = static_cast<Real>(cake_.scale[element(p)]);
      for (std::int64_t f = 0; f < lanes_; ++f) tile_[p * lanes_ + f] *= s;
    }
  }

  // Pixels that this run's mask leaves out have areas in the map all the same: their counts are made 0.
  void clear_masked() {
    for (std::int64_t p = 0; p < TILE_PIXELS; ++p) {
      if (is_used(p)) continue;
      for (std::int64_t f = 0; f < lanes_; ++f) {
        tile_[p * lanes_ + f] = Real{0};
        variance_[p * lanes_ + f] = Real{0};
        absent_[p * lanes_ + f] = 0.0;
        absent_dark_[p * lanes_ + f] = 0.0;
      }
    }
  }

  const PreparedCake& cake_;
  const CakeMap& map_;
  std::int64_t lanes_;
  Valid<T> valid_;
  const TileLoader<T, Real>& loader_;
  std::vector<const void*> asked_;
  std::int64_t n_asked_ = 0;
  Real *tile_, *variance_;
  double *absent_, *absent_dark_;
  std::vector<T> padded_;
  std::int64_t strip_ = 0, row_ = 0, column_ = 0, tile_number_ = 0;
  bool any_absent_ = false, own_variance_ = false;
};

}  // namespace midas

#endif
