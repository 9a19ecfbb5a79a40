// Cuts the pixels of a tile: tile_cuts.hpp.
#include "tile_cuts.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace midas {

TileCutter::TileCutter(const CakeJob& job) : job_(job), cutter_(job.radii, job.zones), entries_(job.zones.n_bins()) {}

void TileCutter::cut(const PixelBlock& tile, Strip& strip) {
  entries_.clear();
  if (job_.projection.geometry().panels == nullptr) {
    cut_block(tile, strip);
  } else {
    // Panels form a grid, so the pixels of each in the tile do as well.
    const std::int64_t end_row = tile.row + tile.n_rows, end_column = tile.column + tile.n_columns;
    for (std::int64_t row = tile.row; row < end_row;) {
      std::int64_t below = row + 1;
      while (below < end_row && panel_of(below, tile.column) == panel_of(row, tile.column)) ++below;
      for (std::int64_t column = tile.column; column < end_column;) {
        std::int64_t right = column + 1;
        while (right < end_column && panel_of(row, right) == panel_of(row, column)) ++right;
        cut_block({row, column, below - row, right - column, row - tile.row, column - tile.column}, strip);
        column = right;
      }
      row = below;
    }
  }
  entries_.append_to(strip);
}

void TileCutter::cut_block(const PixelBlock& block, Strip& strip) {
  const bool is_finite = map_corners(block);
  if (is_finite) {
    if (!measure(block)) return;
    find_zones(block);
    measure_edges(block);
    find_radii(block);
    cut_edges(block);
  } else {
    zone_.fill(-1);
  }
  for (std::int64_t i = 0; i < block.n_rows; ++i) {
    for (std::int64_t j = 0; j < block.n_columns; ++j) {
      if (job_.mask != nullptr && is_masked(block.row + i, block.column + j)) continue;
      const std::size_t corner = index(i, j);
      const std::int64_t pixel = (block.first_row + i) * TILE_COLUMNS + block.first_column + j;
      if (is_plain(corner)) {
        cut_pixel(corner, pixel, strip);
      } else {
        cut_alone(corner, pixel, strip);
      }
    }
  }
}

std::int32_t TileCutter::panel_of(std::int64_t row, std::int64_t column) const {
  return job_.projection.panel_at(static_cast<double>(job_.image.y(row, column)),
                                  static_cast<double>(job_.image.z(row, column)));
}

bool TileCutter::is_masked(std::int64_t row, std::int64_t column) const {
  return job_.mask[job_.image.z(row, column) * job_.layout.n_y + job_.image.y(row, column)] != 0;
}

// Whether all are before the sample.
bool TileCutter::map_corners(const PixelBlock& block) {
  const StoredImage& image = job_.image;
  const std::int32_t panel = panel_of(block.row, block.column);
  const double pixel_size = job_.projection.geometry().pixel_size, column = static_cast<double>(block.column) - 0.5;
  const auto n = static_cast<std::size_t>(block.n_columns) + 1;
  double sum = 0.0;
  for (std::int64_t i = 0; i <= block.n_rows; ++i) {
    const double row = static_cast<double>(block.row + i) - 0.5;
    double *u = &u_[index(i, 0)], *v = &v_[index(i, 0)], *radius = &radius_[index(i, 0)];
    job_.projection.on_plane(image.y(row, column), image.z(row, column), static_cast<double>(image.y_column),
                             static_cast<double>(image.z_column), n, panel, u, v, radius);
    for (std::size_t j = 0; j < n; ++j) {
      u[j] /= pixel_size;
      v[j] /= pixel_size;
      radius[j] = std::abs(radius[j]) / pixel_size;
      sum += radius[j];
    }
  }
  return std::isfinite(sum);
}

