// Robust statistics of the pixels of each bin. Equations and sources: robust.hpp; the loops: robust_kernels.hpp.
#include "robust.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>

#include "error.hpp"
#include "parallel.hpp"
#include "robust_bin.hpp"

namespace midas {

namespace {

constexpr std::int64_t ENTRIES_A_TASK = 1 << 15;
constexpr std::int64_t TILES_A_BLOCK = 256;

void check(const RobustOptions& options, bool normalize) {
  const auto shown = [](double x) { return std::to_string(x); };
  const double low = options.trim_low, high = options.trim_high;
  if (!(low >= 0.0 && high >= 0.0 && low + high < 1.0)) {
    throw InputError("the trimmed fractions are " + shown(low) + " and " + shown(high) +
                     "; expected 0 or more, together below 1");
  }
  if (!(options.threshold > 0.0))
    throw InputError("the clipping threshold is " + shown(options.threshold) + " sigma; expected a number above 0");
  if (options.max_iterations < 1) {
    throw InputError("the largest number of iterations is " + std::to_string(options.max_iterations) +
                     "; expected 1 or more");
  }
  if (!(options.tolerance >= 0.0 && options.tolerance < 1.0))
    throw InputError("the tolerance is " + shown(options.tolerance) + "; expected a fraction from 0, below 1");
  if (!normalize) throw InputError("robust statistics are intensities per area; expected normalize to be true");
}

// Calls body(run, first entry, end of entries, row, column of the tile) for all runs of the map.
template <class Body>
void for_each_run(const CakeMap& map, int n_threads, const Body& body) {
  const auto n_tiles = static_cast<std::int64_t>(map.first_run.size()) - 1;
  parallel_for((n_tiles + TILES_A_BLOCK - 1) / TILES_A_BLOCK, n_threads, [&](std::int64_t block) {
    for (std::int64_t t = block * TILES_A_BLOCK; t < std::min(n_tiles, (block + 1) * TILES_A_BLOCK); ++t) {
      const std::int64_t row = t / map.tiles_across() * TILE_ROWS, column = t % map.tiles_across() * TILE_COLUMNS;
      auto e = static_cast<std::size_t>(map.first_entry[static_cast<std::size_t>(t)]);
      for (auto r = static_cast<std::size_t>(map.first_run[static_cast<std::size_t>(t)]);
           r < static_cast<std::size_t>(map.first_run[static_cast<std::size_t>(t) + 1]); ++r) {
        const std::size_t end = e + static_cast<std::size_t>(map.run_groups[r] * GROUP);
        body(r, e, end, row, column);
        e = end;
      }
    }
  });
}

}  // namespace

RobustIntegrator::RobustIntegrator(const CakeMap& map, const CakeInput& input, const RobustOptions& options,
                                   int n_threads, InstructionSet set)
    : options_(options),
      set_(set),
      n_radius_(map.n_radius),
      n_eta_(map.n_eta),
      n_pixels_(map.n_pixels()),
      saturation_(input.saturation),
      negative_counts_(input.negative_counts),
      bad_values_(input.bad_values) {
  check(options, input.normalize);
  if (input.dark != nullptr) dark_.assign(input.dark, input.dark + n_pixels_);
  if (input.scale != nullptr) scale_.assign(input.scale, input.scale + n_pixels_);
  const int threads = resolve_threads(n_threads);
  list_pixels(map, input.mask, threads);
  average_corrections(threads);
  divide_into_tasks();
}

void RobustIntegrator::list_pixels(const CakeMap& map, const std::uint8_t* mask, int n_threads) {
  const auto element_of = [&](std::size_t entry, std::int64_t row, std::int64_t column) {
    const std::int64_t i = map.pixel[entry] / TILE_COLUMNS, j = map.pixel[entry] % TILE_COLUMNS;
    return (row + i) * map.n_columns + column + j;
  };
  const auto is_used = [&](std::size_t entry, std::int64_t element) {
    return map.area[entry] > 0.0f && (mask == nullptr || mask[element] == 0);
  };
  std::vector<std::int64_t> at(map.run_bin.size());  // entries of each run, in the order of slots; then where they go
  for_each_run(map, n_threads,
               [&](std::size_t run, std::size_t e, std::size_t end, std::int64_t row, std::int64_t column) {
                 std::int64_t n = 0;
                 for (; e < end; ++e) n += is_used(e, element_of(e, row, column)) ? 1 : 0;
                 at[static_cast<std::size_t>(map.run_slot[run])] = n;
               });
  first_.reserve(static_cast<std::size_t>(n_bins()) + 1);
  std::int64_t next = 0;
  for (std::int64_t eta = 0; eta < n_eta_; ++eta) {
    for (std::int64_t r = 0; r < n_radius_; ++r) {
      first_.push_back(next);
      const auto bin = static_cast<std::size_t>(r * n_eta_ + eta);
      for (auto s = static_cast<std::size_t>(map.first_slot[bin]);
           s < static_cast<std::size_t>(map.first_slot[bin + 1]); ++s) {
        next += std::exchange(at[s], next);
      }
    }
  }
  first_.push_back(next);
  element_.resize(static_cast<std::size_t>(next));
  area_.resize(static_cast<std::size_t>(next + LANES));  // the last bin's list is read in whole vectors
  for_each_run(map, n_threads,
               [&](std::size_t run, std::size_t e, std::size_t end, std::int64_t row, std::int64_t column) {
                 auto to = static_cast<std::size_t>(at[static_cast<std::size_t>(map.run_slot[run])]);
                 for (; e < end; ++e) {
                   const std::int64_t element = element_of(e, row, column);
                   if (!is_used(e, element)) continue;
                   element_[to] = static_cast<std::int32_t>(element);
                   area_[to++] = map.area[e];
                 }
               });
}

void RobustIntegrator::average_corrections(int n_threads) {
  if (dark_.empty() && scale_.empty()) return;
  mean_scale_.assign(static_cast<std::size_t>(n_bins()), 1.0);
  mean_dark_.assign(static_cast<std::size_t>(n_bins()), 0.0);
  parallel_for(n_eta_, n_threads, [&](std::int64_t eta) {
    for (auto b = static_cast<std::size_t>(eta * n_radius_); b < static_cast<std::size_t>((eta + 1) * n_radius_); ++b) {
      double area = 0.0, scale = 0.0, dark = 0.0;
      for (auto i = static_cast<std::size_t>(first_[b]); i < static_cast<std::size_t>(first_[b + 1]); ++i) {
        const auto element = static_cast<std::size_t>(element_[i]);
        const auto weight = static_cast<double>(area_[i]);
        area += weight;
        if (!scale_.empty()) scale += weight * static_cast<double>(scale_[element]);
        if (!dark_.empty()) dark += weight * dark_[element];
      }
      if (!(area > 0.0)) continue;
      if (!scale_.empty()) mean_scale_[b] = scale / area;
      mean_dark_[b] = dark / area;
    }
  });
}

void RobustIntegrator::divide_into_tasks() {
  task_.push_back(0);
  for (std::int64_t b = 0; b < n_bins(); ++b) {
    const auto begin = static_cast<std::size_t>(task_.back()), end = static_cast<std::size_t>(b + 1);
    if (first_[end] - first_[begin] >= ENTRIES_A_TASK || b + 1 == n_bins()) task_.push_back(b + 1);
  }
}

// Some bins of a frame.
template <class T>
class RobustIntegrator::Task {
 public:
  Task(const RobustIntegrator& own, bool with_variance)
      : own_(own),
        valid_(valid_counts<T>(own.saturation_, own.negative_counts_, own.bad_values_)),
        single_(own.options_, own.set_, with_variance),
        double_(own.options_, own.set_, with_variance) {}

