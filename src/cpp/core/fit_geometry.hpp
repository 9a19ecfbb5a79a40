// The geometry that puts measured ring positions on their Bragg angles: robust least squares on the pseudo-strain.
//
//   r_i = w_i [ R(y_i, z_i; parameters) / (L tan 2theta_i) - 1 ]         (minus the pseudo-strain, SPEC section 2)
//
// Minimised by Levenberg-Marquardt with the analytic Jacobian of core/geometry.cpp. With `robust` c > 0 the loss of
// each point is Cauchy's, c^2 log(1 + r^2 / c^2), by iteratively reweighted normal equations (Huber & Ronchetti, Robust
// Statistics, 2nd ed., section 7.8); the covariance is that of the weighted normal equations.
#ifndef MIDAS_FIT_GEOMETRY_HPP
#define MIDAS_FIT_GEOMETRY_HPP

#include <array>
#include <cstdint>
#include <vector>

#include "geometry.hpp"
#include "levmar.hpp"

namespace midas {

// n points: position on the detector [px], tan of the Bragg 2theta, weight = 1 / esd of the strain.
struct StrainPoints {
  const double* y;
  const double* z;
  const double* tan_two_theta;
  const double* weight;
  std::int64_t n;
};

struct FitGeometryOptions {
  std::array<bool, N_GEOMETRY_PARAMETERS> free{};
  GeometryGradient lower, upper;  // bounds, in the parameters' own units
  double robust = 0.0;            // c of the Cauchy loss in units of the weighted residual; 0 is plain least squares
  int max_iterations = 200;
};

struct FitGeometryResult {
  Geometry geometry;
  std::vector<int> parameters;  // indices (GeometryParameter) of the free ones
  std::vector<double>
      covariance;              // n_free x n_free, for unit weighted variance; NaN where the normal matrix is singular
  std::vector<double> strain;  // 1 - R / R_ideal of each point at the end
  LevmarResult fit;
};

FitGeometryResult fit_geometry(const Geometry& start, const StrainPoints& points, const FitGeometryOptions& options);

// Pseudo-strain 1 - R / (L tan 2theta) of each point; strain has points.n elements. weight may be null.
void pseudo_strain(const Projection& projection, const StrainPoints& points, double* strain);

}  // namespace midas

#endif
