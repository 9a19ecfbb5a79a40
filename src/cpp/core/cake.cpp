// Sums frames over the bins of a map, by tiles. Equations and source: cake.hpp; the loops: cake_kernels.hpp.
#include "cake.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

#include "error.hpp"
#include "parallel.hpp"

namespace midas {

namespace {

constexpr std::size_t ALIGNMENT = 128;  // bytes: of the widest vector, 16 doubles
constexpr std::int64_t FEW_TILES = 32;  // a bin's sum over as many tiles may be single precision
constexpr std::int64_t TILES_A_TASK = 128;
constexpr std::int64_t BINS_A_TASK = 4096;
constexpr std::int64_t AHEAD = 2;  // tiles between asking for counts and reading them
// How much longer one frame alone takes than one of LANES side by side, in one thread.
constexpr double ALONE = 4.0;

// Numbers for vectors to lie in, 0 at first.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { release(); }

  // The numbers, of which there are at least `size`; what is added is 0.
  T* get(std::size_t size) {
    if (size > size_) {
      release();
      data_ = static_cast<T*>(::operator new(size * sizeof(T), std::align_val_t{ALIGNMENT}));
      size_ = size;
      std::fill(data_, data_ + size_, T{0});
    }
    return data_;
  }

 private:
  void release() {
    if (data_ != nullptr) ::operator delete(data_, std::align_val_t{ALIGNMENT});
    data_ = nullptr;
    size_ = 0;
  }
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

template <class Sum>
struct Sums {
  Buffer<Sum> sums, squares;  // of bins and frames side by side; all 0 between uses
};

template <class Real>
struct Slots {
  Buffer<Real> sums, squares;  // of each run
};

// What a bin's sum is multiplied by: NaN where it holds no pixel.
double factor_of(double area, std::int32_t pixels, bool normalize) {
  if (pixels <= 0) return std::numeric_limits<double>::quiet_NaN();
  return normalize ? 1.0 / area : 1.0;
}

// What is taken from one bin of one frame alone.
struct Missing {
  std::int32_t bin, pixels;
  double area, dark;
};

}  // namespace

struct Integrator::Workspace {
  Buffer<float> tile_float, variance_float;
  Buffer<double> tile_double, variance_double, absent, absent_dark;
  Sums<float> sums_float;
  Sums<double> sums_double;
  Buffer<double> missing_area, missing_pixels, missing_dark;  // of bins and frames side by side; all 0 between uses
  Slots<float> slots_float;
  Slots<double> slots_double;

  template <class Real>
  Real* tile() {
    constexpr std::size_t SIZE = TILE_PIXELS * LANES;
    if constexpr (std::is_same_v<Real, float>) return tile_float.get(SIZE);
    if constexpr (std::is_same_v<Real, double>) return tile_double.get(SIZE);
  }
  template <class Real>
  Real* variance() {
    constexpr std::size_t SIZE = TILE_PIXELS * LANES;
    if constexpr (std::is_same_v<Real, float>) return variance_float.get(SIZE);
    if constexpr (std::is_same_v<Real, double>) return variance_double.get(SIZE);
  }
  template <class Sum>
  Sums<Sum>& sums() {
    if constexpr (std::is_same_v<Sum, float>) return sums_float;
    if constexpr (std::is_same_v<Sum, double>) return sums_double;
  }
  template <class Real>
  Slots<Real>& slots() {
    if constexpr (std::is_same_v<Real, float>) return slots_float;
    if constexpr (std::is_same_v<Real, double>) return slots_double;
  }
};

// Reads tiles of some frames and makes them ready for the kernels.
template <class T, class Real>
class Integrator::Tiles {
 public:
  Tiles(const Integrator& integrator, Workspace& work, std::int64_t lanes)
      : integrator_(integrator),
        map_(*integrator.map_),
        lanes_(lanes),
        valid_(valid_counts<T>(integrator.saturation_, integrator.negative_counts_, integrator.bad_values_)),
        load_frames_(load_frames<T, Real>(integrator.set_)),
        load_frame_(load_frame<T, Real>(integrator.set_)),
        tile_(work.tile<Real>()),
        variance_(work.variance<Real>()),
        absent_(work.absent.get(TILE_PIXELS * LANES)),
        absent_dark_(work.absent_dark.get(TILE_PIXELS * LANES)) {}

