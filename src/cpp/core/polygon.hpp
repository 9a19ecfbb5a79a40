// Exact areas of straight-edged polygons cut by circles and rays about the origin.
//
// A disk and a wedge about the origin are both star-shaped seen from it, so by Green's theorem the area of a polygon
// inside them is a sum over its edges of the signed area that the ray from the origin to the edge sweeps:
//
//   A(P, disk R, wedge W) = sum over edges of  integral over theta in W along the edge of  1/2 min(r_edge(theta), R)^2
//   dtheta
//
// Each edge is cut where it crosses a ray, and each of these segments where it crosses the circle: inside it adds a
// triangle 1/2 cross(a, b), outside a sector 1/2 R^2 angle(a, b). Nothing has to be closed again after a cut, so the
// polygon may be any simple one, contain the origin or touch it, and the wedge may have any opening up to a full turn.
// Areas are positive for counter-clockwise vertices, in the square of the unit of length. Angles rad, from +x toward
// +y. Source: Green's theorem, area = 1/2 closed integral of (x dy - y dx).
#ifndef MIDAS_POLYGON_HPP
#define MIDAS_POLYGON_HPP

#include <cstdint>
#include <vector>

namespace midas {

struct Point {
  double x, y;
};

inline double cross(const Point& a, const Point& b) { return a.x * b.y - a.y * b.x; }
inline double dot(const Point& a, const Point& b) { return a.x * b.x + a.y * b.y; }

// The angle from a to b, (-pi, pi], for cross(a, b) and dot(a, b).
double angle_between(double cross_ab, double dot_ab);

// Ascending edges of bins and the bin of a value. Uniform edges are found by division, any others by bisection; the
// answer is decided by comparison with the edges themselves in both cases.
class Edges {
 public:
  // Throws InputError unless there are at least two finite, strictly ascending edges.
  explicit Edges(std::vector<double> edges);

  std::int64_t n_bins() const { return static_cast<std::int64_t>(edges_.size()) - 1; }
  double operator[](std::int64_t k) const { return edges_[static_cast<std::size_t>(k)]; }
  double front() const { return edges_.front(); }
  double back() const { return edges_.back(); }

  // The largest k with edges[k] <= x: -1 below the first edge, n_bins() at and above the last.
  std::int64_t locate(double x) const;

 private:
  std::vector<double> edges_;
  double per_step_ = 0.0;  // bins per unit where the edges are uniform, else 0
};

// The part of a polygon's edge that lies in one zone of angle.
struct EdgePiece {
  std::int64_t zone;
  Point start, step;                         // the piece runs from start to start + step
  double start_radius;                       // |start|
  double cross;                              // cross(start, end) = cross(start, step)
  double nearest, farthest;                  // smallest and largest distance from the origin
  double angle() const;                      // from start to end
  double area_in_disk(double radius) const;  // signed area swept from the origin, inside the disk
};

EdgePiece make_piece(std::int64_t zone, const Point& start, const Point& end);
// The same where the distances of both ends from the origin are known.
EdgePiece make_piece(std::int64_t zone, const Point& start, const Point& end, double start_radius, double end_radius);

// A full turn divided into the bins of eta and, where these leave a gap, one zone outside all bins (the last).
class AngularZones {
 public:
  // edges [rad], ascending, over at most a full turn; a last edge past a full turn is drawn back to it.
  explicit AngularZones(std::vector<double> edges);

  std::int64_t n_bins() const { return n_bins_; }
  std::int64_t n_zones() const { return zones_.n_bins(); }
  bool is_convex(std::int64_t zone) const { return zones_[zone + 1] - zones_[zone] < 3.14; }
  std::int64_t locate(double angle) const;
  std::int64_t locate(const Point& p) const;

  // Whether a point is in a zone, both borders' own points being left to `locate`; false for a zone of 180 deg or more.
  bool contains(std::int64_t zone, const Point& p) const {
    const auto k = static_cast<std::size_t>(zone);
    return is_convex(zone) && cross(rays_[k], p) > 0.0 && cross(p, rays_[k + 1 < rays_.size() ? k + 1 : 0]) > 0.0;
  }

  // Cuts the edge start -> end at every ray and appends its pieces; start_angle is the direction of start [rad].
  void split(const Point& start, const Point& end, double start_angle, std::vector<EdgePiece>& pieces) const;

 private:
  double relative(double angle) const;

  std::int64_t n_bins_;
  double first_;  // the first edge [rad]
  Edges zones_;   // from the first edge, 0 to 2 pi
  std::vector<Point> rays_;
};

double polygon_area(const std::vector<Point>& vertices);

// The area inside inner <= r < outer, from <= angle < to [rad]; to - from at most a full turn.
double polygon_sector_area(const std::vector<Point>& vertices, double inner, double outer, double from, double to);

}  // namespace midas

#endif
