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

namespace midas {

namespace {

constexpr double INF = std::numeric_limits<double>::infinity();
constexpr std::int64_t ROWS_PER_BLOCK =
    32;  // fixed, so that the order of pixels in a bin does not depend on the threads

struct Sample {
  float radius;  // [px], from the middle of the window
  float eta;     // [rad], from the middle of the bin
  float value;   // [counts]
};

struct BinnedSample {
  std::int32_t bin;
  Sample sample;
};

// Why a quarter pixel: peak_model.hpp.
constexpr double CELL_WIDTH = 0.25;  // [px]

// A width fitted lies between this and half the window, so a window is at least twice as wide [px].
constexpr double NARROWEST = 0.5;

// All pixels of all windows, sorted by bin (group-major, eta-minor), in image order within a bin.
struct BinnedPixels {
  std::vector<Sample> samples;
  std::vector<std::int64_t> first;  // n_bins + 1
};

struct Frame {
  const Projection& projection;
  const float* image;        // [counts]
  const std::uint8_t* mask;  // non-zero where a pixel must not be used; may be null
  std::int64_t n_z, n_y;
};

// The windows of radius and the eta bins over a turn; `table` as group_table gives it.
struct Windows {
  const std::vector<RingGroup>& groups;
  std::vector<std::int32_t> table;
  std::int64_t n_eta;
};

// The group each whole pixel of radius may belong to: windows are few and disjoint, so a table beats a search.
std::vector<std::int32_t> group_table(const std::vector<RingGroup>& groups) {
  const double last = groups.back().high;
  std::vector<std::int32_t> table(static_cast<std::size_t>(last) + 2, -1);
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const auto from = static_cast<std::size_t>(std::max(0.0, std::floor(groups[g].low)));
    for (std::size_t r = from; r <= static_cast<std::size_t>(groups[g].high); ++r) {
      if (table[r] < 0) table[r] = static_cast<std::int32_t>(g);
    }
  }
  return table;
}

// Puts the pixels of the windows in `out`, one block of rows of the image.
void collect_rows(const Frame& frame, const Windows& windows, std::int64_t z_begin, std::int64_t z_end,
                  std::vector<BinnedSample>& out) {
  const Projection& projection = frame.projection;
  const double last = windows.groups.back().high, per_px = 1.0 / projection.geometry().pixel_size;
  const double eta_step = 2.0 * PI / static_cast<double>(windows.n_eta);
  const auto n_groups = static_cast<std::int32_t>(windows.groups.size());
  for (std::int64_t z = z_begin; z < z_end; ++z) {
    for (std::int64_t y = 0; y < frame.n_y; ++y) {
      const std::int64_t i = z * frame.n_y + y;
      if ((frame.mask != nullptr && frame.mask[i] != 0) || !std::isfinite(frame.image[i])) continue;
      const double center = projection.radius(static_cast<double>(y), static_cast<double>(z)) * per_px;
      // A pixel counts over its area: its mean radius exceeds its centre's by 1 / (24 R), the curvature of the arc
      // through it (second-order Taylor over the unit square).
      const double radius = center + 1.0 / (24.0 * std::max(center, 1.0));
      // Negative behind the sample, and where a wild distortion turns the radius over.
      if (!(radius >= 0.0 && radius < last)) continue;
      std::int32_t g = windows.table[static_cast<std::size_t>(radius)];
      if (g < 0) continue;
      if (radius >= windows.groups[static_cast<std::size_t>(g)].high && g + 1 < n_groups)
        ++g;  // two windows meet in this pixel
      const RingGroup& group = windows.groups[static_cast<std::size_t>(g)];
      if (radius < group.low || radius >= group.high) continue;
      const double eta = projection.to_polar(static_cast<double>(y), static_cast<double>(z)).eta;
      if (!std::isfinite(eta)) continue;  // behind the sample and turned over
      const auto e = std::min(windows.n_eta - 1, static_cast<std::int64_t>((eta + PI) / eta_step));
      const double middle = -PI + (static_cast<double>(e) + 0.5) * eta_step;
      out.push_back({static_cast<std::int32_t>(g * windows.n_eta + e),
                     {static_cast<float>(radius - 0.5 * (group.low + group.high)), static_cast<float>(eta - middle),
                      frame.image[i]}});
    }
  }
}

BinnedPixels bin_pixels(const Frame& frame, const std::vector<RingGroup>& groups, std::int64_t n_eta, int threads) {
  const std::int64_t n_blocks = (frame.n_z + ROWS_PER_BLOCK - 1) / ROWS_PER_BLOCK;
  const auto n_bins = static_cast<std::int64_t>(groups.size()) * n_eta;
  const Windows windows{groups, group_table(groups), n_eta};
  std::vector<std::vector<BinnedSample>> blocks(static_cast<std::size_t>(n_blocks));
  parallel_for(n_blocks, threads, [&](std::int64_t b) {
    collect_rows(frame, windows, b * ROWS_PER_BLOCK, std::min(frame.n_z, (b + 1) * ROWS_PER_BLOCK),
                 blocks[static_cast<std::size_t>(b)]);
  });
  BinnedPixels pixels;
  pixels.first.assign(static_cast<std::size_t>(n_bins) + 1, 0);
  for (const auto& block : blocks)
    for (const BinnedSample& s : block) ++pixels.first[static_cast<std::size_t>(s.bin) + 1];
  for (std::size_t b = 1; b < pixels.first.size(); ++b) pixels.first[b] += pixels.first[b - 1];
  pixels.samples.resize(static_cast<std::size_t>(pixels.first.back()));
  std::vector<std::int64_t> next(pixels.first.begin(), pixels.first.end() - 1);
  for (const auto& block : blocks)
    for (const BinnedSample& s : block)
      pixels.samples[static_cast<std::size_t>(next[static_cast<std::size_t>(s.bin)]++)] = s.sample;
  return pixels;
}

// Start values: background from the outer pixels of the window, each height from the pixels near its expected centre.
Parameters start_values(const Sample* samples, std::int64_t n, const RingGroup& group, double fwhm) {
  const double middle = 0.5 * (group.low + group.high), half = 0.5 * (group.high - group.low);
  const int n_peaks = static_cast<int>(group.centers.size());
  Parameters p{};
  double edge_sum = 0.0;
  std::int64_t edge_count = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    if (std::abs(static_cast<double>(samples[i].radius)) > 0.7 * half) {
      edge_sum += static_cast<double>(samples[i].value);
      ++edge_count;
    }
  }
  p[0] = edge_count > 0 ? edge_sum / static_cast<double>(edge_count) : 0.0;
  p[2] = fwhm;
  p[3] = 0.5;
  // A ring is looked for within half a gap of where it is expected: the brightest mean over one pixel of radius.
  for (int k = 0; k < n_peaks; ++k) {
    const double expected = group.centers[static_cast<std::size_t>(k)] - middle;
    double reach = 0.7 * half;
    if (n_peaks > 1) {
      reach = INF;
      for (int j = 0; j < n_peaks; ++j) {
        if (j != k)
          reach = std::min(reach, 0.4 * std::abs(group.centers[static_cast<std::size_t>(j)] - middle - expected));
      }
    }
    const double from = std::max(expected - reach, -half);
    const auto n_cells = static_cast<std::size_t>(std::max(1.0, std::ceil(std::min(expected + reach, half) - from)));
    std::vector<double> sum(n_cells, 0.0), count(n_cells, 0.0);
    for (std::int64_t i = 0; i < n; ++i) {
      const double cell = std::floor(static_cast<double>(samples[i].radius) - from);
      if (cell >= 0.0 && cell < static_cast<double>(n_cells)) {
        sum[static_cast<std::size_t>(cell)] += static_cast<double>(samples[i].value);
        count[static_cast<std::size_t>(cell)] += 1.0;
      }
    }
    double center = expected, best = -INF;
    for (std::size_t c = 0; c < n_cells; ++c) {
      if (count[c] > 0.0 && sum[c] / count[c] > best) {
        best = sum[c] / count[c];
        center = from + static_cast<double>(c) + 0.5;
      }
    }
    p[static_cast<std::size_t>(N_SHARED + 2 * k)] = center;
    p[static_cast<std::size_t>(N_SHARED + 2 * k + 1)] = std::isfinite(best) ? std::max(best - p[0], 0.0) : 0.0;
  }
  return p;
}

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

