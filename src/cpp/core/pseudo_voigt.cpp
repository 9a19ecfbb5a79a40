// The pseudo-Voigt over bins. Equations and sources: pseudo_voigt.hpp.
#include "pseudo_voigt.hpp"

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace midas {

namespace {

constexpr double PER_PI = 0.31830988618379067154;
constexpr double ROOT_LN2 = 0.83255461115769775635;
constexpr double ROOT_LN2_PER_PI = 0.46971863934982566689;  // sqrt(ln2 / pi)

// The functions below are branchless and without calls, so that the loop over edges is vectorised (libm's are not).

// c[K] + c[K + STEP] x + ..., unrolled by recursion: a loop in a loop is not vectorised.
template <std::size_t K, std::size_t STEP, std::size_t N>
inline double strided(const std::array<double, N>& c, double x) {
  if constexpr (K + STEP >= N) {
    return c[K];
  } else {
    return strided<K + STEP, STEP>(c, x) * x + c[K];
  }
}

// In four chains that do not wait for one another.
template <std::size_t N>
inline double polynomial(const std::array<double, N>& c, double x) {
  const double x2 = x * x, x4 = x2 * x2;
  return (strided<0, 4>(c, x4) + x * strided<1, 4>(c, x4)) + x2 * (strided<2, 4>(c, x4) + x * strided<3, 4>(c, x4));
}

// exp(-t) for 0 <= t < 700, to 1e-14: 2^n goes into the exponent bits, the rest through its Taylor series.
inline double exp_minus(double t) {
  constexpr double ROUND = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to an integer held in the low bits
  constexpr double LOG2_E = 1.4426950408889634074;
  constexpr std::array<double, 12> TAYLOR = {
      1.0,         1.0,          1.0 / 2.0,     1.0 / 6.0,      1.0 / 24.0,      1.0 / 120.0,
      1.0 / 720.0, 1.0 / 5040.0, 1.0 / 40320.0, 1.0 / 362880.0, 1.0 / 3628800.0, 1.0 / 39916800.0};
  const double y = -t * LOG2_E, shifted = y + ROUND;
  double result = polynomial(TAYLOR, LN2 * (y - (shifted - ROUND)));
  std::uint64_t bits, power;
  std::memcpy(&bits, &result, sizeof bits);
  std::memcpy(&power, &shifted, sizeof power);
  bits += power << 52;
  std::memcpy(&result, &bits, sizeof bits);
  return result;
}

// exp(z^2) erfc(z) for 0 <= z <= 6.5: the Chebyshev interpolant of degree 14 in t = (z - 3.75) / (z + 3.75), which
// makes erf right to 1e-14. The mapping: Schonfelder, Math. Comp. 32 (1978) 1232.
constexpr double FARTHEST_ERF = 6.5;  // erfc is below 1e-18 there
inline double scaled_erfc(double z) {
  constexpr std::array<double, 15> C = {0.14558972127504047,     -0.27342193149569105,    0.22600806691524025,
                                        -0.16357189548936849,    0.10260431221793179,     -0.054802327706327585,
                                        0.024143216184946394,    -0.008220621245532661,   0.0018030717510265125,
                                        -2.5255745422534531e-05, -0.00015259693861821404, 4.5938845030709021e-05,
                                        -8.1036495437634101e-07, -1.1167089757552007e-05, -2.240967691200873e-06};
  return polynomial(C, (z - 3.75) / (z + 3.75));
}

// atan(v) for v >= 0, to 1e-15: halving the angle twice leads to [0, tan(pi/8)], where a polynomial (the Chebyshev
// interpolant in v^2) has it.
inline double atan_positive(double v) {
  constexpr std::array<double, 10> C = {
      1.0000000000000002,    -0.33333333333294668, 0.1999999998647968,    -0.14285713018650445, 0.11111056873805933,
      -0.090896307826116796, 0.076742611069261293, -0.065088541365393354, 0.050301557886240328, -0.025345761550124298};
  const double half = v / (1.0 + std::sqrt(1.0 + v * v));
  const double quarter = half / (1.0 + std::sqrt(1.0 + half * half));
  return 4.0 * quarter * polynomial(C, quarter * quarter);
}

}  // namespace

TotalWidth thompson_cox_hastings(double g, double l) {
  const double g2 = g * g, l2 = l * l, g4 = g2 * g2, l4 = l2 * l2;
  const double sum =
      g4 * g + 2.69269 * g4 * l + 2.42843 * g2 * g * l2 + 4.47163 * g2 * l2 * l + 0.07842 * g * l4 + l4 * l;
  TotalWidth t;
  t.fwhm = std::pow(sum, 0.2);
  const double per = 0.2 * t.fwhm / sum;
  t.fwhm_gauss = per * (5.0 * g4 + 4.0 * 2.69269 * g2 * g * l + 3.0 * 2.42843 * g2 * l2 + 2.0 * 4.47163 * g * l2 * l +
                        0.07842 * l4);
  t.fwhm_lorentz = per * (2.69269 * g4 + 2.0 * 2.42843 * g2 * g * l + 3.0 * 4.47163 * g2 * l2 +
                          4.0 * 0.07842 * g * l2 * l + 5.0 * l4);
  const double q = l / t.fwhm, slope = 1.36603 - 2.0 * 0.47719 * q + 3.0 * 0.11116 * q * q;
  t.mixing = q * (1.36603 + q * (-0.47719 + q * 0.11116));
  t.mixing_gauss = -slope * q / t.fwhm * t.fwhm_gauss;
  t.mixing_lorentz = slope / t.fwhm * (1.0 - q * t.fwhm_lorentz);
  return t;
}

void BinnedProfile::resize(std::size_t n_bins) {
  for (auto* column : {&value, &by_center, &by_fwhm, &by_mixing}) column->resize(n_bins);
  for (auto* column : {&integral_, &density_, &moment_, &difference_}) column->resize(n_bins + 1);
}

void BinnedProfile::evaluate(const double* edges, std::size_t n_bins, double center, double fwhm, double mixing) {
  const double scale = 2.0 / fwhm, lorentz_height = mixing * scale * PER_PI;
  const double gauss_height = (1.0 - mixing) * scale * ROOT_LN2_PER_PI;
  double *integral = integral_.data(), *density = density_.data(), *moment = moment_.data();
  double* difference = difference_.data();
#pragma omp simd
  for (std::size_t i = 0; i <= n_bins; ++i) {
    const double u = scale * (edges[i] - center), size = std::abs(u), sign = std::copysign(1.0, u);
    // the smaller of z and FARTHEST_ERF
    const double z = ROOT_LN2 * size, near = 0.5 * (z + FARTHEST_ERF - std::abs(z - FARTHEST_ERF));
    const double exponential = exp_minus(near * near);
    const double half_erf = 0.5 - 0.5 * exponential * scaled_erfc(near);
    const double turn = PER_PI * atan_positive(size);
    integral[i] = sign * (mixing * turn + (1.0 - mixing) * half_erf);
    difference[i] = sign * (turn - half_erf);
    density[i] = lorentz_height / (1.0 + size * size) + gauss_height * exponential;
    moment[i] = 0.5 * u * density[i];
  }
#pragma omp simd
  for (std::size_t i = 0; i < n_bins; ++i) {
    const double per_width = 1.0 / (edges[i + 1] - edges[i]);
    value[i] = per_width * (integral[i + 1] - integral[i]);
    by_center[i] = per_width * (density[i] - density[i + 1]);
    by_fwhm[i] = per_width * (moment[i] - moment[i + 1]);
    by_mixing[i] = per_width * (difference[i + 1] - difference[i]);
  }
}

}  // namespace midas
