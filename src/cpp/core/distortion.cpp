// Basis functions of the radial correction: powers by repeated products, harmonics by the angle-addition recurrence.
// Equations and source: distortion.hpp.
#include "distortion.hpp"

#include <algorithm>
#include <cmath>

namespace midas {

namespace {

struct Term {
  int power;     // of rho
  int harmonic;  // of E
  bool sine;
};

constexpr std::array<Term, N_DISTORTION> TERMS = {{{2, 0, false},
                                                   {4, 0, false},
                                                   {6, 0, false},
                                                   {4, 1, false},
                                                   {4, 1, true},
                                                   {2, 2, false},
                                                   {2, 2, true},
                                                   {3, 3, false},
                                                   {3, 3, true},
                                                   {4, 4, false},
                                                   {4, 4, true},
                                                   {5, 5, false},
                                                   {5, 5, true},
                                                   {6, 6, false},
                                                   {6, 6, true}}};
constexpr int MAX_ORDER = 6;

}  // namespace

DistortionBasis distortion_basis(double rho, double angle) {
  std::array<double, MAX_ORDER + 1> power, cosine, sine;
  power[0] = cosine[0] = 1.0;
  sine[0] = 0.0;
  const double c1 = std::cos(angle), s1 = std::sin(angle);
  for (std::size_t k = 1; k <= MAX_ORDER; ++k) {
    power[k] = power[k - 1] * rho;
    cosine[k] = cosine[k - 1] * c1 - sine[k - 1] * s1;
    sine[k] = sine[k - 1] * c1 + cosine[k - 1] * s1;
  }
  DistortionBasis basis;
  for (std::size_t k = 0; k < N_DISTORTION; ++k) {
    const auto n = static_cast<std::size_t>(TERMS[k].power);
    const auto m = static_cast<std::size_t>(TERMS[k].harmonic);
    const double wave = TERMS[k].sine ? sine[m] : cosine[m];
    const double slope = TERMS[k].sine ? cosine[m] : -sine[m];
    basis.value[k] = power[n] * wave;
    basis.by_rho[k] = static_cast<double>(n) * power[n - 1] * wave;
    basis.by_angle[k] = static_cast<double>(m) * power[n] * slope;
  }
  return basis;
}

DistortionFactor distortion_factor(const Distortion& coefficients, double rho, double angle) {
  DistortionFactor factor{1.0, 0.0, 0.0};
  if (is_zero(coefficients)) return factor;
  const DistortionBasis basis = distortion_basis(rho, angle);
  for (std::size_t k = 0; k < N_DISTORTION; ++k) {
    factor.value += coefficients[k] * basis.value[k];
    factor.by_rho += coefficients[k] * basis.by_rho[k];
    factor.by_angle += coefficients[k] * basis.by_angle[k];
  }
  return factor;
}

bool is_zero(const Distortion& coefficients) {
  return std::all_of(coefficients.begin(), coefficients.end(), [](double c) { return c == 0.0; });
}

}  // namespace midas