// Whether any of the block may lie in the range of radii.
bool TileCutter::measure(const PixelBlock& block) {
  double nearest = std::numeric_limits<double>::max(), farthest = 0.0, longest = 0.0;
  for (std::int64_t i = 0; i <= block.n_rows; ++i) {
    for (std::size_t a = index(i, 0), end = a + static_cast<std::size_t>(block.n_columns); a <= end; ++a) {
      nearest = std::min(nearest, radius_[a]);
      farthest = std::max(farthest, radius_[a]);
      if (a < end) longest = std::max(longest, std::abs(u_[a + 1] - u_[a]) + std::abs(v_[a + 1] - v_[a]));
      if (i == block.n_rows) continue;
      longest = std::max(longest, std::abs(u_[a + ACROSS] - u_[a]) + std::abs(v_[a + ACROSS] - v_[a]));
    }
  }
  longest_ = longest;
  is_small_ = longest < 0.95 * SMALL_TANGENT * nearest;
  return farthest > job_.radii.front() && nearest - longest < job_.radii.back();
}

void TileCutter::find_zones(const PixelBlock& block) {
  const AngularZones& zones = job_.zones;
  if (zones.n_zones() == 1) {
    zone_.fill(0);
    return;
  }
  // A wide zone is one for small pixels only, see AngularZones::contains.
  const auto holds = [&](std::int64_t zone, const Point& p) {
    return (is_small_ || zones.is_convex(zone)) && zones.contains(zone, p);
  };
  std::int64_t zone = zones.locate(point(0));
  for (std::int64_t i = 0; i <= block.n_rows; ++i) {
    for (std::size_t a = index(i, 0), end = a + static_cast<std::size_t>(block.n_columns) + 1; a < end;) {
      const std::int64_t last = zone;
      if (!holds(zone, point(a))) zone = zones.after(last);
      if (!holds(zone, point(a))) zone = zones.before(last);
      if (!holds(zone, point(a))) zone = zones.locate(point(a));
      if (!holds(zone, point(a)))
        zone_[a++] = -1;
      else
        for (; a < end && holds(zone, point(a)); ++a) zone_[a] = static_cast<std::int32_t>(zone);
    }
  }
}

void TileCutter::measure_edges(const PixelBlock& block) {
  const auto n = static_cast<std::size_t>(block.n_columns);
  for (std::int64_t i = 0; i <= block.n_rows; ++i) {
    measure_edges(along_rows_, index(i, 0), n, 1);
    if (i < block.n_rows) measure_edges(along_columns_, index(i, 0), n + 1, ACROSS);
  }
}

void TileCutter::measure_edges(EdgeSet& edges, std::size_t first, std::size_t n, std::size_t to_end) {
  const double *u = u_.data() + first, *v = v_.data() + first;
  double *cross = edges.cross.data() + first, *angle = edges.angle.data() + first, *foot = edges.foot.data() + first,
         *far_end = edges.far_end.data() + first, *near_end = edges.near_end.data() + first;
#pragma omp simd
  for (std::size_t i = 0; i < n; ++i) {
    const Point a = {u[i], v[i]}, b = {u[i + to_end], v[i + to_end]};
    const SweptEdge edge = swept_edge(a, b);
    cross[i] = edge.cross;
    foot[i] = edge.foot;
    far_end[i] = edge.far_end;
    near_end[i] = edge.near_end;
    angle[i] = dot(a, b);
  }
  if (is_small_) {
    for (std::size_t i = 0; i < n; ++i) angle[i] = small_angle(cross[i] / angle[i]);
  } else {
    for (std::size_t i = 0; i < n; ++i) angle[i] = angle_between(cross[i], angle[i]);
  }
}

