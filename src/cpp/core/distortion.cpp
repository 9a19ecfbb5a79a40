// Basis functions of the radial correction: powers by repeated products, harmonics by the angle-addition recurrence.
// Equations and source: distortion.hpp.
#include "distortion.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

namespace midas {

namespace {

constexpr int highest_order() {
  int order = 0;
  for (const DistortionTerm& term : DISTORTION_TERMS) order = std::max({order, term.power, term.harmonic});
  return order;
}
constexpr int MAX_ORDER = highest_order();

// Calls `visit` with the place of each term as a constant: the loop is unrolled and its table is looked up by the
// compiler, which halves the time of a fit's projections.
template <class Visit, std::size_t... PLACE>
void for_each_place(Visit visit, std::index_sequence<PLACE...>) {
  (visit(std::integral_constant<std::size_t, PLACE>{}), ...);
}
template <class Visit>
void for_each_term(Visit visit) {
  for_each_place(visit, std::make_index_sequence<N_DISTORTION>{});
}

// Powers of rho, and cosine and sine of the multiples of E.
struct Waves {
  std::array<double, MAX_ORDER + 1> power, cosine, sine;
};

Waves waves(double rho, double cos_angle, double sin_angle) {
  Waves w;
  w.power[0] = w.cosine[0] = 1.0;
  w.sine[0] = 0.0;
  for (std::size_t k = 1; k <= MAX_ORDER; ++k) {
    w.power[k] = w.power[k - 1] * rho;
    w.cosine[k] = w.cosine[k - 1] * cos_angle - w.sine[k - 1] * sin_angle;
    w.sine[k] = w.sine[k - 1] * cos_angle + w.cosine[k - 1] * sin_angle;
  }
  return w;
}

}  // namespace

DistortionBasis distortion_basis(double rho, double cos_angle, double sin_angle) {
  const Waves w = waves(rho, cos_angle, sin_angle);
  DistortionBasis basis;
  for_each_term([&](auto place) {
    constexpr DistortionTerm TERM = DISTORTION_TERMS[place];
    constexpr auto N = static_cast<std::size_t>(TERM.power), M = static_cast<std::size_t>(TERM.harmonic);
    const double wave = TERM.sine ? w.sine[M] : w.cosine[M];
    const double slope = TERM.sine ? w.cosine[M] : -w.sine[M];
    basis.value[place] = w.power[N] * wave;
    basis.by_rho[place] = static_cast<double>(N) * w.power[N - 1] * wave;
    basis.by_angle[place] = M == 0 ? 0.0 : static_cast<double>(M) * w.power[N] * slope;
  });
  return basis;
}

DistortionFactor distortion_factor(const Distortion& coefficients, double rho, double cos_angle, double sin_angle) {
  DistortionFactor factor;
  const DistortionBasis basis = distortion_basis(rho, cos_angle, sin_angle);
  for (std::size_t k = 0; k < N_DISTORTION; ++k) {
    factor.value += coefficients[k] * basis.value[k];
    factor.by_rho += coefficients[k] * basis.by_rho[k];
    factor.by_angle += coefficients[k] * basis.by_angle[k];
  }
  return factor;
}

double distortion_value(const Distortion& coefficients, double rho, double cos_angle, double sin_angle) {
  const Waves w = waves(rho, cos_angle, sin_angle);
  double value = 1.0;
  for_each_term([&](auto place) {
    constexpr DistortionTerm TERM = DISTORTION_TERMS[place];
    constexpr auto N = static_cast<std::size_t>(TERM.power), M = static_cast<std::size_t>(TERM.harmonic);
    value += coefficients[place] * w.power[N] * (TERM.sine ? w.sine[M] : w.cosine[M]);
  });
  return value;
}

bool is_zero(const Distortion& coefficients) {
  return std::all_of(coefficients.begin(), coefficients.end(), [](double c) { return c == 0.0; });
}

}  // namespace midas
