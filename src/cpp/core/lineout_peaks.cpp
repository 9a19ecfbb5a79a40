// The fits. Equations and sources: lineout_peaks.hpp.
#include "lineout_peaks.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "error.hpp"
#include "lineout_group.hpp"
#include "lineout_neighbors.hpp"
#include "lineout_search.hpp"
#include "parallel.hpp"

namespace midas {

namespace {

constexpr double SEEN = 5.0;          // standard deviations above which a peak's width is an estimate
constexpr double FWHM_BINS = 4.0;     // start width where no peak is seen
constexpr double MOST_ODD = 2.0;      // factor by which a found peak's start width may differ from the others'
constexpr double TAILS = 3.0;         // windows from a peak within which others' tails are taken off
constexpr int SWEEPS = 2;             // in which they are: each leaves some tenth of the error
constexpr int MOST_ADDED = 2;         // neighbours of a window that only the residuals show
constexpr double LEAST_SHARE = 0.05;  // of a peak's area: what is left beside it that spoils it
constexpr double LEAST_APART = 0.7;   // widths between peaks that are two
constexpr double MOST_UNLIKE = 2.0;   // factor between the widths of such peaks
constexpr double LEAST_BLEND = 0.5;   // and that may be; nearer ones are the shape of one
constexpr std::int64_t LINEOUTS_PER_BLOCK = 8;

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// The fits of one lineout. Kept from lineout to lineout for its memory.
class LineoutFitter {
 public:
  LineoutFitter(const LineoutView& view, const LineoutOptions& options)
      : view_(view), options_(options), fitter_(view, options, lineout_) {}
  LineoutFitter(const LineoutFitter&) = delete;  // the fitter of groups refers to the lineout here
  LineoutFitter& operator=(const LineoutFitter&) = delete;

  void fit(std::int64_t index, const std::vector<PeakStart>& starts, std::vector<LineoutPeak>& peaks);

 private:
  void make_groups();
  bool is_near_others(std::size_t g) const;
  bool has_asked(const PeakGroup& group) const;
  bool is_wanted(const PeakStart& start, const std::vector<PeakStart>& starts) const;
  double excess(const PeakGroup& group) const;
  bool is_suspicious(const PeakGroup& group) const;
  void add_neighbors(std::size_t g);
  bool are_apart(const PeakGroup& group, double widths) const;
  void insert(std::size_t g, const PeakStart& start);
  void name_nearest(const PeakGroup& group);
  void hand_over(std::vector<LineoutPeak>& peaks, std::size_t base);

