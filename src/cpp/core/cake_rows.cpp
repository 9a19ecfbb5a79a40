// A map's areas as compressed rows: cake_map.hpp.
#include <algorithm>

#include "cake_map.hpp"
#include "parallel.hpp"

namespace midas {

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
