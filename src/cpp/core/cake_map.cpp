// Builds the map of pixel areas per bin. Equations and source: cake_map.hpp and polygon.hpp.
//
// Rows of tiles are cut in parallel, each into a strip of its own; the strips are then joined in their order, so
// nothing depends on the threads.
#include "cake_map.hpp"

#include <algorithm>
#include <limits>
#include <string>

#include "error.hpp"
#include "parallel.hpp"
#include "polygon.hpp"
#include "stored_image.hpp"
#include "tile_cuts.hpp"
#include "tile_entries.hpp"

namespace midas {

namespace {

Strip cut_strip(const CakeJob& job, std::int64_t row) {
  Strip strip;
  strip.square.assign(static_cast<std::size_t>(job.radii.n_bins()), 0.0);
  strip.shared = strip.square;
  TileCutter cutter(job);
  const std::int64_t n_rows = std::min(TILE_ROWS, job.image.n_rows - row);
  for (std::int64_t column = 0; column < job.image.n_columns; column += TILE_COLUMNS) {
    cutter.cut({row, column, n_rows, std::min(TILE_COLUMNS, job.image.n_columns - column)}, strip);
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
  if (map.n_bins() > std::numeric_limits<std::int32_t>::max()) {
    throw InputError("the grid has " + std::to_string(map.n_bins()) + " bins; expected fewer than 2^31");
  }
  const StoredImage image(layout);
  const CakeJob job{projection, layout, radii, zones, mask, image};
  map.n_rows = image.n_rows;
  map.n_columns = image.n_columns;
  const int threads = resolve_threads(n_threads);
  std::vector<Strip> strips(static_cast<std::size_t>(map.tiles_down()));
  parallel_for(map.tiles_down(), threads,
               [&](std::int64_t i) { strips[static_cast<std::size_t>(i)] = cut_strip(job, i * TILE_ROWS); });
  join(strips, map, threads);
  order_by_bin(map, threads);
  return map;
}

}  // namespace midas