// Samples grouped by radius; `kept` (may be empty: all) says which count.
std::vector<Cell> make_cells(const Sample* samples, std::int64_t n, const std::vector<bool>& kept, double half) {
  const auto n_cells = static_cast<std::size_t>(2.0 * half / CELL_WIDTH) + 2;
  std::vector<Cell> cells(n_cells, {0.0, 0.0, 0.0});
  for (std::int64_t i = 0; i < n; ++i) {
    if (!kept.empty() && !kept[static_cast<std::size_t>(i)]) continue;
    const double radius = static_cast<double>(samples[i].radius);
    Cell& cell = cells[std::min(n_cells - 1, static_cast<std::size_t>(std::max(0.0, (radius + half) / CELL_WIDTH)))];
    cell.radius += radius;
    cell.value += static_cast<double>(samples[i].value);
    cell.count += 1.0;
  }
  cells.erase(std::remove_if(cells.begin(), cells.end(), [](const Cell& c) { return c.count == 0.0; }), cells.end());
  for (Cell& c : cells) {
    c.radius /= c.count;
    c.value /= c.count;
  }
  return cells;
}

// The model's Poisson variance, not the data's: weights from the data themselves bias the fit low.
double poisson_variance(double expected) { return std::max(expected, 1.0); }

// Which samples lie within `clip` standard deviations of the model; a spotty ring's own scatter counts where it exceeds
// Poisson noise.
std::vector<bool> inliers(const Sample* samples, std::int64_t n, const double* p, int n_peaks, double clip) {
  std::vector<float> pulls(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) {
    const double f = PeakModel::value(p, n_peaks, static_cast<double>(samples[i].radius));
    const double residual = static_cast<double>(samples[i].value) - f;
    pulls[static_cast<std::size_t>(i)] = static_cast<float>(std::abs(residual) / std::sqrt(poisson_variance(f)));
  }
  std::vector<float> sorted = pulls;
  const auto middle = sorted.begin() + n / 2;
  std::nth_element(sorted.begin(), middle, sorted.end());
  const double limit =
      clip * std::max(1.0, 1.4826 * static_cast<double>(*middle));  // 1.4826: MAD to standard deviation
  std::vector<bool> kept(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < kept.size(); ++i) kept[i] = static_cast<double>(pulls[i]) <= limit;
  return kept;
}

