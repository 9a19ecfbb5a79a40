// Pseudo-Voigt fits to the pixels of each (ring group, eta bin). Equations and source: peak.hpp.
#include "peak.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "error.hpp"
#include "levmar.hpp"
#include "parallel.hpp"
#include "peak_model.hpp"
#include "peak_pixels.hpp"

namespace midas {

namespace {

constexpr double INF = std::numeric_limits<double>::infinity();

// Neighbouring samples are fitted together, as their mean radius and value. A quarter pixel, or a tenth of the width
// w where that is more, changes a profile by less than (1/10)^2 / 12 of its curvature.
constexpr double CELL_WIDTH = 0.25;  // [px]
constexpr double CELLS_PER_WIDTH = 10.0;
constexpr double NARROWEST = 0.5;  // a width lies between this and half the window, a window is twice as wide [px]

constexpr double CAUCHY = 2.385;
constexpr double TO_SIGMA = 1.4826;  // from the median absolute deviation to the standard deviation
constexpr double MOST_GRAINY = 2.0;  // kappa
constexpr int MAX_ROUNDS = 12;       // of reweighting
constexpr int NOISE_ROUNDS = 2;      // after these phi and kappa stay as they are, else the weights may cycle
constexpr double SETTLED = 2e-3;     // of the width: a centre that moves less has converged
constexpr std::size_t NOISE_SAMPLES = 96;
constexpr std::int64_t BINS_PER_BLOCK = 8;

// The pixels of one window and one eta bin.
struct Bin {
  const RingGroup& group;
  const Sample* samples;
  std::int64_t n;
  std::int64_t eta_bin;
  double eta_middle, eta_step;  // [rad]
  Footprint footprint;

  double middle() const { return 0.5 * (group.low + group.high); }
  double half() const { return 0.5 * (group.high - group.low); }
  int n_peaks() const { return static_cast<int>(group.centers.size()); }
};

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

// Sums over the samples in each cell of radius.
struct CellSum {
  double weight, radius, value, root;
};

// Buffers that one thread reuses from bin to bin.
struct Workspace {
  std::vector<CellSum> sums;
  Cells cells;
  std::vector<float> grid, model, variance, pulls;
  Shape shape;
};

// How the pixels of a bin scatter: V = phi f + kappa s^2.
struct Noise {
  double phi = 1.0, kappa = 0.0;
};

// The model over the window at equidistant radii, for one straight line between each two of them.
class ModelTable {
 public:
  ModelTable(Workspace& space, double half, double step)
      : space_(space), low_(-half), per_px_(1.0 / step), n_(static_cast<std::size_t>(2.0 * half / step) + 3) {
    n_ += (LANES - n_ % LANES) % LANES;
    space.grid.resize(n_);
    space.model.resize(n_);
    space.variance.resize(n_);
    space.shape.resize(n_);
    for (std::size_t i = 0; i < n_; ++i) space.grid[i] = static_cast<float>(low_ + static_cast<double>(i) * step);
  }

  void fill(const double* p, int n_peaks, const Footprint& footprint) {
    std::fill(space_.variance.begin(), space_.variance.end(), 0.0f);  // holds the rings' part until `set_noise`
    for (int k = 0; k < n_peaks; ++k) {
      evaluate(space_.grid.data(), n_, footprint, p[N_SHARED + 2 * k], p[2], p[3], space_.shape);
      const auto height = static_cast<float>(p[N_SHARED + 2 * k + 1]);
      for (std::size_t i = 0; i < n_; ++i) space_.variance[i] += height * space_.shape.value[i];
    }
    const auto b0 = static_cast<float>(p[0]), b1 = static_cast<float>(p[1]);
    for (std::size_t i = 0; i < n_; ++i) space_.model[i] = b0 + b1 * space_.grid[i] + space_.variance[i];
  }

