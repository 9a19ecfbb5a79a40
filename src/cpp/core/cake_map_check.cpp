// Checks a map from outside. What must hold and why: cake_map_check.hpp.
#include "cake_map_check.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>

#include "error.hpp"
#include "parallel.hpp"

namespace midas {

namespace {

constexpr double SAME_AREA = 1e-9;  // relative: sums in whatever order

[[noreturn]] void refuse(const std::string& what) { throw InputError("the map is not one of midas: " + what); }

void check_size(std::size_t found, std::int64_t expected, const char* what) {
  if (static_cast<std::int64_t>(found) != expected) {
    refuse(std::string("it has ") + std::to_string(found) + " values of " + what + "; expected " +
           std::to_string(expected));
  }
}

void check_sizes(const CakeMap& map) {
  const std::int64_t limit = std::numeric_limits<std::int32_t>::max();
  if (map.n_radius < 1 || map.n_eta < 1 || map.n_radius > limit / map.n_eta) refuse("its number of bins");
  if (map.n_rows < 1 || map.n_columns < 1 || map.n_rows > limit / map.n_columns) refuse("its number of pixels");
  const std::int64_t n_tiles = map.tiles_down() * map.tiles_across();
  check_size(map.first_run.size(), n_tiles + 1, "first_run");
  check_size(map.first_entry.size(), n_tiles + 1, "first_entry");
  const auto n_runs = static_cast<std::int64_t>(map.run_bin.size());
  check_size(map.run_groups.size(), n_runs, "run_groups");
  check_size(map.run_slot.size(), n_runs, "run_slot");
  check_size(map.area.size(), static_cast<std::int64_t>(map.pixel.size()), "area");
  check_size(map.first_slot.size(), map.n_bins() + 1, "first_slot");
  check_size(map.bin_area.size(), map.n_bins(), "bin_area");
  check_size(map.bin_pixels.size(), map.n_bins(), "bin_pixels");
  check_size(map.eta_overlap.size(), map.n_radius, "eta_overlap");
}

// Offsets from 0 to `end` that do not descend.
void check_offsets(const std::vector<std::int64_t>& offsets, std::size_t end, const char* what) {
  const bool whole = offsets.front() == 0 && offsets.back() == static_cast<std::int64_t>(end);
  if (!whole || !std::is_sorted(offsets.begin(), offsets.end())) {
    refuse(std::string(what) + " does not ascend from 0 to " + std::to_string(end));
  }
}

// What the entries of a run say of its bin.
struct RunSum {
  double area;
  std::int32_t pixels;
};

class TileCheck {
 public:
  TileCheck(const CakeMap& map, std::vector<RunSum>& sums) : map_(map), sums_(sums) {}

  void operator()(std::int64_t t) const {
    const auto k = static_cast<std::size_t>(t);
    const std::int64_t rows = std::min(TILE_ROWS, map_.n_rows - t / map_.tiles_across() * TILE_ROWS);
    const std::int64_t columns = std::min(TILE_COLUMNS, map_.n_columns - t % map_.tiles_across() * TILE_COLUMNS);
    const bool whole = rows == TILE_ROWS && columns == TILE_COLUMNS;
    std::int64_t entry = map_.first_entry[k];
    const std::int64_t end = map_.first_entry[k + 1];
    std::int64_t shorter = 1;
    for (std::int64_t r = map_.first_run[k]; r < map_.first_run[k + 1]; ++r) {
      const auto run = static_cast<std::size_t>(r);
      const std::int64_t groups = map_.run_groups[run], bin = map_.run_bin[run];
      if (groups < shorter || groups > TILE_PIXELS / GROUP || groups * GROUP > end - entry) refuse("a run's length");
      if (bin < 0 || bin >= map_.n_bins()) refuse("a run's bin");
      shorter = groups;
      RunSum sum{0.0, 0};
      for (const std::int64_t last = entry + groups * GROUP; entry < last; ++entry) {
        const auto e = static_cast<std::size_t>(entry);
        const float area = map_.area[e];
        if (!(area >= 0.0f && area <= std::numeric_limits<float>::max())) refuse("an area");
        const std::int64_t p = map_.pixel[e];
        if (!whole && (p / TILE_COLUMNS >= rows || p % TILE_COLUMNS >= columns)) refuse("a pixel beyond the image");
        sum.area += static_cast<double>(area);
        sum.pixels += area > 0.0f ? 1 : 0;
      }
      sums_[run] = sum;
    }
    if (entry != end) refuse("the entries of a tile");
  }

 private:
  const CakeMap& map_;
  std::vector<RunSum>& sums_;
};

// Each run in its place among those of its bin, each bin once a tile and with the area and pixels of its runs.
void check_bins(const CakeMap& map, const std::vector<RunSum>& sums) {
  const auto n_bins = static_cast<std::size_t>(map.n_bins());
  std::vector<std::int64_t> next(map.first_slot.begin(), map.first_slot.end() - 1);
  std::vector<std::int64_t> seen(n_bins, -1);
  std::vector<double> area(n_bins, 0.0);
  std::vector<std::int64_t> pixels(n_bins, 0);
  for (std::size_t t = 0; t + 1 < map.first_run.size(); ++t) {
    const auto tile = static_cast<std::int64_t>(t);
    for (auto r = static_cast<std::size_t>(map.first_run[t]); r < static_cast<std::size_t>(map.first_run[t + 1]); ++r) {
      const auto b = static_cast<std::size_t>(map.run_bin[r]);
      if (map.run_slot[r] != next[b]++) refuse("the place of a run");
      if (seen[b] == tile) refuse("a bin comes twice in a tile");
      seen[b] = tile;
      area[b] += sums[r].area;
      pixels[b] += sums[r].pixels;
    }
  }
  for (std::size_t b = 0; b < n_bins; ++b) {
    if (next[b] != map.first_slot[b + 1]) refuse("the runs of a bin");
    if (map.bin_pixels[b] != pixels[b]) refuse("the pixels of a bin");
    if (!(std::abs(map.bin_area[b] - area[b]) <= SAME_AREA * area[b])) refuse("the area of a bin");
  }
}

}  // namespace

void check_cake_map(const CakeMap& map, int n_threads) {
  check_sizes(map);
  check_offsets(map.first_run, map.run_bin.size(), "first_run");
  check_offsets(map.first_entry, map.pixel.size(), "first_entry");
  check_offsets(map.first_slot, map.run_bin.size(), "first_slot");
  for (const double overlap : map.eta_overlap) {
    if (!std::isfinite(overlap)) refuse("eta_overlap is not finite");
  }
  std::vector<RunSum> sums(map.run_bin.size());
  const TileCheck check_tile(map, sums);
  const auto n_tiles = static_cast<std::int64_t>(map.first_run.size()) - 1;
  constexpr std::int64_t TILES = 256;
  parallel_for((n_tiles + TILES - 1) / TILES, resolve_threads(n_threads), [&](std::int64_t block) {
    for (std::int64_t t = block * TILES; t < std::min(n_tiles, (block + 1) * TILES); ++t) check_tile(t);
  });
  check_bins(map, sums);
}

}  // namespace midas
