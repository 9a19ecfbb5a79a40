// The fit of one bin. Equations and sources: peak.hpp.
#include "peak_fit.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "levmar.hpp"

namespace midas {

namespace {

constexpr double INF = std::numeric_limits<double>::infinity();

// Neighbouring pixels are fitted together, as their mean radius and value. A quarter pixel, or a tenth of the width w
// where that is more, changes a profile by less than (1/10)^2 / 12 of its curvature.
constexpr double CELL_WIDTH = 0.25;  // [px]
constexpr double CELLS_PER_WIDTH = 10.0;

constexpr double CAUCHY = 2.385;
constexpr double FARTHEST_TAIL = 30.0;  // widths: a Lorentzian has fallen to 3e-4 of its height, its slope to 2e-5
constexpr double CHI2_CLIP = 36.0;      // squared deviations that count for chi-square
constexpr double TO_SIGMA = 1.4826;     // from the median absolute deviation to the standard deviation
constexpr double MOST_GRAINY = 2.0;     // kappa
constexpr int MAX_ROUNDS = 12;          // of reweighting
constexpr int NOISE_ROUNDS = 2;         // after these phi and kappa stay as they are, else the weights may cycle
constexpr double SETTLED = 2e-3;        // of the width: a centre that moves less has converged
constexpr std::size_t NOISE_SAMPLES = 64;
constexpr std::size_t FEWEST_NOISE_SAMPLES = 8;
constexpr double BESIDE = 0.05, ON_RING = 0.4;  // shares of the highest peak: less is beside a ring, more on it

struct Bounds {
  Parameters lower, upper;
};

Bounds bounds_of(const RingGroup& group, const PeakOptions& options) {
  const double middle = 0.5 * (group.low + group.high), half = 0.5 * (group.high - group.low);
  const std::size_t n_peaks = group.centers.size();
  Bounds b;
  b.lower.fill(-INF);
  b.upper.fill(INF);
  b.lower[2] = NARROWEST;
  b.upper[2] = half;
  b.lower[3] = 0.0;
  b.upper[3] = 1.0;
  for (std::size_t k = 0; k < n_peaks; ++k) {
    const std::size_t c = N_SHARED + 2 * k;
    const double expected = group.centers[k] - middle;
    // centres keep their order: each stays on its side of the midpoints
    const double left = k == 0 ? -half : 0.5 * (group.centers[k - 1] + group.centers[k]) - middle;
    const double right = k + 1 == n_peaks ? half : 0.5 * (group.centers[k] + group.centers[k + 1]) - middle;
    b.lower[c] = std::max(left, expected - options.max_shift);
    b.upper[c] = std::min(right, expected + options.max_shift);
    b.lower[c + 1] = 0.0;
  }
  return b;
}

// How the pixels of a bin scatter: V = phi f + kappa s^2.
struct Noise {
  double phi = 1.0, kappa = 0.0;
};

double median(std::vector<float>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return static_cast<double>(*middle);
}

class BinFitter {
 public:
  BinFitter(const Bin& bin, const KnownRings& known, const PeakOptions& options, Workspace& space)
      : bin_(bin),
        known_(known),
        options_(options),
        space_(space),
        n_peaks_(bin.n_peaks()),
        n_parameters_(N_SHARED + 2 * n_peaks_),
        cell_(std::max(CELL_WIDTH, options.fwhm / CELLS_PER_WIDTH)),
        n_cells_(static_cast<std::size_t>(2.0 * bin.half() / cell_) + 1),
        bounds_(bounds_of(bin.group, options)) {}