// Reduced chi-square of single pixels with Poisson variance.
double pixel_chi2(const Sample* samples, std::int64_t n, const std::vector<bool>& kept, const double* p, int n_peaks,
                  int n_parameters) {
  double sum = 0.0, used = 0.0;
  for (std::int64_t i = 0; i < n; ++i) {
    if (!kept[static_cast<std::size_t>(i)]) continue;
    const double f = PeakModel::value(p, n_peaks, static_cast<double>(samples[i].radius));
    const double residual = static_cast<double>(samples[i].value) - f;
    sum += residual * residual / poisson_variance(f);
    used += 1.0;
  }
  return sum / std::max(1.0, used - n_parameters);
}

// The pixels of one window and one eta bin.
struct Bin {
  const RingGroup& group;
  const Sample* samples;
  std::int64_t n;
  std::int64_t eta_bin;
  double eta_middle, eta_step;  // [rad]
};

struct BinFit {
  Parameters p;
  Bounds bounds;
  SmallMatrix<MAX_PEAK_PARAMETERS> covariance;
  double chi2;
  bool converged, regular;

  // Scaled by the reduced chi-square where that exceeds 1.
  double sigma(std::size_t i) const {
    return regular ? std::sqrt(covariance[i * MAX_PEAK_PARAMETERS + i] * std::max(1.0, chi2)) : INF;
  }
  bool at_bound(std::size_t i) const { return p[i] <= bounds.lower[i] || p[i] >= bounds.upper[i]; }
};