  void set_noise(const Noise& noise) {
    const auto phi = static_cast<float>(noise.phi), kappa = static_cast<float>(noise.kappa);
    for (std::size_t i = 0; i < n_; ++i) {
      const float ring = space_.variance[i];
      space_.variance[i] = phi * std::max(space_.model[i], 1.0f) + kappa * ring * ring;
    }
  }

  struct Place {
    std::size_t i;
    float share;
    float of(const std::vector<float>& column) const { return column[i] + share * (column[i + 1] - column[i]); }
  };
  Place place(float radius) const {
    const double at = std::max(0.0, (static_cast<double>(radius) - low_) * per_px_);
    const std::size_t i = std::min(n_ - 2, static_cast<std::size_t>(at));
    return {i, static_cast<float>(at - static_cast<double>(i))};
  }
  float model(const Place& at) const { return at.of(space_.model); }
  float variance(const Place& at) const { return at.of(space_.variance); }

 private:
  Workspace& space_;
  double low_, per_px_;
  std::size_t n_;
};

double median(std::vector<float>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return static_cast<double>(*middle);
}

class BinFitter {
 public:
  BinFitter(const Bin& bin, const PeakOptions& options, Workspace& space)
      : bin_(bin),
        options_(options),
        space_(space),
        n_peaks_(bin.n_peaks()),
        n_parameters_(N_SHARED + 2 * n_peaks_),
        cell_(std::max(CELL_WIDTH, options.fwhm / CELLS_PER_WIDTH)),
        bounds_(bounds_of(bin.group, options)) {}

  template <int MAX>
  void fit() {
    PeakModel<MAX> model(space_.cells, bin_.footprint, n_peaks_);
    sum_roots();
    start_values();
    for (int i = 0; i < n_parameters_; ++i) {
      const auto k = static_cast<std::size_t>(i);
      p_[k] = std::clamp(p_[k], bounds_.lower[k], bounds_.upper[k]);
    }
    root_cells();
    constexpr LevmarOptions ROUGH{12, 1e-2}, FINE{8, 1e-4};
    solve<MAX>(model, ROUGH);
    ModelTable table(space_, bin_.half(), 0.5 * cell_);
    double shift = INF;
    for (int round = 0; round < MAX_ROUNDS && !converged_; ++round) {
      table.fill(p_.data(), n_peaks_, bin_.footprint);
      if (round < NOISE_ROUNDS) estimate_noise(table);
      table.set_noise(noise_);
      reweighted_cells(table);
      const Parameters before = p_;
      const bool solved = solve<MAX>(model, FINE);
      shift = 0.0;
      for (int k = 0; k < n_peaks_; ++k) {
        const auto c = static_cast<std::size_t>(N_SHARED + 2 * k);
        shift = std::max(shift, std::abs(p_[c] - before[c]));
      }
      converged_ = solved && round + 1 >= NOISE_ROUNDS && shift < SETTLED * p_[2];
    }
    finish<MAX>(model, table);
  }

  // The point of ring k of the bin's window.
  RingPoint point(const Projection& projection, std::size_t k) const;

 private:
  template <int MAX>
  bool solve(PeakModel<MAX>& model, const LevmarOptions& options) {
    model.renew();
    return levmar<MAX>(model, n_parameters_, p_.data(), bounds_.lower.data(), bounds_.upper.data(), options).converged;
  }

  std::size_t n_cells() const { return static_cast<std::size_t>(2.0 * bin_.half() / cell_) + 2; }
  CellSum& cell_at(float radius) {
    const double at = std::max(0.0, (static_cast<double>(radius) + bin_.half()) / cell_);
    return space_.sums[std::min(space_.sums.size() - 1, static_cast<std::size_t>(at))];
  }

  void sum_roots();
  void start_values();
  void start_peak(std::size_t k);
  void root_cells();
  void estimate_noise(const ModelTable& table);
  void reweighted_cells(const ModelTable& table);
  double scatter_factor(const ModelTable& table);
  template <int MAX>
  void finish(PeakModel<MAX>& model, ModelTable& table);

