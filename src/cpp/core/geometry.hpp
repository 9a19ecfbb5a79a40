// The detector model: pixel (y, z) -> (radius, two_theta, eta), its derivatives and its inverse.
//
// The only place where a pixel becomes an angle. Y is the column, Z the row, integers are pixel centres; beam along +X,
// Z up; lengths um, angles rad.
//
//   Yc = (beam_y - y) * pixel_size            Zc = (z - beam_z) * pixel_size
//   (a, b, c) = Rx(tilt_x) Ry(tilt_y) Rz(tilt_z) (0, Yc, Zc)
//   R0  = L / (L + a) * hypot(b, c)           projected from the sample on the untilted plane at distance L
//   eta = atan2(-b, c)                        0 is up, +90 deg is toward increasing column
//   R1  = R0 * D(R0 / distortion_radius, 90 deg - eta)
//   R   = R1 + parallax * sin(atan(R1 / L))          two_theta = atan(R / L)
//
// On a tiled detector (y, z) is first moved as its panel is (panels.hpp), L + a becomes L + panel distance + a, and the
// panel's p2 joins the coefficient of rho^2. Source: the MIDAS detector model
// (docs/physics/geometry.md); D is in distortion.hpp.
#ifndef MIDAS_GEOMETRY_HPP
#define MIDAS_GEOMETRY_HPP

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "distortion.hpp"
#include "panels.hpp"

namespace midas {

constexpr double PI = 3.14159265358979323846;

struct Geometry {
  double distance = 0.0;    // sample to detector along the beam [um]
  double beam_y = 0.0;      // column of the direct beam [px]
  double beam_z = 0.0;      // row of the direct beam [px]
  double pixel_size = 0.0;  // [um]
  double tilt_x = 0.0;      // about the beam [rad]
  double tilt_y = 0.0;      // [rad]
  double tilt_z = 0.0;      // [rad]
  Distortion distortion{};
  double distortion_radius = 1.0;               // normalises R0 in the distortion [um]
  double parallax = 0.0;                        // [um]
  std::shared_ptr<const PanelLayout> panels{};  // null: one piece
  std::vector<PanelShift> panel_shifts{};       // of each panel
};

struct Polar {
  double radius;     // on the untilted, undistorted plane at `distance` [um]
  double two_theta;  // [rad]
  double eta;        // [-pi, pi) [rad]
};

// The parameters of the model in the order of every gradient: six of the geometry, the distortion coefficients,
// parallax.
enum GeometryParameter : int {
  DISTANCE = 0,
  BEAM_Y,
  BEAM_Z,
  TILT_X,
  TILT_Y,
  TILT_Z,
  FIRST_DISTORTION,
  PARALLAX = FIRST_DISTORTION + N_DISTORTION,
  N_GEOMETRY_PARAMETERS
};

using GeometryGradient = std::array<double, N_GEOMETRY_PARAMETERS>;

// A direction and radius as a point of the untilted plane at the distance L, without a call of a trigonometric
// function.
struct PlanePoint {
  double vertical, horizontal;  // R cos eta, R sin eta [um]
  double radius;                // R [um]
};

// First derivatives of (radius, eta) by the pixel position.
struct PixelGradient {
  double radius_y, radius_z;  // [um / px]
  double eta_y, eta_z;        // [rad / px]
};

// A geometry made ready for many pixels. Immutable; safe to share between threads.
//
// Each method looks the position's panel up, or takes the panel it is to use (NO_PANEL: none): a corner between two
// panels belongs to both.
class Projection {
 public:
  // Throws GeometryError on a non-finite value, a distance, pixel size or distortion radius that is not positive, and
  // InputError unless there is one shift a panel.
  explicit Projection(const Geometry& geometry);

  const Geometry& geometry() const { return geometry_; }

  std::int32_t panel_at(double y, double z) const { return layout_ == nullptr ? NO_PANEL : layout_->find(y, z); }

