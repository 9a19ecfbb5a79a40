// core/geometry without Python: hand cases, the pixel gradient against difference quotients, the inverse, refused
// input.
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "check.hpp"
#include "error.hpp"
#include "geometry.hpp"

using midas_test::check;
using midas_test::check_close;
using midas_test::throws;

namespace {

midas::Geometry flat() {
  midas::Geometry g;
  g.distance = 1e6;
  g.beam_y = 100.0;
  g.beam_z = 50.0;
  g.pixel_size = 200.0;
  g.distortion.fill(0.0);
  g.distortion_radius = 2e5;
  return g;
}

midas::Geometry random_geometry(std::mt19937& generator) {
  std::uniform_real_distribution<double> uniform(-1.0, 1.0);
  midas::Geometry g = flat();
  g.distance = 5e5 * (1.0 + 0.5 * uniform(generator));
  g.beam_y = 500.0 * (1.0 + uniform(generator));
  g.beam_z = 500.0 * (1.0 + uniform(generator));
  g.tilt_x = 3.0 * uniform(generator);
  g.tilt_y = 0.3 * uniform(generator);
  g.tilt_z = 0.3 * uniform(generator);
  for (double& c : g.distortion) c = 0.003 * uniform(generator);
  return g;
}

void test_by_hand() {
  const midas::Projection p(flat());
  const midas::Polar right = p.to_polar(110.0, 50.0), up = p.to_polar(100.0, 60.0), down = p.to_polar(100.0, 40.0);
  check_close(right.radius, 2000.0, 1e-9, "radius of ten pixels");
  check_close(right.two_theta, std::atan(2e-3), 1e-15, "two_theta");
  check_close(right.eta, midas::PI / 2, 1e-15, "+90 deg is toward increasing column");
  check_close(up.eta, 0.0, 0.0, "0 is up");
  check(down.eta == -midas::PI, "straight down is -180 deg, not +180");
}

void test_pixel_gradient() {
  std::mt19937 generator(7);
  std::uniform_real_distribution<double> position(0.0, 1000.0);
  const double step = 1e-3;
  for (int trial = 0; trial < 300; ++trial) {
    const midas::Projection p(random_geometry(generator));
    const double y = position(generator), z = position(generator);
    midas::PixelGradient gradient;
    const midas::Polar here = p.to_polar(y, z, gradient);
    if (here.radius < 50.0 * 200.0) continue;  // near the beam eta turns too fast for a quotient
    check_close(here.radius, p.to_polar(y, z).radius, 1e-9, "both overloads agree");
    const midas::Polar right = p.to_polar(y + step, z), left = p.to_polar(y - step, z);
    const midas::Polar above = p.to_polar(y, z + step), below = p.to_polar(y, z - step);
    check_close(gradient.radius_y, (right.radius - left.radius) / (2 * step), 1e-4, "d radius / d y");
    check_close(gradient.radius_z, (above.radius - below.radius) / (2 * step), 1e-4, "d radius / d z");
    if (std::abs(here.eta) > 3.1) continue;  // the quotient would cross the seam
    check_close(gradient.eta_y, (right.eta - left.eta) / (2 * step), 1e-8, "d eta / d y");
    check_close(gradient.eta_z, (above.eta - below.eta) / (2 * step), 1e-8, "d eta / d z");
  }
}

void test_round_trip() {
  std::mt19937 generator(11);
  std::uniform_real_distribution<double> position(0.0, 1000.0);
  for (int trial = 0; trial < 300; ++trial) {
    const midas::Projection p(random_geometry(generator));
    const double y = position(generator), z = position(generator);
    const midas::Polar polar = p.to_polar(y, z);
    double back_y = 0.0, back_z = 0.0;
    p.to_pixel(polar.radius, polar.eta, back_y, back_z);
    check_close(back_y, y, 1e-7, "column comes back");
    check_close(back_z, z, 1e-7, "row comes back");
  }
}

void test_threads() {
  std::mt19937 generator(13);
  std::uniform_real_distribution<double> position(0.0, 1000.0);
  const midas::Projection p(random_geometry(generator));
  constexpr std::int64_t n = 5003;
  std::vector<double> y(n), z(n);
  for (std::int64_t i = 0; i < n; ++i) {
    y[static_cast<std::size_t>(i)] = position(generator);
    z[static_cast<std::size_t>(i)] = position(generator);
  }
  std::vector<double> one(n), many(n);
  midas::to_polar(p, y.data(), z.data(), n, one.data(), nullptr, nullptr, 1);
  for (const int threads : {2, 7}) {
    midas::to_polar(p, y.data(), z.data(), n, many.data(), nullptr, nullptr, threads);
    check(std::memcmp(one.data(), many.data(), n * sizeof(double)) == 0, "the same bytes for any thread count");
  }
}

void test_no_answer_is_nan() {
  midas::Geometry g = flat();
  g.distance = 1e4;
  g.tilt_y = 1.4;
  const midas::Projection p(g);
  check(std::isnan(p.to_polar(100.0, -2000.0).radius), "a pixel behind the sample has no radius");
  double y = 0.0, z = 0.0;
  p.to_pixel(1e6, 0.0, y, z);  // this ray runs away from the plane
  check(std::isnan(y) && std::isnan(z), "a ray that misses the detector has no pixel");
  midas::PixelGradient gradient;
  midas::Projection(flat()).to_polar(100.0, 50.0, gradient);
  check(std::isnan(gradient.radius_y), "at the beam the direction is undefined");
}

void test_refusals() {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double bad : {0.0, -1.0, nan}) {
    check(throws<midas::GeometryError>([bad] {
            midas::Geometry g = flat();
            g.distance = bad;
            midas::Projection p(g);
          }),
          "an impossible distance is refused");
    check(throws<midas::GeometryError>([bad] {
            midas::Geometry g = flat();
            g.distortion_radius = bad;
            midas::Projection p(g);
          }),
          "an impossible distortion radius is refused");
  }
  check(throws<midas::GeometryError>([nan] {
          midas::Geometry g = flat();
          g.tilt_z = nan;
          midas::Projection p(g);
        }),
        "a tilt that is not a number is refused");
}

}  // namespace

int main() {
  test_by_hand();
  test_pixel_gradient();
  test_round_trip();
  test_threads();
  test_no_answer_is_nan();
  test_refusals();
  return midas_test::failures();
}
