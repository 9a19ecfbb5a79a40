// Areas of polygons cut by circles and rays: by hand, by additivity, and against a count of points.
#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <vector>

#include "check.hpp"
#include "error.hpp"
#include "geometry.hpp"
#include "polygon.hpp"

using midas::PI;
using midas::Point;
using midas_test::check;
using midas_test::check_close;

namespace {

using Polygon = std::vector<Point>;

Polygon square(double x, double y, double side) { return {{x, y}, {x + side, y}, {x + side, y + side}, {x, y + side}}; }

double disk(const Polygon& p, double radius) { return midas::polygon_sector_area(p, 0.0, radius, -PI, PI); }

void test_by_hand() {
  const Polygon centred = square(-1.0, -1.0, 2.0);
  check_close(disk(centred, 1.0), PI, 1e-14, "the inscribed disk of a square");
  check_close(disk(centred, 0.3), PI * 0.09, 1e-15, "a small disk in a square");
  check_close(disk(centred, 2.0), 4.0, 1e-14, "a disk around a square");
  // Radius sqrt 2 / sqrt(3/2)...: square of half side 1, disk of radius 2 / sqrt 3 cuts 4 segments of half angle 30
  // deg.
  const double r = 2.0 / std::sqrt(3.0), segment = 0.5 * r * r * (PI / 3.0 - std::sin(PI / 3.0));
  check_close(disk(centred, r), PI * r * r - 4.0 * segment, 1e-14, "a disk that crosses all four sides");
  // The corner at the origin: a quarter disk.
  check_close(disk(square(0.0, 0.0, 5.0), 2.0), PI, 1e-14, "a disk about a vertex");
  // The origin on an edge: half a disk.
  check_close(disk(square(-2.0, 0.0, 4.0), 1.0), 0.5 * PI, 1e-14, "a disk about a point of an edge");
  check_close(midas::polygon_sector_area(centred, 0.0, 9.0, 0.0, PI / 4.0), 0.5, 1e-15, "an eighth of a square");
  check_close(midas::polygon_sector_area(centred, 0.0, 9.0, 0.0, 1.5 * PI), 3.0, 1e-14, "a wedge of 270 deg");
  check_close(midas::polygon_sector_area(centred, 0.0, 9.0, 0.0, PI), 2.0, 1e-14, "a wedge of 180 deg");
  check_close(midas::polygon_sector_area(centred, 0.5, 1.0, 0.1, 0.1 + 2.0 * PI), PI * 0.75, 1e-14, "a full ring");
  check_close(midas::polygon_sector_area(square(2.0, -0.5, 1.0), 0.0, 9.0, 3.5 * PI, 4.0 * PI), 0.5, 1e-14,
              "a wedge some turns away");
  check_close(disk(square(3.0, 3.0, 1.0), 4.0), 0.0, 1e-15, "a disk that ends before the square");
}

// A thin pixel far out: an arc of nearly a straight line. Compared with the integral of the arc across the pixel.
void test_far_pixel() {
  const double x = 2000.0, radius = 2000.5;
  const Polygon p = square(x, -0.5, 1.0);
  // integral over y in [-1/2, 1/2] of sqrt(radius^2 - y^2) - x
  const double expected = 0.5 * std::sqrt(radius * radius - 0.25) + radius * radius * std::asin(0.5 / radius) - x;
  check_close(disk(p, radius), expected, 1e-9, "the part of a far pixel inside an arc");
}

void test_signs_and_shapes() {
  Polygon p = {{1.0, 0.2}, {3.0, 0.1}, {1.5, 0.6}, {2.5, 2.0}};  // an arrowhead: not convex
  double sum = 0.0;
  for (int k = 0; k < 20; ++k) {
    for (int j = 0; j < 12; ++j) {
      sum += midas::polygon_sector_area(p, 0.2 * k, 0.2 * (k + 1), j * PI / 6.0 - 2.0, (j + 1) * PI / 6.0 - 2.0);
    }
  }
  check_close(sum, midas::polygon_area(p), 1e-13, "the sectors of a non-convex polygon add up to it");
  const Polygon reversed(p.rbegin(), p.rend());
  check_close(midas::polygon_sector_area(reversed, 1.0, 2.0, 0.0, 0.3),
              -midas::polygon_sector_area(p, 1.0, 2.0, 0.0, 0.3), 1e-15, "clockwise is negative");
}

// Random quadrilaterals about and beside the origin against a grid of points.
void test_against_points() {
  std::mt19937 generator(7);
  std::uniform_real_distribution<double> uniform(-1.0, 1.0);
  for (int trial = 0; trial < 40; ++trial) {
    const double cx = uniform(generator), cy = uniform(generator), turn = PI * uniform(generator),
                 size = 0.8 + 0.5 * uniform(generator);
    Polygon p;
    for (int k = 0; k < 4; ++k) {
      const double a = turn + PI / 2.0 * k + 0.3 * uniform(generator);
      p.push_back({cx + size * std::cos(a), cy + size * std::sin(a)});
    }
    const double inner = 0.5 * (1.0 + uniform(generator)), outer = inner + 0.2 + 0.8 * (1.0 + uniform(generator));
    const double from = 4.0 * uniform(generator), to = from + PI * (1.0 + 0.99 * uniform(generator));
    const int n = 700;
    const double low = -2.5, step = 5.0 / n;
    long inside = 0;
    for (int i = 0; i < n; ++i) {
      for (int j = 0; j < n; ++j) {
        const Point at = {low + step * (i + 0.5), low + step * (j + 0.5)};
        const double radius = std::hypot(at.x, at.y);
        if (radius < inner || radius >= outer) continue;
        const double turned = std::remainder(std::atan2(at.y, at.x) - from, 2.0 * PI);
        if ((turned < 0.0 ? turned + 2.0 * PI : turned) >= to - from) continue;
        bool in = true;
        for (std::size_t k = 0; k < 4 && in; ++k) {
          const Point &a = p[k], &b = p[(k + 1) % 4];
          in = midas::cross({b.x - a.x, b.y - a.y}, {at.x - a.x, at.y - a.y}) >= 0.0;
        }
        inside += in;
      }
    }
    // A boundary of length ~10 crosses ~1400 cells, each counted to within +-1/2 at random: 20 cells of 5e-5.
    check_close(midas::polygon_sector_area(p, inner, outer, from, to), static_cast<double>(inside) * step * step, 4e-3,
                "a random quadrilateral against a count of points");
  }
}

void test_edges() {
  const midas::Edges uniform({0.0, 0.5, 1.0, 1.5}), any({1.0, 2.0, 4.0, 8.0});
  check(uniform.locate(-1e-9) == -1 && uniform.locate(0.0) == 0 && uniform.locate(1.0) == 2, "uniform edges");
  check(uniform.locate(1.5) == 3 && uniform.locate(1.4999) == 2, "the last uniform edge");
  check(any.locate(0.5) == -1 && any.locate(3.9) == 1 && any.locate(4.0) == 2 && any.locate(9.0) == 3, "any edges");
  check(midas_test::throws<midas::InputError>([] { midas::Edges({1.0}); }), "one edge is refused");
  check(midas_test::throws<midas::InputError>([] { midas::Edges({1.0, 1.0}); }), "equal edges are refused");
  check(midas_test::throws<midas::InputError>([] { midas::Edges({0.0, std::nan("")}); }), "a NaN edge is refused");
  check(midas_test::throws<midas::InputError>([] { midas::AngularZones({0.0, 4.0, 7.0, 8.0}); }),
        "more than a turn is refused");
  for (double x : {1e-8, 1e-3, 0.0199, 0.0201, 0.5, 3.0}) {
    check_close(midas::angle_between(std::sin(x), std::cos(x)) / x, 1.0, 1e-15, "the angle between two directions");
  }
}

// What an edge sweeps beyond a circle, against the integral 1/2 (r^2 - R^2) dtheta along it by the midpoint rule, with
// both ends beyond the circle, one, or none.
void test_swept_beyond() {
  const std::vector<std::array<Point, 2>> edges = {{{{3.0, -2.0}, {3.0, 2.5}}},
                                                   {{{3.0, 0.5}, {3.5, 2.0}}},
                                                   {{{-1.0, 0.1}, {2.0, 0.3}}},
                                                   {{{200.0, 150.0}, {200.6, 150.8}}}};
  for (const auto& [a, b] : edges) {
    const midas::SweptEdge edge = midas::swept_edge(a, b);
    const double nearest =
        edge.near_end > 0.0 ? std::abs(edge.foot) : std::min(std::hypot(a.x, a.y), std::hypot(b.x, b.y));
    const double farthest = std::max(std::hypot(a.x, a.y), std::hypot(b.x, b.y));
    for (int i = 1; i < 10; ++i) {
      const double radius = nearest + 0.1 * i * (farthest - nearest);
      double expected = 0.0;
      const int n = 400000;
      for (int j = 0; j < n; ++j) {
        const double t = (j + 0.5) / n, x = a.x + t * (b.x - a.x), y = a.y + t * (b.y - a.y), r2 = x * x + y * y;
        if (r2 > radius * radius) expected += 0.5 * (r2 - radius * radius) * edge.cross / r2 / n;
      }
      const auto small = [](double swept, double dot) { return midas::small_angle(swept / dot); };
      double found = midas::swept_beyond(edge.foot, edge.far_end, radius, midas::angle_between);
      if (edge.near_end > 0.0) found += midas::swept_beyond(edge.foot, edge.near_end, radius, midas::angle_between);
      check_close(found, expected, 1e-8, "what an edge sweeps beyond a circle");
      if (a.x > 100.0) {
        check_close(midas::swept_beyond(edge.foot, edge.far_end, radius, small), expected, 1e-8,
                    "the same by the series");
      }
    }
    // For a circle within the edge's distance: all of it less the sector.
    const double angle = midas::angle_between(edge.cross, midas::dot(a, b)), radius = 0.9 * nearest;
    check_close(midas::swept_beyond_short(edge.cross, angle, radius), 0.5 * (edge.cross - radius * radius * angle),
                1e-12, "a circle that does not reach the edge");
  }
  const midas::SweptEdge point = midas::swept_edge({3.0, 4.0}, {3.0, 4.0});
  check(point.cross == 0.0 && point.foot == 0.0, "an edge of no length sweeps nothing");
  check(midas::swept_beyond(point.foot, point.far_end, 6.0, midas::angle_between) == 0.0, "beyond no circle");
}

// An edge over the border of two zones is cut once; one that takes the short way by other zones is not.
void test_split_at_border() {
  const double deg = PI / 180.0;
  const midas::AngularZones zones({-180.0 * deg, -21.0 * deg, 15.4 * deg, 15.5 * deg});  // and the gap, zone 3
  const Point low = {1.0, -0.5}, high = {1.0, 0.5}, middle = {1.0, 0.1};
  std::vector<midas::EdgePiece> pieces;
  check(zones.contains(0, low) && zones.contains(3, high) && zones.contains(1, middle), "the zones of three points");
  check(!zones.split_at_border(low, high, 0, 3, pieces) && pieces.empty(), "zones 0 and 3 meet on the other side");
  check(zones.split_at_border(low, middle, 0, 1, pieces) && pieces.size() == 2, "zones 0 and 1 meet at -21 deg");
  check_close(pieces[0].edge.cross + pieces[1].edge.cross, midas::cross(low, middle), 1e-15, "the pieces are the edge");
  check_close(pieces[1].edge.angle, (std::atan(0.1) / deg + 21.0) * deg, 1e-14,
              "the second piece begins at the border");
  pieces.clear();
  check(zones.split_at_border({-1.0, 0.2}, {-1.0, -0.2}, 3, 0, pieces) && pieces.size() == 2, "and at 180 deg");
  // A wide zone is narrowed for `contains`.
  const midas::AngularZones half({0.0, PI});
  check(half.contains(0, {0.0, 1.0}) && half.contains(1, {0.0, -1.0}), "the middle of half a turn");
  check(!half.contains(0, {1.0, 0.01}) && !half.contains(1, {1.0, 0.01}), "near its border");
  const midas::AngularZones wide({0.0, 1.9 * PI});
  check(wide.contains(0, {-1.0, -0.1}) && !wide.contains(0, {1.0, 0.01}) && !wide.contains(0, {1.0, -0.01}),
        "a zone of 342 deg, away from the gap");
}

}  // namespace

int main() {
  test_swept_beyond();
  test_split_at_border();
  test_by_hand();
  test_far_pixel();
  test_signs_and_shapes();
  test_against_points();
  test_edges();
  return midas_test::failures();
}
