// Votes, scores and the polish on points of an untilted detector's rings.
#include <cmath>
#include <vector>

#include "check.hpp"
#include "error.hpp"
#include "ring_search.hpp"

namespace {

using midas_test::check;
using midas_test::check_close;

constexpr double BEAM_Y0 = 100.0, BEAM_Z0 = 90.0, DISTANCE0 = 1000.0;

struct Scene {
  std::vector<double> y, z, normal_y, normal_z, weight, area_y, area_z, area_weight;
  midas::RingPattern rings{{0.03, 0.045, 0.06}, {1.0, 1.0, 1.0}, {0.03}};

  Scene() {
    for (const double tangent : rings.tangent)
      for (int i = 0; i < 200; ++i) {
        const double angle = 2.0 * midas::PI * i / 200.0, r = DISTANCE0 * tangent;
        y.push_back(BEAM_Y0 + r * std::cos(angle));
        z.push_back(BEAM_Z0 + r * std::sin(angle));
        normal_y.push_back(std::cos(angle));
        normal_z.push_back(std::sin(angle));
        weight.push_back(1.0);
      }
    for (int i = 0; i < 50; ++i)
      for (int j = 0; j < 50; ++j) {
        area_y.push_back(4.0 * i + 1.5);
        area_z.push_back(4.0 * j + 1.5);
        area_weight.push_back(16.0);
      }
  }
  midas::RidgeView points() const {
    return {y.data(), z.data(), normal_y.data(), normal_z.data(), weight.data(), static_cast<std::int64_t>(y.size())};
  }
  midas::AreaView area() const {
    return {area_y.data(), area_z.data(), area_weight.data(), static_cast<std::int64_t>(area_y.size())};
  }
};

midas::Geometry geometry(double distance, double beam_y, double beam_z) {
  midas::Geometry g;
  g.distance = distance;
  g.beam_y = beam_y;
  g.beam_z = beam_z;
  g.pixel_size = 1.0;
  return g;
}

void test_votes() {
  const Scene scene;
  const auto found = midas::vote_centers(scene.points(), {{0.0, 0.0, 0.0, -50.0, -50.0}}, {150, 150, 2.0}, 1);
  check_close(found[0].y, BEAM_Y0, 2.0, "normals meet at the beam's column");
  check_close(found[0].z, BEAM_Z0, 2.0, "normals meet at the beam's row");
}

void test_aim() {
  const Scene scene;
  const auto found = midas::aim_beams({geometry(1e6, 106.0, 86.0)}, scene.points(), false, 1);
  check_close(found[0].beam_y, BEAM_Y0, 1e-6, "exact normals aim at the beam's column");
  check_close(found[0].beam_z, BEAM_Z0, 1e-6, "exact normals aim at the beam's row");
}

void test_scores() {
  const Scene scene;
  const auto found = midas::score_geometries({geometry(1000.0, BEAM_Y0, BEAM_Z0), geometry(800.0, BEAM_Y0, BEAM_Z0)},
                                             scene.points(), scene.area(), scene.rings, 1.0, 1);
  check(found[0].radial > 500.0, "the true distance explains the points");
  check(found[1].radial < 0.5 * found[0].radial, "another one does not");
  check_close(found[0].angular, found[1].angular, 1e-9, "the normals do not know the distance of an upright detector");
}

void test_polish() {
  const Scene scene;
  const auto found = midas::polish_geometries({geometry(1010.0, 101.5, 89.0)}, scene.points(), scene.area(),
                                              scene.rings, midas::PolishOptions{}, 1);
  check_close(found[0].distance, DISTANCE0, 1.0, "distance");
  check_close(found[0].beam_y, BEAM_Y0, 0.05, "beam y");
  check_close(found[0].beam_z, BEAM_Z0, 0.05, "beam z");
}

void test_refused() {
  Scene scene;
  scene.rings.tangent = {0.05, 0.03, 0.06};
  bool thrown = false;
  try {
    midas::score_geometries({geometry(1000.0, 0.0, 0.0)}, scene.points(), scene.area(), scene.rings, 1.0, 1);
  } catch (const midas::InputError&) {
    thrown = true;
  }
  check(thrown, "tangents that do not ascend are refused");
}

}  // namespace

int main() {
  test_votes();
  test_aim();
  test_scores();
  test_polish();
  test_refused();
  return midas_test::failures() == 0 ? 0 : 1;
}
