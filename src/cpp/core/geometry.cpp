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

constexpr int MAX_NEWTON = 50;
constexpr std::int64_t POSITIONS = 256;  // that a thread takes at a time
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
  for (const PanelShift& shift : geometry.panel_shifts)
    for (const double v : shift) sum += v;
  if (!std::isfinite(sum + geometry.parallax)) {
    throw GeometryError("the beam centre, tilts, distortion, parallax and panel shifts must all be finite numbers");
  }

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
  is_distorted_ = !is_zero(geometry.distortion);
  layout_ = geometry_.panels.get();
  place_panels();
}

void Projection::place_panels() {
  const std::size_t expected = layout_ == nullptr ? 0 : static_cast<std::size_t>(layout_->size());
  if (geometry_.panel_shifts.size() != expected) {
    throw InputError("there are " + std::to_string(geometry_.panel_shifts.size()) + " panel shifts for " +
                     std::to_string(expected) + " panels; expected one each");
  }
  for (std::size_t k = 0; k < expected; ++k) {
    const PanelShift& s = geometry_.panel_shifts[k];
    const double y = layout_->center_y(static_cast<std::int32_t>(k)),
                 z = layout_->center_z(static_cast<std::int32_t>(k));
    placed_.push_back({y, z, y + s[PANEL_SHIFT_Y], z + s[PANEL_SHIFT_Z], std::cos(s[PANEL_ROTATION]),
                       std::sin(s[PANEL_ROTATION]), s[PANEL_DISTANCE], s[PANEL_P2]});
  }
}

Projection::Ray Projection::ray(double y, double z, std::int32_t panel) const {
  Ray r;
  double forward = 0.0;
  if (panel != NO_PANEL) {
    const Placed& p = placed_[static_cast<std::size_t>(panel)];
    const double dy = y - p.center_y, dz = z - p.center_z;
    y = p.moved_y + p.cos * dy - p.sin * dz;
    z = p.moved_z + p.sin * dy + p.cos * dz;
    forward = p.distance;
  }
  r.yc = (geometry_.beam_y - y) * geometry_.pixel_size;
  r.zc = (z - geometry_.beam_z) * geometry_.pixel_size;
  r.a = column_y_[0] * r.yc + column_z_[0] * r.zc + forward;
  r.b = column_y_[1] * r.yc + column_z_[1] * r.zc;
  r.c = column_y_[2] * r.yc + column_z_[2] * r.zc;
  const double depth = geometry_.distance + r.a;
  r.scale = depth > 0.0 ? geometry_.distance / depth : NAN_VALUE;
  r.h = std::sqrt(r.b * r.b + r.c * r.c);
  return r;
}

double Projection::distorted(const Ray& r, std::int32_t panel) const {
  const double r0 = r.scale * r.h, rho = r0 / geometry_.distortion_radius;
  double d = is_distorted_ ? distortion_value(geometry_.distortion, rho, r.cos_angle(), r.sin_angle()) : 1.0;
  if (panel != NO_PANEL) d += placed_[static_cast<std::size_t>(panel)].p2 * rho * rho;
  return r0 * d;
}

double Projection::with_parallax(double radius) const {
  if (geometry_.parallax == 0.0) return radius;
  return radius + geometry_.parallax * radius / std::sqrt(geometry_.distance * geometry_.distance + radius * radius);
}

// d R / d R1 = 1 + parallax L^2 / (L^2 + R1^2)^(3/2)
double Projection::parallax_slope(double radius) const {
  if (geometry_.parallax == 0.0) return 1.0;
  const double length2 = geometry_.distance * geometry_.distance, reach2 = length2 + radius * radius;
  return 1.0 + geometry_.parallax * length2 / (reach2 * std::sqrt(reach2));
}

Polar Projection::to_polar(double y, double z, std::int32_t panel) const {
  const Ray r = ray(y, z, panel);
  if (!(r.scale > 0.0)) return {NAN_VALUE, NAN_VALUE, NAN_VALUE};
  const double radius = with_parallax(distorted(r, panel));
  return {radius, std::atan(radius / geometry_.distance), wrapped(std::atan2(-r.b, r.c))};
}

