// Builds the map of pixel areas per bin. Equations and source: cake_map.hpp and polygon.hpp.
//
// Blocks of rows are cut in parallel, each into lists of (bin, pixel, area) by range of bins; then each range is put in
// the order of its bins, one thread a range. Blocks are taken in order, so an entry's place does not depend on the
// threads.
#include "cake_map.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>

#include "error.hpp"
#include "parallel.hpp"
#include "polygon.hpp"

namespace midas {

namespace {

// Areas below this are rounding of the cuts, not parts of a pixel [px^2].
constexpr double SLIVER = 1e-9;
constexpr std::int64_t ROWS_PER_BLOCK = 16;
constexpr std::int64_t N_RANGES = 64;

struct Entry {
  std::int32_t bin, pixel;
  float area;
};
struct Block {
  std::array<std::vector<Entry>, N_RANGES> ranges;
  std::vector<double> square, shared;  // for each R, see CakeMap::eta_overlap
};

struct Corner {
  Point at;  // [px]
  double radius, eta;
};

Corner map_corner(const Projection& projection, double y, double z, std::int32_t panel) {
  const Polar polar = projection.to_polar(y, z, panel);
  const double radius = polar.radius / projection.geometry().pixel_size;
  return {{radius * std::cos(polar.eta), radius * std::sin(polar.eta)}, radius, polar.eta};
}

struct Part {
  std::int64_t bin;
  double area;
};

// Cuts one mapped pixel after another; keeps its work space.
class Cutter {
 public:
  Cutter(const Edges& radii, const AngularZones& zones) : radii_(radii), zones_(zones) {}

  // Calls put(bin, area) for every bin that holds a part of the quadrilateral.
  template <class Put>
  void cut(const std::array<Corner, 4>& corners, const Put& put) {
    parts_.clear();
    double nearest = corners[0].radius, farthest = nearest;
    for (const Corner& corner : corners) {
      if (!std::isfinite(corner.radius)) return;  // at or behind the sample
      nearest = std::min(nearest, corner.radius);
      farthest = std::max(farthest, corner.radius);
    }
    if (farthest <= radii_.front()) return;
    double reach = 0.0;
    for (std::size_t i = 0; i < 4; ++i) {
      const Point &a = corners[i].at, &b = corners[(i + 1) % 4].at;
      reach = std::max(reach, std::abs(b.x - a.x) + std::abs(b.y - a.y));
    }
    if (!(nearest - reach < radii_.back())) return;
    split(corners);
    if (pieces_.empty()) return;
    const Point diagonal = {corners[2].at.x - corners[0].at.x, corners[2].at.y - corners[0].at.y};
    const Point other = {corners[3].at.x - corners[1].at.x, corners[3].at.y - corners[1].at.y};
    const double sign = cross(diagonal, other) < 0.0 ? -1.0 : 1.0;
    const bool origin_inside = nearest <= reach && contains_origin(corners);
    for (auto first = pieces_.begin(); first != pieces_.end();) {
      auto last = first;
      while (last != pieces_.end() && last->zone == first->zone) ++last;
      if (first->zone < zones_.n_bins()) cut_zone(&*first, &*first + (last - first), sign, origin_inside);
      first = last;
    }
    for (const Part& part : parts_) put(part.bin, part.area);
  }

  // Adds, for each R, the squares of the last pixel's areas: of the bins, and between bins of the same R.
  void add_squares(std::vector<double>& square, std::vector<double>& shared) {
    const std::int64_t n_eta = zones_.n_bins();
    const bool several = !parts_.empty() && parts_.front().bin % n_eta != parts_.back().bin % n_eta;
    if (several) {
      std::sort(parts_.begin(), parts_.end(), [](const Part& a, const Part& b) { return a.bin < b.bin; });
    }
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      const auto k = static_cast<std::size_t>(parts_[i].bin / n_eta);
      square[k] += parts_[i].area * parts_[i].area;
      if (!several) continue;
      for (std::size_t j = i + 1; j < parts_.size() && parts_[j].bin / n_eta == parts_[i].bin / n_eta; ++j) {
        shared[k] += 2.0 * parts_[i].area * parts_[j].area;
      }
    }
  }

 private:
  void split(const std::array<Corner, 4>& corners) {
    pieces_.clear();
    const std::int64_t zone = zones_.locate(corners[0].eta);
    bool whole = zones_.n_zones() == 1;
    if (!whole && zones_.is_convex(zone)) {
      whole = true;
      for (std::size_t i = 1; i < 4; ++i) whole = whole && zones_.locate(corners[i].eta) == zone;
    }
    for (std::size_t i = 0; i < 4; ++i) {
      const Corner &a = corners[i], &b = corners[(i + 1) % 4];
      if (whole) {
        pieces_.push_back(make_piece(zone, a.at, b.at));
      } else {
        zones_.split(a.at, b.at, a.eta, pieces_);
      }
    }
    if (!whole) {
      std::stable_sort(pieces_.begin(), pieces_.end(),
                       [](const EdgePiece& a, const EdgePiece& b) { return a.zone < b.zone; });
    }
  }