  // The first row of the frames that `read` and `ask_for` are given.
  void begin_strip(std::int64_t row) { strip_ = row; }

  // The tile's counts: corrected, and 0 where there are none. False for counts that Real would round.
  bool read(const T* const* frames, std::int64_t t, bool with_variance) {
    const std::int64_t row = t / map_.tiles_across() * TILE_ROWS, column = t % map_.tiles_across() * TILE_COLUMNS;
    const TileState state = load(frames, row, column);
    if (state.wide && std::is_same_v<Real, float>) return false;
    row_ = row;
    column_ = column;
    tile_number_ = t;
    any_absent_ = false;
    const bool scaled = !integrator_.scale_.empty();
    own_variance_ = with_variance && (scaled || integrator_.negative_counts_);
    if (state.invalid) mark_absent();
    if (any_absent_) clear_absent();
    if (own_variance_) make_variance();
    if (scaled) scale_counts();
    if (integrator_.masked_tile_[static_cast<std::size_t>(t)] != 0) clear_masked();
    return true;
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
  bool is_absent(std::int64_t lane) const { return absent_lane_[static_cast<std::size_t>(lane)]; }

  TileRuns runs() const {
    const auto t = static_cast<std::size_t>(tile_number_);
    const auto run = static_cast<std::size_t>(map_.first_run[t]), entry = static_cast<std::size_t>(map_.first_entry[t]);
    return {map_.run_bin.data() + run, map_.run_groups.data() + run, map_.first_run[t + 1] - map_.first_run[t],
            map_.pixel.data() + entry, map_.area.data() + entry};
  }

  void ask_for(const T* const* frames, std::int64_t t) const {
    const std::int64_t row = t / map_.tiles_across() * TILE_ROWS, column = t % map_.tiles_across() * TILE_COLUMNS;
    const std::int64_t last = std::min(row + TILE_ROWS, map_.n_rows);
    constexpr std::int64_t STEP = 64 / static_cast<std::int64_t>(sizeof(T));
    for (std::int64_t f = 0; f < lanes_; ++f)
      for (std::int64_t r = row; r < last; ++r)
        for (std::int64_t c = 0; c < TILE_COLUMNS; c += STEP)
          __builtin_prefetch(frames[f] + (r - strip_) * map_.n_columns + std::min(column + c, map_.n_columns - 1), 0,
                             2);
  }

 private:
  TileState load(const T* const* frames, std::int64_t row, std::int64_t column) {
    const std::int64_t offset = (row - strip_) * map_.n_columns + column;
    std::array<const T*, LANES> from{};
    for (std::int64_t f = 0; f < lanes_; ++f) from[static_cast<std::size_t>(f)] = frames[f] + offset;
    std::int64_t stride = map_.n_columns;
    if (row + TILE_ROWS > map_.n_rows || column + TILE_COLUMNS > map_.n_columns) {
      pad(from, row, column);
      stride = TILE_COLUMNS;
    }
    return lanes_ == 1 ? load_frame_(from[0], stride, valid_, tile_) : load_frames_(from.data(), stride, valid_, tile_);
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
    const std::uint32_t bits = integrator_.used_[static_cast<std::size_t>(tile_number_ * TILE_ROWS + p / TILE_COLUMNS)];
    return ((bits >> (p % TILE_COLUMNS)) & 1u) != 0;
  }
  std::size_t element(std::int64_t p) const {
    return static_cast<std::size_t>((row_ + p / TILE_COLUMNS) * map_.n_columns + column_ + p % TILE_COLUMNS);
  }

  void mark_absent() {
    absent_lane_.fill(false);
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
      for (std::int64_t f = 0; f < lanes_; ++f) {
        if (absent[f] == 0.0) continue;
        any_absent_ = true;
        absent_lane_[static_cast<std::size_t>(f)] = true;
      }
    }
  }

