// Peaks of lineouts: pseudo-Voigt fits to intensity over radius, one lineout for each (sum of frames, eta bin) of a
// cake.
//
// Over the bins of a window that holds one peak or several close ones the model of bin i is
//
//   f_i = b0 + b1 (R_i - R_mid) + sum_k A_k < P(R; c_k, g_k, l_k) >_i
//
// with P the area-normalised pseudo-Voigt of pseudo_voigt.hpp, < >_i its exact mean over the bin, and each peak its own
// area A, centre c, Gaussian width g and Lorentzian width l. Least squares weighted by 1 / sigma_i^2 (levmar.hpp).
// Peaks that nobody asked for are fitted with those that somebody did, and not reported: what stands out of the
// lineout, and what stands out of the residuals (lineout_neighbors.hpp). Where another window is near, the tails of its
// peaks, known from a first pass, are taken off in two more.
//
// With J the Jacobian and r the residuals, both over sigma, N = J^T J, and R the correlation of the bins
// (lineout_sharing.hpp), the covariance of the parameters is that of least squares whose weights leave R out, and the
// sum of squares is divided by its mean (Seber & Wild, Nonlinear Regression (1989), section 2.8):
//
//   cov = N^-1 J^T R J N^-1,   chi2 = r^T r / (n - trace(N^-1 J^T R J))
//
// which is N^-1 and n - p where bins share nothing. Uncertainties are not multiplied by chi-square.
#ifndef MIDAS_LINEOUT_PEAKS_HPP
#define MIDAS_LINEOUT_PEAKS_HPP

#include <cstdint>
#include <vector>

namespace midas {

// Intensities of shape (n_sums, n_radius, n_eta), a lineout for each (sum, eta). A bin that is not finite, or whose
// sigma is not above 0, is left out.
struct LineoutView {
  const double* intensity;
  const double* sigma;
  const double* edges;  // n_radius + 1, ascending [px]
  std::int64_t n_sums, n_radius, n_eta;
  const double* eta_edges = nullptr;  // n_eta + 1, ascending [rad]; null: neighbouring bins share nothing
};

struct LineoutOptions {
  std::vector<double> positions;  // expected radii, ascending; empty: peaks are looked for in every lineout [px]
  double fwhm = 0.0;              // start width; 0: estimated from the lineouts [px]
  double window = 4.0;            // on either side of a peak, in widths; peaks nearer than this are fitted together
  double max_shift = 0.0;         // from the expected radius; 0: 5 px or 3 bins, what is more [px]
  double min_prominence = 6.0;    // of a peak that is looked for, in standard deviations
  std::int64_t smoothing = 0;     // bins of the quadratic Savitzky-Golay filter before the search, odd; 0: none
  std::int64_t n_peaks = 0;       // the most prominent ones that are kept in a lineout; 0: all
  int n_threads = 0;
};

// What became of a fit, in the order in which Python names it.
enum class PeakOutcome : std::int32_t {
  CONVERGED = 0,
  NO_BINS,        // none with a value near the position
  TOO_FEW_BINS,   // fewer than the parameters, and one
  NO_PEAK,        // nothing above the background
  NOT_CONVERGED,  // too many steps
  SHIFT_LIMIT,    // the centre ran to its limit
  WIDTH_LIMIT,    // a width ran to that of the window
  SINGULAR,       // the bins do not determine the parameters: no uncertainties
  CROWDED         // the window holds more than was fitted
};

struct PeakValues {
  double area, center, sig, gam, fwhm, mixing, background;
};

// One peak of one lineout. NaN where there is no answer; the sigma of a parameter on its bound (sig or gam 0) is NaN.
struct LineoutPeak {
  std::int64_t sum, eta_bin;
  std::int64_t peak;    // index in the positions, or by radius among those found
  std::int64_t group;   // peaks of a lineout with the same number were fitted together
  PeakValues value;     // [counts px], [px], [px^2], [px], [px], 1, [counts] at the centre
  PeakValues sigma;     // standard uncertainties
  double slope;         // of the background [counts / px]
  double chi2;          // reduced, over the bins of the window
  std::int64_t n_bins;  // of the window
  PeakOutcome outcome;
};

// In the order of sum, eta, radius. With positions given, one for each of them in every lineout.
//
// Throws InputError unless the edges and the positions ascend and the options are in range.
std::vector<LineoutPeak> fit_lineouts(const LineoutView& lineouts, const LineoutOptions& options);

}  // namespace midas

#endif