PlanePoint Projection::on_plane(double y, double z, std::int32_t panel) const {
  const Ray r = ray(y, z, panel);
  if (!(r.scale > 0.0)) return {NAN_VALUE, NAN_VALUE, NAN_VALUE};
  const double radius = with_parallax(distorted(r, panel));
  return {radius * r.sin_angle(), radius * r.cos_angle(), radius};
}

void Projection::on_plane(double y, double z, double step_y, double step_z, std::size_t n, std::int32_t panel,
                          double* vertical, double* horizontal, double* radius) const {
  for (std::size_t i = 0; i < n; ++i) {
    const PlanePoint p = on_plane(y + static_cast<double>(i) * step_y, z + static_cast<double>(i) * step_z, panel);
    vertical[i] = p.vertical;
    horizontal[i] = p.horizontal;
    radius[i] = p.radius;
  }
}

double Projection::radius(double y, double z, std::int32_t panel) const {
  return with_parallax(distorted(ray(y, z, panel), panel));
}

Polar Projection::to_polar(double y, double z, std::int32_t panel, PixelGradient& gradient) const {
  const Ray r = ray(y, z, panel);
  if (!(r.scale > 0.0) || r.h == 0.0) {
    // At the beam itself the direction of eta, and with it every derivative, is undefined.
    gradient = {NAN_VALUE, NAN_VALUE, NAN_VALUE, NAN_VALUE};
    return to_polar(y, z, panel);
  }
  const double eta = wrapped(std::atan2(-r.b, r.c));
  const double r0 = r.scale * r.h, rho_scale = 1.0 / geometry_.distortion_radius, rho = r0 * rho_scale;
  DistortionFactor d;
  if (is_distorted_) d = distortion_factor(geometry_.distortion, rho, r.cos_angle(), r.sin_angle());
  double turned_cos = 1.0, turned_sin = 0.0;
  if (panel != NO_PANEL) {
    const Placed& p = placed_[static_cast<std::size_t>(panel)];
    d.value += p.p2 * rho * rho;
    d.by_rho += 2.0 * p.p2 * rho;
    turned_cos = p.cos;
    turned_sin = p.sin;
  }
  const double measured = r0 * d.value, slope = parallax_slope(measured);
  // d / d of a step (dy, dz) [px] on the detector, after the panel's rotation
  const auto differentiate = [&](double dy, double dz, double& radius_by, double& eta_by) {
    const double step_y = -geometry_.pixel_size * dy, step_z = geometry_.pixel_size * dz;
    const double da = column_y_[0] * step_y + column_z_[0] * step_z;
    const double db = column_y_[1] * step_y + column_z_[1] * step_z;
    const double dc = column_y_[2] * step_y + column_z_[2] * step_z;
    const double dr0 = r.scale * ((r.b * db + r.c * dc) / r.h - r.h * da / geometry_.distance * r.scale);
    eta_by = (r.b * dc - r.c * db) / (r.h * r.h);
    radius_by = slope * (dr0 * (d.value + rho * d.by_rho) - r0 * d.by_angle * eta_by);
  };
  differentiate(turned_cos, turned_sin, gradient.radius_y, gradient.eta_y);
  differentiate(-turned_sin, turned_cos, gradient.radius_z, gradient.eta_z);
  const double radius = with_parallax(measured);
  return {radius, std::atan(radius / geometry_.distance), eta};
}

