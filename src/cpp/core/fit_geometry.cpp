// Robust least squares of the detector geometry. Equations and source: fit_geometry.hpp.
#include "fit_geometry.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "error.hpp"

namespace midas {

namespace {

// How tightly the gauge holds: far below what any image can tell, far above rounding.
constexpr double GAUGE_PX = 1e-4;        // [px]
constexpr double GAUGE_DISTANCE = 1e-2;  // [um]
constexpr double GAUGE_P2 = 1e-9;

// Damping of the first step. Strains are nearly linear in the parameters, some of which (a tilt beside the beam centre)
// the points tell a million times worse than others: what is damped more takes ten steps instead of three.
constexpr double NEARLY_LINEAR = 1e-8;

double& geometry_parameter(Geometry& g, int index) {
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
    case PARALLAX:
      return g.parallax;
    default:
      return g.distortion[static_cast<std::size_t>(index - FIRST_DISTORTION)];
  }
}

// All that a joint fit can move.
struct State {
  Geometry geometry;
  double wavelength_ratio = 1.0;
  std::vector<ImageOffset> images;

  double& at(const ParameterSpace& space, int index) {
    if (index < ParameterSpace::wavelength()) return geometry_parameter(geometry, index);
    if (index == ParameterSpace::wavelength()) return wavelength_ratio;
    if (index < space.panel(0, 0)) {
      const auto i = static_cast<std::size_t>(index - ParameterSpace::image(0, 0));
      return images[i / N_IMAGE_PARAMETERS][i % N_IMAGE_PARAMETERS];
    }
    const auto i = static_cast<std::size_t>(index - space.panel(0, 0));
    return geometry.panel_shifts[i / N_PANEL_PARAMETERS][i % N_PANEL_PARAMETERS];
  }

