// Builds the map of pixel areas per bin. Equations and source: cake_map.hpp and polygon.hpp.
//
// Rows of tiles are cut in parallel, each into a strip of its own; the strips are then joined in their order, so
// nothing depends on the threads.
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

struct Corner {
  Point at;  // [px]
  double radius;
};

struct Part {
  std::int64_t bin;
  double area;
};

// Cuts one mapped pixel after another; keeps its work space.
class Cutter {
 public:
  Cutter(const Edges& radii, const AngularZones& zones) : radii_(radii), zones_(zones) {}

  // The parts of the quadrilateral, one a bin. `zone` is the zone that holds it all, or -1 to find out.
  const std::vector<Part>& cut(const std::array<Corner, 4>& corners, std::int64_t zone) {
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
    split(corners, zone);
    if (pieces_.empty()) return parts_;
    const Point diagonal = {corners[2].at.x - corners[0].at.x, corners[2].at.y - corners[0].at.y};
    const Point other = {corners[3].at.x - corners[1].at.x, corners[3].at.y - corners[1].at.y};
    const double sign = cross(diagonal, other) < 0.0 ? -1.0 : 1.0;
    const bool at_origin = nearest <= reach;  // which may lie inside, on an edge or on a corner
    for (auto first = pieces_.begin(); first != pieces_.end();) {
      auto last = first;
      while (last != pieces_.end() && last->zone == first->zone) ++last;
      if (first->zone < zones_.n_bins()) cut_zone(&*first, &*first + (last - first), sign, at_origin);
      first = last;
    }
    return parts_;
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
  void split(const std::array<Corner, 4>& corners, std::int64_t zone) {
    pieces_.clear();
    if (zone < 0) {
      zone = zones_.locate(corners[0].at);
      for (std::size_t i = 1; i < 4 && zone >= 0; ++i) {
        if (!zones_.contains(zone, corners[i].at)) zone = -1;
      }
    }
    for (std::size_t i = 0; i < 4; ++i) {
      const Corner &a = corners[i], &b = corners[(i + 1) % 4];
      if (zone >= 0) {
        pieces_.push_back(make_piece(zone, a.at, b.at, a.radius, b.radius));
      } else {
        zones_.split(a.at, b.at, std::atan2(a.at.y, a.at.x), pieces_);
      }
    }
    if (zone < 0) {
      std::stable_sort(pieces_.begin(), pieces_.end(),
                       [](const EdgePiece& a, const EdgePiece& b) { return a.zone < b.zone; });
    }
  }

  void cut_zone(const EdgePiece* begin, const EdgePiece* end, double sign, bool at_origin) {
    double nearest = at_origin ? 0.0 : begin->nearest, farthest = 0.0, whole = 0.0;
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

// From the stored image back to the geometry's frame: y = y0 + row * y_row + column * y_column, z likewise.
struct StoredImage {
  std::int64_t n_rows, n_columns;
  std::int64_t y0, y_row, y_column, z0, z_row, z_column;

  explicit StoredImage(const PixelLayout& layout) {
    const bool upright = std::abs(layout.step_y) == 1;  // columns of the stored image run along y
    n_columns = upright ? layout.n_y : layout.n_z;
    n_rows = upright ? layout.n_z : layout.n_y;
    const std::int64_t row0 = layout.first / n_columns, column0 = layout.first % n_columns;
    const std::int64_t along_columns = upright ? layout.step_y : layout.step_z;
    const std::int64_t along_rows = (upright ? layout.step_z : layout.step_y) < 0 ? -1 : 1;
    y_column = upright ? along_columns : 0;
    z_column = upright ? 0 : along_columns;
    y_row = upright ? 0 : along_rows;
    z_row = upright ? along_rows : 0;
    y0 = -row0 * y_row - column0 * y_column;
    z0 = -row0 * z_row - column0 * z_column;
  }
  template <class T>
  T y(T row, T column) const {
    return static_cast<T>(y0) + row * static_cast<T>(y_row) + column * static_cast<T>(y_column);
  }
  template <class T>
  T z(T row, T column) const {
    return static_cast<T>(z0) + row * static_cast<T>(z_row) + column * static_cast<T>(z_column);
  }
};

struct Job {
  const Projection& projection;
  const PixelLayout& layout;
  const Edges& radii;
  const AngularZones& zones;
  const std::uint8_t* mask;
  const StoredImage image;
};

// What one row of tiles gives to the map.
struct Strip {
  std::vector<std::int64_t> n_runs, n_entries;  // of each tile
  std::vector<std::int32_t> run_bin;
  std::vector<std::uint8_t> run_groups, pixel;
  std::vector<float> area;
  std::vector<double> square, shared;  // for each R, see CakeMap::eta_overlap
};

// The entries of one tile, put in the order of the map.
class TileEntries {
 public:
  void clear() { entries_.clear(); }
  void add(std::int64_t pixel, const Part& part) {
    entries_.push_back(
        {static_cast<std::int32_t>(part.bin), static_cast<std::uint8_t>(pixel), static_cast<float>(part.area)});
  }

  void append_to(Strip& strip) {
    sort_by_bin();
    runs_.clear();
    for (std::size_t i = 0; i < entries_.size();) {
      std::size_t end = i;
      while (end < entries_.size() && entries_[end].bin == entries_[i].bin) ++end;
      runs_.push_back({i, end - i});
      i = end;
    }
    // Short runs first: a loop whose length seldom changes is predicted.
    std::stable_sort(runs_.begin(), runs_.end(), [](const Run& a, const Run& b) { return a.groups() < b.groups(); });
    const std::size_t before = strip.pixel.size();
    for (const Run& run : runs_) {
      strip.run_bin.push_back(entries_[run.first].bin);
      strip.run_groups.push_back(static_cast<std::uint8_t>(run.groups()));
      for (std::size_t i = run.first; i < run.first + run.size; ++i) {
        strip.pixel.push_back(entries_[i].pixel);
        strip.area.push_back(entries_[i].area);
      }
      for (std::size_t i = run.size; i < run.groups() * static_cast<std::size_t>(GROUP); ++i) {
        strip.pixel.push_back(strip.pixel.back());
        strip.area.push_back(0.0f);
      }
    }
    strip.n_runs.push_back(static_cast<std::int64_t>(runs_.size()));
    strip.n_entries.push_back(static_cast<std::int64_t>(strip.pixel.size() - before));
  }

 private:
  struct Entry {
    std::int32_t bin;
    std::uint8_t pixel;
    float area;
  };
  struct Run {
    std::size_t first, size;
    std::size_t groups() const { return (size + static_cast<std::size_t>(GROUP) - 1) / GROUP; }
  };

  // By counting, which beats comparing unless there are many more bins than entries.
  void sort_by_bin() {
    if (entries_.empty()) return;
    const auto [low, high] = std::minmax_element(entries_.begin(), entries_.end(),
                                                 [](const Entry& a, const Entry& b) { return a.bin < b.bin; });
    const std::int32_t first = low->bin;
    const auto n = static_cast<std::size_t>(high->bin - first) + 1;
    if (n > 16 * entries_.size() + 1024) {
      std::stable_sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) { return a.bin < b.bin; });
      return;
    }
    place_.assign(n + 1, 0);
    for (const Entry& e : entries_) ++place_[static_cast<std::size_t>(e.bin - first) + 1];
    for (std::size_t i = 1; i <= n; ++i) place_[i] += place_[i - 1];
    sorted_.resize(entries_.size());
    for (const Entry& e : entries_) sorted_[place_[static_cast<std::size_t>(e.bin - first)]++] = e;
    entries_.swap(sorted_);
  }

  std::vector<Entry> entries_, sorted_;
  std::vector<std::size_t> place_;
  std::vector<Run> runs_;
};

// The corners of a tile's pixels, mapped once where one panel holds them all, else for each pixel.
class TileCorners {
 public:
  TileCorners(const Job& job) : job_(job) {}