  const LineoutView& view_;
  const LineoutOptions& options_;
  FittedLineout lineout_;
  std::vector<PeakGroup> groups_;
  GroupFitter fitter_;
};

void LineoutFitter::fit(std::int64_t index, const std::vector<PeakStart>& starts, std::vector<LineoutPeak>& peaks) {
  const std::int64_t sum = index / view_.n_eta, eta_bin = index % view_.n_eta;
  const std::size_t base = peaks.size();
  lineout_.starts.clear();
  lineout_.fitted.clear();
  for (const PeakStart& s : starts) {
    const LineoutPeak nothing{sum, eta_bin, s.peak, -1, NOTHING, NOTHING, NOT_KNOWN, NOT_KNOWN, 0, s.outcome};
    if (s.peak != NEIGHBOR) peaks.push_back(nothing);
    if (!is_wanted(s, starts)) continue;
    lineout_.starts.push_back(s);
    lineout_.fitted.push_back(nothing);
  }
  if (lineout_.starts.empty()) return;
  lineout_.bins.load(view_, sum, eta_bin);
  make_groups();
  for (std::size_t g = 0; g < groups_.size(); ++g) fitter_.fit(groups_[g], false);
  for (int sweep = 0; sweep < SWEEPS; ++sweep)
    for (std::size_t g = 0; g < groups_.size(); ++g)
      if (is_near_others(g)) fitter_.fit(groups_[g], true);
  const bool is_all_asked = options_.positions.empty() && options_.n_peaks == 0;
  for (std::size_t g = 0; g < groups_.size() && !is_all_asked; ++g)
    if (has_asked(groups_[g]) && is_suspicious(groups_[g])) add_neighbors(g);
  hand_over(peaks, base);
}

// Whether there is something to fit: of neighbours only those whose tails reach a peak that was asked for.
bool LineoutFitter::is_wanted(const PeakStart& start, const std::vector<PeakStart>& starts) const {
  if (start.outcome != PeakOutcome::CONVERGED) return false;
  return start.peak != NEIGHBOR || std::any_of(starts.begin(), starts.end(), [&](const PeakStart& s) {
           return s.peak != NEIGHBOR && s.outcome == PeakOutcome::CONVERGED &&
                  std::abs(s.center - start.center) < TAILS * options_.window * std::max(s.fwhm, start.fwhm);
         });
}

bool LineoutFitter::has_asked(const PeakGroup& group) const {
  return std::any_of(lineout_.starts.begin() + static_cast<std::ptrdiff_t>(group.first),
                     lineout_.starts.begin() + static_cast<std::ptrdiff_t>(group.end),
                     [](const PeakStart& s) { return s.peak != NEIGHBOR; });
}

// What chi-square has above its mean.
double LineoutFitter::excess(const PeakGroup& group) const {
  const LineoutPeak& peak = lineout_.fitted[group.first];
  return (peak.chi2 - 1.0) * static_cast<double>(peak.n_bins);
}

// Whether the residuals of a group may hide a peak: one that stands out adds min_prominence^2 to chi-square, of which
// noise may take half away.
bool LineoutFitter::is_suspicious(const PeakGroup& group) const {
  return lineout_.fitted[group.first].outcome != PeakOutcome::TOO_FEW_BINS &&
         !(excess(group) < 0.5 * options_.min_prominence * options_.min_prominence);
}

void LineoutFitter::insert(std::size_t g, const PeakStart& start) {
  const auto place =
      std::upper_bound(lineout_.starts.begin() + static_cast<std::ptrdiff_t>(groups_[g].first),
                       lineout_.starts.begin() + static_cast<std::ptrdiff_t>(groups_[g].end), start.center,
                       [](double center, const PeakStart& s) { return center < s.center; });
  LineoutPeak nothing = lineout_.fitted[groups_[g].first];
  nothing.peak = NEIGHBOR;
  nothing.value = nothing.sigma = NOTHING;
  lineout_.fitted.insert(lineout_.fitted.begin() + (place - lineout_.starts.begin()), nothing);
  lineout_.starts.insert(place, start);
  ++groups_[g].end;
  for (std::size_t other = g + 1; other < groups_.size(); ++other) ++groups_[other].first, ++groups_[other].end;
}

// Adds peaks where the residuals show one. They stay only if the window is then described to within noise by peaks that
// stand apart: real profiles are not quite the model's, and two of these make up for a great deal. Where the peaks that
// describe it, one more than were asked for, do not stand apart, or what is left stands beside those that were fitted,
// the window is crowded.
void LineoutFitter::add_neighbors(std::size_t g) {
  fitter_.fit(groups_[g], true);
  Neighbor left = fitter_.strongest_neighbor(groups_[g]);
  const std::vector<PeakStart> starts = lineout_.starts;
  const std::vector<LineoutPeak> fitted = lineout_.fitted;
  const std::vector<PeakGroup> groups = groups_;
  const Neighbor rest = left;
  bool is_described = false, is_apart = false, is_blend = false;
  for (int added = 0; !is_described && added < MOST_ADDED && left.significance >= options_.min_prominence; ++added) {
    PeakStart start;
    start.peak = NEIGHBOR;
    start.center = left.center;
    start.fwhm = left.fwhm;
    start.height = left.area / (UNIT_AREA * left.fwhm);
    start.is_hidden = true;
    insert(g, start);
    fitter_.fit(groups_[g], true);
    left = fitter_.strongest_neighbor(groups_[g]);
    is_described = !(excess(groups_[g]) > options_.min_prominence * options_.min_prominence);
    is_apart = are_apart(groups_[g], LEAST_APART);
    is_blend = is_blend || (added == 0 && is_described && !is_apart && are_apart(groups_[g], LEAST_BLEND));
  }
  if (is_described && is_apart) {
    if (!options_.positions.empty()) name_nearest(groups_[g]);
    return;
  }
  lineout_.starts = starts;
  lineout_.fitted = fitted;
  groups_ = groups;
  if (rest.significance < options_.min_prominence) return;
  for (std::size_t k = groups_[g].first; k < groups_[g].end; ++k) {
    const PeakValues& peak = lineout_.fitted[k].value;
    const bool is_beside = std::abs(rest.center - peak.center) > LEAST_APART * peak.fwhm;
    if (!is_blend && !(is_beside && rest.area > LEAST_SHARE * peak.area)) return;
  }
  for (std::size_t k = groups_[g].first; k < groups_[g].end; ++k)
    if (lineout_.fitted[k].outcome == PeakOutcome::CONVERGED) lineout_.fitted[k].outcome = PeakOutcome::CROWDED;
}

// Whether all peaks of a group converged, and those seen in the residuals stand beside the others and are like them.
bool LineoutFitter::are_apart(const PeakGroup& group, double widths) const {
  for (std::size_t k = group.first; k < group.end; ++k) {
    if (lineout_.fitted[k].outcome != PeakOutcome::CONVERGED) return false;
    const PeakValues& here = lineout_.fitted[k].value;
    for (std::size_t other = group.first; other < group.end && lineout_.starts[k].is_hidden; ++other) {
      const PeakValues& there = lineout_.fitted[other].value;
      if (other == k) continue;
      if (std::abs(here.center - there.center) < widths * 0.5 * (here.fwhm + there.fwhm)) return false;
      if (here.fwhm > MOST_UNLIKE * there.fwhm || there.fwhm > MOST_UNLIKE * here.fwhm) return false;
    }
  }
  return true;
}

// The peak of a position is the nearest one, though another was taken for it before both were fitted.
void LineoutFitter::name_nearest(const PeakGroup& group) {
  for (std::size_t k = group.first; k < group.end; ++k) {
    if (lineout_.starts[k].peak == NEIGHBOR) continue;
    const double position = options_.positions[static_cast<std::size_t>(lineout_.starts[k].peak)];
    std::size_t nearest = k;
    for (const std::size_t other : {k - 1, k + 1}) {
      if (other < group.first || other >= group.end || lineout_.starts[other].peak != NEIGHBOR) continue;
      if (std::abs(lineout_.fitted[other].value.center - position) <
          std::abs(lineout_.fitted[nearest].value.center - position))
        nearest = other;
    }
    if (nearest == k) continue;
    std::swap(lineout_.starts[k].peak, lineout_.starts[nearest].peak);
    std::swap(lineout_.fitted[k].peak, lineout_.fitted[nearest].peak);
    k = std::max(k, nearest);
  }
}

void LineoutFitter::hand_over(std::vector<LineoutPeak>& peaks, std::size_t base) {
  std::int64_t number = -1;
  for (const PeakGroup& group : groups_) {
    if (has_asked(group)) ++number;
    for (std::size_t k = group.first; k < group.end; ++k) {
      if (lineout_.fitted[k].peak == NEIGHBOR) continue;
      lineout_.fitted[k].group = number;
      peaks[base + static_cast<std::size_t>(lineout_.fitted[k].peak)] = lineout_.fitted[k];
    }
  }
}

void LineoutFitter::make_groups() {
  groups_.clear();
  for (std::size_t k = 0; k < lineout_.starts.size(); ++k) {
    const double reach = k > 0 ? options_.window * std::max(lineout_.starts[k - 1].fwhm, lineout_.starts[k].fwhm) : 0.0;
    if (k == 0 || lineout_.starts[k].center - lineout_.starts[k - 1].center >= reach) groups_.push_back({k, k});
    groups_.back().end = k + 1;
  }
}

// Whether fitted peaks of other groups leave tails in this one's window.
bool LineoutFitter::is_near_others(std::size_t g) const {
  const auto near = [&](std::size_t left, std::size_t right) {
    const double reach = TAILS * options_.window * std::max(lineout_.starts[left].fwhm, lineout_.starts[right].fwhm);
    return lineout_.starts[right].center - lineout_.starts[left].center < reach;
  };
  return (g > 0 && near(groups_[g].first - 1, groups_[g].first)) ||
         (g + 1 < groups_.size() && near(groups_[g].end - 1, groups_[g].end));
}

void check(const LineoutView& view, const LineoutOptions& options) {
  const auto ascending = [](const double* v, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i)
      if (!std::isfinite(v[i]) || (i > 0 && !(v[i] > v[i - 1]))) return false;
    return true;
  };
  if (view.n_radius < 1 || !ascending(view.edges, static_cast<std::size_t>(view.n_radius) + 1))
    throw InputError("the edges of the bins must be finite and ascend");
  if (view.eta_edges != nullptr && !ascending(view.eta_edges, static_cast<std::size_t>(view.n_eta) + 1))
    throw InputError("the edges of the eta bins must be finite and ascend");
  if (!ascending(options.positions.data(), options.positions.size()))
    throw InputError("the positions of the peaks must be finite and ascend");
  const auto require = [](bool good, const char* name, double value, const char* expected) {
    if (!good) throw InputError(std::string(name) + " is " + std::to_string(value) + "; expected " + expected);
  };
  require(options.fwhm >= 0.0 && std::isfinite(options.fwhm), "fwhm", options.fwhm,
          "a width in px, or 0 to estimate it");
  require(options.window >= 1.0 && options.window <= 100.0, "window", options.window, "1 to 100 widths");
  require(options.max_shift >= 0.0, "max_shift", options.max_shift, "a length in px, or 0 for the default");
  require(options.min_prominence > 0.0, "min_prominence", options.min_prominence, "standard deviations above 0");
  const auto smoothing = options.smoothing;
  require(smoothing == 0 || (smoothing >= 5 && smoothing % 2 == 1), "smoothing", static_cast<double>(smoothing),
          "an odd number of bins from 5, or 0");
  require(options.n_peaks >= 0, "n_peaks", static_cast<double>(options.n_peaks), "a number of peaks, or 0 for all");
}

// The start widths: that given, or of a given position the median over the lineouts that show it, or of a found peak
// its own, unless that is odd among all.
void settle_widths(const LineoutView& view, const LineoutOptions& options,
                   std::vector<std::vector<PeakStart>>& starts) {
  const auto seen = [](const PeakStart& s) { return s.prominence >= SEEN && s.fwhm > 0.0; };
  std::vector<double> all;
  std::vector<std::vector<double>> by_position(options.positions.size());
  for (const auto& lineout : starts) {
    for (const PeakStart& s : lineout) {
      if (!seen(s)) continue;
      all.push_back(s.fwhm);
      if (!by_position.empty() && s.peak != NEIGHBOR) by_position[static_cast<std::size_t>(s.peak)].push_back(s.fwhm);
    }
  }
  const double typical = all.empty() ? FWHM_BINS * mean_bin(view) : median(all);
  std::vector<double> of_position;
  for (auto& widths : by_position) of_position.push_back(widths.empty() ? typical : median(widths));
  for (auto& lineout : starts) {
    for (PeakStart& s : lineout) {
      if (options.fwhm > 0.0) {
        s.fwhm = options.fwhm;
      } else if (!of_position.empty() && s.peak != NEIGHBOR) {
        s.fwhm = of_position[static_cast<std::size_t>(s.peak)];
      } else {
        s.fwhm = std::clamp(s.fwhm, typical / MOST_ODD, typical * MOST_ODD);
      }
    }
  }
}

}  // namespace