  std::vector<Projection> projections() const {
    std::vector<Projection> out;
    for (const ImageOffset& offset : images) {
      Geometry g = geometry;
      g.distance += offset[IMAGE_DISTANCE];
      g.beam_y += offset[IMAGE_BEAM_Y];
      g.beam_z += offset[IMAGE_BEAM_Z];
      out.emplace_back(g);
    }
    return out;
  }
};

// A linear pseudo-observation: sum of factor * parameter, over sigma, should be `target` / sigma.
struct SoftConstraint {
  std::vector<std::pair<int, double>> terms;  // place in ParameterSpace, factor
  double target = 0.0, sigma = 1.0;
};

// The mean of one parameter over its free panels is zero.
void add_mean(const ParameterSpace& space, const std::vector<Freedom>& parameters, int k, double sigma,
              std::vector<SoftConstraint>& out) {
  SoftConstraint c;
  c.sigma = sigma;
  for (int m = 0; m < space.n_panels; ++m) {
    const int place = space.panel(m, k);
    if (parameters[static_cast<std::size_t>(place)].free) c.terms.emplace_back(place, 1.0);
  }
  for (auto& term : c.terms) term.second /= static_cast<double>(c.terms.size());
  if (!c.terms.empty()) out.push_back(c);
}

// Curl and divergence of the displacement over the pixels of the panels that are free to shift. A panel's rotation adds
// its moment of inertia to the curl and nothing to the divergence.
void add_curl_and_divergence(const ParameterSpace& space, const PanelLayout& layout,
                             const std::vector<Freedom>& parameters, std::vector<SoftConstraint>& out) {
  const auto is_free = [&](int m, int k) { return parameters[static_cast<std::size_t>(space.panel(m, k))].free; };
  double mean_y = 0.0, mean_z = 0.0, count = 0.0, reach2 = 0.0;
  for (int m = 0; m < space.n_panels; ++m) {
    if (!is_free(m, PANEL_SHIFT_Y) || !is_free(m, PANEL_SHIFT_Z)) continue;
    mean_y += layout.center_y(m);
    mean_z += layout.center_z(m);
    count += 1.0;
  }
  if (count < 2.0) return;
  mean_y /= count;
  mean_z /= count;
  SoftConstraint curl, divergence;
  curl.sigma = divergence.sigma = GAUGE_PX;
  for (int m = 0; m < space.n_panels; ++m) {
    if (!is_free(m, PANEL_SHIFT_Y) || !is_free(m, PANEL_SHIFT_Z)) continue;
    const double y = layout.center_y(m) - mean_y, z = layout.center_z(m) - mean_z;
    reach2 += y * y + z * z;
    curl.terms.emplace_back(space.panel(m, PANEL_SHIFT_Y), -z);
    curl.terms.emplace_back(space.panel(m, PANEL_SHIFT_Z), y);
    divergence.terms.emplace_back(space.panel(m, PANEL_SHIFT_Y), y);
    divergence.terms.emplace_back(space.panel(m, PANEL_SHIFT_Z), z);
    if (is_free(m, PANEL_ROTATION)) {
      const auto square = [](const Span& s) {
        return static_cast<double>((s.last - s.first + 1) * (s.last - s.first + 1));
      };
      const double moment = (square(layout.columns_of(m)) + square(layout.rows_of(m))) / 12.0;
      curl.terms.emplace_back(space.panel(m, PANEL_ROTATION), moment);
    }
  }
  const double scale = 1.0 / (count * std::sqrt(reach2 / count));
  for (SoftConstraint* c : {&curl, &divergence}) {
    for (auto& term : c->terms) term.second *= scale;
    out.push_back(*c);
  }
}

class StrainModel {
 public:
  StrainModel(const State& start, const StrainPoints& points, const ParameterSpace& space,
              const std::vector<int>& parameters, const FitGeometryOptions& options)
      : start_(start),
        points_(points),
        space_(space),
        parameters_(parameters),
        slot_(static_cast<std::size_t>(space.size()), -1),
        robust2_(options.robust * options.robust) {
    for (std::size_t k = 0; k < parameters.size(); ++k)
      slot_[static_cast<std::size_t>(parameters[k])] = static_cast<int>(k);
    for (const int place : parameters) {
      const double sigma = options.parameters[static_cast<std::size_t>(place)].sigma;
      if (!std::isfinite(sigma)) continue;
      const double target = place >= space.panel(0, 0) ? 0.0 : State(start).at(space, place);
      constraints_.push_back({{{place, 1.0}}, target, sigma});
    }
    const Projection projection(start.geometry);
    for (std::int64_t i = 0; i < points.n; ++i) {
      panel_.push_back(points.panel == nullptr ? projection.panel_at(points.y[i], points.z[i])
                                               : static_cast<std::int32_t>(points.panel[i]));
      sin_theta_.push_back(std::sin(0.5 * std::atan(points.tan_two_theta[i])));
    }
    if (options.gauge && start.geometry.panels != nullptr) {
      add_curl_and_divergence(space, *start.geometry.panels, options.parameters, constraints_);
      add_mean(space, options.parameters, PANEL_DISTANCE, GAUGE_DISTANCE, constraints_);
      add_mean(space, options.parameters, PANEL_P2, GAUGE_P2, constraints_);
      add_beyond_beam(options.parameters);
    }
  }

  State state(const double* p) const {
    State s = start_;
    for (std::size_t k = 0; k < parameters_.size(); ++k) s.at(space_, parameters_[k]) = p[k];
    return s;
  }

  double cost(const double* p) const {
    State s = state(p);
    double sum = 0.0;
    const std::vector<double> residual = deviation(s);
    for (std::int64_t i = 0; i < points_.n; ++i) {
      const double r = points_.weight[i] * residual[static_cast<std::size_t>(i)];
      sum += loss(r * r);
    }
    for (const SoftConstraint& c : constraints_) {
      const double r = value(c, s);
      sum += r * r;
    }
    return sum;
  }

