// Positions of calibrant rings: pseudo-Voigt fits to the pixels of each (ring group, eta bin).
//
// Pixels are fitted where they are, at their own radius: nothing is re-binned, so no width is added and every pixel
// keeps its Poisson noise. The model over a window that holds one ring or several close ones (a multiplet) is
//
//   f(R) = b0 + b1 (R - R_mid) + sum_k h_k [ m / (1 + u_k^2) + (1 - m) exp(-ln2 u_k^2) ],   u_k = 2 (R - c_k) / w
//
// with a shared full width w and mixing m: 4 + 2 n parameters (pseudo-Voigt: Wertheim et al., Rev. Sci. Instrum. 45
// (1974) 1369). Fitted twice: first with equal weights, then with the variance of the first model (Poisson statistics
// would be biased by the variance of the data themselves), pixels beyond `clip` standard deviations left out.
#ifndef MIDAS_PEAK_HPP
#define MIDAS_PEAK_HPP

#include <cstdint>
#include <vector>

#include "geometry.hpp"

namespace midas {

constexpr int MAX_PEAKS = 4;
constexpr int N_SHARED = 4;  // b0, b1, w, m
constexpr int MAX_PEAK_PARAMETERS = N_SHARED + 2 * MAX_PEAKS;

// A window of radius and the rings expected in it.
struct RingGroup {
  double low, high;                   // window [px]
  std::vector<double> centers;        // expected radii, ascending [px]
  std::vector<std::int64_t> numbers;  // the rings' indices in the caller's list
};

struct PeakOptions {
  double eta_step = 5.0 * PI / 180.0;  // [rad]
  double fwhm = 3.0;                   // start value [px]
  double max_shift = 1e9;              // centres stay within this of the expected radius [px]
  double clip = 6.0;                   // pixels off by more standard deviations are left out of the second fit
  std::int64_t min_pixels = 20;
  int n_threads = 0;
};

// One fitted ring position.
struct RingPoint {
  std::int64_t ring;  // index in the caller's list
  std::int64_t eta_bin;
  double radius;          // [px]
  double radius_sigma;    // [px], scaled by the reduced chi-square where that exceeds 1
  double eta;             // mean of the pixels within one width of the peak [rad]
  double y, z;            // the detector position of (radius, eta) [px]
  double height;          // over background [counts]
  double background;      // at the peak [counts]
  double fwhm;            // [px]
  double mixing;          // Lorentzian share
  double snr;             // height over its esd
  double chi2;            // reduced, with Poisson variance
  double coverage;        // share of the pixels expected within one width of the peak that are valid
  std::int64_t n_pixels;  // in the window
  bool converged;
};

// image: counts, n_z rows of n_y columns; mask: non-zero where a pixel must not be used (may be null).
// Points come in the order of groups, then eta bins, then rings; windows with too few pixels give none.
std::vector<RingPoint> fit_rings(const Projection& projection, const float* image, const std::uint8_t* mask,
                                 std::int64_t n_z, std::int64_t n_y, const std::vector<RingGroup>& groups,
                                 const PeakOptions& options);

}  // namespace midas

#endif
