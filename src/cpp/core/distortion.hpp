// The radial correction D(rho, E) of the MIDAS detector model, linear in its fifteen coefficients.
//
//   D = 1 + sum_k c_k rho^n_k f_k(m_k E),   f = 1, cos or sin
//
// Files write the harmonic terms as (amplitude, phase): amplitude * cos(m E + phase). Inside they are cosine and sine
// coefficients, c cos(m E) + s sin(m E) with c = amplitude cos(phase), s = -amplitude sin(phase): a phase is undefined
// at zero amplitude, the coefficients are not. The conversion is python's (midas.geometry). Source: SPEC section 1.
#ifndef MIDAS_DISTORTION_HPP
#define MIDAS_DISTORTION_HPP

#include <array>

namespace midas {

// The coefficients, named for their power of rho and their harmonic in E.
enum DistortionTerm : int {
  ISO_2 = 0,  // p2: rho^2
  ISO_4,      // p5: rho^4
  ISO_6,      // p4: rho^6
  COS1_4,     // p7, p8: rho^4 cos(E + p8)
  SIN1_4,
  COS2_2,  // p0, p6: rho^2 cos(2E + p6)
  SIN2_2,
  COS3_3,  // p9, p10: rho^3 cos(3E + p10)
  SIN3_3,
  COS4_4,  // p1, p3: rho^4 cos(4E + p3)
  SIN4_4,
  COS5_5,  // p11, p12: rho^5 cos(5E + p12)
  SIN5_5,
  COS6_6,  // p13, p14: rho^6 cos(6E + p14)
  SIN6_6,
  N_DISTORTION
};

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
