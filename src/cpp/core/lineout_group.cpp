// The fit of a group. Equations and sources: lineout_peaks.hpp.
#include "lineout_group.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace midas {

namespace {

constexpr double INF = std::numeric_limits<double>::infinity();
constexpr double LEAST_WINDOW = 5.0;    // bins on either side
constexpr double NARROWEST = 0.02;      // bins: any narrower and a peak that lies in one bin looks the same
constexpr double FARTHEST_TAIL = 50.0;  // widths: what a Lorentzian leaves there is straight to 1e-6 of its height
constexpr double GAUSS = 0.72, LORENTZ = 0.45;  // parts of a width 1 of a peak half Gaussian, half Lorentzian
constexpr double ROOT_2PI = 2.5066282746310005;
// Steps end where the next one would move no parameter by more than some 1e-7 of its uncertainty.
constexpr LevmarOptions FIT{80, 1e-13};
// And some 1e-2 of it: the tails of others change by much less.
constexpr LevmarOptions ROUGH{20, 1e-6};

}  // namespace

void GroupFitter::give_up(const PeakGroup& group, PeakOutcome outcome) {
  for (std::size_t k = group.first; k < group.end; ++k) lineout_.fitted[k].outcome = outcome;
}

// The bins within `window` widths of the outer peaks, as far as half way to the next peak beyond.
void GroupFitter::set_window(const PeakGroup& group) {
  const auto reach = [&](const PeakStart& s) { return std::max(options_.window * s.fwhm, LEAST_WINDOW * bin_); };
  const PeakStart &left = lineout_.starts[group.first], &right = lineout_.starts[group.end - 1];
  double low = left.center - reach(left), high = right.center + reach(right);
  if (group.first > 0) low = std::max(low, 0.5 * (lineout_.starts[group.first - 1].center + left.center));
  if (group.end < lineout_.starts.size())
    high = std::min(high, 0.5 * (right.center + lineout_.starts[group.end].center));
  const auto begin =
      std::lower_bound(lineout_.bins.radius.begin(), lineout_.bins.radius.end(), low) - lineout_.bins.radius.begin();
  const auto end =
      std::lower_bound(lineout_.bins.radius.begin(), lineout_.bins.radius.end(), high) - lineout_.bins.radius.begin();
  window_.value.clear();
  window_.root_weight.clear();
  if (begin >= end) return;
  const std::size_t first = lineout_.bins.bin[static_cast<std::size_t>(begin)];
  const std::size_t n = lineout_.bins.bin[static_cast<std::size_t>(end) - 1] + 1 - first;
  window_.edges = view_.edges + first;
  window_.middle = 0.5 * (window_.edges[0] + window_.edges[n]);
  window_.narrowest = NARROWEST * bin_;
  window_.value.assign(n, 0.0);
  window_.root_weight.assign(n, 0.0);
  window_.offset.assign(n, 0.0);
  for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
    const std::size_t j = lineout_.bins.bin[i] - first;
    window_.value[j] = lineout_.bins.value[i];
    window_.root_weight[j] = 1.0 / lineout_.bins.sigma[i];
    window_.offset[j] = (lineout_.bins.radius[i] - window_.middle) / lineout_.bins.sigma[i];
  }
}

void GroupFitter::set_bounds(const PeakGroup& group) {
  const double widest = window_.edges[window_.size()] - window_.edges[0];
  bounds_.lower.assign(p_.size(), 0.0);  // of areas and widths
  bounds_.upper.assign(p_.size(), INF);
  bounds_.lower[0] = bounds_.lower[1] = -INF;
  for (std::size_t k = group.first; k < group.end; ++k) {
    const std::size_t at = N_BACKGROUND + N_OF_PEAK * (k - group.first);
    const double c = lineout_.starts[k].center - window_.middle;
    const bool given = !options_.positions.empty() && lineout_.starts[k].peak != NEIGHBOR;
    const double expected =
        given ? options_.positions[static_cast<std::size_t>(lineout_.starts[k].peak)] - window_.middle : c;
    const double shift = given ? shift_ : std::max(lineout_.starts[k].fwhm, 2.0 * bin_);
    bounds_.lower[at + 1] = expected - shift;
    bounds_.upper[at + 1] = expected + shift;
    // centres keep their order, where the lineout shows it
    if (k > group.first && !lineout_.starts[k - 1].is_hidden && !lineout_.starts[k].is_hidden) {
      const double half = 0.5 * (lineout_.starts[k - 1].center + lineout_.starts[k].center) - window_.middle;
      bounds_.lower[at + 1] = std::max(bounds_.lower[at + 1], half);
      bounds_.upper[at + 1 - N_OF_PEAK] = std::min(bounds_.upper[at + 1 - N_OF_PEAK], half);
    }
    bounds_.upper[at + 2] = bounds_.upper[at + 3] = widest;
  }
}