  // NaN in every field where the pixel lies at or behind the sample plane (L + a <= 0).
  Polar to_polar(double y, double z) const { return to_polar(y, z, panel_at(y, z)); }
  Polar to_polar(double y, double z, std::int32_t panel) const;

  // The same as a point, at half the cost.
  PlanePoint on_plane(double y, double z, std::int32_t panel) const;
  // The same for the n positions (y + i step_y, z + i step_z).
  void on_plane(double y, double z, double step_y, double step_z, std::size_t n, std::int32_t panel, double* vertical,
                double* horizontal, double* radius) const;

  // The radius alone [um], at a fraction of the cost of to_polar.
  double radius(double y, double z) const { return radius(y, z, panel_at(y, z)); }
  double radius(double y, double z, std::int32_t panel) const;

  // As to_polar; also the derivatives of (radius, eta) by (y, z).
  Polar to_polar(double y, double z, PixelGradient& gradient) const { return to_polar(y, z, panel_at(y, z), gradient); }
  Polar to_polar(double y, double z, std::int32_t panel, PixelGradient& gradient) const;

  // d radius / d parameter [um per um, px or rad, or per unit coefficient] at a fixed pixel. Returns the radius [um].
  double radius_gradient(double y, double z, GeometryGradient& gradient) const {
    PanelGradient by_panel;
    return radius_gradient(y, z, panel_at(y, z), gradient, by_panel);
  }
  // Also by the parameters of its panel (all 0 for NO_PANEL).
  double radius_gradient(double y, double z, std::int32_t panel, GeometryGradient& gradient,
                         PanelGradient& by_panel) const;

  // The pixel position where (radius [um], eta [rad]) is seen. NaN where the ray misses the detector plane. A ray that
  // passes between two panels is given on the plane of one of them; one that two panels see, on one of them.
  void to_pixel(double radius, double eta, double& y, double& z) const;
  void to_pixel(double radius, double eta, std::int32_t panel, double& y, double& z) const;

 private:
  struct Ray {
    double yc, zc;   // on the detector, from the beam centre [um]
    double a, b, c;  // the same in the lab, panel distance included in a [um]
    double scale;    // L / (L + a)
    double h;        // hypot(b, c) [um]
    // cos E and sin E of the direction E = 90 deg - eta (1 and 0 at the beam, where it is undefined and D is 1)
    double cos_angle() const { return h > 0.0 ? -b / h : 1.0; }
    double sin_angle() const { return h > 0.0 ? c / h : 0.0; }
  };
  struct Placed {                                 // a panel as it stands
    double center_y, center_z, moved_y, moved_z;  // nominal and moved centre [px]
    double cos, sin;                              // of its rotation
    double distance, p2;
  };
  void place_panels();
  Ray ray(double y, double z, std::int32_t panel) const;
  double distorted(const Ray& r, std::int32_t panel) const;
  double undistorted(double radius, double sin_eta, double cos_eta, double p2) const;
  double with_parallax(double radius) const;
  double without_parallax(double radius) const;
  double parallax_slope(double radius) const;

  Geometry geometry_;
  const PanelLayout* layout_ = nullptr;
  bool is_distorted_ = false;  // any coefficient but zero
  std::vector<Placed> placed_;
  using Column = std::array<double, 3>;
  Column column_y_, column_z_;             // T . e_y, T . e_z
  Column column_x_;                        // T . e_x, the detector's normal
  std::array<Column, 3> tilt_y_, tilt_z_;  // d column_y_ / d tilt_k and d column_z_ / d tilt_k, k = x, y, z
};

// Arrays of n positions. Outputs have n elements each; any output pointer may be null.
void to_polar(const Projection& projection, const double* y, const double* z, std::int64_t n, double* radius,
              double* two_theta, double* eta, int n_threads);
void to_pixel(const Projection& projection, const double* radius, const double* eta, std::int64_t n, double* y,
              double* z, int n_threads);

}  // namespace midas

#endif