  BinResult find(const T* frame, std::int64_t bin) {
    BinContext context;
    if (!own_.mean_scale_.empty()) {
      context.scale = own_.mean_scale_[static_cast<std::size_t>(bin)];
      context.dark = own_.mean_dark_[static_cast<std::size_t>(bin)];
    }
    if constexpr (std::is_integral_v<T>) context.count = context.scale;
    if constexpr (!std::is_same_v<T, double>) {
      if (gather(frame, bin, single_.values())) return single_.find(context);
    }
    gather(frame, bin, double_.values());
    return double_.find(context);
  }

 private:
  // False where Real would round a count.
  template <class Real>
  bool gather(const T* frame, std::int64_t bin, Values<Real>& to) const {
    const bool corrected = !own_.dark_.empty() || !own_.scale_.empty();
    if (corrected)
      return valid_.bad.empty() ? gather_as<true, false>(frame, bin, to) : gather_as<true, true>(frame, bin, to);
    return valid_.bad.empty() ? gather_as<false, false>(frame, bin, to) : gather_as<false, true>(frame, bin, to);
  }

  template <bool BAD>
  bool is_count(T raw) const {
    bool counts = (raw >= valid_.low) & (raw <= valid_.high);
    if constexpr (BAD) {
      for (const T bad : valid_.bad) counts &= raw != bad;
    }
    return counts;
  }

