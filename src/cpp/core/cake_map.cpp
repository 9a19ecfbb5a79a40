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

// Where each run stands when all are ordered by bin, and what the bins hold. Each thread has bins of its own, for which
// it goes through all runs in their order.
void order_by_bin(const std::vector<Strip>& strips, CakeMap& map, int n_threads) {
  const auto n_bins = static_cast<std::size_t>(map.n_bins());
  map.first_slot.assign(n_bins + 1, 0);
  map.run_slot.resize(static_cast<std::size_t>(map.first_run.back()));
  map.bin_area.assign(n_bins, 0.0);
  map.bin_pixels.assign(n_bins, 0);
  const auto for_each_run = [&](const auto& visit) {
    parallel_for(n_threads, n_threads, [&](std::int64_t part) {
      const auto first = static_cast<std::int32_t>(map.n_bins() * part / n_threads),
                 end = static_cast<std::int32_t>(map.n_bins() * (part + 1) / n_threads);
      std::size_t run = 0;
      for (const Strip& strip : strips) {
        for (std::size_t i = 0; i < strip.run_bin.size(); ++i, ++run) {
          const std::int32_t bin = strip.run_bin[i];
          if (bin >= first && bin < end) visit(strip, i, run, static_cast<std::size_t>(bin));
        }
      }
    });
  };
  for_each_run([&](const Strip& strip, std::size_t i, std::size_t, std::size_t bin) {
    ++map.first_slot[bin + 1];
    map.bin_area[bin] += strip.run_area[i];
    map.bin_pixels[bin] += strip.run_pixels[i];
  });
  for (std::size_t b = 1; b <= n_bins; ++b) map.first_slot[b] += map.first_slot[b - 1];
  std::vector<std::int64_t> next(map.first_slot.begin(), map.first_slot.end() - 1);
  for_each_run([&](const Strip&, std::size_t, std::size_t run, std::size_t bin) { map.run_slot[run] = next[bin]++; });
}

void number_tiles(const std::vector<Strip>& strips, CakeMap& map) {
  map.first_run.push_back(0);
  map.first_entry.push_back(0);
  for (const Strip& strip : strips) {
    for (std::size_t t = 0; t < strip.n_runs.size(); ++t) {
      map.first_run.push_back(map.first_run.back() + strip.n_runs[t]);
      map.first_entry.push_back(map.first_entry.back() + strip.n_entries[t]);
    }
  }
}

void find_overlap(const std::vector<Strip>& strips, CakeMap& map) {
  std::vector<double> square(static_cast<std::size_t>(map.n_radius), 0.0), shared = square;
  for (const Strip& strip : strips) {
    for (std::size_t k = 0; k < square.size(); ++k) {
      square[k] += strip.square[k];
      shared[k] += strip.shared[k];
    }
  }
  for (std::size_t k = 0; k < square.size(); ++k) {
    map.eta_overlap.push_back(square[k] > 0.0 ? 1.0 + shared[k] / square[k] : 1.0);
  }
}

// Appends one array of every strip in their order, each freed at once: no memory is touched before it is written.
template <class T>
void join(std::vector<Strip>& strips, std::vector<T> Strip::* array, std::int64_t size, std::vector<T>& joined) {
  joined.reserve(static_cast<std::size_t>(size));
  for (Strip& strip : strips) {
    std::vector<T> part;
    part.swap(strip.*array);
    joined.insert(joined.end(), part.begin(), part.end());
  }
}

// Four arrays, of which one holds most of the bytes.
void join_all(std::vector<Strip>& strips, CakeMap& map, int n_threads) {
  const std::int64_t n_runs = map.first_run.back(), n_entries = map.first_entry.back();
  parallel_for(4, n_threads, [&](std::int64_t array) {
    if (array == 0) join(strips, &Strip::area, n_entries, map.area);
    if (array == 1) join(strips, &Strip::pixel, n_entries, map.pixel);
    if (array == 2) join(strips, &Strip::run_bin, n_runs, map.run_bin);
    if (array == 3) join(strips, &Strip::run_groups, n_runs, map.run_groups);
  });
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
  number_tiles(strips, map);
  find_overlap(strips, map);
  order_by_bin(strips, map, threads);
  join_all(strips, map, threads);
  return map;
}

}  // namespace midas
