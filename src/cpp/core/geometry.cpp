// Pixel -> (radius, two_theta, eta), analytic derivatives, and the inverse. Equations and source: geometry.hpp.
#include "geometry.hpp"

#include <cmath>
#include <limits>
#include <string>

#include "error.hpp"
#include "parallel.hpp"

namespace midas {

namespace {

using Matrix = std::array<std::array<double, 3>, 3>;

Matrix product(const Matrix& p, const Matrix& q) {
  Matrix r{};
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j)
      for (std::size_t k = 0; k < 3; ++k) r[i][j] += p[i][k] * q[k][j];
  return r;
}

// The active right-handed rotation about an axis (0 x, 1 y, 2 z), or its derivative by the angle.
Matrix rotation(std::size_t axis, double angle, bool derivative) {
  const double c = derivative ? -std::sin(angle) : std::cos(angle);
  const double s = derivative ? std::cos(angle) : std::sin(angle);
  Matrix r{};
  const std::size_t i = (axis + 1) % 3, j = (axis + 2) % 3;
  r[axis][axis] = derivative ? 0.0 : 1.0;
  r[i][i] = r[j][j] = c;
  r[i][j] = -s;
  r[j][i] = s;
  return r;
}

std::array<double, 3> column(const Matrix& m, std::size_t j) { return {m[0][j], m[1][j], m[2][j]}; }

constexpr double NAN_VALUE = std::numeric_limits<double>::quiet_NaN();

double wrapped(double eta) { return eta >= PI ? eta - 2.0 * PI : eta; }

void require_positive(double value, const char* name) {
  if (!(value > 0.0) || !std::isfinite(value)) {
    throw GeometryError(std::string(name) + " is " + std::to_string(value) +
                        "; expected a finite length above zero in um");
  }
}

}  // namespace

Projection::Projection(const Geometry& geometry) : geometry_(geometry) {
  require_positive(geometry.distance, "distance");
  require_positive(geometry.pixel_size, "pixel_size");
  require_positive(geometry.distortion_radius, "distortion_radius");
  double sum = geometry.beam_y + geometry.beam_z + geometry.tilt_x + geometry.tilt_y + geometry.tilt_z;
  for (const double c : geometry.distortion) sum += c;
  if (!std::isfinite(sum)) throw GeometryError("the beam centre, tilts and distortion must all be finite numbers");

  const std::array<double, 3> tilt = {geometry.tilt_x, geometry.tilt_y, geometry.tilt_z};
  const auto turned = [&tilt](std::size_t derivative_of) {
    Matrix m = rotation(0, tilt[0], derivative_of == 0);
    m = product(m, rotation(1, tilt[1], derivative_of == 1));
    return product(m, rotation(2, tilt[2], derivative_of == 2));
  };
  const Matrix t = turned(3);
  column_x_ = column(t, 0);
  column_y_ = column(t, 1);
  column_z_ = column(t, 2);
  for (std::size_t k = 0; k < 3; ++k) {
    const Matrix d = turned(k);
    tilt_y_[k] = column(d, 1);
    tilt_z_[k] = column(d, 2);
  }
}

Projection::Ray Projection::ray(double y, double z) const {
  Ray r;
  r.yc = (geometry_.beam_y - y) * geometry_.pixel_size;
  r.zc = (z - geometry_.beam_z) * geometry_.pixel_size;
  r.a = column_y_[0] * r.yc + column_z_[0] * r.zc;
  r.b = column_y_[1] * r.yc + column_z_[1] * r.zc;
  r.c = column_y_[2] * r.yc + column_z_[2] * r.zc;
  const double depth = geometry_.distance + r.a;
  r.scale = depth > 0.0 ? geometry_.distance / depth : NAN_VALUE;
  r.h = std::sqrt(r.b * r.b + r.c * r.c);
  return r;
}

Polar Projection::to_polar(double y, double z) const {
  const Ray r = ray(y, z);
  if (!(r.scale > 0.0)) return {NAN_VALUE, NAN_VALUE, NAN_VALUE};
  const double r0 = r.scale * r.h;
  const double d =
      distortion_value(geometry_.distortion, r0 / geometry_.distortion_radius, r.cos_angle(), r.sin_angle());
  const double radius = r0 * d;
  return {radius, std::atan(radius / geometry_.distance), wrapped(std::atan2(-r.b, r.c))};
}

double Projection::radius(double y, double z) const {
  const Ray r = ray(y, z);
  const double r0 = r.scale * r.h;
  return r0 * distortion_value(geometry_.distortion, r0 / geometry_.distortion_radius, r.cos_angle(), r.sin_angle());
}

Polar Projection::to_polar(double y, double z, PixelGradient& gradient) const {
  const Ray r = ray(y, z);
  if (!(r.scale > 0.0) || r.h == 0.0) {
    // At the beam itself the direction of eta, and with it every derivative, is undefined.
    gradient = {NAN_VALUE, NAN_VALUE, NAN_VALUE, NAN_VALUE};
    return to_polar(y, z);
  }
  const double eta = wrapped(std::atan2(-r.b, r.c));
  const double r0 = r.scale * r.h, rho_scale = 1.0 / geometry_.distortion_radius;
  const DistortionFactor d = distortion_factor(geometry_.distortion, r0 * rho_scale, r.cos_angle(), r.sin_angle());
  const auto differentiate = [&](const Column& col, double step, double& radius_by, double& eta_by) {
    const double da = col[0] * step, db = col[1] * step, dc = col[2] * step;
    const double dr0 = r.scale * ((r.b * db + r.c * dc) / r.h - r.h * da / geometry_.distance * r.scale);
    eta_by = (r.b * dc - r.c * db) / (r.h * r.h);
    radius_by = dr0 * (d.value + r0 * rho_scale * d.by_rho) - r0 * d.by_angle * eta_by;
  };
  differentiate(column_y_, -geometry_.pixel_size, gradient.radius_y, gradient.eta_y);
  differentiate(column_z_, geometry_.pixel_size, gradient.radius_z, gradient.eta_z);
  const double radius = r0 * d.value;
  return {radius, std::atan(radius / geometry_.distance), eta};
}