  // R / R_ideal - 1 of each point.
  std::vector<double> deviation(const State& s) const {
    const std::vector<Projection> projections = s.projections();
    std::vector<double> out(static_cast<std::size_t>(points_.n));
    for (std::int64_t i = 0; i < points_.n; ++i) {
      const auto k = static_cast<std::size_t>(i);
      const Projection& projection = projections[image(i)];
      const double ideal = projection.geometry().distance * tangent(i, s.wavelength_ratio);
      out[k] = projection.radius(points_.y[i], points_.z[i], panel_[k]) / ideal - 1.0;
    }
    return out;
  }

  double normal_equations(const double* p, HeapStorage::Matrix& jtj, double* jtr) const {
    State s = state(p);
    const std::vector<Projection> projections = s.projections();
    std::fill(jtj.begin(), jtj.end(), 0.0);
    std::fill(jtr, jtr + parameters_.size(), 0.0);
    double sum = 0.0;
    Row row;
    for (std::int64_t i = 0; i < points_.n; ++i) {
      const double r = point_row(projections[image(i)], i, s.wavelength_ratio, row);
      sum += loss(r * r);
      add(row, robust2_ > 0.0 ? 1.0 / (1.0 + r * r / robust2_) : 1.0, r, jtj, jtr);
    }
    for (const SoftConstraint& c : constraints_) {
      const double r = value(c, s);
      sum += r * r;
      row.clear();
      for (const auto& [place, factor] : c.terms) put(row, place, factor / c.sigma);
      add(row, 1.0, r, jtj, jtr);
    }
    return sum;
  }

 private:
  using Row = std::vector<std::pair<int, double>>;  // slot, derivative; slots not held here have derivative 0

  double loss(double r2) const { return robust2_ > 0.0 ? robust2_ * std::log1p(r2 / robust2_) : r2; }
  std::size_t image(std::int64_t i) const {
    return points_.image == nullptr ? 0 : static_cast<std::size_t>(points_.image[i]);
  }

  // tan 2theta at a wavelength: sin theta scales with it (Bragg).
  double tangent(std::int64_t i, double ratio) const {
    if (ratio == 1.0) return points_.tan_two_theta[i];
    return std::tan(2.0 * std::asin(ratio * sin_theta_[static_cast<std::size_t>(i)]));
  }

  double value(const SoftConstraint& c, State& s) const {
    double sum = -c.target;
    for (const auto& [place, factor] : c.terms) sum += factor * s.at(space_, place);
    return sum / c.sigma;
  }

  // The displacements of the panels are orthogonal, in the metric of the points, to what the beam centre does:
  // sum over panels of (J_beam^T W J_panel) displacement = 0, one constraint for each coordinate.
  void add_beyond_beam(const std::vector<Freedom>& parameters) {
    constexpr std::array<int, 2> PLACE = {BEAM_Y, BEAM_Z};
    constexpr int N_MOVES = PANEL_ROTATION + 1;
    std::vector<std::array<double, PLACE.size()>> metric(static_cast<std::size_t>(space_.n_panels * N_MOVES));
    const std::vector<Projection> projections = start_.projections();
    for (std::int64_t i = 0; i < points_.n; ++i) {
      const std::int32_t panel = panel_[static_cast<std::size_t>(i)];
      GeometryGradient gradient;
      PanelGradient by_panel;
      const Projection& projection = projections[image(i)];
      projection.radius_gradient(points_.y[i], points_.z[i], panel, gradient, by_panel);
      const double unit = points_.weight[i] / (projection.geometry().distance * points_.tan_two_theta[i]);
      for (int k = 0; k < N_MOVES; ++k)
        for (std::size_t j = 0; j < PLACE.size(); ++j)
          metric[static_cast<std::size_t>(panel * N_MOVES + k)][j] +=
              unit * unit * gradient[static_cast<std::size_t>(PLACE[j])] * by_panel[static_cast<std::size_t>(k)];
    }
    for (std::size_t j = 0; j < PLACE.size(); ++j) {
      SoftConstraint c;
      c.sigma = GAUGE_PX;
      double scale = 0.0;
      for (int m = 0; m < space_.n_panels; ++m)
        for (int k = 0; k < N_MOVES; ++k) {
          const int place = space_.panel(m, k);
          const double factor = metric[static_cast<std::size_t>(m * N_MOVES + k)][j];
          if (!parameters[static_cast<std::size_t>(place)].free || factor == 0.0) continue;
          c.terms.emplace_back(place, factor);
          if (k != PANEL_ROTATION) scale += std::abs(factor);
        }
      if (!(scale > 0.0)) continue;
      for (auto& term : c.terms) term.second /= scale;
      constraints_.push_back(c);
    }
  }