  template <int MAX>
  void fit() {
    PeakModel<MAX> model(space_.cells, bin_.view, n_peaks_, space_.buffers);
    sort_pixels();
    add_tails();
    start_values();
    for (std::size_t k = 0; k < static_cast<std::size_t>(n_parameters_); ++k)
      p_[k] = std::clamp(p_[k], bounds_.lower[k], bounds_.upper[k]);
    root_cells();
    constexpr LevmarOptions ROUGH{4, 5e-2}, FINE{8, 1e-4};
    solve<MAX>(model, ROUGH);
    for (int round = 0; round < MAX_ROUNDS && !converged_; ++round) {
      evaluate_cells();
      if (round < NOISE_ROUNDS) estimate_noise();
      reweighted_cells();
      const Parameters before = p_;
      const bool solved = solve<MAX>(model, FINE);
      double shift = 0.0;
      for (int k = 0; k < n_peaks_; ++k) {
        const auto c = static_cast<std::size_t>(N_SHARED + 2 * k);
        shift = std::max(shift, std::abs(p_[c] - before[c]));
      }
      converged_ = solved && round + 1 >= NOISE_ROUNDS && shift < SETTLED * p_[2];
    }
    finish<MAX>(model);
  }

  // The point of ring k of the bin's window.
  RingPoint point(const Projection& projection, std::size_t k) const;

 private:
  template <int MAX>
  bool solve(PeakModel<MAX>& model, const LevmarOptions& options) {
    model.renew();
    return levmar<MAX>(model, n_parameters_, p_.data(), bounds_.lower.data(), bounds_.upper.data(), options).converged;
  }

  std::size_t cell_of(double radius) const {
    return std::min(n_cells_ - 1, static_cast<std::size_t>(std::max(0.0, (radius + bin_.half()) / cell_)));
  }
  double count(std::size_t cell) const { return static_cast<double>(space_.first[cell + 1] - space_.first[cell]); }
  double highest() const {
    double height = 0.0;
    for (int k = 0; k < n_peaks_; ++k) height = std::max(height, p_[static_cast<std::size_t>(N_SHARED + 2 * k + 1)]);
    return height;
  }

  void sort_pixels();
  void add_tails();
  void start_values();
  void start_peak(std::size_t k);
  void root_cells();
  void evaluate_cells();
  void estimate_noise();
  template <class Chosen>
  double collect_pulls(const Chosen& chosen, bool relative);
  void reweighted_cells();
  double scatter_factor();
  template <int MAX>
  void finish(PeakModel<MAX>& model);
  void count_near(double center, double reach, double& near, double& eta_sum) const;

  const Bin& bin_;
  const KnownRings& known_;
  const PeakOptions& options_;
  Workspace& space_;
  int n_peaks_, n_parameters_;
  double cell_;  // [px]
  std::size_t n_cells_;
  Bounds bounds_;
  Parameters p_{}, sigma_{};
  Noise noise_;
  double chi2_ = 0.0, snr_ = 0.0;
  bool converged_ = false, regular_ = false;
};

// By cell, in image order within a cell.
void BinFitter::sort_pixels() {
  Workspace& w = space_;
  const auto n = static_cast<std::size_t>(bin_.n);
  const auto per_cell = static_cast<float>(1.0 / cell_), half = static_cast<float>(bin_.half());
  const auto last = static_cast<int>(n_cells_) - 1;
  const auto place = [&](float radius) {
    return static_cast<std::size_t>(std::clamp(static_cast<int>((radius + half) * per_cell), 0, last));
  };
  w.first.assign(n_cells_ + 2, 0);
  w.eta_sum.assign(n_cells_, 0.0);
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t cell = place(bin_.samples[i].radius);
    ++w.first[cell + 2];
    w.eta_sum[cell] += static_cast<double>(bin_.samples[i].eta);
  }
  for (std::size_t c = 2; c < w.first.size(); ++c) w.first[c] += w.first[c - 1];
  w.radius.resize(n);
  w.value.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t at = w.first[place(bin_.samples[i].radius) + 1]++;
    w.radius[at] = bin_.samples[i].radius;
    w.value[at] = bin_.samples[i].value;
  }
  const std::size_t padded = (n_cells_ + LANES - 1) / LANES * LANES;
  for (auto* column : {&w.center, &w.model, &w.ring, &w.slope, &w.tail, &w.incline}) column->resize(padded);
  for (std::size_t c = 0; c < padded; ++c)
    w.center[c] = static_cast<float>(-bin_.half() + (static_cast<double>(c) + 0.5) * cell_);
  w.shape.resize(padded);
  // Square roots: the few bright pixels of a spotty arc may not choose where the fit starts.
  w.root.resize(n_cells_);
  for (std::size_t c = 0; c < n_cells_; ++c) {
    float sum = 0.0f;
    const float* value = w.value.data();
#pragma omp simd reduction(+ : sum)
    for (std::size_t i = w.first[c]; i < w.first[c + 1]; ++i) sum += std::sqrt(value[i] > 0.0f ? value[i] : 0.0f);
    w.root[c] = static_cast<double>(sum);
  }
}