  const Bin& bin_;
  const PeakOptions& options_;
  Workspace& space_;
  int n_peaks_, n_parameters_;
  double cell_;  // [px]
  Bounds bounds_;
  Parameters p_{}, sigma_{};
  Noise noise_;
  double chi2_ = 0.0, snr_ = 0.0;
  bool converged_ = false, regular_ = false;
};

// Square roots: the few bright pixels of a spotty arc may not choose where the fit starts.
void BinFitter::sum_roots() {
  space_.sums.assign(n_cells(), CellSum{0.0, 0.0, 0.0, 0.0});
  for (std::int64_t i = 0; i < bin_.n; ++i) {
    const Sample& s = bin_.samples[i];
    CellSum& cell = cell_at(s.radius);
    cell.weight += 1.0;
    cell.radius += static_cast<double>(s.radius);
    cell.root += static_cast<double>(std::sqrt(std::max(s.value, 0.0f)));
  }
}

// Background from the outer cells of the window, each height from the cells near its expected centre.
void BinFitter::start_values() {
  double sum = 0.0, count = 0.0;
  for (const CellSum& c : space_.sums) {
    if (c.weight > 0.0 && std::abs(c.radius) > 0.7 * bin_.half() * c.weight) {
      sum += c.root;
      count += c.weight;
    }
  }
  p_[0] = count > 0.0 ? sum * sum / (count * count) : 0.0;
  p_[2] = std::sqrt(std::max(options_.fwhm * options_.fwhm - bin_.footprint.broadening, NARROWEST * NARROWEST));
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
  const auto n = static_cast<std::ptrdiff_t>(space_.sums.size());
  const auto from = static_cast<std::ptrdiff_t>(std::max(0.0, (expected - reach + half) / cell_));
  const auto to = std::min(n, static_cast<std::ptrdiff_t>((expected + reach + half) / cell_) + 1);
  double center = expected, best = -INF;
  for (std::ptrdiff_t i = from; i < to; ++i) {
    double root = 0.0, weight = 0.0;
    for (std::ptrdiff_t j = std::max<std::ptrdiff_t>(0, i - run / 2); j < std::min(n, i - run / 2 + run); ++j) {
      root += space_.sums[static_cast<std::size_t>(j)].root;
      weight += space_.sums[static_cast<std::size_t>(j)].weight;
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
  for (const CellSum& c : space_.sums) {
    if (!(c.weight > 0.0)) continue;
    const double root = c.root / c.weight, value = root * root;
    // the variance of a squared mean root grows with the value for counts, with its square for a spotty ring
    space_.cells.add(c.radius / c.weight, value,
                     c.weight / (std::max(value, 1.0) * (1.0 + 0.1 * value / (p_[0] + 1.0))));
  }
  space_.cells.pad();
}

// From at most NOISE_SAMPLES pixels beside the ring and as many on it.
void BinFitter::estimate_noise(const ModelTable& table) {
  double highest = 0.0;
  for (int k = 0; k < n_peaks_; ++k) highest = std::max(highest, p_[static_cast<std::size_t>(N_SHARED + 2 * k + 1)]);
  const std::int64_t stride = std::max<std::int64_t>(1, bin_.n / static_cast<std::int64_t>(4 * NOISE_SAMPLES));
  std::vector<float>& pulls = space_.pulls;
  const auto collect = [&](bool on_ring) {
    pulls.clear();
    double expected = 0.0;
    for (std::int64_t i = 0; i < bin_.n; i += stride) {
      const Sample& s = bin_.samples[i];
      const auto at = table.place(s.radius);
      const double f = static_cast<double>(table.model(at)), ring = static_cast<double>(table.variance(at));
      if (on_ring ? ring < 0.4 * highest : ring > 0.05 * highest) continue;
      const double scale = on_ring ? ring * ring : 1.0, variance = std::max(f, 1.0);
      const double r = static_cast<double>(s.value) - f;
      pulls.push_back(static_cast<float>(on_ring ? std::abs(r) / ring : std::abs(r) / std::sqrt(variance)));
      expected += variance / scale;
    }
    return pulls.empty() ? 0.0 : expected / static_cast<double>(pulls.size());
  };
  constexpr std::size_t FEWEST = 8;
  collect(false);
  noise_ = {};
  if (pulls.size() >= FEWEST) {
    const double sigma = TO_SIGMA * median(pulls);
    noise_.phi = std::max(1.0, sigma * sigma);
  }
  if (!(highest > 0.0)) return;
  const double expected = collect(true);
  if (pulls.size() < FEWEST) return;
  const double sigma = TO_SIGMA * median(pulls);
  noise_.kappa = std::clamp(sigma * sigma - noise_.phi * expected, 0.0, MOST_GRAINY);
}

void BinFitter::reweighted_cells(const ModelTable& table) {
  constexpr float PER_C2 = static_cast<float>(1.0 / (CAUCHY * CAUCHY));
  space_.sums.assign(n_cells(), CellSum{0.0, 0.0, 0.0, 0.0});
  for (std::int64_t i = 0; i < bin_.n; ++i) {
    const Sample& s = bin_.samples[i];
    const auto at = table.place(s.radius);
    const float r = s.value - table.model(at);
    const auto weight = static_cast<double>(1.0f / (table.variance(at) + r * r * PER_C2));
    CellSum& cell = cell_at(s.radius);
    cell.weight += weight;
    cell.radius += weight * static_cast<double>(s.radius);
    cell.value += weight * static_cast<double>(s.value);
  }
  space_.cells.clear();
  for (const CellSum& c : space_.sums)
    if (c.weight > 0.0) space_.cells.add(c.radius / c.weight, c.value / c.weight, c.weight);
  space_.cells.pad();
}

// What the inverse of the weighted normal matrix is to be multiplied by: E[w] E[psi^2] / E[psi']^2 over the pixels on
// the ring, which say where it is. Also chi-square and significance.
double BinFitter::scatter_factor(const ModelTable& table) {
  double weight = 0.0, psi2 = 0.0, slope = 0.0, n = 0.0, chi2 = 0.0, n_chi2 = 0.0, significance = 0.0, highest = 0.0;
  for (int k = 0; k < n_peaks_; ++k) highest = std::max(highest, p_[static_cast<std::size_t>(N_SHARED + 2 * k + 1)]);
  for (std::int64_t i = 0; i < bin_.n; ++i) {
    const Sample& s = bin_.samples[i];
    const auto at = table.place(s.radius);
    const double f = static_cast<double>(table.model(at)), variance = static_cast<double>(table.variance(at));
    const double r = static_cast<double>(s.value) - f, z2 = r * r / variance;
    if (z2 < 36.0) {
      chi2 += r * r / std::max(f, 1.0);
      n_chi2 += 1.0;
    }
    const double ring = f - p_[0] - p_[1] * static_cast<double>(s.radius);
    significance += ring * ring / std::max(f, 1.0);
    if (ring < 0.05 * highest) continue;
    const double q = z2 / (CAUCHY * CAUCHY), w = 1.0 / (1.0 + q);
    weight += w;
    psi2 += w * w * z2;
    slope += w * w * (1.0 - q);
    n += 1.0;
  }
  chi2_ = chi2 / std::max(1.0, n_chi2 - n_parameters_);
  snr_ = std::sqrt(significance / noise_.phi);
  if (n < 1.0) return INF;
  slope = std::max(slope / n, 0.1);
  const double all = static_cast<double>(bin_.n);
  return weight * psi2 / (n * n * slope * slope) * all / std::max(1.0, all - n_parameters_);
}

template <int MAX>
void BinFitter::finish(PeakModel<MAX>& model, ModelTable& table) {
  SmallMatrix<MAX> jtj, covariance;
  std::array<double, MAX> jtr;
  model.normal_equations(p_.data(), jtj, jtr.data());
  regular_ = invert<MAX>(jtj, n_parameters_, covariance);
  table.fill(p_.data(), n_peaks_, bin_.footprint);
  table.set_noise(noise_);
  const double factor = scatter_factor(table);
  for (std::size_t i = 0; i < static_cast<std::size_t>(n_parameters_); ++i)
    sigma_[i] = regular_ ? std::sqrt(covariance[i * MAX + i] * factor) : INF;
}

RingPoint BinFitter::point(const Projection& projection, std::size_t k) const {
  const std::size_t c = N_SHARED + 2 * k;
  const double center = p_[c], fwhm = std::sqrt(p_[2] * p_[2] + bin_.footprint.broadening);
  const double reach = std::max(fwhm, 1.0);
  double eta_sum = 0.0;
  std::int64_t near = 0;
  for (std::int64_t i = 0; i < bin_.n; ++i) {
    if (std::abs(static_cast<double>(bin_.samples[i].radius) - center) < reach) {
      eta_sum += static_cast<double>(bin_.samples[i].eta);
      ++near;
    }
  }
  RingPoint point{};
  point.ring = bin_.group.numbers[k];
  point.eta_bin = bin_.eta_bin;
  point.radius = center + bin_.middle();
  point.radius_sigma = sigma_[c];
  point.eta = bin_.eta_middle + (near > 0 ? eta_sum / static_cast<double>(near) : 0.0);
  projection.to_pixel(point.radius * projection.geometry().pixel_size, point.eta, point.y, point.z);
  point.height = p_[c + 1];
  point.background = p_[0] + p_[1] * center;
  point.fwhm = fwhm;
  point.mixing = p_[3];
  double heights2 = 0.0;
  for (int j = 0; j < n_peaks_; ++j) heights2 += std::pow(p_[static_cast<std::size_t>(N_SHARED + 2 * j + 1)], 2);
  point.snr = heights2 > 0.0 ? snr_ * point.height / std::sqrt(heights2) : 0.0;
  point.chi2 = chi2_;
  point.graininess = std::sqrt(noise_.kappa);
  point.coverage = static_cast<double>(near) / (2.0 * reach * bin_.eta_step * point.radius);
  point.n_pixels = bin_.n;
  // The fit's own error falls below any bound it could sit on; a centre on its bound is no measurement, nor is a width
  // as large as the window. A ring may well be narrower than a pixel shows.
  const bool at_bound = center <= bounds_.lower[c] || center >= bounds_.upper[c] || p_[2] >= bounds_.upper[2] ||
                        (bin_.footprint.n == 1 && p_[2] <= bounds_.lower[2]);
  point.converged = converged_ && regular_ && !at_bound && point.height > 0.0;
  return point;
}

// The pixels' extent in radius along the middle of the bin.
Footprint footprint_of(const Projection& projection, const RingGroup& group, double eta, double fwhm) {
  const double px = projection.geometry().pixel_size;
  double y, z;
  projection.to_pixel(0.5 * (group.low + group.high) * px, eta, y, z);
  if (!std::isfinite(y) || !std::isfinite(z)) return {};
  PixelGradient gradient;
  projection.to_polar(y, z, gradient);
  return make_footprint(gradient.radius_y / px, gradient.radius_z / px, fwhm);
}

// Centres ascend within their window; else the bounds of a fit would cross (bounds_of).
void check_centers(const RingGroup& g) {
  double previous = g.low;
  for (std::size_t k = 0; k < g.centers.size(); ++k) {
    const bool ascends = k == 0 ? g.centers[k] >= previous : g.centers[k] > previous;
    if (!ascends || !(g.centers[k] <= g.high)) {
      throw InputError("the rings of a window must lie in it, ascending from " + std::to_string(g.low) + " to " +
                       std::to_string(g.high) + " px; one lies at " + std::to_string(g.centers[k]) + " px");
    }
    previous = g.centers[k];
  }
}

void check(const std::vector<RingGroup>& groups, const PeakOptions& options) {
  if (groups.empty()) throw InputError("there are no ring windows to fit; expected at least one ring on the detector");
  double previous = 0.0;
  for (const RingGroup& g : groups) {
    if (g.centers.empty() || g.centers.size() > MAX_PEAKS || g.centers.size() != g.numbers.size()) {
      throw InputError("a ring window holds " + std::to_string(g.centers.size()) + " rings; expected 1 to " +
                       std::to_string(MAX_PEAKS));
    }
    if (!(g.low >= previous) || !(g.high > g.low) || !(g.high < 1e6)) {
      throw InputError("ring windows must ascend without overlap; one runs from " + std::to_string(g.low) + " to " +
                       std::to_string(g.high) + " px");
    }
    if (!(g.high - g.low >= 2.0 * NARROWEST)) {
      throw InputError("the ring window at " + std::to_string(g.low) + " px is " + std::to_string(g.high - g.low) +
                       " px wide; expected at least 1, widen it");
    }
    check_centers(g);
    previous = g.high;
  }
  if (!(options.fwhm > 0.0))
    throw InputError("the start width is " + std::to_string(options.fwhm) + " px; expected above 0");
  if (!(options.max_shift > 0.0))
    throw InputError("a ring may move by " + std::to_string(options.max_shift) + " px; expected above 0");
  if (!(options.eta_step > 0.0) || options.eta_step > 2.0 * PI)
    throw InputError("eta_step must lie between 0 and 360 deg");
}

}  // namespace

std::vector<RingPoint> fit_rings(const Projection& projection, const float* image, const std::uint8_t* mask,
                                 std::int64_t n_z, std::int64_t n_y, const std::vector<RingGroup>& groups,
                                 const PeakOptions& options) {
  check(groups, options);
  const int threads = resolve_threads(options.n_threads);
  const auto n_eta = std::max<std::int64_t>(1, std::llround(2.0 * PI / options.eta_step));
  const double eta_step = 2.0 * PI / static_cast<double>(n_eta);
  const BinnedPixels pixels = bin_pixels({projection, image, mask, n_z, n_y}, groups, n_eta, threads);
  const auto n_bins = static_cast<std::int64_t>(groups.size()) * n_eta;
  const std::int64_t n_blocks = (n_bins + BINS_PER_BLOCK - 1) / BINS_PER_BLOCK;
  std::vector<std::vector<RingPoint>> found(static_cast<std::size_t>(n_blocks));
  parallel_for(n_blocks, threads, [&](std::int64_t block) {
    Workspace space;
    const std::int64_t end = std::min(n_bins, (block + 1) * BINS_PER_BLOCK);
    for (std::int64_t bin = block * BINS_PER_BLOCK; bin < end; ++bin) {
      const std::int64_t first = pixels.first[static_cast<std::size_t>(bin)], e = bin % n_eta;
      const std::int64_t n = pixels.first[static_cast<std::size_t>(bin) + 1] - first;
      const RingGroup& group = groups[static_cast<std::size_t>(bin / n_eta)];
      const std::size_t n_peaks = group.centers.size();
      const auto needed = static_cast<std::int64_t>(2 * (N_SHARED + 2 * n_peaks));
      if (n < std::max(options.min_pixels, needed)) continue;
      const double middle = -PI + (static_cast<double>(e) + 0.5) * eta_step;
      const Bin pixels_of_bin{group,
                              pixels.samples.data() + first,
                              n,
                              e,
                              middle,
                              eta_step,
                              footprint_of(projection, group, middle, options.fwhm)};
      BinFitter fitter(pixels_of_bin, options, space);
      if (n_peaks == 1) {
        fitter.fit<N_SHARED + 2>();
      } else {
        fitter.fit<MAX_PEAK_PARAMETERS>();
      }
      for (std::size_t k = 0; k < n_peaks; ++k)
        found[static_cast<std::size_t>(block)].push_back(fitter.point(projection, k));
    }
  });
  std::vector<RingPoint> points;
  for (const auto& f : found) points.insert(points.end(), f.begin(), f.end());
  return points;
}

}  // namespace midas