// Which radii cut each edge, and each pixel.
void TileCutter::find_radii(const PixelBlock& block) {
  const auto below = [&](double r) { return static_cast<std::int32_t>(job_.radii.locate(r)) + 1; };
  for (std::int64_t i = 0; i <= block.n_rows; ++i)
    for (std::int64_t j = 0; j <= block.n_columns; ++j) radii_below_[index(i, j)] = below(radius_[index(i, j)]);
  const auto find = [&](EdgeSet& edges, std::size_t a, std::size_t b) {
    edges.first_k[a] = std::min(radii_below_[a], radii_below_[b]);
    edges.end_k[a] = std::max(radii_below_[a], radii_below_[b]);
    if (edges.near_end[a] > 0.0) edges.first_k[a] = std::min(edges.first_k[a], below(std::abs(edges.foot[a])));
  };
  for (std::int64_t i = 0; i <= block.n_rows; ++i) {
    for (std::int64_t j = 0; j <= block.n_columns; ++j) {
      const std::size_t a = index(i, j);
      if (j < block.n_columns) find(along_rows_, a, a + 1);
      if (i < block.n_rows) find(along_columns_, a, a + ACROSS);
    }
  }
  for (std::int64_t i = 0; i < block.n_rows; ++i) {
    for (std::int64_t j = 0; j < block.n_columns; ++j) {
      const std::size_t a = index(i, j);
      const EdgeSet &rows = along_rows_, &columns = along_columns_;
      first_k_[a] = std::min({rows.first_k[a], rows.first_k[a + ACROSS], columns.first_k[a], columns.first_k[a + 1]});
      end_k_[a] = std::max({rows.end_k[a], rows.end_k[a + ACROSS], columns.end_k[a], columns.end_k[a + 1]});
    }
  }
}

// What each edge sweeps beyond the circles that cut one of its pixels.
void TileCutter::cut_edges(const PixelBlock& block) {
  reserve(block);
  // The pixels before and after the edge, one of which may be beyond the block.
  const auto cut = [&](EdgeSet& edges, std::size_t edge, bool has_before, bool has_after, std::size_t to_before) {
    const std::size_t before = has_before ? edge - to_before : edge, after = has_after ? edge : edge - to_before;
    cut_edge(edges, edge, std::min(first_k_[before], first_k_[after]), std::max(end_k_[before], end_k_[after]));
  };
  for (std::int64_t i = 0; i <= block.n_rows; ++i) {
    for (std::int64_t j = 0; j < block.n_columns; ++j) cut(along_rows_, index(i, j), i > 0, i < block.n_rows, ACROSS);
    if (i == block.n_rows) break;
    for (std::int64_t j = 0; j <= block.n_columns; ++j) cut(along_columns_, index(i, j), j > 0, j < block.n_columns, 1);
  }
  const double *foot = crossings_.foot.data(), *end = crossings_.end.data();
  double* radius = crossings_.radius.data();
  const std::size_t n = crossings_.n;
  if (is_small_) {
#pragma omp simd
    for (std::size_t i = 0; i < n; ++i) {
      radius[i] =
          swept_beyond(foot[i], end[i], radius[i], [](double swept, double dot) { return small_angle(swept / dot); });
    }
  } else {
    for (std::size_t i = 0; i < n; ++i) radius[i] = swept_beyond(foot[i], end[i], radius[i], angle_between);
  }
  for (std::size_t i = 0; i < n; ++i) beyond_[crossings_.target[i]] += radius[i];
}

// Room for every edge: its radii are some of its two pixels', and a circle cuts it at most twice.
void TileCutter::reserve(const PixelBlock& block) {
  std::size_t n = 0;
  for (std::int64_t i = 0; i < block.n_rows; ++i)
    for (std::int64_t j = 0; j < block.n_columns; ++j)
      n += 4 * static_cast<std::size_t>(end_k_[index(i, j)] - first_k_[index(i, j)]);
  if (beyond_.size() < n) beyond_.resize(n);
  if (crossings_.foot.size() < 2 * n) crossings_.resize(2 * n);
  n_beyond_ = crossings_.n = 0;
}