// What the rings of other windows add at the cells' centres. Far from a ring its pixels' extent does not matter.
void BinFitter::add_tails() {
  Workspace& w = space_;
  std::fill(w.tail.begin(), w.tail.end(), 0.0f);
  std::fill(w.incline.begin(), w.incline.end(), 0.0f);
  const std::vector<std::int64_t>& own = bin_.group.numbers;
  const std::size_t n_rings = known_.numbers.size(), n_eta = n_rings > 0 ? known_.heights.size() / n_rings : 0;
  for (std::size_t k = 0; k < n_rings; ++k) {
    const float height = known_.heights[k * n_eta + static_cast<std::size_t>(bin_.eta_bin)];
    const double offset = known_.radii[k] - bin_.middle();
    if (!(height > 0.0f) || !(std::abs(offset) < bin_.half() + FARTHEST_TAIL * known_.widths[k])) continue;
    if (std::find(own.begin(), own.end(), known_.numbers[k]) != own.end()) continue;
    evaluate(w.center.data(), w.center.size(), RingView{}, offset, known_.widths[k], known_.mixing[k], w.shape);
    for (std::size_t i = 0; i < w.center.size(); ++i) {
      w.tail[i] += height * w.shape.value[i];
      w.incline[i] -= height * w.shape.by_center[i];
    }
  }
}

// Background from the outer cells of the window, each height from the cells near its expected centre.
void BinFitter::start_values() {
  double sum = 0.0, n = 0.0;
  for (std::size_t c = 0; c < n_cells_; ++c) {
    if (std::abs(static_cast<double>(space_.center[c])) > 0.7 * bin_.half()) {
      sum += space_.root[c];
      n += count(c);
    }
  }
  p_[0] = n > 0.0 ? sum * sum / (n * n) : 0.0;
  p_[2] = std::sqrt(std::max(options_.fwhm * options_.fwhm - bin_.view.footprint.broadening, NARROWEST * NARROWEST));
  p_[3] = 0.5;
  for (std::size_t k = 0; k < bin_.group.centers.size(); ++k) start_peak(k);
}

// A ring is looked for within half a gap of where it is expected: the brightest mean over a run of cells of its width.
void BinFitter::start_peak(std::size_t k) {
  const std::vector<double>& centers = bin_.group.centers;
  const double half = bin_.half(), expected = centers[k] - bin_.middle();
  double reach = std::min(0.7 * half, options_.max_shift);
  if (k > 0) reach = std::min(reach, 0.4 * (centers[k] - centers[k - 1]));
  if (k + 1 < centers.size()) reach = std::min(reach, 0.4 * (centers[k + 1] - centers[k]));
  const auto run = static_cast<std::ptrdiff_t>(std::max(1.0, std::round(std::max(1.0, 0.5 * options_.fwhm) / cell_)));
  const auto n = static_cast<std::ptrdiff_t>(n_cells_);
  const auto from = static_cast<std::ptrdiff_t>(cell_of(expected - reach));
  const auto to = static_cast<std::ptrdiff_t>(cell_of(expected + reach)) + 1;
  double center = expected, best = -INF;
  for (std::ptrdiff_t i = from; i < to; ++i) {
    double root = 0.0, weight = 0.0;
    for (std::ptrdiff_t j = std::max<std::ptrdiff_t>(0, i - run / 2); j < std::min(n, i - run / 2 + run); ++j) {
      root += space_.root[static_cast<std::size_t>(j)];
      weight += count(static_cast<std::size_t>(j));
    }
    if (weight > 0.0 && root / weight > best) {
      best = root / weight;
      center = -half + (static_cast<double>(i - run / 2) + 0.5 * static_cast<double>(run)) * cell_;
    }
  }
  p_[N_SHARED + 2 * k] = center;
  p_[N_SHARED + 2 * k + 1] = std::isfinite(best) ? std::max(best * best - p_[0], 0.0) : 0.0;
}