  void make_variance() {
    for (std::int64_t p = 0; p < TILE_PIXELS; ++p) {
      if (!is_used(p)) continue;
      const Real s = integrator_.scale_.empty() ? Real{1} : static_cast<Real>(integrator_.scale_[element(p)]);
      for (std::int64_t f = 0; f < lanes_; ++f) {
        variance_[p * lanes_ + f] = s * s * std::max(tile_[p * lanes_ + f], Real{0});
      }
    }
  }

  void clear_absent() {
    const bool has_dark = !integrator_.dark_.empty();
    for (std::int64_t p = 0; p < TILE_PIXELS; ++p) {
      if (!is_used(p)) continue;
      const double dark = has_dark ? integrator_.corrected_dark(element(p)) : 0.0;
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
      const auto s = static_cast<Real>(integrator_.scale_[element(p)]);
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

  const Integrator& integrator_;
  const CakeMap& map_;
  std::int64_t lanes_;
  Valid<T> valid_;
  LoadFrames<T, Real> load_frames_;
  LoadFrame<T, Real> load_frame_;
  Real *tile_, *variance_;
  double *absent_, *absent_dark_;
  std::vector<T> padded_;
  std::array<bool, LANES> absent_lane_{};
  std::int64_t strip_ = 0, row_ = 0, column_ = 0, tile_number_ = 0;
  bool any_absent_ = false, own_variance_ = false;
};

Integrator::Integrator(std::shared_ptr<const CakeMap> map, const CakeInput& input, InstructionSet set)
    : map_(std::move(map)),
      set_(set),
      saturation_(input.saturation),
      negative_counts_(input.negative_counts),
      normalize_(input.normalize),
      bad_values_(input.bad_values),
      bin_area_(map_->bin_area),
      bin_pixels_(map_->bin_pixels),
      dark_sum_(bin_area_.size(), 0.0) {
  const auto n_pixels = static_cast<std::size_t>(map_->n_pixels());
  if (input.dark != nullptr) dark_.assign(input.dark, input.dark + n_pixels);
  if (input.scale != nullptr) scale_.assign(input.scale, input.scale + n_pixels);
  std::int64_t most = 0;
  for (std::size_t b = 0; b < bin_area_.size(); ++b)
    most = std::max(most, map_->first_slot[b + 1] - map_->first_slot[b]);
  many_tiles_a_bin_ = most > FEW_TILES;
  const std::size_t n_tiles = map_->first_run.size() - 1;
  used_.assign(n_tiles * TILE_ROWS, 0);
  masked_tile_.assign(n_tiles, 0);
  for (std::size_t t = 0; t < n_tiles; ++t) {
    const auto tile = static_cast<std::int64_t>(t);
    const std::int64_t row = tile / map_->tiles_across() * TILE_ROWS,
                       column = tile % map_->tiles_across() * TILE_COLUMNS;
    auto e = static_cast<std::size_t>(map_->first_entry[t]);
    for (auto r = static_cast<std::size_t>(map_->first_run[t]); r < static_cast<std::size_t>(map_->first_run[t + 1]);
         ++r) {
      const auto bin = static_cast<std::size_t>(map_->run_bin[r]);
      for (const std::size_t end = e + static_cast<std::size_t>(map_->run_groups[r] * GROUP); e < end; ++e) {
        const auto area = static_cast<double>(map_->area[e]);
        if (!(area > 0.0)) continue;
        const std::int64_t i = map_->pixel[e] / TILE_COLUMNS, j = map_->pixel[e] % TILE_COLUMNS;
        const auto element = static_cast<std::size_t>((row + i) * map_->n_columns + column + j);
        if (input.mask != nullptr && input.mask[element] != 0) {
          masked_tile_[t] = 1;
          bin_area_[bin] -= area;
          --bin_pixels_[bin];
          continue;
        }
        used_[t * TILE_ROWS + static_cast<std::size_t>(i)] |= std::uint32_t{1} << j;
        if (!dark_.empty()) {
          dark_sum_[bin] += area * corrected_dark(element);
        }
      }
    }
  }
  for (std::size_t b = 0; b < bin_area_.size(); ++b)
    factor_.push_back(factor_of(bin_area_[b], bin_pixels_[b], normalize_));
}

Integrator::~Integrator() = default;

std::unique_ptr<Integrator::Workspace> Integrator::take() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (idle_.empty()) return std::make_unique<Workspace>();
  auto workspace = std::move(idle_.back());
  idle_.pop_back();
  return workspace;
}

void Integrator::give_back(std::unique_ptr<Workspace> workspace) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  idle_.push_back(std::move(workspace));
}

namespace {

// The sum over a bin's tiles, in the precision that batches add them up in.
template <class Real>
double total(const Real* sums, std::int64_t n, bool in_double) {
  if (in_double || std::is_same_v<Real, double>) {
    double sum = 0.0;
    for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(sums[i]);
    return sum;
  }
  Real sum{0};
  for (std::int64_t i = 0; i < n; ++i) sum += sums[i];
  return static_cast<double>(sum);
}

// Collects what each bin lacks in one tile of one frame, summed as the kernels sum; absent_dark may be null.
void add_missing(const TileRuns& runs, const double* absent, const double* absent_dark, std::vector<Missing>& missing) {
  const std::uint8_t* pixel = runs.pixel;
  const float* area = runs.area;
  const auto total = [](const std::array<double, GROUP>& c) { return (c[0] + c[1]) + (c[2] + c[3]); };
  for (std::int64_t r = 0; r < runs.n; ++r) {
    std::array<double, GROUP> areas{}, darks{};
    std::int32_t n = 0;
    for (std::int64_t e = 0; e < runs.groups[r] * GROUP; ++e) {
      const auto chain = static_cast<std::size_t>(e % GROUP);
      const auto weight = static_cast<double>(area[e]);
      areas[chain] += weight * absent[pixel[e]];
      if (absent_dark != nullptr) darks[chain] += weight * absent_dark[pixel[e]];
      if (area[e] > 0.0f && absent[pixel[e]] != 0.0) ++n;
    }
    if (n > 0) missing.push_back({runs.bin[r], n, total(areas), total(darks)});
    pixel += runs.groups[r] * GROUP;
    area += runs.groups[r] * GROUP;
  }
}

// The sums of frames side by side: those of `frame` of the bins from `first` to `end`, less the dark, times a factor
// each.
template <class Sum, class Out>
void take_frame(const Sum* sums, std::int64_t frame, std::size_t first, std::size_t end, const double* dark,
                const double* factor, Out* out) {
  const Sum* from = sums + frame;
  for (std::size_t b = first; b < end; ++b)
    out[b] = static_cast<Out>((static_cast<double>(from[b * LANES]) - dark[b]) * factor[b]);
}
template <class Sum, class Out>
void take_variance(const Sum* squares, std::int64_t frame, std::size_t first, std::size_t end, const double* factor,
                   Out* out) {
  const Sum* from = squares + frame;
  for (std::size_t b = first; b < end; ++b)
    out[b] = static_cast<Out>(static_cast<double>(from[b * LANES]) * (factor[b] * factor[b]));
}

}  // namespace

template <class Out>
CakeOutput<Out> Integrator::of_frame(const CakeOutput<Out>& output, std::int64_t frame) const {
  const std::int64_t at = frame * map_->n_bins();
  return {output.intensity + at, output.variance == nullptr ? nullptr : output.variance + at, output.area + at,
          output.pixels + at, output.differs + frame};
}

// LANES frames, or fewer, summed side by side.
template <class T, class Real, class Sum>
class Integrator::Batch {
 public:
  Batch(const Integrator& integrator, Workspace& work, std::int64_t n, bool with_variance)
      : integrator_(integrator),
        map_(*integrator.map_),
        work_(work),
        kernels_(cake_kernels<Real>(integrator.set_)),
        tiles_(integrator, work, LANES),
        n_(n),
        n_bins_(static_cast<std::size_t>(map_.n_bins())),
        sums_(work.template sums<Sum>().sums.get(n_bins_ * LANES)),
        squares_(with_variance ? work.template sums<Sum>().squares.get(n_bins_ * LANES) : nullptr) {}