// Background through the ends of the window, peaks half Gaussian, half Lorentzian.
void GroupFitter::set_start(const PeakGroup& group) {
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
    q[0] = UNIT_AREA * lineout_.starts[k].height * lineout_.starts[k].fwhm;
    q[1] = lineout_.starts[k].center - window_.middle;
    q[2] = GAUSS * lineout_.starts[k].fwhm;
    q[3] = LORENTZ * lineout_.starts[k].fwhm;
    const PeakValues& before = lineout_.fitted[k].value;  // of the first pass
    if (!std::isfinite(before.area)) continue;
    q[0] = before.area;
    q[1] = before.center - window_.middle;
    q[2] = std::sqrt(8.0 * LN2 * before.sig);
    q[3] = before.gam;
  }
}

// What the peaks of other groups, as fitted so far, add to the bins of the window.
void GroupFitter::subtract_tails(const PeakGroup& group) {
  const std::size_t n = window_.size();
  tail_.resize(n);
  for (std::size_t k = 0; k < lineout_.starts.size(); ++k) {
    if (k >= group.first && k < group.end) continue;
    const PeakValues& peak = lineout_.fitted[k].value;
    if (!std::isfinite(peak.area) || std::abs(peak.center - window_.middle) > FARTHEST_TAIL * peak.fwhm) continue;
    tail_.evaluate(window_.edges, n, peak.center, peak.fwhm, peak.mixing);
    for (std::size_t i = 0; i < n; ++i) window_.value[i] -= peak.area * tail_.value[i];
  }
}

void GroupFitter::fit(const PeakGroup& group, bool again, bool is_rough) {
  has_ended_ = false;
  is_rough_ = is_rough;
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
  has_ended_ = !is_rough;
}

Neighbor GroupFitter::strongest_neighbor(const PeakGroup& group) const {
  if (!has_ended_) return {};
  return find_neighbor({window_, buffers_, correlation_, inverse_}, lineout_.starts[group.first].fwhm);
}

template <class Storage>
void GroupFitter::solve(const PeakGroup& group, std::size_t n_used) {
  LineoutModel<Storage> model(window_, group.end - group.first, buffers_);
  const LevmarResult result = levmar<Storage>(model, static_cast<int>(p_.size()), p_.data(), bounds_.lower.data(),
                                              bounds_.upper.data(), is_rough_ ? ROUGH : FIT);
  finish<Storage>(group, result, model, n_used);
}

// Of the bins of the window.
void GroupFitter::set_correlation(const PeakGroup& group) {
  const std::size_t n = window_.size();
  if (view_.eta_edges == nullptr) return correlation_.set_independent(n);
  const double* eta = view_.eta_edges + lineout_.fitted[group.first].eta_bin;
  SharedPixels(std::abs(window_.middle), eta[0], eta[1]).correlation(edges_.data(), n, correlation_);
}

// A width that ended at 0, where it would have gone z of its standard deviations further: the other parameters get
// what its mean square, of the normal distribution about z above 0, adds to their variances where it is known to be 0.
void GroupFitter::hold_width(std::size_t l, double step) {
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
double GroupFitter::set_covariance(LineoutModel<Storage>& model) {
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
void GroupFitter::finish(const PeakGroup& group, const LevmarResult& result, LineoutModel<Storage>& model,
                         std::size_t n_used) {
  double used = NOT_KNOWN;
  if (is_rough_) {
    covariance_.assign(p_.size() * p_.size(), 0.0);
  } else {
    set_correlation(group);
    used = set_covariance(model);
  }
  const bool is_regular = !std::isnan(used);
  for (std::size_t k = group.first; k < group.end; ++k) {
    LineoutPeak& peak = lineout_.fitted[k];
    peak.chi2 = result.cost / (static_cast<double>(n_used) - (is_regular ? used : static_cast<double>(p_.size())));
    peak.n_bins = static_cast<std::int64_t>(n_used);
    peak.slope = p_[1];
    const bool is_good = is_rough_ || result.converged;
    peak.outcome = !is_rough_ && !is_regular ? PeakOutcome::SINGULAR
                   : is_good                 ? PeakOutcome::CONVERGED
                                             : PeakOutcome::NOT_CONVERGED;
    finish_peak(k, N_BACKGROUND + N_OF_PEAK * (k - group.first), is_regular);
  }
}

void GroupFitter::finish_peak(std::size_t k, std::size_t at, bool is_regular) {
  const auto cov = [this](std::size_t i, std::size_t j) { return covariance(i, j); };
  const auto sigma = [&](double variance) { return is_regular && variance > 0.0 ? std::sqrt(variance) : NOT_KNOWN; };
  LineoutPeak& peak = lineout_.fitted[k];
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

}  // namespace midas
