// Pseudo-Voigt fits to the pixels of each (ring group, eta bin). Equations and source: peak.hpp.
#include "peak.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "error.hpp"
#include "parallel.hpp"
#include "peak_fit.hpp"
#include "peak_pixels.hpp"

namespace midas {

namespace {

constexpr std::int64_t BINS_PER_BLOCK = 32;

// The pixels' extent in radius along the middle of the bin.
Footprint footprint_of(const Projection& projection, double radius, double eta, double fwhm) {
  const double px = projection.geometry().pixel_size;
  double y, z;
  projection.to_pixel(radius * px, eta, y, z);
  if (!std::isfinite(y) || !std::isfinite(z)) return {};
  PixelGradient gradient;
  projection.to_polar(y, z, gradient);
  return make_footprint(gradient.radius_y / px, gradient.radius_z / px, fwhm);
}

// In the middle of the bin. From R = L tan 2theta, 2theta - 2theta_c = L (x - bend x^2) / (L^2 + R_c^2); counts fall as
// cos^3(2theta) (1 - f sin^2(2theta) sin^2(eta)): docs/physics/areas.md, docs/decisions/horizontal-field.md.
RingView view_of(const Projection& projection, const RingGroup& group, double eta, const PeakOptions& options) {
  const double radius = 0.5 * (group.low + group.high);
  const double length = projection.geometry().distance / projection.geometry().pixel_size;
  const double reach2 = length * length + radius * radius, sin2 = radius * radius / reach2;
  const double polarized = options.polarization * std::sin(eta) * std::sin(eta);
  RingView view{footprint_of(projection, radius, eta, options.fwhm)};
  view.bend = radius / reach2;
  view.fade = -3.0 * view.bend - polarized * 2.0 * view.bend * (1.0 - sin2) / (1.0 - polarized * sin2);
  return view;
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

void check(const KnownRings& known, std::int64_t n_eta) {
  const std::size_t n = known.numbers.size();
  if (known.radii.size() != n || known.widths.size() != n || known.mixing.size() != n ||
      known.heights.size() != n * static_cast<std::size_t>(n_eta)) {
    throw InputError("the known rings must have a number, radius, width and mixing each, and a height for each of " +
                     std::to_string(n_eta) + " azimuth bins");
  }
}

}  // namespace

std::int64_t eta_bins(double eta_step) { return std::max<std::int64_t>(1, std::llround(2.0 * PI / eta_step)); }

std::vector<RingPoint> fit_rings(const Projection& projection, const float* image, const std::uint8_t* mask,
                                 std::int64_t n_z, std::int64_t n_y, const std::vector<RingGroup>& groups,
                                 const KnownRings& known, const PeakOptions& options) {
  check(groups, options);
  const int threads = resolve_threads(options.n_threads);
  const std::int64_t n_eta = eta_bins(options.eta_step);
  const double eta_step = 2.0 * PI / static_cast<double>(n_eta);
  check(known, n_eta);
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
      const Bin pixels_of_bin{
          group, pixels.samples.data() + first, n, e, middle, eta_step, view_of(projection, group, middle, options)};
      fit_bin(projection, pixels_of_bin, known, options, space, found[static_cast<std::size_t>(block)]);
    }
  });
  std::vector<RingPoint> points;
  for (const auto& f : found) points.insert(points.end(), f.begin(), f.end());
  return points;
}

}  // namespace midas
