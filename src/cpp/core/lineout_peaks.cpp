// The fits. Equations and sources: lineout_peaks.hpp.
#include "lineout_peaks.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
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
constexpr double MOST_NOISE = 4.0;    // standard deviations of chi-square
constexpr double LEAST_SHARE = 0.05;  // of a peak's area: what is left beside it that spoils it
constexpr double LEAST_APART = 0.7;   // widths between peaks that are two
constexpr double MOST_UNLIKE = 2.0;   // factor between the widths of such peaks
constexpr double MOST_LEFT = 0.1;     // of what chi-square has above its mean, by two peaks where one was fitted
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
  bool is_described(const PeakGroup& group) const;
  void add_neighbors(std::size_t g);
  bool are_apart(const PeakGroup& group, double widths) const;
  std::size_t insert(std::size_t g, const Neighbor& neighbor);
  bool is_settled(const PeakGroup& group) const;
  bool is_more_likely(const PeakGroup& group, double before) const;
  std::size_t nearest_to(const PeakGroup& group, std::size_t peak) const;
  // Where a peak was asked for, or seen.
  double expected_of(std::size_t k) const {
    const PeakStart& start = lineout_.starts[k];
    return options_.positions.empty() || start.peak == NEIGHBOR
               ? start.center
               : options_.positions[static_cast<std::size_t>(start.peak)];
  }
  // What came of peaks that were added: whether they settled the window, or show at least that it holds more.
  struct Tried {
    bool is_settled = false, is_crowded = false;
  };
  Tried try_sides(std::size_t g, std::size_t added, double before);
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
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    if (is_near_others(g))
      fitter_.fit_roughly(groups_[g], false);
    else
      fitter_.fit(groups_[g], false);
  }
  for (int sweep = 0; sweep < SWEEPS; ++sweep)
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      if (!is_near_others(g)) continue;
      if (sweep + 1 < SWEEPS)
        fitter_.fit_roughly(groups_[g], true);
      else
        fitter_.fit(groups_[g], true);
    }
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

// Adds a peak that the residuals show and fits the group; returns its place among the starts.
std::size_t LineoutFitter::insert(std::size_t g, const Neighbor& neighbor) {
  PeakStart start;
  start.peak = NEIGHBOR;
  start.center = neighbor.center;
  start.fwhm = neighbor.fwhm;
  start.height = neighbor.area / (UNIT_AREA * neighbor.fwhm);
  start.is_hidden = true;
  std::vector<PeakStart>& starts = lineout_.starts;
  const auto place = std::upper_bound(starts.begin() + static_cast<std::ptrdiff_t>(groups_[g].first),
                                      starts.begin() + static_cast<std::ptrdiff_t>(groups_[g].end), start.center,
                                      [](double center, const PeakStart& s) { return center < s.center; });
  const auto at = place - starts.begin();
  LineoutPeak nothing = lineout_.fitted[groups_[g].first];
  nothing.peak = NEIGHBOR;
  nothing.value = nothing.sigma = NOTHING;
  lineout_.fitted.insert(lineout_.fitted.begin() + at, nothing);
  starts.insert(place, start);
  ++groups_[g].end;
  for (std::size_t other = g + 1; other < groups_.size(); ++other) ++groups_[other].first, ++groups_[other].end;
  fitter_.fit(groups_[g], true);
  return static_cast<std::size_t>(at);
}

// To within noise, of which chi-square has the standard deviation sqrt(2 n).
bool LineoutFitter::is_described(const PeakGroup& group) const {
  const double noise = std::sqrt(2.0 * static_cast<double>(lineout_.fitted[group.first].n_bins));
  return !(excess(group) > std::min(options_.min_prominence * options_.min_prominence, MOST_NOISE * noise));
}

// Whether the window is described to within noise by peaks that stand apart, with areas that are known: of a peak that
// is not quite the model's some tenths of the area can be a shoulder, but that area is vague.
bool LineoutFitter::is_settled(const PeakGroup& group) const {
  const auto is_known = [&](std::size_t k) {
    const LineoutPeak& peak = lineout_.fitted[k];
    return peak.value.area >= options_.min_prominence * peak.sigma.area;
  };
  for (std::size_t k = group.first; k < group.end; ++k)
    if (lineout_.starts[k].is_hidden && !(is_known(k) && is_known(nearest_to(group, k)))) return false;
  return is_described(group) && are_apart(group, LEAST_APART);
}

// Whether the peaks of a group, one more than were asked for, show that there is another: they describe it but do not
// quite stand apart, or stand apart and leave little of what was there before.
bool LineoutFitter::is_more_likely(const PeakGroup& group, double before) const {
  return (is_described(group) && are_apart(group, LEAST_BLEND)) ||
         (excess(group) < MOST_LEFT * before && are_apart(group, LEAST_APART));
}