double Projection::radius_gradient(double y, double z, std::int32_t panel, GeometryGradient& gradient,
                                   PanelGradient& by_panel) const {
  const Ray r = ray(y, z, panel);
  if (!(r.scale > 0.0) || r.h == 0.0) {
    gradient.fill(NAN_VALUE);
    by_panel.fill(NAN_VALUE);
    return NAN_VALUE;
  }
  const double length = geometry_.distance, rho_scale = 1.0 / geometry_.distortion_radius;
  const double r0 = r.scale * r.h, rho = r0 * rho_scale;
  const double p2 = panel == NO_PANEL ? 0.0 : placed_[static_cast<std::size_t>(panel)].p2;
  const DistortionBasis basis = distortion_basis(rho, r.cos_angle(), r.sin_angle());
  DistortionFactor d{1.0 + p2 * rho * rho, 2.0 * p2 * rho, 0.0};
  for (std::size_t k = 0; k < N_DISTORTION; ++k) {
    d.value += geometry_.distortion[k] * basis.value[k];
    d.by_rho += geometry_.distortion[k] * basis.by_rho[k];
    d.by_angle += geometry_.distortion[k] * basis.by_angle[k];
  }
  const double measured = r0 * d.value, slope = parallax_slope(measured);
  for (std::size_t k = 0; k < N_DISTORTION; ++k)
    gradient[static_cast<std::size_t>(FIRST_DISTORTION) + k] = slope * r0 * basis.value[k];
  const double by_r0 = slope * (d.value + rho * d.by_rho), by_eta = slope * r0 * d.by_angle;
  // d radius for a change (da, db, dc) of the lab position at constant distance
  const auto by_position = [&](double da, double db, double dc) {
    const double dr0 = r.scale * ((r.b * db + r.c * dc) / r.h - r.h * da / length * r.scale);
    const double deta = (r.b * dc - r.c * db) / (r.h * r.h);
    return dr0 * by_r0 - by_eta * deta;
  };
  const double px = geometry_.pixel_size, reach = std::sqrt(length * length + measured * measured);
  gradient[PARALLAX] = measured / reach;
  gradient[DISTANCE] = r.h * r.a * r.scale * r.scale / (length * length) * by_r0  // d[L/(L+a)]/dL = a/(L+a)^2
                       - geometry_.parallax * measured * length / (reach * reach * reach);
  gradient[BEAM_Y] = by_position(column_y_[0] * px, column_y_[1] * px, column_y_[2] * px);
  gradient[BEAM_Z] = -by_position(column_z_[0] * px, column_z_[1] * px, column_z_[2] * px);
  for (std::size_t k = 0; k < 3; ++k) {
    const Column& ty = tilt_y_[k];
    const Column& tz = tilt_z_[k];
    gradient[static_cast<std::size_t>(TILT_X) + k] =
        by_position(ty[0] * r.yc + tz[0] * r.zc, ty[1] * r.yc + tz[1] * r.zc, ty[2] * r.yc + tz[2] * r.zc);
  }
  by_panel.fill(0.0);
  if (panel != NO_PANEL) {
    const Placed& p = placed_[static_cast<std::size_t>(panel)];
    const double dy = y - p.center_y, dz = z - p.center_z;
    // A panel moved one way sees what all panels see with the beam moved the other way.
    by_panel[PANEL_SHIFT_Y] = -gradient[BEAM_Y];
    by_panel[PANEL_SHIFT_Z] = -gradient[BEAM_Z];
    by_panel[PANEL_ROTATION] =
        by_panel[PANEL_SHIFT_Y] * (-p.sin * dy - p.cos * dz) + by_panel[PANEL_SHIFT_Z] * (p.cos * dy - p.sin * dz);
    by_panel[PANEL_DISTANCE] = -r0 * r.scale / length * by_r0;
    by_panel[PANEL_P2] = slope * r0 * rho * rho;
  }
  return with_parallax(measured);
}

// Newton's method on R1 + parallax sin(atan(R1 / L)) = radius.
double Projection::without_parallax(double radius) const {
  if (geometry_.parallax == 0.0) return radius;
  double measured = radius;
  for (int i = 0; i < MAX_NEWTON; ++i) {
    const double step = (with_parallax(measured) - radius) / parallax_slope(measured);
    measured -= step;
    if (std::abs(step) <= 1e-12 * std::abs(measured) || !std::isfinite(measured)) break;
  }
  return measured;
}