  // False where Real would round counts: nothing is to be written then.
  bool add(Strips<T>& frames) {
    for (std::int64_t row = 0; row < map_.n_rows; row += TILE_ROWS) {
      const std::int64_t first = row / TILE_ROWS * map_.tiles_across(), end = first + map_.tiles_across();
      if (map_.first_run[static_cast<std::size_t>(first)] == map_.first_run[static_cast<std::size_t>(end)]) continue;
      if (!add_strip(frames, row, first, end)) return false;
    }
    frames.finish();
    return true;
  }

  // A few bins at a time: their sums stay in the cache while each frame takes its own, and are 0 for the next use.
  template <class Out>
  void write(const CakeOutput<Out>& output) {
    for (std::size_t first = 0; first < n_bins_; first += BLOCK) {
      const std::size_t end = std::min(n_bins_, first + BLOCK);
      for (std::int64_t f = 0; f < n_; ++f) write_frame(f, first, end, integrator_.of_frame(output, f));
      for (Sum* of : {sums_, squares_})
        if (of != nullptr) std::fill(of + first * LANES, of + end * LANES, Sum{0});
      for (double* of : {missing_area_, missing_pixels_, missing_dark_})
        if (of != nullptr) std::fill(of + first * LANES, of + end * LANES, 0.0);
    }
    for (std::int64_t f = 0; f < n_; ++f) output.differs[f] = differs_[static_cast<std::size_t>(f)] ? 1 : 0;
  }