  void map(std::int64_t row, std::int64_t column, std::int64_t n_rows, std::int64_t n_columns) {
    row_ = row;
    column_ = column;
    n_across_ = n_columns + 1;
    shared_ = true;
    const std::int32_t panel = panel_of(row, column);
    for (std::int64_t i = 0; i < n_rows && shared_ && job_.projection.geometry().panels != nullptr; ++i)
      for (std::int64_t j = 0; j < n_columns && shared_; ++j) shared_ = panel_of(row + i, column + j) == panel;
    if (!shared_) return;
    grid_.clear();
    for (std::int64_t i = 0; i <= n_rows; ++i)
      for (std::int64_t j = 0; j <= n_columns; ++j) grid_.push_back(corner(row + i, column + j, panel));
  }

  // The zone of eta that holds the whole tile; -1 where several may.
  std::int64_t zone() const {
    if (job_.zones.n_zones() == 1) return 0;
    if (!shared_) return -1;
    const std::int64_t zone = job_.zones.locate(grid_.front().at);
    for (const Corner& c : grid_)
      if (!job_.zones.contains(zone, c.at)) return -1;
    return zone;
  }

  std::array<Corner, 4> of(std::int64_t i, std::int64_t j) const {
    if (!shared_) {
      const std::int32_t panel = panel_of(row_ + i, column_ + j);
      return {corner(row_ + i, column_ + j, panel), corner(row_ + i, column_ + j + 1, panel),
              corner(row_ + i + 1, column_ + j + 1, panel), corner(row_ + i + 1, column_ + j, panel)};
    }
    const auto k = static_cast<std::size_t>(i * n_across_ + j), below = k + static_cast<std::size_t>(n_across_);
    return {grid_[k], grid_[k + 1], grid_[below + 1], grid_[below]};
  }

