// Areas of polygons inside disks and wedges about the origin, edge by edge. Equations and source: polygon.hpp.
#include "polygon.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "error.hpp"
#include "geometry.hpp"

namespace midas {

namespace {

constexpr double TURN = 2.0 * PI;
constexpr double SAME_TURN = 1e-9;          // rad: edges that close a turn to within this close it exactly
constexpr double UNIFORM_TOLERANCE = 1e-9;  // of a step

// The zones of a full turn: the bins' edges from the first one, and the gap that is left.
std::vector<double> zone_edges(const std::vector<double>& edges) {
  std::vector<double> zones;
  zones.reserve(edges.size() + 1);
  for (const double e : edges) zones.push_back(e - edges.front());
  if (zones.back() > TURN - SAME_TURN) {
    if (zones.size() > 2 && !(zones[zones.size() - 2] < TURN - SAME_TURN)) {
      throw InputError("the eta bins cover more than a full turn: the last one begins " +
                       std::to_string(zones[zones.size() - 2] / PI * 180.0) + " deg after the first");
    }
    zones.back() = TURN;
  } else {
    zones.push_back(TURN);
  }
  return zones;
}

}  // namespace

Edges::Edges(std::vector<double> edges) : edges_(std::move(edges)) {
  if (edges_.size() < 2)
    throw InputError("there are " + std::to_string(edges_.size()) + " bin edges; expected at least 2");
  const double step = (edges_.back() - edges_.front()) / static_cast<double>(n_bins());
  bool uniform = true;
  for (std::size_t k = 0; k + 1 < edges_.size(); ++k) {
    if (!std::isfinite(edges_[k]) || !(edges_[k + 1] > edges_[k]) || !std::isfinite(edges_[k + 1])) {
      throw InputError("bin edges " + std::to_string(edges_[k]) + ", " + std::to_string(edges_[k + 1]) +
                       " do not ascend; expected finite, strictly ascending edges");
    }
    const double expected = edges_.front() + step * static_cast<double>(k);
    uniform = uniform && std::abs(edges_[k] - expected) <= UNIFORM_TOLERANCE * step;
  }
  if (uniform) per_step_ = 1.0 / step;
}

double EdgePiece::area_in_disk(double radius) const {
  if (farthest <= radius) return 0.5 * edge.cross;
  if (nearest >= radius) return 0.5 * radius * radius * edge.angle;
  double area = 0.5 * edge.cross - swept_beyond(edge.foot, edge.far_end, radius, angle_between);
  if (edge.near_end > 0.0) area -= swept_beyond(edge.foot, edge.near_end, radius, angle_between);
  return area;
}

EdgePiece make_piece(std::int64_t zone, const Point& start, const Point& end) {
  return make_piece(zone, start, end, std::sqrt(dot(start, start)), std::sqrt(dot(end, end)));
}

EdgePiece make_piece(std::int64_t zone, const Point& start, const Point& end, double start_radius, double end_radius) {
  EdgePiece piece;
  piece.zone = zone;
  piece.edge = swept_edge(start, end);
  piece.edge.angle = angle_between(piece.edge.cross, dot(start, end));
  piece.farthest = std::max(start_radius, end_radius);
  piece.nearest = piece.edge.near_end > 0.0 ? std::abs(piece.edge.foot) : std::min(start_radius, end_radius);
  return piece;
}

AngularZones::AngularZones(std::vector<double> edges)
    : n_bins_(Edges(edges).n_bins()), first_(edges.front()), zones_(zone_edges(edges)) {
  const auto ray = [](double angle) { return Point{std::cos(angle), std::sin(angle)}; };
  for (std::int64_t k = 0; k < n_zones(); ++k) rays_.push_back(ray(first_ + zones_[k]));
  for (std::int64_t k = 0; k < n_zones(); ++k) {
    const bool is_wide = !(zones_[k + 1] - zones_[k] < 3.14);
    const double from = zones_[k] + WIDE_MARGIN, to = zones_[k + 1] - WIDE_MARGIN;
    wedges_.push_back({is_wide ? ray(first_ + from) : rays_[static_cast<std::size_t>(k)],
                       is_wide ? ray(first_ + to) : rays_[static_cast<std::size_t>(after(k))],
                       is_wide && to - from > PI});
  }
}

double AngularZones::relative(double angle) const {
  double u = angle - first_;
  u -= TURN * std::floor(u / TURN);
  return u < TURN ? u : 0.0;
}

std::int64_t AngularZones::locate(double angle) const { return zones_.locate(relative(angle)); }

std::int64_t AngularZones::locate(const Point& p) const { return n_zones() == 1 ? 0 : locate(std::atan2(p.y, p.x)); }

// Where start + t step meets the line of a ray.
double AngularZones::crossing(std::int64_t boundary, const Point& start, const Point& step, double otherwise) const {
  const Point& ray = rays_[static_cast<std::size_t>(boundary)];
  const double side_start = cross(ray, start), side_step = cross(ray, step);
  return side_step != 0.0 ? -side_start / side_step : otherwise;
}

bool AngularZones::split_at_border(const Point& start, const Point& end, std::int64_t zone, std::int64_t next,
                                   std::vector<EdgePiece>& pieces) const {
  const bool is_forward = after(zone) == next;
  if (n_zones() < 3 || (!is_forward && after(next) != zone)) return false;
  const Point step = {end.x - start.x, end.y - start.y};
  const std::int64_t boundary = is_forward ? next : zone;
  const double t = crossing(boundary, start, step, 0.0);
  const Point middle = {start.x + t * step.x, start.y + t * step.y};
  if (!(t > 0.0 && t < 1.0 && dot(rays_[static_cast<std::size_t>(boundary)], middle) > 0.0)) return false;
  pieces.push_back(make_piece(zone, start, middle));
  pieces.push_back(make_piece(next, middle, end));
  return true;
}

void AngularZones::split(const Point& start, const Point& end, double start_angle,
                         std::vector<EdgePiece>& pieces) const {
  const Point step = {end.x - start.x, end.y - start.y};
  const double swept = cross(start, step);
  if (swept == 0.0) return;  // along a ray, or of no length: no area
  const double from = relative(start_angle), to = from + angle_between(swept, dot(start, end));
  const bool forward = swept > 0.0;
  std::int64_t zone = zones_.locate(from);
  double t = 0.0, turns = 0.0;
  Point here = start;
  while (true) {
    const std::int64_t boundary = forward ? zone + 1 : zone;
    const double limit = zones_[boundary] + turns;
    if (forward ? to <= limit : to >= limit) break;
    const double next_t = std::min(1.0, std::max(t, crossing(boundary % n_zones(), start, step, t)));
    const Point next = {start.x + next_t * step.x, start.y + next_t * step.y};
    if (next_t > t) pieces.push_back(make_piece(zone, here, next));
    t = next_t;
    here = next;
    zone += forward ? 1 : -1;
    if (zone == n_zones()) {
      zone = 0;
      turns += TURN;
    } else if (zone < 0) {
      zone = n_zones() - 1;
      turns -= TURN;
    }
  }
  if (t < 1.0) pieces.push_back(make_piece(zone, here, end));
}

double polygon_area(const std::vector<Point>& vertices) {
  double sum = 0.0;
  const Point& o = vertices.front();  // from a vertex: no loss of digits far from the origin
  for (std::size_t i = 1; i + 1 < vertices.size(); ++i) {
    sum += cross({vertices[i].x - o.x, vertices[i].y - o.y}, {vertices[i + 1].x - o.x, vertices[i + 1].y - o.y});
  }
  return 0.5 * sum;
}

double polygon_sector_area(const std::vector<Point>& vertices, double inner, double outer, double from, double to) {
  const AngularZones zones({from, to});
  std::vector<EdgePiece> pieces;
  for (std::size_t i = 0; i < vertices.size(); ++i) {
    const Point &a = vertices[i], &b = vertices[(i + 1) % vertices.size()];
    zones.split(a, b, std::atan2(a.y, a.x), pieces);
  }
  double area = 0.0;
  for (const EdgePiece& piece : pieces) {
    if (piece.zone == 0) area += piece.area_in_disk(outer) - piece.area_in_disk(inner);
  }
  return area;
}

}  // namespace midas