// The peak of a group that is nearest to another one of it.
std::size_t LineoutFitter::nearest_to(const PeakGroup& group, std::size_t peak) const {
  const auto away = [&](std::size_t k) {
    return k == peak ? std::numeric_limits<double>::infinity()
                     : std::abs(lineout_.fitted[k].value.center - lineout_.fitted[peak].value.center);
  };
  std::size_t nearest = group.first;
  for (std::size_t k = group.first; k < group.end; ++k)
    if (away(k) < away(nearest)) nearest = k;
  return nearest;
}

// A peak with a shoulder also looks like a narrow peak on a broad one, and a fit may end there. Fits the added one and
// that beside it again, the broad one as narrow as the other and on either side of it.
LineoutFitter::Tried LineoutFitter::try_sides(std::size_t g, std::size_t added, double before) {
  const PeakGroup group = groups_[g];
  const std::size_t beside = nearest_to(group, added);
  const std::vector<PeakStart> starts = lineout_.starts;
  const std::vector<LineoutPeak> fitted = lineout_.fitted;
  PeakValues narrow = fitted[added].value, moved = fitted[beside].value;
  if (beside == added || !std::isfinite(narrow.area) || !std::isfinite(moved.area)) return {};
  if (narrow.fwhm > moved.fwhm) std::swap(narrow, moved);
  const double area = moved.area;
  Tried tried;
  for (const double side : {-1.0, 1.0}) {
    moved = narrow;
    moved.area = area;
    moved.center += side * narrow.fwhm;
    const double position = expected_of(beside);
    const bool is_moved_asked = std::abs(moved.center - position) < std::abs(narrow.center - position);
    lineout_.fitted[beside].value = is_moved_asked ? moved : narrow;
    lineout_.fitted[added].value = is_moved_asked ? narrow : moved;
    lineout_.starts[added].center = lineout_.fitted[added].value.center;
    fitter_.fit_roughly(group, true);
    if (are_apart(group, LEAST_BLEND)) {
      fitter_.fit(group, true);
      tried.is_settled = is_settled(group);
      tried.is_crowded = tried.is_crowded || is_more_likely(group, before);
      if (tried.is_settled) break;
    }
    lineout_.starts = starts;
    lineout_.fitted = fitted;
  }
  return tried;
}

// Adds peaks where the residuals show one. They stay only if the window is then described to within noise by peaks that
// stand apart: real profiles are not quite the model's, and two of these make up for a great deal. Where the peaks that
// describe it, one more than were asked for, do not stand apart, where two that do leave little, or what is left stands
// beside those that were fitted, the window is crowded.
void LineoutFitter::add_neighbors(std::size_t g) {
  fitter_.fit(groups_[g], true);
  const Neighbor rest = fitter_.strongest_neighbor(groups_[g]);
  if (rest.significance < options_.min_prominence) return;
  const FittedLineout without{{}, lineout_.starts, lineout_.fitted};
  const std::vector<PeakGroup> groups = groups_;
  const double before = excess(groups_[g]);
  Tried tried;
  Neighbor next = rest;
  for (int added = 0; !tried.is_settled && added < MOST_ADDED && next.significance >= options_.min_prominence;
       ++added) {
    const std::size_t at = insert(g, next);
    tried.is_settled = is_settled(groups_[g]);
    if (tried.is_settled) break;
    next = is_described(groups_[g]) ? Neighbor{} : fitter_.strongest_neighbor(groups_[g]);
    if (added > 0) continue;
    tried.is_crowded = is_more_likely(groups_[g], before);
    if (!(excess(groups_[g]) < MOST_LEFT * before) || are_apart(groups_[g], LEAST_APART)) continue;
    const Tried sides = try_sides(g, at, before);
    tried = {sides.is_settled, tried.is_crowded || sides.is_crowded};
  }
  if (tried.is_settled) {
    if (!options_.positions.empty()) name_nearest(groups_[g]);
    return;
  }
  lineout_.starts = without.starts;
  lineout_.fitted = without.fitted;
  groups_ = groups;
  for (std::size_t k = groups_[g].first; k < groups_[g].end && !tried.is_crowded; ++k) {
    const PeakValues& peak = lineout_.fitted[k].value;
    const bool is_beside = std::abs(rest.center - peak.center) > LEAST_APART * peak.fwhm;
    if (!(is_beside && rest.area > LEAST_SHARE * peak.area)) return;
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
  of_position.reserve(by_position.size());
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