// Leaves what the circles that cut the edge itself give for later, all at once.
void TileCutter::cut_edge(EdgeSet& edges, std::size_t i, std::int32_t first_k, std::int32_t end_k) {
  const std::int32_t first_cut = edges.first_k[i], end_cut = edges.end_k[i];
  double* out = beyond_.data() + n_beyond_;
  for (std::int32_t k = first_k; k < first_cut; ++k) {
    out[k - first_k] = swept_beyond_short(edges.cross[i], edges.angle[i], job_.radii[k]);
  }
  for (std::int32_t k = first_cut; k < end_k; ++k) out[k - first_k] = 0.0;
  const double foot = edges.foot[i], far_end = edges.far_end[i], near_end = edges.near_end[i];
  std::size_t target = n_beyond_ + static_cast<std::size_t>(first_cut - first_k);
  for (std::int32_t k = first_cut; k < end_cut; ++k, ++target) {
    crossings_.add(foot, far_end, job_.radii[k], target);
    if (near_end > 0.0) crossings_.add(foot, near_end, job_.radii[k], target);
  }
  edges.at[i] = static_cast<std::int64_t>(n_beyond_) - first_k;
  n_beyond_ += static_cast<std::size_t>(end_k - first_k);
}

void TileCutter::cut_pixel(std::size_t corner, std::int64_t pixel, Strip& strip) {
  const std::int64_t zone = zone_[corner], first = first_k_[corner], end = end_k_[corner];
  const std::int64_t last = std::min(end, job_.radii.n_bins());
  if (zone >= job_.zones.n_bins() || first > last) return;
  const Point a = point(corner), b = point(corner + 1), c = point(corner + ACROSS + 1), d = point(corner + ACROSS);
  const double doubled = cross({c.x - a.x, c.y - a.y}, {d.x - b.x, d.y - b.y}), sign = doubled < 0.0 ? -1.0 : 1.0;
  // From the first radius on.
  const double* top = beyond_.data() + (along_rows_.at[corner] + first);
  const double* bottom = beyond_.data() + (along_rows_.at[corner + ACROSS] + first);
  const double* left = beyond_.data() + (along_columns_.at[corner] + first);
  const double* right = beyond_.data() + (along_columns_.at[corner + 1] + first);
  double* square = strip.square.data();
  TileEntries::Writer writer = entries_.write(zone, first - 1, last, pixel);
  double within = 0.5 * std::abs(doubled);  // of the pixel, beyond R_(k - 1)
  for (std::int64_t k = first; k <= last; ++k) {
    const std::int64_t i = k - first;
    const double further = k < end ? sign * ((top[i] - bottom[i]) + (right[i] - left[i])) : 0.0;
    const double area = within - further;
    within = further;
    if (k == 0 || !(area > SLIVER)) continue;
    writer.add(k - 1, area);
    square[k - 1] += area * area;
  }
  entries_.keep(writer);
}

void TileCutter::cut_alone(std::size_t corner, std::int64_t pixel, Strip& strip) {
  const auto at = [&](std::size_t i) { return Corner{point(i), radius_[i], zone_[i]}; };
  by_radius_ = cutter_.cut({at(corner), at(corner + 1), at(corner + ACROSS + 1), at(corner + ACROSS)});
  for (const Part& part : by_radius_) {
    TileEntries::Writer writer = entries_.write(part.zone, part.k, part.k + 1, pixel);
    writer.add(part.k, part.area);
    entries_.keep(writer);
  }
  // Squares of the bins' areas, and of pairs with the same R.
  std::sort(by_radius_.begin(), by_radius_.end(),
            [](const Part& p, const Part& q) { return p.k != q.k ? p.k < q.k : p.zone < q.zone; });
  for (std::size_t i = 0; i < by_radius_.size(); ++i) {
    const Part& part = by_radius_[i];
    const auto k = static_cast<std::size_t>(part.k);
    strip.square[k] += part.area * part.area;
    for (std::size_t j = i + 1; j < by_radius_.size() && by_radius_[j].k == part.k; ++j) {
      strip.shared[k] += 2.0 * part.area * by_radius_[j].area;
    }
  }
}

}  // namespace midas
