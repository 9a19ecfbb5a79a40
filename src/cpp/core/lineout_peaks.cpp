// The fits. Equations and sources: lineout_peaks.hpp.
#include "lineout_peaks.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "error.hpp"
#include "levmar.hpp"
#include "lineout_model.hpp"
#include "lineout_neighbors.hpp"
#include "lineout_search.hpp"
#include "lineout_sharing.hpp"
#include "parallel.hpp"

namespace midas {

namespace {

constexpr double INF = std::numeric_limits<double>::infinity(), NOT_KNOWN = std::numeric_limits<double>::quiet_NaN();
constexpr double SEEN = 5.0;            // standard deviations above which a peak's width is an estimate
constexpr double FWHM_BINS = 4.0;       // start width where no peak is seen
constexpr double MOST_ODD = 2.0;        // factor by which a found peak's start width may differ from the others'
constexpr double LEAST_WINDOW = 5.0;    // bins on either side
constexpr double NARROWEST = 0.02;      // bins: any narrower and a peak that lies in one bin looks the same
constexpr double TAILS = 3.0;           // windows from a peak within which others' tails are taken off
constexpr int SWEEPS = 2;               // in which they are: each leaves some tenth of the error
constexpr double FARTHEST_TAIL = 50.0;  // widths: what a Lorentzian leaves there is straight to 1e-6 of its height
constexpr double AREA = 1.3, GAUSS = 0.72, LORENTZ = 0.45;  // of a width 1: its area a unit of height, and its parts
constexpr int MOST_ADDED = 2;                               // neighbours of a window that only the residuals show
constexpr double LEAST_SHARE = 0.05;                        // of a peak's area: what is left beside it that spoils it
constexpr double LEAST_APART = 0.7;                         // widths between peaks that are two
constexpr double MOST_UNLIKE = 2.0;                         // factor between the widths of such peaks
constexpr double LEAST_BLEND = 0.5;                         // and that may be; nearer ones are the shape of one
constexpr PeakValues NOTHING{NOT_KNOWN, NOT_KNOWN, NOT_KNOWN, NOT_KNOWN, NOT_KNOWN, NOT_KNOWN, NOT_KNOWN};
constexpr double ROOT_2PI = 2.5066282746310005;
constexpr std::int64_t LINEOUTS_PER_BLOCK = 8;
// Steps end where the next one would move no parameter by more than some 1e-7 of its uncertainty.
constexpr LevmarOptions FIT{80, 1e-13}, ROUGH{5, 1e-2};

struct Group {
  std::size_t first, end;  // of the starts
};

struct Bounds {
  std::vector<double> lower, upper;
};

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// The fits of one lineout. Kept from lineout to lineout for its memory.
class LineoutFitter {
 public:
  LineoutFitter(const LineoutView& view, const LineoutOptions& options)
      : view_(view), options_(options), bin_(mean_bin(view)), shift_(max_shift(view, options)) {}

  void fit(std::int64_t index, const std::vector<PeakStart>& starts, std::vector<LineoutPeak>& peaks);

 private:
  void make_groups();
  void fit_group(std::size_t g, bool again, bool look = false);
  template <class Storage>
  void solve(const Group& group, std::size_t n_used);
  void set_window(const Group& group);
  void set_bounds(const Group& group);
  void set_start(const Group& group);
  void subtract_tails(const Group& group);
  bool is_near_others(std::size_t g) const;
  void set_correlation(const Group& group);
  template <class Storage>
  double set_covariance(LineoutModel<Storage>& model);
  template <class Storage>
  void finish(const Group& group, const LevmarResult& result, LineoutModel<Storage>& model, std::size_t n_used);
  void finish_peak(std::size_t k, std::size_t at, bool is_regular);
  double covariance(std::size_t i, std::size_t j) const { return covariance_[i * p_.size() + j]; }
  void hold_width(std::size_t l, double step);
  // One on which the model depends: its diagonal of the normal matrix is above 0.
  bool is_zero_width(std::size_t parameter, double diagonal) const {
    return parameter >= N_BACKGROUND && (parameter - N_BACKGROUND) % N_OF_PEAK >= 2 && p_[parameter] <= 0.0 &&
           diagonal > 0.0;
  }
  bool is_fixed(std::size_t parameter) const {
    return p_[parameter] <= bounds_.lower[parameter] || p_[parameter] >= bounds_.upper[parameter];
  }
  bool has_asked(const Group& group) const;
  bool is_wanted(const PeakStart& start, const std::vector<PeakStart>& starts) const;
  double excess(const Group& group) const;
  bool is_suspicious(const Group& group) const;
  void add_neighbors(std::size_t g);
  bool are_apart(const Group& group, double widths) const;
  void insert(std::size_t g, const PeakStart& start);
  void name_nearest(const Group& group);
  void hand_over(std::vector<LineoutPeak>& peaks, std::size_t base);
  void give_up(const Group& group, PeakOutcome outcome);