 private:
  static constexpr std::size_t BLOCK = 64;

  bool add_strip(Strips<T>& frames, std::int64_t row, std::int64_t first, std::int64_t end) {
    const typename Strips<T>::Rows rows = frames.rows(row, std::min(row + TILE_ROWS, map_.n_rows));
    const auto n_tiles = static_cast<std::int64_t>(map_.first_run.size()) - 1;
    const std::int64_t ask_to = frames.in_memory() ? n_tiles : 0;
    tiles_.begin_strip(row);
    for (std::int64_t t = first; t < end; ++t) {
      const auto k = static_cast<std::size_t>(t);
      if (map_.first_run[k] == map_.first_run[k + 1]) continue;
      if (t + AHEAD < ask_to) tiles_.ask_for(rows.data(), t + AHEAD);
      if (!tiles_.read(rows.data(), t, squares_ != nullptr)) return false;
      add_tile();
    }
    return true;
  }

  void add_tile() {
    const TileRuns runs = tiles_.runs();
    if (squares_ != nullptr && !tiles_.own_variance()) {
      add_both(runs);
    } else {
      add_one(runs, Weight::AREA, tiles_.tile(), sums_);
      if (squares_ != nullptr) add_one(runs, Weight::AREA_SQUARED, tiles_.variance(), squares_);
    }
    if (tiles_.any_absent()) add_missing_of(runs);
  }

  void add_one(const TileRuns& runs, Weight weight, const Real* tile, Sum* sums) const {
    if constexpr (std::is_same_v<Sum, float>) kernels_.add_float(runs, weight, tile, sums);
    if constexpr (std::is_same_v<Sum, double>) kernels_.add_double(runs, weight, tile, sums);
  }
  void add_both(const TileRuns& runs) const {
    if constexpr (std::is_same_v<Sum, float>) kernels_.add_both_float(runs, tiles_.tile(), sums_, squares_);
    if constexpr (std::is_same_v<Sum, double>) kernels_.add_both_double(runs, tiles_.tile(), sums_, squares_);
  }

  void add_missing_of(const TileRuns& runs) {
    const CakeKernels<double>& exact = cake_kernels<double>(integrator_.set_);
    missing_area_ = work_.missing_area.get(n_bins_ * LANES);
    missing_pixels_ = work_.missing_pixels.get(n_bins_ * LANES);
    exact.add_double(runs, Weight::AREA, tiles_.absent(), missing_area_);
    exact.add_double(runs, Weight::ONE, tiles_.absent(), missing_pixels_);
    if (!integrator_.dark_.empty()) {
      missing_dark_ = work_.missing_dark.get(n_bins_ * LANES);
      exact.add_double(runs, Weight::AREA, tiles_.absent_dark(), missing_dark_);
    }
    for (std::int64_t f = 0; f < n_; ++f)
      differs_[static_cast<std::size_t>(f)] = differs_[static_cast<std::size_t>(f)] || tiles_.is_absent(f);
  }