void BinFitter::root_cells() {
  space_.cells.clear();
  for (std::size_t c = 0; c < n_cells_; ++c) {
    const double n = count(c);
    if (!(n > 0.0)) continue;
    const double root = space_.root[c] / n, value = root * root;
    // the variance of a squared mean root grows with the value for counts, with its square for a spotty ring
    space_.cells.add(static_cast<double>(space_.center[c]), value - static_cast<double>(space_.tail[c]),
                     n / (std::max(value, 1.0) * (1.0 + 0.1 * value / (p_[0] + 1.0))));
  }
  space_.cells.pad();
}

// The model and its slope at the cells' centres.
void BinFitter::evaluate_cells() {
  Workspace& w = space_;
  const std::size_t n = w.center.size();
  const auto b0 = static_cast<float>(p_[0]), b1 = static_cast<float>(p_[1]);
  std::fill(w.ring.begin(), w.ring.end(), 0.0f);
  for (std::size_t i = 0; i < n; ++i) w.slope[i] = b1 + w.incline[i];
  for (int k = 0; k < n_peaks_; ++k) {
    const auto c = static_cast<std::size_t>(N_SHARED + 2 * k);
    evaluate(w.center.data(), n, bin_.view, p_[c], p_[2], p_[3], w.shape);
    const auto height = static_cast<float>(p_[c + 1]);
    for (std::size_t i = 0; i < n; ++i) {
      w.ring[i] += height * w.shape.value[i];
      w.slope[i] -= height * w.shape.by_center[i];
    }
  }
  for (std::size_t i = 0; i < n; ++i) w.model[i] = b0 + b1 * w.center[i] + w.tail[i] + w.ring[i];
}

// Fills `pulls` with the deviations of some pixels, NOISE_SAMPLES or up to twice as many, of the cells chosen: over the
// ring's height there where `relative`, else over the square root of the model. Returns the mean expected square of
// counting noise in the same measure.
template <class Chosen>
double BinFitter::collect_pulls(const Chosen& chosen, bool relative) {
  Workspace& w = space_;
  std::size_t n = 0;
  for (std::size_t c = 0; c < n_cells_; ++c)
    if (chosen(w.ring[c])) n += w.first[c + 1] - w.first[c];
  const std::size_t stride = std::max<std::size_t>(1, n / NOISE_SAMPLES);
  w.pulls.clear();
  double expected = 0.0;
  std::size_t skip = 0;
  for (std::size_t c = 0; c < n_cells_; ++c) {
    if (!chosen(w.ring[c])) continue;
    const float variance = std::max(w.model[c], 1.0f);
    const float scale = relative ? w.ring[c] : std::sqrt(variance);
    std::size_t i = w.first[c] + skip;
    for (; i < w.first[c + 1]; i += stride) {
      const float f = w.model[c] + w.slope[c] * (w.radius[i] - w.center[c]);
      w.pulls.push_back(std::abs(w.value[i] - f) / scale);
      expected += static_cast<double>(variance / (scale * scale));
    }
    skip = i - w.first[c + 1];
  }
  return w.pulls.empty() ? 0.0 : expected / static_cast<double>(w.pulls.size());
}

void BinFitter::estimate_noise() {
  const auto height = static_cast<float>(highest());
  noise_ = {};
  collect_pulls([&](float ring) { return ring <= static_cast<float>(BESIDE) * height; }, false);
  if (space_.pulls.size() >= FEWEST_NOISE_SAMPLES) {
    const double sigma = TO_SIGMA * median(space_.pulls);
    noise_.phi = std::max(1.0, sigma * sigma);
  }
  if (!(height > 0.0f)) return;
  const double expected = collect_pulls([&](float ring) { return ring >= static_cast<float>(ON_RING) * height; }, true);
  if (space_.pulls.size() < FEWEST_NOISE_SAMPLES) return;
  const double sigma = TO_SIGMA * median(space_.pulls);
  noise_.kappa = std::clamp(sigma * sigma - noise_.phi * expected, 0.0, MOST_GRAINY);
}