  const LineoutView& view_;
  const LineoutOptions& options_;
  double bin_, shift_;  // [px]
  Lineout lineout_;
  std::vector<PeakStart> starts_;    // those with something to fit
  std::vector<LineoutPeak> fitted_;  // of each
  std::vector<Group> groups_;
  LineoutWindow window_;
  LineoutBuffers buffers_;
  BinnedProfile tail_;
  Bounds bounds_;
  BinCorrelation correlation_;
  std::vector<double> edges_;                     // of the window, from its middle [px]
  std::vector<double> p_, covariance_, inverse_;  // inverse_: of the normal matrix
  Neighbor rest_;                                 // what stands out most of the residuals of the last fit
};

void LineoutFitter::fit(std::int64_t index, const std::vector<PeakStart>& starts, std::vector<LineoutPeak>& peaks) {
  const std::int64_t sum = index / view_.n_eta, eta_bin = index % view_.n_eta;
  const std::size_t base = peaks.size();
  starts_.clear();
  fitted_.clear();
  for (const PeakStart& s : starts) {
    const LineoutPeak nothing{sum, eta_bin, s.peak, -1, NOTHING, NOTHING, NOT_KNOWN, NOT_KNOWN, 0, s.outcome};
    if (s.peak != NEIGHBOR) peaks.push_back(nothing);
    if (!is_wanted(s, starts)) continue;
    starts_.push_back(s);
    fitted_.push_back(nothing);
  }
  if (starts_.empty()) return;
  lineout_.load(view_, sum, eta_bin);
  make_groups();
  for (std::size_t g = 0; g < groups_.size(); ++g) fit_group(g, false);
  for (int sweep = 0; sweep < SWEEPS; ++sweep)
    for (std::size_t g = 0; g < groups_.size(); ++g)
      if (is_near_others(g)) fit_group(g, true);
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

bool LineoutFitter::has_asked(const Group& group) const {
  return std::any_of(starts_.begin() + static_cast<std::ptrdiff_t>(group.first),
                     starts_.begin() + static_cast<std::ptrdiff_t>(group.end),
                     [](const PeakStart& s) { return s.peak != NEIGHBOR; });
}

// What chi-square has above its mean.
double LineoutFitter::excess(const Group& group) const {
  const LineoutPeak& peak = fitted_[group.first];
  return (peak.chi2 - 1.0) * static_cast<double>(peak.n_bins);
}

// Whether the residuals of a group may hide a peak: one that stands out adds min_prominence^2 to chi-square, of which
// noise may take half away.
bool LineoutFitter::is_suspicious(const Group& group) const {
  return fitted_[group.first].outcome != PeakOutcome::TOO_FEW_BINS &&
         !(excess(group) < 0.5 * options_.min_prominence * options_.min_prominence);
}

void LineoutFitter::insert(std::size_t g, const PeakStart& start) {
  const auto place = std::upper_bound(starts_.begin() + static_cast<std::ptrdiff_t>(groups_[g].first),
                                      starts_.begin() + static_cast<std::ptrdiff_t>(groups_[g].end), start.center,
                                      [](double center, const PeakStart& s) { return center < s.center; });
  LineoutPeak nothing = fitted_[groups_[g].first];
  nothing.peak = NEIGHBOR;
  nothing.value = nothing.sigma = NOTHING;
  fitted_.insert(fitted_.begin() + (place - starts_.begin()), nothing);
  starts_.insert(place, start);
  ++groups_[g].end;
  for (std::size_t other = g + 1; other < groups_.size(); ++other) ++groups_[other].first, ++groups_[other].end;
}

// Adds peaks where the residuals show one. They stay only if the window is then described to within noise by peaks that
// stand apart: real profiles are not quite the model's, and two of these make up for a great deal. Where the peaks that
// describe it, one more than were asked for, do not stand apart, or what is left stands beside those that were fitted,
// the window is crowded.
void LineoutFitter::add_neighbors(std::size_t g) {
  fit_group(g, true, true);
  const std::vector<PeakStart> starts = starts_;
  const std::vector<LineoutPeak> fitted = fitted_;
  const std::vector<Group> groups = groups_;
  const Neighbor rest = rest_;
  bool is_described = false, is_apart = false, is_blend = false;
  for (int added = 0; !is_described && added < MOST_ADDED && rest_.significance >= options_.min_prominence; ++added) {
    PeakStart start;
    start.peak = NEIGHBOR;
    start.center = rest_.center;
    start.fwhm = rest_.fwhm;
    start.height = rest_.area / (AREA * rest_.fwhm);
    start.is_hidden = true;
    insert(g, start);
    fit_group(g, true, true);
    is_described = !(excess(groups_[g]) > options_.min_prominence * options_.min_prominence);
    is_apart = are_apart(groups_[g], LEAST_APART);
    is_blend = is_blend || (added == 0 && is_described && !is_apart && are_apart(groups_[g], LEAST_BLEND));
  }
  if (is_described && is_apart) {
    if (!options_.positions.empty()) name_nearest(groups_[g]);
    return;
  }
  starts_ = starts;
  fitted_ = fitted;
  groups_ = groups;
  if (rest.significance < options_.min_prominence) return;
  for (std::size_t k = groups_[g].first; k < groups_[g].end; ++k) {
    const PeakValues& peak = fitted_[k].value;
    const bool is_beside = std::abs(rest.center - peak.center) > LEAST_APART * peak.fwhm;
    if (!is_blend && !(is_beside && rest.area > LEAST_SHARE * peak.area)) return;
  }
  for (std::size_t k = groups_[g].first; k < groups_[g].end; ++k)
    if (fitted_[k].outcome == PeakOutcome::CONVERGED) fitted_[k].outcome = PeakOutcome::CROWDED;
}

// Whether all peaks of a group converged, and those seen in the residuals stand beside the others and are like them.
bool LineoutFitter::are_apart(const Group& group, double widths) const {
  for (std::size_t k = group.first; k < group.end; ++k) {
    if (fitted_[k].outcome != PeakOutcome::CONVERGED) return false;
    const PeakValues& here = fitted_[k].value;
    for (std::size_t other = group.first; other < group.end && starts_[k].is_hidden; ++other) {
      const PeakValues& there = fitted_[other].value;
      if (other == k) continue;
      if (std::abs(here.center - there.center) < widths * 0.5 * (here.fwhm + there.fwhm)) return false;
      if (here.fwhm > MOST_UNLIKE * there.fwhm || there.fwhm > MOST_UNLIKE * here.fwhm) return false;
    }
  }
  return true;
}

// The peak of a position is the nearest one, though another was taken for it before both were fitted.
void LineoutFitter::name_nearest(const Group& group) {
  for (std::size_t k = group.first; k < group.end; ++k) {
    if (starts_[k].peak == NEIGHBOR) continue;
    const double position = options_.positions[static_cast<std::size_t>(starts_[k].peak)];
    std::size_t nearest = k;
    for (const std::size_t other : {k - 1, k + 1}) {
      if (other < group.first || other >= group.end || starts_[other].peak != NEIGHBOR) continue;
      if (std::abs(fitted_[other].value.center - position) < std::abs(fitted_[nearest].value.center - position))
        nearest = other;
    }
    if (nearest == k) continue;
    std::swap(starts_[k].peak, starts_[nearest].peak);
    std::swap(fitted_[k].peak, fitted_[nearest].peak);
    k = std::max(k, nearest);
  }
}

void LineoutFitter::hand_over(std::vector<LineoutPeak>& peaks, std::size_t base) {
  std::int64_t number = -1;
  for (const Group& group : groups_) {
    if (has_asked(group)) ++number;
    for (std::size_t k = group.first; k < group.end; ++k) {
      if (fitted_[k].peak == NEIGHBOR) continue;
      fitted_[k].group = number;
      peaks[base + static_cast<std::size_t>(fitted_[k].peak)] = fitted_[k];
    }
  }
}

void LineoutFitter::make_groups() {
  groups_.clear();
  for (std::size_t k = 0; k < starts_.size(); ++k) {
    const double reach = k > 0 ? options_.window * std::max(starts_[k - 1].fwhm, starts_[k].fwhm) : 0.0;
    if (k == 0 || starts_[k].center - starts_[k - 1].center >= reach) groups_.push_back({k, k});
    groups_.back().end = k + 1;
  }
}

// Whether fitted peaks of other groups leave tails in this one's window.
bool LineoutFitter::is_near_others(std::size_t g) const {
  const auto near = [&](std::size_t left, std::size_t right) {
    const double reach = TAILS * options_.window * std::max(starts_[left].fwhm, starts_[right].fwhm);
    return starts_[right].center - starts_[left].center < reach;
  };
  return (g > 0 && near(groups_[g].first - 1, groups_[g].first)) ||
         (g + 1 < groups_.size() && near(groups_[g].end - 1, groups_[g].end));
}

void LineoutFitter::give_up(const Group& group, PeakOutcome outcome) {
  for (std::size_t k = group.first; k < group.end; ++k) fitted_[k].outcome = outcome;
}

// The bins within `window` widths of the outer peaks, as far as half way to the next peak beyond.
void LineoutFitter::set_window(const Group& group) {
  const auto reach = [&](const PeakStart& s) { return std::max(options_.window * s.fwhm, LEAST_WINDOW * bin_); };
  const PeakStart &left = starts_[group.first], &right = starts_[group.end - 1];
  double low = left.center - reach(left), high = right.center + reach(right);
  if (group.first > 0) low = std::max(low, 0.5 * (starts_[group.first - 1].center + left.center));
  if (group.end < starts_.size()) high = std::min(high, 0.5 * (right.center + starts_[group.end].center));
  const auto begin = std::lower_bound(lineout_.radius.begin(), lineout_.radius.end(), low) - lineout_.radius.begin();
  const auto end = std::lower_bound(lineout_.radius.begin(), lineout_.radius.end(), high) - lineout_.radius.begin();
  window_.value.clear();
  window_.root_weight.clear();
  if (begin >= end) return;
  const std::size_t first = lineout_.bin[static_cast<std::size_t>(begin)];
  const std::size_t n = lineout_.bin[static_cast<std::size_t>(end) - 1] + 1 - first;
  window_.edges = view_.edges + first;
  window_.middle = 0.5 * (window_.edges[0] + window_.edges[n]);
  window_.narrowest = NARROWEST * bin_;
  window_.value.assign(n, 0.0);
  window_.root_weight.assign(n, 0.0);
  window_.offset.assign(n, 0.0);
  for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
    const std::size_t j = lineout_.bin[i] - first;
    window_.value[j] = lineout_.value[i];
    window_.root_weight[j] = 1.0 / lineout_.sigma[i];
    window_.offset[j] = (lineout_.radius[i] - window_.middle) / lineout_.sigma[i];
  }
}

void LineoutFitter::set_bounds(const Group& group) {
  const double widest = window_.edges[window_.size()] - window_.edges[0];
  bounds_.lower.assign(p_.size(), 0.0);  // of areas and widths
  bounds_.upper.assign(p_.size(), INF);
  bounds_.lower[0] = bounds_.lower[1] = -INF;
  for (std::size_t k = group.first; k < group.end; ++k) {
    const std::size_t at = N_BACKGROUND + N_OF_PEAK * (k - group.first);
    const double c = starts_[k].center - window_.middle;
    const bool given = !options_.positions.empty() && starts_[k].peak != NEIGHBOR;
    const double expected = given ? options_.positions[static_cast<std::size_t>(starts_[k].peak)] - window_.middle : c;
    const double shift = given ? shift_ : std::max(starts_[k].fwhm, 2.0 * bin_);
    bounds_.lower[at + 1] = expected - shift;
    bounds_.upper[at + 1] = expected + shift;
    // centres keep their order, where the lineout shows it
    if (k > group.first && !starts_[k - 1].is_hidden && !starts_[k].is_hidden) {
      const double half = 0.5 * (starts_[k - 1].center + starts_[k].center) - window_.middle;
      bounds_.lower[at + 1] = std::max(bounds_.lower[at + 1], half);
      bounds_.upper[at + 1 - N_OF_PEAK] = std::min(bounds_.upper[at + 1 - N_OF_PEAK], half);
    }
    bounds_.upper[at + 2] = bounds_.upper[at + 3] = widest;
  }
}

// Background through the ends of the window, peaks half Gaussian, half Lorentzian.
void LineoutFitter::set_start(const Group& group) {
  const std::size_t n = window_.size(), fifth = std::max<std::size_t>(1, n / 10);
  double ends[2] = {0.0, 0.0};
  for (const bool right : {false, true}) {
    double sum = 0.0, count = 0.0;
    for (std::size_t i = 0; i < n && count < static_cast<double>(fifth); ++i) {
      const std::size_t j = right ? n - 1 - i : i;
      if (!(window_.root_weight[j] > 0.0)) continue;
      sum += window_.value[j];
      count += 1.0;
    }
    ends[right ? 1 : 0] = sum / std::max(1.0, count);
  }
  p_[0] = 0.5 * (ends[0] + ends[1]);
  p_[1] = (ends[1] - ends[0]) / (window_.edges[n] - window_.edges[0]);
  for (std::size_t k = group.first; k < group.end; ++k) {
    double* q = p_.data() + N_BACKGROUND + N_OF_PEAK * (k - group.first);
    q[0] = AREA * starts_[k].height * starts_[k].fwhm;
    q[1] = starts_[k].center - window_.middle;
    q[2] = GAUSS * starts_[k].fwhm;
    q[3] = LORENTZ * starts_[k].fwhm;
    const PeakValues& before = fitted_[k].value;  // of the first pass
    if (!std::isfinite(before.area)) continue;
    q[0] = before.area;
    q[1] = before.center - window_.middle;
    q[2] = std::sqrt(8.0 * LN2 * before.sig);
    q[3] = before.gam;
  }
}

// What the peaks of other groups, as fitted so far, add to the bins of the window.
void LineoutFitter::subtract_tails(const Group& group) {
  const std::size_t n = window_.size();
  tail_.resize(n);
  for (std::size_t k = 0; k < starts_.size(); ++k) {
    if (k >= group.first && k < group.end) continue;
    const PeakValues& peak = fitted_[k].value;
    if (!std::isfinite(peak.area) || std::abs(peak.center - window_.middle) > FARTHEST_TAIL * peak.fwhm) continue;
    tail_.evaluate(window_.edges, n, peak.center, peak.fwhm, peak.mixing);
    for (std::size_t i = 0; i < n; ++i) window_.value[i] -= peak.area * tail_.value[i];
  }
}

void LineoutFitter::fit_group(std::size_t g, bool again, bool look) {
  const Group& group = groups_[g];
  rest_ = {};
  set_window(group);
  const std::size_t n_peaks = group.end - group.first;
  p_.assign(N_BACKGROUND + N_OF_PEAK * n_peaks, 0.0);
  std::size_t used = 0;
  for (const double w : window_.root_weight) used += w > 0.0 ? 1 : 0;
  if (used <= p_.size()) return give_up(group, PeakOutcome::TOO_FEW_BINS);
  if (again) subtract_tails(group);
  set_bounds(group);
  set_start(group);
  for (std::size_t i = 0; i < p_.size(); ++i) p_[i] = std::clamp(p_[i], bounds_.lower[i], bounds_.upper[i]);
  // the model counts edges from the middle of the window: centres keep their digits
  const double* edges = window_.edges;
  std::vector<double>& shifted = edges_;
  shifted.assign(edges, edges + window_.size() + 1);
  for (double& e : shifted) e -= window_.middle;
  window_.edges = shifted.data();
  if (n_peaks == 1) {
    solve<SmallStorage<N_BACKGROUND + N_OF_PEAK>>(group, used);
  } else if (n_peaks == 2) {
    solve<SmallStorage<N_BACKGROUND + 2 * N_OF_PEAK>>(group, used);
  } else {
    solve<HeapStorage>(group, used);
  }
  if (look) rest_ = find_neighbor({window_, buffers_, correlation_, inverse_}, starts_[group.first].fwhm);
}

template <class Storage>
void LineoutFitter::solve(const Group& group, std::size_t n_used) {
  LineoutModel<Storage> model(window_, group.end - group.first, buffers_);
  const LevmarResult result =
      levmar<Storage>(model, static_cast<int>(p_.size()), p_.data(), bounds_.lower.data(), bounds_.upper.data(), FIT);
  finish<Storage>(group, result, model, n_used);
}

// Of the bins of the window.
void LineoutFitter::set_correlation(const Group& group) {
  const std::size_t n = window_.size();
  if (view_.eta_edges == nullptr) return correlation_.set_independent(n);
  const double* eta = view_.eta_edges + fitted_[group.first].eta_bin;
  SharedPixels(std::abs(window_.middle), eta[0], eta[1]).correlation(edges_.data(), n, correlation_);
}

// A width that ended at 0, where it would have gone z of its standard deviations further: the other parameters get
// what its mean square, of the normal distribution about z above 0, adds to their variances where it is known to be 0.
void LineoutFitter::hold_width(std::size_t l, double step) {
  const std::size_t n = p_.size();
  const double own = covariance(l, l);
  const double z = std::min(0.0, step / std::sqrt(own)), density = std::exp(-0.5 * z * z) / ROOT_2PI;
  const double square = z < -5.0 ? 2.0 / (z * z) : 1.0 + z * z + z * density / (0.5 * std::erfc(-z / std::sqrt(2.0)));
  std::vector<double> with(n);
  for (std::size_t i = 0; i < n; ++i) with[i] = covariance(i, l);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) covariance_[i * n + j] -= (1.0 - square) * with[i] * with[j] / own;
}

// Fills the covariance of the parameters and returns the number of parameters that the bins' correlation makes of them;
// NaN where the bins do not determine them. A parameter on its bound is taken as known, but for a width of 0, which
// noise may have brought there.
template <class Storage>
double LineoutFitter::set_covariance(LineoutModel<Storage>& model) {
  const auto n = static_cast<int>(p_.size());
  const auto place = [n](int i, int j) { return static_cast<std::size_t>(i * Storage::stride(n) + j); };
  auto normal = Storage::matrix(n), inverse = Storage::matrix(n), shared = Storage::matrix(n), half = normal;
  auto gradient = Storage::vector(n);
  model.normal_equations(p_.data(), normal, gradient.data());
  model.correlated(correlation_, shared);
  for (int i = 0; i < n; ++i) {
    if (!is_fixed(static_cast<std::size_t>(i)) || is_zero_width(static_cast<std::size_t>(i), normal[place(i, i)]))
      continue;
    for (int j = 0; j < n; ++j)
      normal[place(std::max(i, j), std::min(i, j))] = shared[place(std::max(i, j), std::min(i, j))] = 0.0;
    normal[place(i, i)] = 1.0;
  }
  covariance_.assign(p_.size() * p_.size(), 0.0);
  inverse_.assign(covariance_.size(), 0.0);
  if (!invert<Storage>(normal, n, inverse)) return NOT_KNOWN;
  double used = 0.0;
  for (int i = 0; i < n; ++i)
    for (int j = 0; j < n; ++j) {
      double sum = 0.0;
      for (int k = 0; k < n; ++k) sum += inverse[place(i, k)] * shared[place(std::max(k, j), std::min(k, j))];
      half[place(i, j)] = sum;
      inverse_[static_cast<std::size_t>(i * n + j)] = inverse[place(i, j)];
      if (i == j) used += sum;
    }
  for (int i = 0; i < n; ++i)
    for (int j = 0; j < n; ++j)
      for (int k = 0; k < n; ++k)
        covariance_[static_cast<std::size_t>(i * n + j)] += half[place(i, k)] * inverse[place(k, j)];
  for (std::size_t l = 0; l < p_.size(); ++l)
    if (covariance(l, l) == 0.0) inverse_[l * p_.size() + l] = 0.0;
  for (std::size_t l = 0; l < p_.size(); ++l)
    if (const double own = inverse[l * static_cast<std::size_t>(Storage::stride(n) + 1)];
        is_zero_width(l, covariance(l, l))) {
      used -= covariance(l, l) / own;
      hold_width(l, -own * gradient[l]);
    }
  return used;
}

// Values, uncertainties and outcomes.
template <class Storage>
void LineoutFitter::finish(const Group& group, const LevmarResult& result, LineoutModel<Storage>& model,
                           std::size_t n_used) {
  set_correlation(group);
  const double used = set_covariance(model);
  const bool is_regular = !std::isnan(used);
  for (std::size_t k = group.first; k < group.end; ++k) {
    LineoutPeak& peak = fitted_[k];
    peak.chi2 = result.cost / (static_cast<double>(n_used) - (is_regular ? used : static_cast<double>(p_.size())));
    peak.n_bins = static_cast<std::int64_t>(n_used);
    peak.slope = p_[1];
    peak.outcome = !is_regular        ? PeakOutcome::SINGULAR
                   : result.converged ? PeakOutcome::CONVERGED
                                      : PeakOutcome::NOT_CONVERGED;
    finish_peak(k, N_BACKGROUND + N_OF_PEAK * (k - group.first), is_regular);
  }
}

void LineoutFitter::finish_peak(std::size_t k, std::size_t at, bool is_regular) {
  const auto cov = [this](std::size_t i, std::size_t j) { return covariance(i, j); };
  const auto sigma = [&](double variance) { return is_regular && variance > 0.0 ? std::sqrt(variance) : NOT_KNOWN; };
  LineoutPeak& peak = fitted_[k];
  const double area = p_[at], c = p_[at + 1], gauss = p_[at + 2], lorentz = p_[at + 3];
  if (!(area > 0.0)) {
    peak.value = peak.sigma = NOTHING;
    peak.slope = peak.chi2 = NOT_KNOWN;
    peak.outcome = PeakOutcome::NO_PEAK;
    return;
  }
  if (p_[at + 2] >= bounds_.upper[at + 2] || p_[at + 3] >= bounds_.upper[at + 3]) {
    peak.outcome = PeakOutcome::WIDTH_LIMIT;
  } else if (is_fixed(at + 1)) {
    peak.outcome = PeakOutcome::SHIFT_LIMIT;
  }
  const TotalWidth width = thompson_cox_hastings(gauss, lorentz);
  constexpr double PER_VARIANCE = 1.0 / (8.0 * LN2);
  peak.value = {area,         c + window_.middle, PER_VARIANCE * gauss * gauss, lorentz, width.fwhm,
                width.mixing, p_[0] + p_[1] * c};
  const auto of_widths = [&](double by_gauss, double by_lorentz) {
    return by_gauss * by_gauss * cov(at + 2, at + 2) + by_lorentz * by_lorentz * cov(at + 3, at + 3) +
           2.0 * by_gauss * by_lorentz * cov(at + 2, at + 3);
  };
  const double background = cov(0, 0) + c * c * cov(1, 1) + p_[1] * p_[1] * cov(at + 1, at + 1) +
                            2.0 * (c * cov(0, 1) + p_[1] * cov(0, at + 1) + c * p_[1] * cov(1, at + 1));
  peak.sigma = {sigma(cov(at, at)),
                sigma(cov(at + 1, at + 1)),
                gauss > 0.0 ? 2.0 * PER_VARIANCE * gauss * sigma(cov(at + 2, at + 2)) : NOT_KNOWN,
                lorentz > 0.0 ? sigma(cov(at + 3, at + 3)) : NOT_KNOWN,
                sigma(of_widths(width.fwhm_gauss, width.fwhm_lorentz)),
                sigma(of_widths(width.mixing_gauss, width.mixing_lorentz)),
                sigma(background)};
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
