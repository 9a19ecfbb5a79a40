// core/panels without Python: the panel of every pixel, moved positions and their derivatives, the inverse, refused
// input.
#include <cmath>
#include <memory>
#include <random>

#include "check.hpp"
#include "error.hpp"
#include "fit_geometry.hpp"
#include "geometry.hpp"
#include "panels.hpp"

using midas_test::check;
using midas_test::check_close;
using midas_test::throws;

namespace {

// Columns 0..9 and 14..23, rows -2..7, 8..17 and 20..29.
midas::PanelLayout layout() { return midas::PanelLayout({{0, 9}, {14, 23}}, {{-2, 7}, {8, 17}, {20, 29}}); }

midas::Geometry tiled() {
  midas::Geometry g;
  g.distance = 1e5;
  g.beam_y = -300.0;
  g.beam_z = 40.0;
  g.pixel_size = 100.0;
  g.tilt_x = 0.1;
  g.tilt_y = 0.05;
  g.tilt_z = -0.08;
  g.distortion.fill(1e-3);
  g.distortion_radius = 5e4;
  g.parallax = 200.0;
  g.panels = std::make_shared<midas::PanelLayout>(layout());
  for (int k = 0; k < 6; ++k) {
    const double x = 0.1 * (k + 1);
    g.panel_shifts.push_back({x, -x, 0.01 * x, 100.0 * x, 1e-3 * x});
  }
  return g;
}

void test_lookup() {
  const midas::PanelLayout l = layout();
  check(l.size() == 6 && l.n_rows() == 3, "two columns of three");
  check(l.find(0.0, -2.0) == 0 && l.find(9.4, 7.4) == 0, "the first panel");
  check(l.find(11.4, 0.0) == 0 && l.find(11.6, 0.0) == 3, "a gap of four columns is halved");
  check(l.find(0.0, 7.6) == 1 && l.find(0.0, 18.0) == 1 && l.find(0.0, 19.0) == 2, "rows run fastest");
  check(l.find(-1e9, 1e9) == 2 && l.find(1e9, -1e9) == 3, "beyond the last panel is the last panel");
  check(l.find(std::nan(""), 0.0) == 0, "not a number is no crash");
  check_close(l.center_y(4), 18.5, 0.0, "centre column");
  check_close(l.center_z(4), 12.5, 0.0, "centre row");
}

void test_gradients_and_inverse() {
  std::mt19937 generator(5);
  std::uniform_real_distribution<double> y_in(1.0, 8.0), z_in(1.0, 6.0);
  const midas::Projection p(tiled());
  const double step = 1e-3;
  for (int trial = 0; trial < 200; ++trial) {
    const double y = y_in(generator) + (trial % 2 == 0 ? 0.0 : 14.0),
                 z = z_in(generator) + (trial % 3 == 0 ? 20.0 : 8.0);
    midas::PixelGradient gradient;
    const midas::Polar here = p.to_polar(y, z, gradient);
    check_close(here.radius, p.radius(y, z), 1e-9, "the radius alone is the same");
    check_close(gradient.radius_y, (p.radius(y + step, z) - p.radius(y - step, z)) / (2 * step), 1e-5,
                "d radius / d y");
    check_close(gradient.radius_z, (p.radius(y, z + step) - p.radius(y, z - step)) / (2 * step), 1e-5,
                "d radius / d z");
    const double eta_y = (p.to_polar(y + step, z).eta - p.to_polar(y - step, z).eta) / (2 * step);
    check_close(gradient.eta_y, eta_y, 1e-9, "d eta / d y");
    double back_y = 0.0, back_z = 0.0;
    p.to_pixel(here.radius, here.eta, back_y, back_z);
    check_close(back_y, y, 1e-9, "column comes back");
    check_close(back_z, z, 1e-9, "row comes back");
  }
}

void test_panel_gradient() {
  const midas::Geometry g = tiled();
  const double y = 16.0, z = 25.0;  // panel 5
  midas::GeometryGradient gradient;
  midas::PanelGradient by_panel;
  midas::Projection(g).radius_gradient(y, z, 5, gradient, by_panel);
  const double steps[] = {1e-3, 1e-3, 1e-5, 1.0, 1e-5};
  for (std::size_t k = 0; k < midas::N_PANEL_PARAMETERS; ++k) {
    midas::Geometry up = g, down = g;
    up.panel_shifts[5][k] += steps[k];
    down.panel_shifts[5][k] -= steps[k];
    const double numeric = (midas::Projection(up).radius(y, z) - midas::Projection(down).radius(y, z)) / (2 * steps[k]);
    check_close(by_panel[k], numeric, 1e-6 * std::abs(numeric) + 1e-9, "d radius / d panel parameter");
  }
  midas::Geometry up = g, down = g;
  up.parallax += 1.0;
  down.parallax -= 1.0;
  check_close(gradient[midas::PARALLAX],
              (midas::Projection(up).radius(y, z) - midas::Projection(down).radius(y, z)) / 2.0, 1e-9,
              "d radius / d parallax");
}

void test_refusals() {
  check(throws<midas::InputError>([] { midas::PanelLayout({}, {{0, 1}}); }), "no columns are refused");
  check(throws<midas::InputError>([] { midas::PanelLayout({{0, 5}, {5, 9}}, {{0, 1}}); }), "overlap is refused");
  check(throws<midas::InputError>([] { midas::PanelLayout({{0, 5}}, {{0, std::int64_t{1} << 21}}); }),
        "a panel without end is refused");
  check(throws<midas::InputError>([] {
          midas::Geometry g = tiled();
          g.panel_shifts.pop_back();
          midas::Projection p(g);
        }),
        "a panel without shift is refused");
  check(throws<midas::InputError>([] {
          const midas::Geometry g = tiled();
          const double one = 1.0;
          const std::int64_t panel = 6;
          midas::StrainPoints points{&one, &one, &one, &one, 1};
          points.panel = &panel;
          double strain = 0.0;
          midas::pseudo_strain(midas::Projection(g), points, &strain);
        }),
        "a panel that is not there is refused");
}

}  // namespace

int main() {
  test_lookup();
  test_gradients_and_inverse();
  test_panel_gradient();
  test_refusals();
  return midas_test::failures();
}