  void put(Row& row, int place, double derivative) const {
    const int slot = slot_[static_cast<std::size_t>(place)];
    if (slot >= 0) row.emplace_back(slot, derivative);
  }

  // The weighted residual of a point and its derivatives.
  double point_row(const Projection& projection, std::int64_t i, double ratio, Row& row) const {
    const std::int32_t panel = panel_[static_cast<std::size_t>(i)];
    GeometryGradient gradient;
    PanelGradient by_panel;
    const double radius = projection.radius_gradient(points_.y[i], points_.z[i], panel, gradient, by_panel);
    const double length = projection.geometry().distance, tan = tangent(i, ratio);
    const double ideal = length * tan, weight = points_.weight[i], unit = weight / ideal;
    gradient[DISTANCE] -= radius / length;  // the ideal radius scales with the distance
    row.clear();
    for (int k = 0; k < N_GEOMETRY_PARAMETERS; ++k) put(row, k, unit * gradient[static_cast<std::size_t>(k)]);
    if (slot_[static_cast<std::size_t>(ParameterSpace::wavelength())] >= 0) {
      // d tan(2 asin(s sin theta_0)) / ds = 2 (1 + tan^2 2theta) tan(theta) / s
      const double theta = 0.5 * std::atan(tan);
      const double by_ratio = 2.0 * (1.0 + tan * tan) * std::tan(theta) / ratio;
      put(row, ParameterSpace::wavelength(), -unit * radius * by_ratio / tan);
    }
    const int m = static_cast<int>(image(i));
    put(row, ParameterSpace::image(m, IMAGE_DISTANCE), unit * gradient[DISTANCE]);
    put(row, ParameterSpace::image(m, IMAGE_BEAM_Y), unit * gradient[BEAM_Y]);
    put(row, ParameterSpace::image(m, IMAGE_BEAM_Z), unit * gradient[BEAM_Z]);
    for (int k = 0; panel != NO_PANEL && k < N_PANEL_PARAMETERS; ++k)
      put(row, space_.panel(panel, k), unit * by_panel[static_cast<std::size_t>(k)]);
    return weight * (radius / ideal - 1.0);
  }

  void add(const Row& row, double share, double r, HeapStorage::Matrix& jtj, double* jtr) const {
    const std::size_t n = parameters_.size();
    for (const auto& [a, by_a] : row) {
      jtr[a] += share * by_a * r;
      for (const auto& [b, by_b] : row) {
        if (b <= a) jtj[static_cast<std::size_t>(a) * n + static_cast<std::size_t>(b)] += share * by_a * by_b;
      }
    }
  }