double Projection::radius_gradient(double y, double z, GeometryGradient& gradient) const {
  const Ray r = ray(y, z);
  if (!(r.scale > 0.0) || r.h == 0.0) {
    gradient.fill(NAN_VALUE);
    return NAN_VALUE;
  }
  const double length = geometry_.distance, rho_scale = 1.0 / geometry_.distortion_radius;
  const double r0 = r.scale * r.h;
  const DistortionBasis basis = distortion_basis(r0 * rho_scale, r.cos_angle(), r.sin_angle());
  DistortionFactor d{1.0, 0.0, 0.0};
  for (std::size_t k = 0; k < N_DISTORTION; ++k) {
    d.value += geometry_.distortion[k] * basis.value[k];
    d.by_rho += geometry_.distortion[k] * basis.by_rho[k];
    d.by_angle += geometry_.distortion[k] * basis.by_angle[k];
    gradient[static_cast<std::size_t>(FIRST_DISTORTION) + k] = r0 * basis.value[k];
  }
  const double by_r0 = d.value + r0 * rho_scale * d.by_rho;
  // d radius for a change (da, db, dc) of the lab position at constant distance
  const auto by_position = [&](double da, double db, double dc) {
    const double dr0 = r.scale * ((r.b * db + r.c * dc) / r.h - r.h * da / length * r.scale);
    const double deta = (r.b * dc - r.c * db) / (r.h * r.h);
    return dr0 * by_r0 - r0 * d.by_angle * deta;
  };
  const double px = geometry_.pixel_size;
  gradient[DISTANCE] = r.h * r.a * r.scale * r.scale / (length * length) * by_r0;  // d[L/(L+a)]/dL = a/(L+a)^2
  gradient[BEAM_Y] = by_position(column_y_[0] * px, column_y_[1] * px, column_y_[2] * px);
  gradient[BEAM_Z] = -by_position(column_z_[0] * px, column_z_[1] * px, column_z_[2] * px);
  for (std::size_t k = 0; k < 3; ++k) {
    const Column& ty = tilt_y_[k];
    const Column& tz = tilt_z_[k];
    gradient[static_cast<std::size_t>(TILT_X) + k] =
        by_position(ty[0] * r.yc + tz[0] * r.zc, ty[1] * r.yc + tz[1] * r.zc, ty[2] * r.yc + tz[2] * r.zc);
  }
  return r0 * d.value;
}

void Projection::to_pixel(double radius, double eta, double& y, double& z) const {
  // Undo the distortion along the ray (eta does not change): solve r0 * D(r0) = radius by Newton's method.
  double r0 = radius;
  const double sin_eta = std::sin(eta), cos_eta = std::cos(eta);
  if (!is_zero(geometry_.distortion)) {
    constexpr int MAX_NEWTON = 50;
    const double rho_scale = 1.0 / geometry_.distortion_radius;
    for (int i = 0; i < MAX_NEWTON; ++i) {
      const DistortionFactor d = distortion_factor(geometry_.distortion, r0 * rho_scale, sin_eta, cos_eta);
      const double step = (r0 * d.value - radius) / (d.value + r0 * rho_scale * d.by_rho);
      r0 -= step;
      if (std::abs(step) <= 1e-12 * std::abs(r0) || !std::isfinite(r0)) break;
    }
  }
  // Intersect the ray through (L, -r0 sin eta, r0 cos eta) with the detector plane normal . (x - (L, 0, 0)) = 0.
  const double plane_y = -r0 * sin_eta, plane_z = r0 * cos_eta, length = geometry_.distance;
  const double along = column_x_[0] * length + column_x_[1] * plane_y + column_x_[2] * plane_z;
  const double s = column_x_[0] * length / along;
  if (!(s > 0.0)) {
    y = z = NAN_VALUE;
    return;
  }
  const double a = (s - 1.0) * length, b = s * plane_y, c = s * plane_z;
  const double yc = column_y_[0] * a + column_y_[1] * b + column_y_[2] * c;
  const double zc = column_z_[0] * a + column_z_[1] * b + column_z_[2] * c;
  y = geometry_.beam_y - yc / geometry_.pixel_size;
  z = geometry_.beam_z + zc / geometry_.pixel_size;
}

void to_polar(const Projection& projection, const double* y, const double* z, std::int64_t n, double* radius,
              double* two_theta, double* eta, int n_threads) {
  const int threads = resolve_threads(n_threads);
  (void)threads;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t i = 0; i < n; ++i) {
    const Polar p = projection.to_polar(y[i], z[i]);
    if (radius != nullptr) radius[i] = p.radius;
    if (two_theta != nullptr) two_theta[i] = p.two_theta;
    if (eta != nullptr) eta[i] = p.eta;
  }
}

void to_pixel(const Projection& projection, const double* radius, const double* eta, std::int64_t n, double* y,
              double* z, int n_threads) {
  const int threads = resolve_threads(n_threads);
  (void)threads;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t i = 0; i < n; ++i) projection.to_pixel(radius[i], eta[i], y[i], z[i]);
}

}  // namespace midas
