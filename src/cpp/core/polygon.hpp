// Exact areas of straight-edged polygons cut by circles and rays about the origin.
//
// A disk and a wedge about the origin are both star-shaped seen from it, so by Green's theorem the area of a polygon
// inside them is a sum over its edges of the signed area that the ray from the origin to the edge sweeps:
//
//   A(P, disk R, wedge W) = sum over edges of  1/2 integral of min(r_edge(theta), R)^2 dtheta  over theta in W
//
// Each edge is cut where it crosses a ray. Of each of these pieces, what is swept beyond the circle is taken away from
// its triangle 1/2 cross(a, b): with the foot p of the origin on the edge's line (signed as the cross product) and s
// along the line from there, the circle is at s_R = sqrt(R^2 - p^2), and up to an end at s > s_R the edge sweeps
//
//   B(p, s, R) = 1/2 (p (s - s_R) - R^2 angle),   tan angle = p (s - s_R) / (p^2 + s s_R)
//
// beyond the disk: triangle less sector. Its derivative by s_R is 0, so rounding of the root does not matter. Nothing
// has to be closed again after a cut, so the polygon may be any simple one, contain the origin or touch it, and the
// wedge may have any opening up to a full turn.
// Areas are positive for counter-clockwise vertices, in the square of the unit of length. Angles rad, from +x toward
// +y. Source: Green's theorem, area = 1/2 closed integral of (x dy - y dx).
#ifndef MIDAS_POLYGON_HPP
#define MIDAS_POLYGON_HPP

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace midas {

struct Point {
  double x, y;
};

inline double cross(const Point& a, const Point& b) { return a.x * b.y - a.y * b.x; }
inline double dot(const Point& a, const Point& b) { return a.x * b.x + a.y * b.y; }

// Up to this tangent of an angle its series below is exact to rounding (next term x^11 / 11).
constexpr double SMALL_TANGENT = 0.02;

// The angle of a tangent below SMALL_TANGENT: a pixel far from the beam subtends no more.
inline double small_angle(double tangent) {
  const double s = tangent * tangent;
  return tangent * (1.0 - s * (1.0 / 3.0 - s * (1.0 / 5.0 - s * (1.0 / 7.0 - s * (1.0 / 9.0)))));
}

// The angle from a to b, (-pi, pi], for cross(a, b) and dot(a, b).
inline double angle_between(double cross_ab, double dot_ab) {
  if (std::abs(cross_ab) < SMALL_TANGENT * dot_ab) return small_angle(cross_ab / dot_ab);
  return std::atan2(cross_ab, dot_ab);
}

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
  std::int64_t locate(double x) const {
    if (!(x >= edges_.front())) return -1;
    if (x >= edges_.back()) return n_bins();
    if (per_step_ == 0.0) return std::upper_bound(edges_.begin(), edges_.end(), x) - edges_.begin() - 1;
    auto k = std::min(static_cast<std::int64_t>((x - edges_.front()) * per_step_), n_bins() - 1);
    while ((*this)[k] > x) --k;
    while ((*this)[k + 1] <= x) ++k;
    return k;
  }

 private:
  std::vector<double> edges_;
  double per_step_ = 0.0;  // bins per unit where the edges are uniform, else 0
};

// A straight edge seen from the origin, see above.
struct SweptEdge {
  double cross;     // cross(start, end), twice the area swept
  double angle;     // from start to end [rad]
  double foot;      // p
  double far_end;   // |s| of the end farther from the foot
  double near_end;  // |s| of the other where the foot is between them, else below 0
};

// The edge from start to end, but for its angle; a point for no length.
inline SweptEdge swept_edge(const Point& start, const Point& end) {
  const Point step = {end.x - start.x, end.y - start.y};
  // Without a branch, for loops over many edges: no length makes all of it 0.
  const double length2 = dot(step, step), per_length = 1.0 / std::sqrt(std::max(length2, 1e-300));
  const double along = cross(start, step), from = dot(start, step) * per_length, to = from + length2 * per_length;
  return {along, 0.0, along * per_length, std::max(std::abs(from), std::abs(to)), std::min(-from, to)};
}

// B(p, s, R) for R > |p|, with `angle` of a cross and a dot product: angle_between or, vectorised, small_angle.
template <class Angle>
double swept_beyond(double foot, double end, double radius, const Angle& angle) {
  const double root = std::sqrt(std::max(0.0, (radius - std::abs(foot)) * (radius + std::abs(foot))));
  const double reach = std::max(end, root), swept = foot * (reach - root);
  return 0.5 * (swept - radius * radius * angle(swept, foot * foot + reach * root));
}

// What an edge sweeps beyond a disk that is smaller than its distance from the origin.
inline double swept_beyond_short(double cross, double angle, double radius) {
  return 0.5 * (cross - radius * radius * angle);
}

// The part of a polygon's edge that lies in one zone of angle.
struct EdgePiece {
  std::int64_t zone;
  SweptEdge edge;
  double nearest, farthest;                  // smallest and largest distance from the origin
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

  // Whether a point is in a zone, both borders' own points being left to `locate`, so that a polygon whose corners all
  // are is in the zone as a whole. A wide zone (3.14 rad or more) is narrowed by WIDE_MARGIN at both ends for this, and
  // the polygon must subtend less than that, seen from outside of it.
  bool contains(std::int64_t zone, const Point& p) const {
    const Wedge& w = wedges_[static_cast<std::size_t>(zone)];
    const bool after = cross(w.from, p) > 0.0, before = cross(p, w.to) > 0.0;
    return w.is_reflex ? after || before : after && before;
  }
  static constexpr double WIDE_MARGIN = 0.05;  // rad

  // Cuts the edge start -> end at every ray and appends its pieces; start_angle is the direction of start [rad].
  void split(const Point& start, const Point& end, double start_angle, std::vector<EdgePiece>& pieces) const;
  // The same, faster, for an edge between two neighbours that passes their common border: false where it does not (the
  // short way from one wide zone to the next may be by others between them), or they have two.
  bool split_at_border(const Point& start, const Point& end, std::int64_t zone, std::int64_t next,
                       std::vector<EdgePiece>& pieces) const;
  std::int64_t after(std::int64_t zone) const { return zone + 1 < n_zones() ? zone + 1 : 0; }
  std::int64_t before(std::int64_t zone) const { return zone > 0 ? zone - 1 : n_zones() - 1; }

 private:
  struct Wedge {
    Point from, to;
    bool is_reflex;
  };
  double relative(double angle) const;
  double crossing(std::int64_t boundary, const Point& start, const Point& step, double otherwise) const;

  std::int64_t n_bins_;
  double first_;  // the first edge [rad]
  Edges zones_;   // from the first edge, 0 to 2 pi
  std::vector<Point> rays_;
  std::vector<Wedge> wedges_;  // what `contains` takes for each zone
};

double polygon_area(const std::vector<Point>& vertices);

// The area inside inner <= r < outer, from <= angle < to [rad]; to - from at most a full turn.
double polygon_sector_area(const std::vector<Point>& vertices, double inner, double outer, double from, double to);

}  // namespace midas

#endif