  static bool contains_origin(const std::array<Corner, 4>& corners) {
    double turned = 0.0;
    for (std::size_t i = 0; i < 4; ++i) {
      const Point &a = corners[i].at, &b = corners[(i + 1) % 4].at;
      turned += std::atan2(cross(a, b), dot(a, b));
    }
    return std::abs(turned) > PI;
  }

  void cut_zone(const EdgePiece* begin, const EdgePiece* end, double sign, bool origin_inside) {
    double nearest = origin_inside ? 0.0 : begin->nearest, farthest = 0.0, whole = 0.0;
    for (const EdgePiece* p = begin; p != end; ++p) {
      nearest = std::min(nearest, p->nearest);
      farthest = std::max(farthest, p->farthest);
      whole += 0.5 * p->cross;
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
      if (area > SLIVER) parts_.push_back({k * zones_.n_bins() + begin->zone, area});
      below = above;
    }
  }

  const Edges& radii_;
  const AngularZones& zones_;
  std::vector<EdgePiece> pieces_;
  std::vector<Part> parts_;
};

void check_layout(const PixelLayout& layout, std::int64_t n_bins) {
  const std::int64_t limit = std::numeric_limits<std::int32_t>::max();
  if (layout.n_y < 1 || layout.n_z < 1 || layout.n_y > limit / layout.n_z) {
    throw InputError("the detector has " + std::to_string(layout.n_z) + " x " + std::to_string(layout.n_y) +
                     " pixels; expected at least 1 and fewer than 2^31");
  }
  if (n_bins > limit) throw InputError("the grid has " + std::to_string(n_bins) + " bins; expected fewer than 2^31");
  const std::int64_t end_y = (layout.n_y - 1) * layout.step_y, end_z = (layout.n_z - 1) * layout.step_z;
  const std::int64_t low = layout.first + std::min<std::int64_t>(0, end_y) + std::min<std::int64_t>(0, end_z);
  const std::int64_t high = layout.first + std::max<std::int64_t>(0, end_y) + std::max<std::int64_t>(0, end_z);
  if (low < 0 || high >= layout.n_y * layout.n_z) throw InputError("the pixel layout reaches outside the image");
}

struct Job {
  const Projection& projection;
  const PixelLayout& layout;
  const Edges& radii;
  const AngularZones& zones;
  const std::uint8_t* mask;
  std::int64_t bins_per_range;
};

// Columns in runs of one panel each: pixels of a run share their corners, a corner between two runs is mapped for each.
class Runs {
 public:
  Runs(const PanelLayout* panels, std::int64_t n_y) : number_(static_cast<std::size_t>(n_y), 0) {
    first_.push_back(0);
    for (std::int64_t y = 1; panels != nullptr && y < n_y; ++y) {
      if (panels->column(static_cast<double>(y)) != panels->column(static_cast<double>(y - 1))) first_.push_back(y);
      number_[static_cast<std::size_t>(y)] = first_.size() - 1;
    }
    first_.push_back(n_y);
  }
  std::size_t size() const { return first_.size() - 1; }
  std::int64_t begin(std::size_t run) const { return first_[run]; }
  std::int64_t end(std::size_t run) const { return first_[run + 1]; }
  std::size_t n_corners() const { return number_.size() + size(); }
  // Place of a pixel's left corner in a row of corners; its right one follows.
  std::size_t corner(std::int64_t y) const {
    return static_cast<std::size_t>(y) + number_[static_cast<std::size_t>(y)];
  }

