// Positions of calibrant rings: pseudo-Voigt fits to the pixels of each (ring group, eta bin).
//
// The model over a window that holds one ring or several close ones (a multiplet), each pixel at its own radius R, is
//
//   f(R) = b0 + b1 (R - R_mid) + sum_k h_k < m / (1 + u_k^2) + (1 - m) exp(-ln2 u_k^2) >,   u_k = 2 (R - c_k) / w
//
// with a shared full width w and mixing m: 4 + 2 n parameters (pseudo-Voigt: Wertheim et al., Rev. Sci. Instrum. 45
// (1974) 1369); the tails of rings in other windows, known from an earlier pass, are added and held. < > is the mean
// over the pixel, whose extent in radius is a trapezoid; it matters for rings as narrow as pixels. The profile is
// symmetric in 2theta and seen through solid angle and polarization (RingView in peak_model.hpp).
//
// A coarse powder's arc is made of spots: its pixels scatter by far more than Poisson noise, in proportion to the
// ring's intensity, and the few brightest would decide where the ring is. The variance of a pixel is taken as
//
//   V = phi f + kappa s^2,    s the ring's part of f,
//
// with phi (>= 1) from the pixels beside the ring and kappa from those on it, both by the median absolute deviation,
// and the loss is Cauchy's, by iteratively reweighted least squares (weights 1 / (V + r^2 / c^2), c = 2.385 for 95 %
// efficiency on normal errors: Holland & Welsch, Commun. Stat. A6 (1977) 813). On a smooth ring kappa is 0 and the fit
// is the usual one. Uncertainties are those of the M-estimator (Huber & Ronchetti, Robust Statistics, 2nd ed.,
// eq. 7.80).
#ifndef MIDAS_PEAK_HPP
#define MIDAS_PEAK_HPP

#include <cstdint>
#include <vector>

#include "geometry.hpp"

namespace midas {

constexpr int MAX_PEAKS = 6;
constexpr int N_SHARED = 4;  // b0, b1, w, m
constexpr int MAX_PEAK_PARAMETERS = N_SHARED + 2 * MAX_PEAKS;

// A window of radius and the rings expected in it.
struct RingGroup {
  double low, high;                   // window [px]
  std::vector<double> centers;        // expected radii, ascending [px]
  std::vector<std::int64_t> numbers;  // the rings' indices in the caller's list
};

// Rings as an earlier pass found them. Their tails lie under the rings of other windows, where they would pass for
// background that is bent or slopes, and push what is fitted there away from them.
struct KnownRings {
  std::vector<std::int64_t> numbers;          // as in RingGroup
  std::vector<double> radii, widths, mixing;  // [px], [px] full width as the pixels see it, Lorentzian share
  std::vector<float> heights;                 // [counts], a row for each ring, a column for each eta bin
};

struct PeakOptions {
  double eta_step = 5.0 * PI / 180.0;  // [rad]
  double fwhm = 3.0;                   // start value [px]
  double max_shift = 1e9;              // centres stay within this of the expected radius [px]
  double polarization = 0.99;          // share of the beam whose electric field is horizontal
  std::int64_t min_pixels = 20;
  int n_threads = 0;
};

// One fitted ring position.
struct RingPoint {
  std::int64_t ring;  // index in the caller's list
  std::int64_t eta_bin;
  double radius;          // [px]
  double radius_sigma;    // [px], from the scatter of the pixels
  double eta;             // mean of the pixels within one width of the peak [rad]
  double y, z;            // the detector position of (radius, eta) [px]
  double height;          // over background [counts]
  double background;      // at the peak [counts]
  double fwhm;            // as the pixels see it: their own extent included [px]
  double mixing;          // Lorentzian share
  double snr;             // of the ring against counting noise: sqrt(sum s^2 / (phi f)) over the pixels
  double chi2;            // reduced, with Poisson variance, of the pixels that fit to 6 standard deviations
  double graininess;      // sqrt(kappa): relative scatter of the ring's intensity from pixel to pixel
  double coverage;        // share of the pixels expected within one width of the peak that are valid
  std::int64_t n_pixels;  // in the window
  bool converged;
};

// How many eta bins of about this width [rad] make a turn; the bins are a turn over it wide.
std::int64_t eta_bins(double eta_step);

// image: counts, n_z rows of n_y columns; mask: non-zero where a pixel must not be used (may be null).
// Points come in the order of groups, then eta bins, then rings; windows with too few pixels give none.
std::vector<RingPoint> fit_rings(const Projection& projection, const float* image, const std::uint8_t* mask,
                                 std::int64_t n_z, std::int64_t n_y, const std::vector<RingGroup>& groups,
                                 const KnownRings& known, const PeakOptions& options);

}  // namespace midas

#endif