std::vector<LineoutPeak> fit_lineouts(const LineoutView& view, const LineoutOptions& options) {
  check(view, options);
  const int threads = resolve_threads(options.n_threads);
  const std::int64_t n = view.n_sums * view.n_eta, n_blocks = (n + LINEOUTS_PER_BLOCK - 1) / LINEOUTS_PER_BLOCK;
  std::vector<std::vector<PeakStart>> starts(static_cast<std::size_t>(n));
  parallel_for(n_blocks, threads, [&](std::int64_t block) {
    Lineout lineout;
    for (std::int64_t i = block * LINEOUTS_PER_BLOCK; i < std::min(n, (block + 1) * LINEOUTS_PER_BLOCK); ++i) {
      lineout.load(view, i / view.n_eta, i % view.n_eta);
      std::vector<PeakStart>& of_lineout = starts[static_cast<std::size_t>(i)];
      if (options.positions.empty()) {
        find_peaks(options, lineout, of_lineout);
      } else {
        starts_at(view, options, lineout, of_lineout);
      }
    }
  });
  settle_widths(view, options, starts);
  std::vector<std::vector<LineoutPeak>> found(static_cast<std::size_t>(n_blocks));
  parallel_for(n_blocks, threads, [&](std::int64_t block) {
    LineoutFitter fitter(view, options);
    for (std::int64_t i = block * LINEOUTS_PER_BLOCK; i < std::min(n, (block + 1) * LINEOUTS_PER_BLOCK); ++i)
      fitter.fit(i, starts[static_cast<std::size_t>(i)], found[static_cast<std::size_t>(block)]);
  });
  std::vector<LineoutPeak> peaks;
  for (const auto& f : found) peaks.insert(peaks.end(), f.begin(), f.end());
  return peaks;
}

}  // namespace midas