 private:
  std::vector<std::int64_t> first_;
  std::vector<std::size_t> number_;  // of each column
};

// The corners on the line z = edge of the pixels in row z.
void map_row(const Projection& projection, const Runs& runs, std::int64_t z, double edge, std::vector<Corner>& row) {
  std::size_t i = 0;
  for (std::size_t run = 0; run < runs.size(); ++run) {
    const std::int32_t panel = projection.panel_at(static_cast<double>(runs.begin(run)), static_cast<double>(z));
    for (std::int64_t y = runs.begin(run); y <= runs.end(run); ++y)
      row[i++] = map_corner(projection, static_cast<double>(y) - 0.5, edge, panel);
  }
}

bool same_panels(const PanelLayout* panels, std::int64_t z, std::int64_t other) {
  return panels == nullptr || panels->row(static_cast<double>(z)) == panels->row(static_cast<double>(other));
}

void cut_rows(const Job& job, std::int64_t z_begin, std::int64_t z_end, Block& block) {
  const std::int64_t n_y = job.layout.n_y;
  const PanelLayout* panels = job.projection.geometry().panels.get();
  const Runs runs(panels, n_y);
  std::vector<Corner> lower(runs.n_corners()), upper(lower.size());
  block.square.assign(static_cast<std::size_t>(job.radii.n_bins()), 0.0);
  block.shared = block.square;
  Cutter cutter(job.radii, job.zones);
  for (std::int64_t z = z_begin; z < z_end; ++z) {
    if (z > z_begin && same_panels(panels, z, z - 1)) {
      lower.swap(upper);
    } else {
      map_row(job.projection, runs, z, static_cast<double>(z) - 0.5, lower);
    }
    map_row(job.projection, runs, z, static_cast<double>(z) + 0.5, upper);
    for (std::int64_t y = 0; y < n_y; ++y) {
      if (job.mask != nullptr && job.mask[z * n_y + y] != 0) continue;
      const auto pixel = static_cast<std::int32_t>(job.layout.first + y * job.layout.step_y + z * job.layout.step_z);
      const std::size_t i = runs.corner(y);
      cutter.cut({lower[i], lower[i + 1], upper[i + 1], upper[i]}, [&](std::int64_t bin, double area) {
        block.ranges[static_cast<std::size_t>(bin / job.bins_per_range)].push_back(
            {static_cast<std::int32_t>(bin), pixel, static_cast<float>(area)});
      });
      cutter.add_squares(block.square, block.shared);
    }
  }
}

}  // namespace

CakeMap build_cake_map(const Projection& projection, const PixelLayout& layout, const std::vector<double>& radius_edges,
                       const std::vector<double>& eta_edges, const std::uint8_t* mask, int n_threads) {
  const Edges radii(radius_edges);
  const AngularZones zones(eta_edges);
  if (radii.front() < 0.0)
    throw InputError("the radius bins begin at " + std::to_string(radii.front()) + " px; expected 0 or more");
  CakeMap map;
  map.n_radius = radii.n_bins();
  map.n_eta = zones.n_bins();
  map.n_pixels = layout.n_y * layout.n_z;
  check_layout(layout, map.n_bins());
  const int threads = resolve_threads(n_threads);

  const std::int64_t bins_per_range = (map.n_bins() + N_RANGES - 1) / N_RANGES;
  const Job job{projection, layout, radii, zones, mask, bins_per_range};
  const std::int64_t n_blocks = (layout.n_z + ROWS_PER_BLOCK - 1) / ROWS_PER_BLOCK;
  std::vector<Block> blocks(static_cast<std::size_t>(n_blocks));
  parallel_for(n_blocks, threads, [&](std::int64_t b) {
    cut_rows(job, b * ROWS_PER_BLOCK, std::min(layout.n_z, (b + 1) * ROWS_PER_BLOCK),
             blocks[static_cast<std::size_t>(b)]);
  });

  map.offsets.assign(static_cast<std::size_t>(map.n_bins()) + 1, 0);
  for (const Block& block : blocks) {
    for (const auto& range : block.ranges) {
      for (const Entry& e : range) ++map.offsets[static_cast<std::size_t>(e.bin) + 1];
    }
  }
  for (std::size_t b = 1; b < map.offsets.size(); ++b) map.offsets[b] += map.offsets[b - 1];
  map.pixels.resize(static_cast<std::size_t>(map.offsets.back()));
  map.areas.resize(map.pixels.size());
  parallel_for(N_RANGES, threads, [&](std::int64_t r) {
    const std::int64_t first = std::min(r * bins_per_range, map.n_bins()),
                       last = std::min(first + bins_per_range, map.n_bins());
    std::vector<std::int64_t> next(map.offsets.begin() + first, map.offsets.begin() + last);
    for (Block& block : blocks) {
      auto& entries = block.ranges[static_cast<std::size_t>(r)];
      for (const Entry& e : entries) {
        const auto at = static_cast<std::size_t>(next[static_cast<std::size_t>(e.bin - first)]++);
        map.pixels[at] = e.pixel;
        map.areas[at] = e.area;
      }
      std::vector<Entry>().swap(entries);
    }
  });
  for (std::size_t k = 0; k < static_cast<std::size_t>(map.n_radius); ++k) {
    double square = 0.0, shared = 0.0;
    for (const Block& block : blocks) {
      square += block.square[k];
      shared += block.shared[k];
    }
    map.eta_overlap.push_back(square > 0.0 ? 1.0 + shared / square : 1.0);
  }
  return map;
}

}  // namespace midas