 private:
  std::int32_t panel_of(std::int64_t row, std::int64_t column) const {
    return job_.projection.panel_at(static_cast<double>(job_.image.y(row, column)),
                                    static_cast<double>(job_.image.z(row, column)));
  }
  // The corner before the pixel (row, column).
  Corner corner(std::int64_t row, std::int64_t column, std::int32_t panel) const {
    const double r = static_cast<double>(row) - 0.5, c = static_cast<double>(column) - 0.5;
    const double pixel_size = job_.projection.geometry().pixel_size;
    const PlanePoint p = job_.projection.on_plane(job_.image.y(r, c), job_.image.z(r, c), panel);
    return {{p.vertical / pixel_size, p.horizontal / pixel_size}, p.radius / pixel_size};
  }

  const Job& job_;
  std::int64_t row_ = 0, column_ = 0, n_across_ = 0;
  bool shared_ = true;
  std::vector<Corner> grid_;
};

Strip cut_strip(const Job& job, std::int64_t first_row) {
  const StoredImage& image = job.image;
  Strip strip;
  strip.square.assign(static_cast<std::size_t>(job.radii.n_bins()), 0.0);
  strip.shared = strip.square;
  Cutter cutter(job.radii, job.zones);
  TileCorners corners(job);
  TileEntries entries;
  const std::int64_t n_rows = std::min(TILE_ROWS, image.n_rows - first_row);
  for (std::int64_t column = 0; column < image.n_columns; column += TILE_COLUMNS) {
    const std::int64_t n_columns = std::min(TILE_COLUMNS, image.n_columns - column);
    corners.map(first_row, column, n_rows, n_columns);
    const std::int64_t zone = corners.zone();
    entries.clear();
    for (std::int64_t i = 0; i < n_rows; ++i) {
      for (std::int64_t j = 0; j < n_columns; ++j) {
        if (job.mask != nullptr) {
          const std::int64_t y = image.y(first_row + i, column + j), z = image.z(first_row + i, column + j);
          if (job.mask[z * job.layout.n_y + y] != 0) continue;
        }
        for (const Part& part : cutter.cut(corners.of(i, j), zone)) entries.add(i * TILE_COLUMNS + j, part);
        cutter.add_squares(strip.square, strip.shared);
      }
    }
    entries.append_to(strip);
  }
  return strip;
}

// Where each run stands when all are ordered by bin, and what the bins hold.
void order_by_bin(CakeMap& map, int n_threads) {
  const auto n_bins = static_cast<std::size_t>(map.n_bins());
  map.first_slot.assign(n_bins + 1, 0);
  for (const std::int32_t bin : map.run_bin) ++map.first_slot[static_cast<std::size_t>(bin) + 1];
  for (std::size_t b = 1; b <= n_bins; ++b) map.first_slot[b] += map.first_slot[b - 1];
  std::vector<std::int64_t> next(map.first_slot.begin(), map.first_slot.end() - 1);
  map.run_slot.resize(map.run_bin.size());
  for (std::size_t r = 0; r < map.run_bin.size(); ++r) {
    map.run_slot[r] = next[static_cast<std::size_t>(map.run_bin[r])]++;
  }
  std::vector<double> run_area(map.run_bin.size());
  std::vector<std::int32_t> run_pixels(map.run_bin.size());
  const auto n_tiles = static_cast<std::int64_t>(map.first_run.size()) - 1;
  parallel_for((n_tiles + 255) / 256, n_threads, [&](std::int64_t block) {
    for (std::int64_t t = block * 256; t < std::min(n_tiles, (block + 1) * 256); ++t) {
      auto e = static_cast<std::size_t>(map.first_entry[static_cast<std::size_t>(t)]);
      for (auto r = static_cast<std::size_t>(map.first_run[static_cast<std::size_t>(t)]);
           r < static_cast<std::size_t>(map.first_run[static_cast<std::size_t>(t) + 1]); ++r) {
        double sum = 0.0;
        std::int32_t n = 0;
        for (const std::size_t end = e + static_cast<std::size_t>(map.run_groups[r] * GROUP); e < end; ++e) {
          sum += static_cast<double>(map.area[e]);
          n += map.area[e] > 0.0f ? 1 : 0;
        }
        run_area[static_cast<std::size_t>(map.run_slot[r])] = sum;
        run_pixels[static_cast<std::size_t>(map.run_slot[r])] = n;
      }
    }
  });
  map.bin_area.assign(n_bins, 0.0);
  map.bin_pixels.assign(n_bins, 0);
  for (std::size_t b = 0; b < n_bins; ++b) {
    for (auto s = static_cast<std::size_t>(map.first_slot[b]); s < static_cast<std::size_t>(map.first_slot[b + 1]);
         ++s) {
      map.bin_area[b] += run_area[s];
      map.bin_pixels[b] += run_pixels[s];
    }
  }
}

template <class T>
void place(std::vector<T>& from, std::int64_t at, std::vector<T>& to) {
  std::copy(from.begin(), from.end(), to.begin() + at);
  std::vector<T>().swap(from);
}

void join(std::vector<Strip>& strips, CakeMap& map, int n_threads) {
  map.first_run.push_back(0);
  map.first_entry.push_back(0);
  std::vector<std::int64_t> run_at, entry_at;
  for (const Strip& strip : strips) {
    run_at.push_back(map.first_run.back());
    entry_at.push_back(map.first_entry.back());
    for (std::size_t t = 0; t < strip.n_runs.size(); ++t) {
      map.first_run.push_back(map.first_run.back() + strip.n_runs[t]);
      map.first_entry.push_back(map.first_entry.back() + strip.n_entries[t]);
    }
  }
  map.run_bin.resize(static_cast<std::size_t>(map.first_run.back()));
  map.run_groups.resize(map.run_bin.size());
  map.pixel.resize(static_cast<std::size_t>(map.first_entry.back()));
  map.area.resize(map.pixel.size());
  parallel_for(static_cast<std::int64_t>(strips.size()), n_threads, [&](std::int64_t i) {
    const auto k = static_cast<std::size_t>(i);
    place(strips[k].run_bin, run_at[k], map.run_bin);
    place(strips[k].run_groups, run_at[k], map.run_groups);
    place(strips[k].pixel, entry_at[k], map.pixel);
    place(strips[k].area, entry_at[k], map.area);
  });
  for (std::size_t k = 0; k < static_cast<std::size_t>(map.n_radius); ++k) {
    double square = 0.0, shared = 0.0;
    for (const Strip& strip : strips) {
      square += strip.square[k];
      shared += strip.shared[k];
    }
    map.eta_overlap.push_back(square > 0.0 ? 1.0 + shared / square : 1.0);
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
  check_layout(layout, map.n_bins());
  const Job job{projection, layout, radii, zones, mask, StoredImage(layout)};
  map.n_rows = job.image.n_rows;
  map.n_columns = job.image.n_columns;
  const int threads = resolve_threads(n_threads);
  std::vector<Strip> strips(static_cast<std::size_t>(map.tiles_down()));
  parallel_for(map.tiles_down(), threads,
               [&](std::int64_t i) { strips[static_cast<std::size_t>(i)] = cut_strip(job, i * TILE_ROWS); });
  join(strips, map, threads);
  order_by_bin(map, threads);
  return map;
}

CakeRows cake_rows(const CakeMap& map, int n_threads) {
  const auto n_bins = static_cast<std::size_t>(map.n_bins());
  CakeRows rows;
  rows.offsets.assign(n_bins + 1, 0);
  for (std::size_t b = 0; b < n_bins; ++b) rows.offsets[b + 1] = rows.offsets[b] + map.bin_pixels[b];
  struct Entry {
    std::int32_t pixel;
    float area;
  };
  std::vector<Entry> entries(static_cast<std::size_t>(rows.offsets.back()));
  std::vector<std::int64_t> next(rows.offsets.begin(), rows.offsets.end() - 1);
  const std::int64_t across = map.tiles_across();
  for (std::size_t t = 0; t + 1 < map.first_run.size(); ++t) {
    const auto tile = static_cast<std::int64_t>(t);
    const std::int64_t row = tile / across * TILE_ROWS, column = tile % across * TILE_COLUMNS;
    auto e = static_cast<std::size_t>(map.first_entry[t]);
    for (auto r = static_cast<std::size_t>(map.first_run[t]); r < static_cast<std::size_t>(map.first_run[t + 1]); ++r) {
      std::int64_t& at = next[static_cast<std::size_t>(map.run_bin[r])];
      for (const std::size_t end = e + static_cast<std::size_t>(map.run_groups[r] * GROUP); e < end; ++e) {
        if (!(map.area[e] > 0.0f)) continue;
        const std::int64_t i = map.pixel[e] / TILE_COLUMNS, j = map.pixel[e] % TILE_COLUMNS;
        entries[static_cast<std::size_t>(at++)] = {static_cast<std::int32_t>((row + i) * map.n_columns + column + j),
                                                   map.area[e]};
      }
    }
  }
  rows.pixels.resize(entries.size());
  rows.areas.resize(entries.size());
  parallel_for((map.n_bins() + 1023) / 1024, resolve_threads(n_threads), [&](std::int64_t block) {
    for (std::int64_t b = block * 1024; b < std::min(map.n_bins(), (block + 1) * 1024); ++b) {
      const std::int64_t first = rows.offsets[static_cast<std::size_t>(b)],
                         end = rows.offsets[static_cast<std::size_t>(b) + 1];
      std::sort(entries.begin() + first, entries.begin() + end,
                [](const Entry& p, const Entry& q) { return p.pixel < q.pixel; });
      for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(end); ++i) {
        rows.pixels[i] = entries[i].pixel;
        rows.areas[i] = entries[i].area;
      }
    }
  });
  return rows;
}

}  // namespace midas
