// What neighbouring bins of a lineout share: the correlation of bins whose borders cut pixels.
//
// A pixel with the shares a_i and a_j of its area in bins i and j adds a_i a_j n to the covariance of their sums of
// counts (Yang, Juhas & Billinge, J. Appl. Cryst. 47 (2014) 1273). Pixels are unit squares here, as likely to lie
// anywhere and of even counts over a pixel's width; the mean over their places is
//
//   C_ij = integral over r in bin i and r' in bin j of K(r - r'),   K(r) = integral dt (1 - |t| / w)+ T(r, t)
//
// with w the length of the bins along the arc and T(r, t) = (1 - |x|)+ (1 - |y|)+ the overlap of a pixel with itself
// moved by r along the radius and t along the arc, x = r cos(eta) - t sin(eta), y = r sin(eta) + t cos(eta). The
// correlation is C_ij / sqrt(C_ii C_jj). Lengths in px.
#ifndef MIDAS_LINEOUT_SHARING_HPP
#define MIDAS_LINEOUT_SHARING_HPP

#include <array>
#include <cstddef>
#include <vector>

namespace midas {

// Correlations of n bins in bands: that of bins i and i + k stands at k n + i. The first band is 1.
struct BinCorrelation {
  std::size_t n = 0, n_bands = 0;
  std::vector<double> band;

  // As for bins that share nothing.
  void set_independent(std::size_t n_bins);
  // out = R v, for n values.
  void multiply(const double* v, double* out) const;
};

class SharedPixels {
 public:
  // Of bins near this radius, between two azimuths [rad].
  SharedPixels(double radius, double eta_low, double eta_high);

  // Of the bins between n + 1 ascending edges.
  void correlation(const double* edges, std::size_t n, BinCorrelation& out) const;

 private:
  static constexpr std::size_t NODES = 33;
  double twice_integrated(double r) const;
  // C_ij of the bins [a, b] and [c, d]
  double covariance(double a, double b, double c, double d) const {
    return twice_integrated(b - c) + twice_integrated(a - d) - twice_integrated(a - c) - twice_integrated(b - d);
  }

  std::array<double, NODES> kernel_{}, once_{}, twice_{};  // K and its integrals from 0, at even steps
};

}  // namespace midas

#endif