  const State& start_;
  const StrainPoints& points_;
  ParameterSpace space_;
  const std::vector<int>& parameters_;
  std::vector<int> slot_;  // of each place; -1 where it is not free
  double robust2_;
  std::vector<SoftConstraint> constraints_;
  std::vector<std::int32_t> panel_;
  std::vector<double> sin_theta_;
};

void check_indices(const std::int64_t* index, std::int64_t n, std::int64_t size, const char* what) {
  for (std::int64_t i = 0; index != nullptr && i < n; ++i) {
    if (index[i] < 0 || index[i] >= size) {
      throw InputError("point " + std::to_string(i) + " has the " + what + " index " + std::to_string(index[i]) +
                       "; expected 0 to " + std::to_string(size - 1));
    }
  }
}

void check(const ParameterSpace& space, const StrainPoints& points, const FitGeometryOptions& options) {
  if (options.parameters.size() != static_cast<std::size_t>(space.size())) {
    throw InputError("the fit is told of " + std::to_string(options.parameters.size()) + " parameters; expected " +
                     std::to_string(space.size()));
  }
  if (options.images.empty()) throw InputError("the fit has no image; expected at least one");
  check_indices(points.image, points.n, space.n_images, "image");
  check_indices(points.panel, points.n, space.n_panels, "panel");
  std::int64_t n_free = 0, n_loose = 0;
  for (const Freedom& f : options.parameters) {
    if (!f.free) continue;
    ++n_free;
    if (!std::isfinite(f.sigma)) ++n_loose;
    if (!(f.sigma > 0.0)) throw InputError("a prior has the sigma " + std::to_string(f.sigma) + "; expected above 0");
    if (!(f.lower <= f.upper)) {
      throw InputError("a parameter is bounded from " + std::to_string(f.lower) + " to " + std::to_string(f.upper) +
                       "; expected a lower bound below the upper");
    }
  }
  if (n_free == 0) throw InputError("no geometry parameter is free; expected at least one");
  if (points.n < n_loose) {
    throw FitError("only " + std::to_string(points.n) + " ring positions for " + std::to_string(n_loose) +
                   " parameters; more rings or eta bins are needed, or fewer free parameters");
  }
}

// The inverse of the normal matrix; NaN throughout where it is singular.
std::vector<double> covariance_of(const StrainModel& model, const std::vector<double>& p) {
  const int n = static_cast<int>(p.size());
  auto jtj = HeapStorage::matrix(n), inverse = jtj;
  auto jtr = HeapStorage::vector(n);
  model.normal_equations(p.data(), jtj, jtr.data());
  if (!invert<HeapStorage>(jtj, n, inverse))
    std::fill(inverse.begin(), inverse.end(), std::numeric_limits<double>::quiet_NaN());
  return inverse;
}

}  // namespace

void pseudo_strain(const Projection& projection, const StrainPoints& points, double* strain) {
  const double length = projection.geometry().distance;
  const std::int64_t n_panels = projection.geometry().panels == nullptr ? 0 : projection.geometry().panels->size();
  check_indices(points.panel, points.n, n_panels, "panel");
  for (std::int64_t i = 0; i < points.n; ++i) {
    const std::int32_t panel = points.panel == nullptr ? projection.panel_at(points.y[i], points.z[i])
                                                       : static_cast<std::int32_t>(points.panel[i]);
    strain[i] = 1.0 - projection.radius(points.y[i], points.z[i], panel) / (length * points.tan_two_theta[i]);
  }
}

FitGeometryResult fit_geometry(const Geometry& start, const StrainPoints& points, const FitGeometryOptions& options) {
  ParameterSpace space;
  space.n_images = static_cast<int>(options.images.size());
  space.n_panels = start.panels == nullptr ? 0 : start.panels->size();
  check(space, points, options);
  State state{start, 1.0, options.images};
  FitGeometryResult result;
  std::vector<double> p, lower, upper;
  for (int place = 0; place < space.size(); ++place) {
    const Freedom& f = options.parameters[static_cast<std::size_t>(place)];
    if (!f.free) continue;
    lower.push_back(f.lower);
    upper.push_back(f.upper);
    p.push_back(std::clamp(state.at(space, place), f.lower, f.upper));
    result.parameters.push_back(place);
  }
  const StrainModel model(state, points, space, result.parameters, options);
  result.fit = levmar<HeapStorage>(model, static_cast<int>(p.size()), p.data(), lower.data(), upper.data(),
                                   {options.max_iterations, 1e-9, NEARLY_LINEAR});
  const State found = model.state(p.data());
  result.geometry = found.geometry;
  result.wavelength_ratio = found.wavelength_ratio;
  result.images = found.images;
  result.covariance = covariance_of(model, p);
  result.strain = model.deviation(found);
  for (double& v : result.strain) v = -v;
  return result;
}

}  // namespace midas