  template <bool CORRECTED, class Real>
  Real value_of(T raw, std::int32_t element) const {
    if constexpr (CORRECTED)
      return static_cast<Real>(own_.corrected(static_cast<double>(raw), static_cast<std::size_t>(element)));
    return static_cast<Real>(raw);
  }

  template <bool CORRECTED, bool BAD, class Real>
  bool gather_as(const T* frame, std::int64_t bin, Values<Real>& to) const {
    const std::int64_t first = own_.first_[static_cast<std::size_t>(bin)],
                       n = own_.first_[static_cast<std::size_t>(bin) + 1] - first;
    to.reserve(n);
    const std::int32_t* const element = own_.element_.data() + first;
    const float* const area = own_.area_.data() + first;
    Real* const v = to.v.data();
    bool all = true, wide = false;
    for (std::int64_t i = 0; i < n; ++i) {
      const T raw = frame[element[i]];
      const bool counts = is_count<BAD>(raw);
      v[i] = value_of<CORRECTED, Real>(raw, element[i]);
      all &= counts;
      if constexpr (std::is_same_v<Real, float>) wide |= counts & is_wide(raw, v[i]);
    }
    if (wide) return false;
    to.n = n;
    if constexpr (std::is_same_v<Real, float>) {
      if (all) {
        to.weights = area;
        return true;
      }
    }
    Real* const w = to.w.data();
    std::int64_t k = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      v[k] = v[i];
      w[k] = static_cast<Real>(area[i]);
      k += static_cast<std::int64_t>(is_count<BAD>(frame[element[i]]));
    }
    to.n = k;
    return true;
  }

  static bool is_wide(T raw, float value) {
    constexpr T LIMIT = static_cast<T>(sizeof(T) == 4 ? 1 << 24 : 0);
    if constexpr (std::is_floating_point_v<T>) return !(std::abs(static_cast<double>(value)) < LARGE_VALUE);
    if constexpr (std::is_integral_v<T> && std::is_signed_v<T> && sizeof(T) == 4)
      return (raw >= LIMIT) | (raw <= -LIMIT);
    if constexpr (std::is_integral_v<T> && std::is_unsigned_v<T> && sizeof(T) == 4) return raw >= LIMIT;
    return false;
  }

  const RobustIntegrator& own_;
  Valid<T> valid_;
  BinStatistics<float> single_;
  BinStatistics<double> double_;
};

template <class T>
void RobustIntegrator::apply(const T* const* frames, std::int64_t n_frames, const RobustOutput& output,
                             int n_threads) const {
  const int threads = resolve_threads(n_threads);
  const auto n_tasks = static_cast<std::int64_t>(task_.size()) - 1;
  parallel_for(n_frames * n_tasks, threads, [&](std::int64_t i) {
    const std::int64_t f = i / n_tasks;
    const auto t = static_cast<std::size_t>(i % n_tasks);
    Task<T> task(*this, output.variance != nullptr);
    for (std::int64_t b = task_[t]; b < task_[t + 1]; ++b) {
      const BinResult found = task.find(frames[f], b);
      const std::int64_t to = f * n_bins() + b % n_radius_ * n_eta_ + b / n_radius_;
      output.intensity[to] = found.intensity;
      if (output.variance != nullptr) output.variance[to] = found.variance;
      output.area[to] = found.area;
      output.pixels[to] = static_cast<std::int32_t>(found.n);
    }
  });
}

template void RobustIntegrator::apply(const std::uint8_t* const*, std::int64_t, const RobustOutput&, int) const;
template void RobustIntegrator::apply(const std::uint16_t* const*, std::int64_t, const RobustOutput&, int) const;
template void RobustIntegrator::apply(const std::uint32_t* const*, std::int64_t, const RobustOutput&, int) const;
template void RobustIntegrator::apply(const std::int16_t* const*, std::int64_t, const RobustOutput&, int) const;
template void RobustIntegrator::apply(const std::int32_t* const*, std::int64_t, const RobustOutput&, int) const;
template void RobustIntegrator::apply(const float* const*, std::int64_t, const RobustOutput&, int) const;
template void RobustIntegrator::apply(const double* const*, std::int64_t, const RobustOutput&, int) const;

}  // namespace midas
