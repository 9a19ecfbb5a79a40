// The area-normalised pseudo-Voigt profile, its means over bins and their derivatives, in double precision.
//
//   P(x) = m L(x) + (1 - m) G(x),   L(x) = (2 / pi w) / (1 + u^2),   G(x) = (2 / w) sqrt(ln2 / pi) exp(-ln2 u^2),
//   u = 2 (x - c) / w
//
// L and G have the same full width w and area 1. Its two widths, Gaussian g and Lorentzian l, give w and m by Thompson,
// Cox & Hastings, J. Appl. Cryst. 20 (1987) 79, with q = l / w:
//
//   w^5 = g^5 + 2.69269 g^4 l + 2.42843 g^3 l^2 + 4.47163 g^2 l^3 + 0.07842 g l^4 + l^5
//   m   = 1.36603 q - 0.47719 q^2 + 0.11116 q^3
//
// In GSAS-II's names the Gaussian variance is sig = g^2 / (8 ln2) and the Lorentzian width gam = l. The mean over a bin
// is exact, the difference of the profile's integral at its edges: atan and erf.
#ifndef MIDAS_PSEUDO_VOIGT_HPP
#define MIDAS_PSEUDO_VOIGT_HPP

#include <cstddef>
#include <vector>

namespace midas {

constexpr double LN2 = 0.69314718055994530942;

// Width and mixing of two widths, and their derivatives by each.
struct TotalWidth {
  double fwhm, mixing;
  double fwhm_gauss, fwhm_lorentz;      // d fwhm / d gauss, d lorentz
  double mixing_gauss, mixing_lorentz;  // d mixing / d gauss, d lorentz [1 / length]
};

// Of full widths >= 0, not both 0.
TotalWidth thompson_cox_hastings(double gauss, double lorentz);

// Means of the profile over bins, and their derivatives: a value a bin. To 1e-14 of 1 / (bin width).
struct BinnedProfile {
  std::vector<double> value, by_center, by_fwhm, by_mixing;
  void resize(std::size_t n_bins);

  // At the n_bins that lie between n_bins + 1 ascending edges.
  void evaluate(const double* edges, std::size_t n_bins, double center, double fwhm, double mixing);

 private:
  std::vector<double> integral_, density_, moment_, difference_;  // at the edges
};

}  // namespace midas

#endif