// Newton's method on r0 D(r0) = radius along the ray: eta does not change.
double Projection::undistorted(double radius, double sin_eta, double cos_eta, double p2) const {
  if (!is_distorted_ && p2 == 0.0) return radius;
  const double rho_scale = 1.0 / geometry_.distortion_radius;
  double r0 = radius;
  for (int i = 0; i < MAX_NEWTON; ++i) {
    const double rho = r0 * rho_scale;
    DistortionFactor d = distortion_factor(geometry_.distortion, rho, sin_eta, cos_eta);
    d.value += p2 * rho * rho;
    d.by_rho += 2.0 * p2 * rho;
    const double step = (r0 * d.value - radius) / (d.value + rho * d.by_rho);
    r0 -= step;
    if (std::abs(step) <= 1e-12 * std::abs(r0) || !std::isfinite(r0)) break;
  }
  return r0;
}

void Projection::to_pixel(double radius, double eta, double& y, double& z) const {
  to_pixel(radius, eta, NO_PANEL, y, z);
  if (layout_ == nullptr) return;
  // The panel of the nominal position, unless its own shift puts the position on a neighbour.
  constexpr int MOST_TRIES = 4;
  std::int32_t panel = layout_->find(y, z);
  for (int i = 0; i < MOST_TRIES && std::isfinite(y); ++i) {
    to_pixel(radius, eta, panel, y, z);
    const std::int32_t found = layout_->find(y, z);
    if (found == panel) break;
    panel = found;
  }
}

void Projection::to_pixel(double radius, double eta, std::int32_t panel, double& y, double& z) const {
  const Placed* placed = panel == NO_PANEL ? nullptr : &placed_[static_cast<std::size_t>(panel)];
  const double sin_eta = std::sin(eta), cos_eta = std::cos(eta);
  const double r0 = undistorted(without_parallax(radius), sin_eta, cos_eta, placed == nullptr ? 0.0 : placed->p2);
  // Intersect the ray through (L, -r0 sin eta, r0 cos eta) with the panel's plane normal . (x - (L', 0, 0)) = 0.
  const double length = geometry_.distance, stands_at = length + (placed == nullptr ? 0.0 : placed->distance);
  const double plane_y = -r0 * sin_eta, plane_z = r0 * cos_eta;
  const double along = column_x_[0] * length + column_x_[1] * plane_y + column_x_[2] * plane_z;
  const double s = column_x_[0] * stands_at / along;
  if (!(s > 0.0)) {
    y = z = NAN_VALUE;
    return;
  }
  const double a = s * length - stands_at, b = s * plane_y, c = s * plane_z;
  const double yc = column_y_[0] * a + column_y_[1] * b + column_y_[2] * c;
  const double zc = column_z_[0] * a + column_z_[1] * b + column_z_[2] * c;
  y = geometry_.beam_y - yc / geometry_.pixel_size;
  z = geometry_.beam_z + zc / geometry_.pixel_size;
  if (placed == nullptr) return;
  const double dy = y - placed->moved_y, dz = z - placed->moved_z;
  y = placed->center_y + placed->cos * dy + placed->sin * dz;
  z = placed->center_z - placed->sin * dy + placed->cos * dz;
}

void to_polar(const Projection& projection, const double* y, const double* z, std::int64_t n, double* radius,
              double* two_theta, double* eta, int n_threads) {
  parallel_for_blocks(n, POSITIONS, resolve_threads(n_threads), [&](std::int64_t i) {
    const Polar p = projection.to_polar(y[i], z[i]);
    if (radius != nullptr) radius[i] = p.radius;
    if (two_theta != nullptr) two_theta[i] = p.two_theta;
    if (eta != nullptr) eta[i] = p.eta;
  });
}

void to_pixel(const Projection& projection, const double* radius, const double* eta, std::int64_t n, double* y,
              double* z, int n_threads) {
  parallel_for_blocks(n, POSITIONS, resolve_threads(n_threads),
                      [&](std::int64_t i) { projection.to_pixel(radius[i], eta[i], y[i], z[i]); });
}

}  // namespace midas
