// Cuts one mapped pixel by rays, then each zone's pieces of its edges by circles. Equations: polygon.hpp.
#include "pixel_cuts.hpp"

#include <algorithm>
#include <cmath>

namespace midas {

const std::vector<Part>& PixelCutter::cut(const std::array<Corner, 4>& corners) {
  parts_.clear();
  double nearest = corners[0].radius, farthest = nearest;
  for (const Corner& corner : corners) {
    if (!std::isfinite(corner.radius)) return parts_;  // at or behind the sample
    nearest = std::min(nearest, corner.radius);
    farthest = std::max(farthest, corner.radius);
  }
  if (farthest <= radii_.front()) return parts_;
  double reach = 0.0;
  for (std::size_t i = 0; i < 4; ++i) {
    const Point &a = corners[i].at, &b = corners[(i + 1) % 4].at;
    reach = std::max(reach, std::abs(b.x - a.x) + std::abs(b.y - a.y));
  }
  if (!(nearest - reach < radii_.back())) return parts_;
  const bool at_origin = nearest <= reach;  // which may lie inside, on an edge or on a corner
  split(corners);
  const Point diagonal = {corners[2].at.x - corners[0].at.x, corners[2].at.y - corners[0].at.y};
  const Point other = {corners[3].at.x - corners[1].at.x, corners[3].at.y - corners[1].at.y};
  const double sign = cross(diagonal, other) < 0.0 ? -1.0 : 1.0;
  const EdgePiece *first = pieces_.data(), *end = first + pieces_.size();
  while (first != end) {
    const EdgePiece* last = first;
    while (last != end && last->zone == first->zone) ++last;
    if (first->zone < zones_.n_bins()) cut_zone(first, last, sign, at_origin);
    first = last;
  }
  return parts_;
}

void PixelCutter::split(const std::array<Corner, 4>& corners) {
  pieces_.clear();
  for (std::size_t i = 0; i < 4; ++i) {
    const Corner &a = corners[i], &b = corners[(i + 1) % 4];
    if (zones_.n_zones() == 1 || (a.zone >= 0 && a.zone == b.zone)) {
      pieces_.push_back(make_piece(zones_.n_zones() == 1 ? 0 : a.zone, a.at, b.at, a.radius, b.radius));
      continue;
    }
    if (a.zone >= 0 && b.zone >= 0 && zones_.split_at_border(a.at, b.at, a.zone, b.zone, pieces_)) continue;
    zones_.split(a.at, b.at, std::atan2(a.at.y, a.at.x), pieces_);
  }
  sort_by_zone();
}

void PixelCutter::sort_by_zone() {
  constexpr std::size_t FEW = 32;
  if (pieces_.size() > FEW) {
    std::stable_sort(pieces_.begin(), pieces_.end(),
                     [](const EdgePiece& a, const EdgePiece& b) { return a.zone < b.zone; });
    return;
  }
  for (std::size_t i = 1; i < pieces_.size(); ++i) {
    const EdgePiece piece = pieces_[i];
    std::size_t j = i;
    for (; j > 0 && pieces_[j - 1].zone > piece.zone; --j) pieces_[j] = pieces_[j - 1];
    pieces_[j] = piece;
  }
}

void PixelCutter::cut_zone(const EdgePiece* begin, const EdgePiece* end, double sign, bool at_origin) {
  double nearest = at_origin ? 0.0 : begin->nearest, farthest = 0.0, whole = 0.0;
  for (const EdgePiece* p = begin; p != end; ++p) {
    nearest = std::min(nearest, p->nearest);
    farthest = std::max(farthest, p->farthest);
    whole += 0.5 * p->edge.cross;
  }
  const auto inside = [&](double radius) {
    if (radius >= farthest) return whole;
    if (radius <= nearest) return 0.0;
    double area = 0.0;
    for (const EdgePiece* p = begin; p != end; ++p) area += p->area_in_disk(radius);
    return area;
  };
  std::int64_t k = std::max<std::int64_t>(0, radii_.locate(nearest));
  double below = k < radii_.n_bins() ? inside(radii_[k]) : 0.0;
  for (; k < radii_.n_bins() && radii_[k] < farthest; ++k) {
    const double above = inside(radii_[k + 1]);
    const double area = sign * (above - below);
    if (area > SLIVER) parts_.push_back({k, begin->zone, area});
    below = above;
  }
}

}  // namespace midas
