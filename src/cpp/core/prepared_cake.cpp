// Folds dark, scale and mask into a map's bins. What for: prepared_cake.hpp.
#include "prepared_cake.hpp"

#include <algorithm>
#include <utility>

#include "parallel.hpp"

namespace midas {

namespace {

constexpr std::int64_t FEW_TILES = 32;  // a bin's sum over as many tiles may be single precision

// What one row of tiles takes from its bins, in the order of its entries.
struct Taken {
  std::int32_t bin;
  std::int32_t pixels;
  double area, dark;
};

}  // namespace

PreparedCake::PreparedCake(std::shared_ptr<const CakeMap> given, const CakeInput& input, InstructionSet best,
                           int n_threads)
    : map(std::move(given)),
      set(best),
      saturation(input.saturation),
      negative_counts(input.negative_counts),
      normalize(input.normalize),
      bad_values(input.bad_values),
      bin_area(map->bin_area),
      bin_pixels(map->bin_pixels),
      dark_sum(bin_area.size(), 0.0) {
  const auto n_pixels = static_cast<std::size_t>(map->n_pixels());
  if (input.dark != nullptr) dark.assign(input.dark, input.dark + n_pixels);
  if (input.scale != nullptr) scale.assign(input.scale, input.scale + n_pixels);
  order_runs();
  fold_in(input.mask, resolve_threads(n_threads));
  factor.reserve(n_bins());
  for (std::size_t b = 0; b < n_bins(); ++b) factor.push_back(factor_of(bin_area[b], bin_pixels[b], normalize));
}

void PreparedCake::order_runs() {
  std::int64_t most_tiles = 0;
  for (std::size_t b = 0; b < n_bins(); ++b)
    most_tiles = std::max(most_tiles, map->first_slot[b + 1] - map->first_slot[b]);
  many_tiles_a_bin = most_tiles > FEW_TILES;
  runs_of_bins.resize(map->run_bin.size());
  first_of_bin.resize(map->run_bin.size());
  for (std::size_t r = 0; r < map->run_bin.size(); ++r) {
    const std::int64_t slot = map->run_slot[r];
    runs_of_bins[static_cast<std::size_t>(slot)] = static_cast<std::int32_t>(r);
    first_of_bin[r] = slot == map->first_slot[static_cast<std::size_t>(map->run_bin[r])] ? 1 : 0;
  }
  for (std::size_t t = 0; t + 1 < map->first_run.size(); ++t)
    most_runs = std::max(most_runs, map->first_run[t + 1] - map->first_run[t]);
}

// Rows of tiles in parallel; what they take from the bins is subtracted in their order.
void PreparedCake::fold_in(const std::uint8_t* mask, int n_threads) {
  const std::size_t n_tiles = map->first_run.size() - 1;
  used.assign(n_tiles * TILE_ROWS, 0);
  masked_tile.assign(n_tiles, 0);
  std::vector<std::vector<Taken>> taken(static_cast<std::size_t>(map->tiles_down()));
  parallel_for(map->tiles_down(), n_threads, [&](std::int64_t down) {
    for (std::int64_t tile = down * map->tiles_across(); tile < (down + 1) * map->tiles_across(); ++tile) {
      const auto t = static_cast<std::size_t>(tile);
      const std::int64_t row = down * TILE_ROWS, column = tile % map->tiles_across() * TILE_COLUMNS;
      auto e = static_cast<std::size_t>(map->first_entry[t]);
      for (auto r = static_cast<std::size_t>(map->first_run[t]); r < static_cast<std::size_t>(map->first_run[t + 1]);
           ++r) {
        Taken from{map->run_bin[r], 0, 0.0, 0.0};
        for (const std::size_t end = e + static_cast<std::size_t>(map->run_groups[r] * GROUP); e < end; ++e) {
          if (!(map->area[e] > 0.0f)) continue;
          const std::int64_t i = map->pixel[e] / TILE_COLUMNS, j = map->pixel[e] % TILE_COLUMNS;
          const auto element = static_cast<std::size_t>((row + i) * map->n_columns + column + j);
          const auto area = static_cast<double>(map->area[e]);
          if (mask != nullptr && mask[element] != 0) {
            masked_tile[t] = 1;
            from.area += area;
            ++from.pixels;
            continue;
          }
          used[t * TILE_ROWS + static_cast<std::size_t>(i)] |= std::uint32_t{1} << j;
          if (!dark.empty()) from.dark += area * corrected_dark(element);
        }
        if (from.pixels > 0 || from.dark != 0.0) taken[static_cast<std::size_t>(down)].push_back(from);
      }
    }
  });
  for (const auto& of_row : taken) {
    for (const Taken& from : of_row) {
      const auto b = static_cast<std::size_t>(from.bin);
      bin_area[b] -= from.area;
      bin_pixels[b] -= from.pixels;
      dark_sum[b] += from.dark;
      if (bin_pixels[b] == 0) bin_area[b] = 0.0;
    }
  }
}

}  // namespace midas