void BinFitter::reweighted_cells() {
  constexpr float PER_C2 = static_cast<float>(1.0 / (CAUCHY * CAUCHY));
  Workspace& w = space_;
  const auto phi = static_cast<float>(noise_.phi), kappa = static_cast<float>(noise_.kappa);
  const float *radius = w.radius.data(), *value = w.value.data();
  w.cells.clear();
  for (std::size_t c = 0; c < n_cells_; ++c) {
    const float center = w.center[c], f = w.model[c], slope = w.slope[c];
    const float variance = phi * std::max(f, 1.0f) + kappa * w.ring[c] * w.ring[c];
    float sum = 0.0f, offset = 0.0f, excess = 0.0f;
#pragma omp simd reduction(+ : sum, offset, excess)
    for (std::size_t i = w.first[c]; i < w.first[c + 1]; ++i) {
      const float x = radius[i] - center, r = value[i] - f - slope * x;
      const float weight = 1.0f / (variance + r * r * PER_C2);
      sum += weight;
      offset += weight * x;
      excess += weight * (value[i] - f);
    }
    if (sum > 0.0f) {
      const double total = static_cast<double>(sum), x = static_cast<double>(offset) / total;
      const double tail = static_cast<double>(w.tail[c]) + static_cast<double>(w.incline[c]) * x;
      w.cells.add(static_cast<double>(center) + x, static_cast<double>(f) + static_cast<double>(excess) / total - tail,
                  total);
    }
  }
  w.cells.pad();
}

// What the inverse of the weighted normal matrix is to be multiplied by: E[w] E[psi^2] / E[psi']^2 over the pixels on
// the ring, which say where it is. Also chi-square and significance.
double BinFitter::scatter_factor() {
  constexpr float PER_C2 = static_cast<float>(1.0 / (CAUCHY * CAUCHY)), CLIP = static_cast<float>(CHI2_CLIP);
  Workspace& w = space_;
  const auto phi = static_cast<float>(noise_.phi), kappa = static_cast<float>(noise_.kappa);
  const auto least = static_cast<float>(BESIDE * highest());
  const float *radius = w.radius.data(), *value = w.value.data();
  double weight = 0.0, psi2 = 0.0, slopes = 0.0, n = 0.0, chi2 = 0.0, n_chi2 = 0.0, significance = 0.0;
  for (std::size_t c = 0; c < n_cells_; ++c) {
    const float center = w.center[c], f = w.model[c], slope = w.slope[c];
    const float poisson = std::max(f, 1.0f), variance = phi * poisson + kappa * w.ring[c] * w.ring[c];
    const float per_variance = 1.0f / variance;
    float of_cell = 0.0f, inside = 0.0f, weights = 0.0f, psi2s = 0.0f, derivatives = 0.0f;
#pragma omp simd reduction(+ : of_cell, inside, weights, psi2s, derivatives)
    for (std::size_t i = w.first[c]; i < w.first[c + 1]; ++i) {
      const float r = value[i] - f - slope * (radius[i] - center), z2 = r * r * per_variance;
      const float q = z2 * PER_C2, share = 1.0f / (1.0f + q);
      of_cell += z2 < CLIP ? r * r : 0.0f;
      inside += z2 < CLIP ? 1.0f : 0.0f;
      weights += share;
      psi2s += share * share * z2;
      derivatives += share * share * (1.0f - q);
    }
    chi2 += static_cast<double>(of_cell / poisson);
    n_chi2 += static_cast<double>(inside);
    significance += count(c) * static_cast<double>(w.ring[c] * w.ring[c] / poisson);
    if (w.ring[c] < least) continue;
    weight += static_cast<double>(weights);
    psi2 += static_cast<double>(psi2s);
    slopes += static_cast<double>(derivatives);
    n += count(c);
  }
  chi2_ = chi2 / std::max(1.0, n_chi2 - n_parameters_);
  snr_ = std::sqrt(significance / noise_.phi);
  if (n < 1.0) return INF;
  const double mean_slope = std::max(slopes / n, 0.1), all = static_cast<double>(bin_.n);
  return weight * psi2 / (n * n * mean_slope * mean_slope) * all / std::max(1.0, all - n_parameters_);
}