  template <class Out>
  void write_frame(std::int64_t f, std::size_t first, std::size_t end, const CakeOutput<Out>& to) const {
    std::array<double, BLOCK> own_dark{}, own_factor{};
    const double *dark = integrator_.dark_sum_.data(), *factor = integrator_.factor_.data();
    if (differs_[static_cast<std::size_t>(f)]) {
      for (std::size_t b = first; b < end; ++b) {
        const std::size_t i = b * LANES + static_cast<std::size_t>(f);
        to.pixels[b] = integrator_.bin_pixels_[b] - static_cast<std::int32_t>(std::lround(missing_pixels_[i]));
        to.area[b] = to.pixels[b] > 0 ? integrator_.bin_area_[b] - missing_area_[i] : 0.0;
        own_dark[b - first] = dark[b] - (missing_dark_ == nullptr ? 0.0 : missing_dark_[i]);
        own_factor[b - first] = factor_of(to.area[b], to.pixels[b], integrator_.normalize_);
      }
      dark = own_dark.data() - first;
      factor = own_factor.data() - first;
    }
    take_frame(sums_, f, first, end, dark, factor, to.intensity);
    if (squares_ != nullptr) take_variance(squares_, f, first, end, factor, to.variance);
  }

  const Integrator& integrator_;
  const CakeMap& map_;
  Workspace& work_;
  const CakeKernels<Real>& kernels_;
  Tiles<T, Real> tiles_;
  std::int64_t n_;
  std::size_t n_bins_;
  Sum *sums_, *squares_;  // squares_: null without variance
  double *missing_area_ = nullptr, *missing_pixels_ = nullptr, *missing_dark_ = nullptr;
  std::array<bool, LANES> differs_{};
};

// False where Real would round counts; nothing is written then.
template <class T, class Real, class Sum, class Out>
bool Integrator::batch(Strips<T>& frames, std::int64_t n, const CakeOutput<Out>& output) const {
  auto work = take();
  Batch<T, Real, Sum> sums(*this, *work, n, output.variance != nullptr);
  if (!sums.add(frames)) return false;  // with sums that are not 0: the workspace is not given back
  sums.write(output);
  give_back(std::move(work));
  return true;
}

template <class T, class Real, class Out>
bool Integrator::single(const T* frame, const CakeOutput<Out>& output, int n_threads) const {
  auto work = take();
  const bool with_variance = output.variance != nullptr;
  const std::size_t n_runs = map_->run_bin.size();
  Real* const sums = work->template slots<Real>().sums.get(n_runs);
  Real* const squares = with_variance ? work->template slots<Real>().squares.get(n_runs) : nullptr;
  const auto n_tiles = static_cast<std::int64_t>(map_->first_run.size()) - 1;
  const std::int64_t n_tasks = (n_tiles + TILES_A_TASK - 1) / TILES_A_TASK;
  std::vector<std::vector<Missing>> missing(static_cast<std::size_t>(n_tasks));
  std::atomic<bool> wide{false};
  const CakeKernels<Real>& kernels = cake_kernels<Real>(set_);
  parallel_for(n_tasks, n_threads, [&](std::int64_t task) {
    auto own = take();
    Tiles<T, Real> tiles(*this, *own, 1);
    const std::int64_t end = std::min(n_tiles, (task + 1) * TILES_A_TASK);
    for (std::int64_t t = task * TILES_A_TASK; t < end && !wide.load(std::memory_order_relaxed); ++t) {
      const auto k = static_cast<std::size_t>(t);
      if (map_->first_run[k] == map_->first_run[k + 1]) continue;
      if (t + 4 * AHEAD < n_tiles) tiles.ask_for(&frame, t + 4 * AHEAD);
      if (!tiles.read(&frame, t, with_variance)) {
        wide = true;
        break;
      }
      const TileRuns runs = tiles.runs();
      const std::int64_t* const slot = map_->run_slot.data() + map_->first_run[k];
      kernels.run_sums(runs, slot, tiles.tile(), tiles.variance(), sums, squares);
      if (tiles.any_absent()) {
        add_missing(runs, tiles.absent(), dark_.empty() ? nullptr : tiles.absent_dark(),
                    missing[static_cast<std::size_t>(task)]);
      }
    }
    give_back(std::move(own));
  });
  if (wide) {
    give_back(std::move(work));
    return false;
  }
  output.differs[0] = 0;
  std::vector<double> missing_dark;
  for (const auto& of_task : missing) {
    if (of_task.empty()) continue;
    if (output.differs[0] == 0) {
      std::fill_n(output.area, bin_area_.size(), 0.0);
      std::fill_n(output.pixels, bin_area_.size(), 0);
      missing_dark.assign(dark_sum_.size(), 0.0);
      output.differs[0] = 1;
    }
    for (const Missing& m : of_task) {  // what is missing, for now
      output.area[m.bin] += m.area;
      output.pixels[m.bin] += m.pixels;
      missing_dark[static_cast<std::size_t>(m.bin)] += m.dark;
    }
  }
  parallel_for((map_->n_bins() + BINS_A_TASK - 1) / BINS_A_TASK, n_threads, [&](std::int64_t task) {
    const std::int64_t end = std::min(map_->n_bins(), (task + 1) * BINS_A_TASK);
    for (std::int64_t bin_number = task * BINS_A_TASK; bin_number < end; ++bin_number) {
      const auto b = static_cast<std::size_t>(bin_number);
      double dark = dark_sum_[b], factor = factor_[b];
      if (output.differs[0] != 0) {
        output.pixels[b] = bin_pixels_[b] - output.pixels[b];
        output.area[b] = output.pixels[b] > 0 ? bin_area_[b] - output.area[b] : 0.0;
        dark -= missing_dark[b];
        factor = factor_of(output.area[b], output.pixels[b], normalize_);
      }
      const std::int64_t first = map_->first_slot[b], n = map_->first_slot[b + 1] - first;
      output.intensity[b] = static_cast<Out>((total(sums + first, n, many_tiles_a_bin_) - dark) * factor);
      if (!with_variance) continue;
      output.variance[b] = static_cast<Out>(total(squares + first, n, many_tiles_a_bin_) * (factor * factor));
    }
  });
  give_back(std::move(work));
  return true;
}

template <class T, class Out>
void Integrator::batch_as(Strips<T>& frames, std::int64_t n, const CakeOutput<Out>& output) const {
  if constexpr (!std::is_same_v<T, double>) {
    const bool done = many_tiles_a_bin_ ? batch<T, float, double, Out>(frames, n, output)
                                        : batch<T, float, float, Out>(frames, n, output);
    if (done) return;
    frames.restart();
  }
  batch<T, double, double, Out>(frames, n, output);
}

template <class T, class Out>
void Integrator::single_as(const T* frame, const CakeOutput<Out>& output, int n_threads) const {
  if constexpr (!std::is_same_v<T, double>) {
    if (single<T, float, Out>(frame, output, n_threads)) return;
  }
  single<T, double, Out>(frame, output, n_threads);
}

// Batches are cheaper a frame, but each keeps one thread only.
bool Integrator::side_by_side(std::int64_t n_frames, int n_threads) const {
  const std::int64_t n_batches = (n_frames + LANES - 1) / LANES;
  const std::int64_t rounds = (n_batches + n_threads - 1) / n_threads;
  return static_cast<double>(rounds * LANES * n_threads) < ALONE * static_cast<double>(n_frames);
}

template <class T, class Out>
void Integrator::apply(const T* const* frames, std::int64_t n_frames, const CakeOutput<Out>& output,
                       int n_threads) const {
  const int threads = resolve_threads(n_threads);
  if (!side_by_side(n_frames, threads)) {
    for (std::int64_t f = 0; f < n_frames; ++f) single_as(frames[f], of_frame(output, f), threads);
    return;
  }
  parallel_for((n_frames + LANES - 1) / LANES, threads, [&](std::int64_t i) {
    const std::int64_t first = i * LANES, n = std::min(LANES, n_frames - first);
    ArrayStrips<T> strips(frames + first, n, map_->n_columns);
    batch_as(strips, n, of_frame(output, first));
  });
}

template <class T, class Out>
void Integrator::apply(const PackedFrames& frames, const CakeOutput<Out>& output, int n_threads) const {
  const int threads = resolve_threads(n_threads);
  if (!side_by_side(frames.n, threads)) {
    const std::int64_t n_pixels = map_->n_pixels(), at_once = std::min<std::int64_t>(threads, frames.n);
    std::vector<T> unpacked(static_cast<std::size_t>(at_once * n_pixels));
    for (std::int64_t first = 0; first < frames.n; first += at_once) {
      const std::int64_t n = std::min(at_once, frames.n - first);
      unpack_bitshuffle_lz4(frames.chunks + first, n, n_pixels, sizeof(T), frames.decompress,
                            reinterpret_cast<std::uint8_t*>(unpacked.data()), threads, first);
      for (std::int64_t f = 0; f < n; ++f)
        single_as(unpacked.data() + f * n_pixels, of_frame(output, first + f), threads);
    }
    return;
  }
  parallel_for((frames.n + LANES - 1) / LANES, threads, [&](std::int64_t i) {
    const std::int64_t first = i * LANES, n = std::min(LANES, frames.n - first);
    PackedStrips<T> strips(frames, first, n, map_->n_rows, map_->n_columns);
    batch_as(strips, n, of_frame(output, first));
  });
}

template void Integrator::apply(const std::uint8_t* const*, std::int64_t, const CakeOutput<float>&, int) const;
template void Integrator::apply(const std::uint8_t* const*, std::int64_t, const CakeOutput<double>&, int) const;
template void Integrator::apply(const std::uint16_t* const*, std::int64_t, const CakeOutput<float>&, int) const;
template void Integrator::apply(const std::uint16_t* const*, std::int64_t, const CakeOutput<double>&, int) const;
template void Integrator::apply(const std::uint32_t* const*, std::int64_t, const CakeOutput<float>&, int) const;
template void Integrator::apply(const std::uint32_t* const*, std::int64_t, const CakeOutput<double>&, int) const;
template void Integrator::apply(const std::int16_t* const*, std::int64_t, const CakeOutput<float>&, int) const;
template void Integrator::apply(const std::int16_t* const*, std::int64_t, const CakeOutput<double>&, int) const;
template void Integrator::apply(const std::int32_t* const*, std::int64_t, const CakeOutput<float>&, int) const;
template void Integrator::apply(const std::int32_t* const*, std::int64_t, const CakeOutput<double>&, int) const;
template void Integrator::apply(const float* const*, std::int64_t, const CakeOutput<float>&, int) const;
template void Integrator::apply(const float* const*, std::int64_t, const CakeOutput<double>&, int) const;
template void Integrator::apply(const double* const*, std::int64_t, const CakeOutput<float>&, int) const;
template void Integrator::apply(const double* const*, std::int64_t, const CakeOutput<double>&, int) const;
template void Integrator::apply<std::uint8_t>(const PackedFrames&, const CakeOutput<float>&, int) const;
template void Integrator::apply<std::uint8_t>(const PackedFrames&, const CakeOutput<double>&, int) const;
template void Integrator::apply<std::uint16_t>(const PackedFrames&, const CakeOutput<float>&, int) const;
template void Integrator::apply<std::uint16_t>(const PackedFrames&, const CakeOutput<double>&, int) const;
template void Integrator::apply<std::uint32_t>(const PackedFrames&, const CakeOutput<float>&, int) const;
template void Integrator::apply<std::uint32_t>(const PackedFrames&, const CakeOutput<double>&, int) const;
template void Integrator::apply<std::int16_t>(const PackedFrames&, const CakeOutput<float>&, int) const;
template void Integrator::apply<std::int16_t>(const PackedFrames&, const CakeOutput<double>&, int) const;
template void Integrator::apply<std::int32_t>(const PackedFrames&, const CakeOutput<float>&, int) const;
template void Integrator::apply<std::int32_t>(const PackedFrames&, const CakeOutput<double>&, int) const;
template void Integrator::apply<float>(const PackedFrames&, const CakeOutput<float>&, int) const;
template void Integrator::apply<float>(const PackedFrames&, const CakeOutput<double>&, int) const;
template void Integrator::apply<double>(const PackedFrames&, const CakeOutput<float>&, int) const;
template void Integrator::apply<double>(const PackedFrames&, const CakeOutput<double>&, int) const;

}  // namespace midas
