// The radial correction D(rho, E) of the MIDAS detector model, linear in its coefficients.
//
//   D = 1 + sum_k c_k rho^n_k f_k(m_k E),   f = 1, cos or sin
//
// Files write the harmonic terms as (amplitude, phase): amplitude * cos(m E + phase). Inside they are cosine and sine
// coefficients, c cos(m E) + s sin(m E) with c = amplitude cos(phase), s = -amplitude sin(phase): a phase is undefined
// at zero amplitude, the coefficients are not. The conversion is python's (midas.geometry).
// Source: docs/physics/geometry.md.
#ifndef MIDAS_DISTORTION_HPP
#define MIDAS_DISTORTION_HPP

#include <array>
#include <cstddef>
#include <string_view>

namespace midas {

// A coefficient: its power of rho, its harmonic in E, and what files call it. Of a harmonic term the cosine and the
// sine stand one after the other, under the names of the amplitude and of the phase.
struct DistortionTerm {
  int power, harmonic;
  bool sine;
  const char* name;
};

// All of the model. To add a term, enter it at the end (pairs stay together): the core and Python (through the
// bindings) follow.
// clang-format off
constexpr std::array DISTORTION_TERMS = {
    DistortionTerm{2, 0, false, "p2"},
    DistortionTerm{4, 0, false, "p5"},
    DistortionTerm{6, 0, false, "p4"},
    DistortionTerm{4, 1, false, "p7"},
    DistortionTerm{4, 1, true, "p8"},
    DistortionTerm{2, 2, false, "p0"},
    DistortionTerm{2, 2, true, "p6"},
    DistortionTerm{3, 3, false, "p9"},
    DistortionTerm{3, 3, true, "p10"},
    DistortionTerm{4, 4, false, "p1"},
    DistortionTerm{4, 4, true, "p3"},
    DistortionTerm{5, 5, false, "p11"},
    DistortionTerm{5, 5, true, "p12"},
    DistortionTerm{6, 6, false, "p13"},
    DistortionTerm{6, 6, true, "p14"},
};
// clang-format on
constexpr int N_DISTORTION = static_cast<int>(DISTORTION_TERMS.size());

// Where a coefficient stands, by its name in files; N_DISTORTION for a name that is none.
constexpr std::size_t place_of(std::string_view name) {
  std::size_t place = 0;
  while (place < DISTORTION_TERMS.size() && name != DISTORTION_TERMS[place].name) ++place;
  return place;
}

using Distortion = std::array<double, N_DISTORTION>;

// The basis functions rho^n f(m E) and their derivatives at one point.
struct DistortionBasis {
  std::array<double, N_DISTORTION> value;
  std::array<double, N_DISTORTION> by_rho;
  std::array<double, N_DISTORTION> by_angle;
};

// The direction is given as cos E and sin E, E = 90 deg - eta: the projection has them without a trigonometric call.
DistortionBasis distortion_basis(double rho, double cos_angle, double sin_angle);

// D and its derivatives by rho and E.
struct DistortionFactor {
  double value = 1.0, by_rho = 0.0, by_angle = 0.0;
};
DistortionFactor distortion_factor(const Distortion& coefficients, double rho, double cos_angle, double sin_angle);

// D alone.
double distortion_value(const Distortion& coefficients, double rho, double cos_angle, double sin_angle);

bool is_zero(const Distortion& coefficients);

}  // namespace midas

#endif
