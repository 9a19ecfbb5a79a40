// Robust least squares of the detector geometry. Equations and source: fit_geometry.hpp.
#include "fit_geometry.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "error.hpp"

namespace midas {

namespace {

double& parameter(Geometry& g, int index) {
  switch (index) {
    case DISTANCE:
      return g.distance;
    case BEAM_Y:
      return g.beam_y;
    case BEAM_Z:
      return g.beam_z;
    case TILT_X:
      return g.tilt_x;
    case TILT_Y:
      return g.tilt_y;
    case TILT_Z:
      return g.tilt_z;
    default:
      return g.distortion[static_cast<std::size_t>(index - FIRST_DISTORTION)];
  }
}

class StrainModel {
 public:
  StrainModel(const Geometry& start, const StrainPoints& points, const std::vector<int>& parameters, double robust)
      : start_(start), points_(points), parameters_(parameters), robust2_(robust * robust) {}

  Geometry geometry(const double* p) const {
    Geometry g = start_;
    for (std::size_t k = 0; k < parameters_.size(); ++k) parameter(g, parameters_[k]) = p[k];
    return g;
  }

  double cost(const double* p) const {
    const Projection projection(geometry(p));
    double sum = 0.0;
    for (std::int64_t i = 0; i < points_.n; ++i) {
      const double radius = projection.radius(points_.y[i], points_.z[i]);
      const double r = points_.weight[i] * (radius / (projection.geometry().distance * points_.tan_two_theta[i]) - 1.0);
      sum += loss(r * r);
    }
    return sum;
  }

  double normal_equations(const double* p, SmallMatrix<N_GEOMETRY_PARAMETERS>& jtj, double* jtr) const {
    const Projection projection(geometry(p));
    const double length = projection.geometry().distance;
    const std::size_t n = parameters_.size();
    jtj.fill(0.0);
    std::fill(jtr, jtr + n, 0.0);
    double sum = 0.0;
    GeometryGradient gradient, row;
    for (std::int64_t i = 0; i < points_.n; ++i) {
      const double radius = projection.radius_gradient(points_.y[i], points_.z[i], gradient);
      const double ideal = length * points_.tan_two_theta[i], weight = points_.weight[i];
      const double r = weight * (radius / ideal - 1.0);
      sum += loss(r * r);
      const double share = robust2_ > 0.0 ? 1.0 / (1.0 + r * r / robust2_) : 1.0;
      for (std::size_t k = 0; k < n; ++k) {
        double by = gradient[static_cast<std::size_t>(parameters_[k])] / ideal;
        if (parameters_[k] == DISTANCE) by -= radius / (ideal * length);  // the ideal radius scales with the distance
        row[k] = weight * by;
      }
      for (std::size_t a = 0; a < n; ++a) {
        const double wa = share * row[a];
        jtr[a] += wa * r;
        for (std::size_t b = 0; b <= a; ++b) jtj[a * N_GEOMETRY_PARAMETERS + b] += wa * row[b];
      }
    }
    return sum;
  }

 private:
  double loss(double r2) const { return robust2_ > 0.0 ? robust2_ * std::log1p(r2 / robust2_) : r2; }

  const Geometry& start_;
  const StrainPoints& points_;
  const std::vector<int>& parameters_;
  double robust2_;
};

}  // namespace

void pseudo_strain(const Projection& projection, const StrainPoints& points, double* strain) {
  const double length = projection.geometry().distance;
  for (std::int64_t i = 0; i < points.n; ++i) {
    strain[i] = 1.0 - projection.radius(points.y[i], points.z[i]) / (length * points.tan_two_theta[i]);
  }
}

FitGeometryResult fit_geometry(const Geometry& start, const StrainPoints& points, const FitGeometryOptions& options) {
  FitGeometryResult result;
  Geometry current = start;
  GeometryGradient p{}, lower{}, upper{};
  for (int i = 0; i < N_GEOMETRY_PARAMETERS; ++i) {
    const auto k = static_cast<std::size_t>(i);
    if (!options.free[k]) continue;
    const std::size_t slot = result.parameters.size();
    lower[slot] = options.lower[k];
    upper[slot] = options.upper[k];
    p[slot] = std::clamp(parameter(current, i), lower[slot], upper[slot]);
    result.parameters.push_back(i);
  }
  const int n = static_cast<int>(result.parameters.size());
  if (n == 0) throw InputError("no geometry parameter is free; expected at least one");
  if (points.n < n) {
    throw FitError("only " + std::to_string(points.n) + " ring positions for " + std::to_string(n) +
                   " parameters; more rings or eta bins are needed, or fewer free parameters");
  }
  const StrainModel model(start, points, result.parameters, options.robust);
  result.fit =
      levmar<N_GEOMETRY_PARAMETERS>(model, n, p.data(), lower.data(), upper.data(), {options.max_iterations, 1e-9});
  result.geometry = model.geometry(p.data());
  SmallMatrix<N_GEOMETRY_PARAMETERS> jtj, inverse;
  GeometryGradient jtr;
  model.normal_equations(p.data(), jtj, jtr.data());
  const bool regular = invert<N_GEOMETRY_PARAMETERS>(jtj, n, inverse);
  result.covariance.resize(static_cast<std::size_t>(n) * static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i)
    for (std::size_t j = 0; j < static_cast<std::size_t>(n); ++j) {
      result.covariance[i * static_cast<std::size_t>(n) + j] =
          regular ? inverse[i * N_GEOMETRY_PARAMETERS + j] : std::numeric_limits<double>::quiet_NaN();
    }
  result.strain.resize(static_cast<std::size_t>(points.n));
  pseudo_strain(Projection(result.geometry), points, result.strain.data());
  return result;
}

}  // namespace midas