template <int MAX>
void BinFitter::finish(PeakModel<MAX>& model) {
  SmallMatrix<MAX> jtj, covariance;
  std::array<double, MAX> jtr;
  model.normal_equations(p_.data(), jtj, jtr.data());
  regular_ = invert<MAX>(jtj, n_parameters_, covariance);
  evaluate_cells();
  const double factor = scatter_factor();
  for (std::size_t i = 0; i < static_cast<std::size_t>(n_parameters_); ++i)
    sigma_[i] = regular_ ? std::sqrt(covariance[i * MAX + i] * factor) : INF;
}

// The pixels within `reach` of a centre, and the sum of their eta; cells on the rim give theirs in proportion.
void BinFitter::count_near(double center, double reach, double& near, double& eta_sum) const {
  near = eta_sum = 0.0;
  const std::size_t from = cell_of(center - reach), to = cell_of(center + reach);
  for (std::size_t c = from; c <= to; ++c) {
    double n = count(c);
    if (!(n > 0.0)) continue;
    if (c == from || c == to) {
      std::size_t inside = 0;
      for (std::size_t i = space_.first[c]; i < space_.first[c + 1]; ++i)
        inside += std::abs(static_cast<double>(space_.radius[i]) - center) < reach ? 1 : 0;
      eta_sum += space_.eta_sum[c] * static_cast<double>(inside) / n;
      n = static_cast<double>(inside);
    } else {
      eta_sum += space_.eta_sum[c];
    }
    near += n;
  }
}

RingPoint BinFitter::point(const Projection& projection, std::size_t k) const {
  const std::size_t c = N_SHARED + 2 * k;
  const double center = p_[c], fwhm = std::sqrt(p_[2] * p_[2] + bin_.view.footprint.broadening);
  const double reach = std::max(fwhm, 1.0);
  double near, eta_sum, heights2 = 0.0;
  count_near(center, reach, near, eta_sum);
  for (int j = 0; j < n_peaks_; ++j) heights2 += std::pow(p_[static_cast<std::size_t>(N_SHARED + 2 * j + 1)], 2);
  RingPoint point{};
  point.ring = bin_.group.numbers[k];
  point.eta_bin = bin_.eta_bin;
  point.radius = center + bin_.middle();
  point.radius_sigma = sigma_[c];
  point.eta = bin_.eta_middle + (near > 0.0 ? eta_sum / near : 0.0);
  projection.to_pixel(point.radius * projection.geometry().pixel_size, point.eta, point.y, point.z);
  point.height = p_[c + 1];
  point.background = p_[0] + p_[1] * center;
  point.fwhm = fwhm;
  point.mixing = p_[3];
  point.snr = heights2 > 0.0 ? snr_ * point.height / std::sqrt(heights2) : 0.0;
  point.chi2 = chi2_;
  point.graininess = std::sqrt(noise_.kappa);
  point.coverage = near / (2.0 * reach * bin_.eta_step * point.radius);
  point.n_pixels = bin_.n;
  // The fit's own error falls below any bound it could sit on; a centre on its bound is no measurement, nor is a width
  // as large as the window. A ring may well be narrower than a pixel shows.
  const bool at_bound = center <= bounds_.lower[c] || center >= bounds_.upper[c] || p_[2] >= bounds_.upper[2] ||
                        (bin_.view.footprint.n == 1 && p_[2] <= bounds_.lower[2]);
  point.converged = converged_ && regular_ && !at_bound && point.height > 0.0;
  return point;
}

}  // namespace

void fit_bin(const Projection& projection, const Bin& bin, const KnownRings& known, const PeakOptions& options,
             Workspace& space, std::vector<RingPoint>& points) {
  BinFitter fitter(bin, known, options, space);
  if (bin.n_peaks() == 1) {
    fitter.fit<N_SHARED + 2>();
  } else {
    fitter.fit<MAX_PEAK_PARAMETERS>();
  }
  for (std::size_t k = 0; k < bin.group.centers.size(); ++k) points.push_back(fitter.point(projection, k));
}

}  // namespace midas