// Fits twice: all pixels with equal weights, then those near the model with its variance.
BinFit fit_samples(const Bin& bin, const PeakOptions& options) {
  const RingGroup& group = bin.group;
  const int n_peaks = static_cast<int>(group.centers.size()), n_parameters = N_SHARED + 2 * n_peaks;
  const double half = 0.5 * (group.high - group.low);
  BinFit fit;
  fit.bounds = bounds_of(group, options);
  fit.p = start_values(bin.samples, bin.n, group, options.fwhm);
  double* p = fit.p.data();
  const double *lower = fit.bounds.lower.data(), *upper = fit.bounds.upper.data();
  for (int i = 0; i < n_parameters; ++i) p[i] = std::clamp(p[i], lower[i], upper[i]);

  std::vector<Cell> cells = make_cells(bin.samples, bin.n, {}, half);
  std::vector<double> weights;
  for (const Cell& c : cells) weights.push_back(c.count);
  constexpr LevmarOptions ROUGH{15, 1e-3}, FINE{40, 1e-6};
  const PeakModel model(cells, weights, n_peaks);
  levmar<MAX_PEAK_PARAMETERS>(model, n_parameters, p, lower, upper, ROUGH);

  const std::vector<bool> kept = inliers(bin.samples, bin.n, p, n_peaks, options.clip);
  cells = make_cells(bin.samples, bin.n, kept, half);
  weights.clear();
  for (const Cell& c : cells) weights.push_back(c.count / poisson_variance(PeakModel::value(p, n_peaks, c.radius)));
  fit.converged = levmar<MAX_PEAK_PARAMETERS>(model, n_parameters, p, lower, upper, FINE).converged;

  SmallMatrix<MAX_PEAK_PARAMETERS> jtj;
  Parameters jtr;
  model.normal_equations(p, jtj, jtr.data());
  fit.regular = invert<MAX_PEAK_PARAMETERS>(jtj, n_parameters, fit.covariance);
  fit.chi2 = pixel_chi2(bin.samples, bin.n, kept, p, n_peaks, n_parameters);
  return fit;
}

// The point of ring k of the bin's window.
RingPoint make_point(const Projection& projection, const Bin& bin, const BinFit& fit, std::size_t k) {
  const RingGroup& group = bin.group;
  const std::size_t c = N_SHARED + 2 * k;
  const double center = fit.p[c], width = fit.p[2], reach = std::max(width, 1.0);
  double eta_sum = 0.0;
  std::int64_t near = 0;
  for (std::int64_t i = 0; i < bin.n; ++i) {
    if (std::abs(static_cast<double>(bin.samples[i].radius) - center) < reach) {
      eta_sum += static_cast<double>(bin.samples[i].eta);
      ++near;
    }
  }
  RingPoint point{};
  point.ring = group.numbers[k];
  point.eta_bin = bin.eta_bin;
  point.radius = center + 0.5 * (group.low + group.high);
  point.radius_sigma = fit.sigma(c);
  point.eta = bin.eta_middle + (near > 0 ? eta_sum / static_cast<double>(near) : 0.0);
  projection.to_pixel(point.radius * projection.geometry().pixel_size, point.eta, point.y, point.z);
  point.height = fit.p[c + 1];
  point.background = fit.p[0] + fit.p[1] * center;
  point.fwhm = width;
  point.mixing = fit.p[3];
  point.snr = point.height / fit.sigma(c + 1);
  point.chi2 = fit.chi2;
  point.coverage = static_cast<double>(near) / (2.0 * reach * bin.eta_step * point.radius);
  point.n_pixels = bin.n;
  // The fit's own error falls below any bound it could sit on; a centre or width on its bound is no measurement.
  point.converged = fit.converged && fit.regular && !fit.at_bound(c) && !fit.at_bound(2) && point.height > 0.0;
  return point;
}

// The points of the bin's rings; none where it has too few pixels.
std::vector<RingPoint> fit_bin(const Projection& projection, const Bin& bin, const PeakOptions& options) {
  const std::size_t n_peaks = bin.group.centers.size();
  const auto needed = static_cast<std::int64_t>(2 * (N_SHARED + 2 * n_peaks));
  std::vector<RingPoint> points;
  if (bin.n < std::max(options.min_pixels, needed)) return points;
  const BinFit fit = fit_samples(bin, options);
  for (std::size_t k = 0; k < n_peaks; ++k) points.push_back(make_point(projection, bin, fit, k));
  return points;
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
  std::vector<std::vector<RingPoint>> found(static_cast<std::size_t>(n_bins));
  parallel_for(n_bins, threads, [&](std::int64_t bin) {
    const auto b = static_cast<std::size_t>(bin);
    const std::int64_t first = pixels.first[b], e = bin % n_eta;
    const double eta_middle = -PI + (static_cast<double>(e) + 0.5) * eta_step;
    const Bin pixels_of_bin{groups[static_cast<std::size_t>(bin / n_eta)],
                            pixels.samples.data() + first,
                            pixels.first[b + 1] - first,
                            e,
                            eta_middle,
                            eta_step};
    found[b] = fit_bin(projection, pixels_of_bin, options);
  });
  std::vector<RingPoint> points;
  for (const auto& f : found) points.insert(points.end(), f.begin(), f.end());
  return points;
}

}  // namespace midas
