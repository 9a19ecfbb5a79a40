// The entries of a tile on their way into a map: gathered in any order of bins, then put into runs.
#ifndef MIDAS_TILE_ENTRIES_HPP
#define MIDAS_TILE_ENTRIES_HPP

#include <algorithm>
#include <cstdint>
#include <vector>

namespace midas {

// What one row of tiles gives to the map (CakeMap).
struct Strip {
  std::vector<std::int64_t> n_runs, n_entries;  // of each tile
  std::vector<std::int32_t> run_bin;
  std::vector<double> run_area;  // [px^2]
  std::vector<std::uint16_t> run_pixels;
  std::vector<std::uint8_t> run_groups, pixel;
  std::vector<float> area;
  std::vector<double> square, shared;  // for each R, see CakeMap::eta_overlap
};

class TileEntries {
 public:
  explicit TileEntries(std::int64_t n_eta) : n_eta_(n_eta), seen_(static_cast<std::size_t>(n_eta), Seen{-1, 0}) {}

  void clear();

  struct Entry {
    std::int32_t key, sector;  // key: first k of R, then number_bins
    float area;
    std::uint8_t pixel;
  };
  // Takes the areas [px^2] of one pixel (row * TILE_COLUMNS + column) in the bins (k of R) of one eta.
  struct Writer {
    Entry* next;
    std::int32_t sector;
    std::uint8_t pixel;
    void add(std::int64_t k, double area) {
      *next++ = {static_cast<std::int32_t>(k), sector, static_cast<float>(area), pixel};
    }
  };
  // For bins first_k <= k < end_k, each at most once; to be kept before the next one is made.
  Writer write(std::int64_t eta, std::int64_t first_k, std::int64_t end_k, std::int64_t pixel) {
    first_k_ = std::min(first_k_, first_k);
    end_k_ = std::max(end_k_, end_k);
    const std::size_t most = n_entries_ + static_cast<std::size_t>(end_k - first_k);
    if (most > entries_.size()) entries_.resize(2 * most);
    return {entries_.data() + n_entries_, sector(eta), static_cast<std::uint8_t>(pixel)};
  }
  void keep(const Writer& writer) { n_entries_ = static_cast<std::size_t>(writer.next - entries_.data()); }

  // Runs: short ones first, since a loop whose length seldom changes is predicted, then by bin.
  void append_to(Strip& strip);

 private:
  struct Seen {
    std::int64_t tile;
    std::int32_t sector;
  };
  struct Place {
    std::size_t run, entry;  // in the strip; the entry that comes next
  };
  // The number in this tile of a bin of eta.
  std::int32_t sector(std::int64_t eta) {
    Seen& seen = seen_[static_cast<std::size_t>(eta)];
    if (seen.tile != tile_) {
      seen = {tile_, static_cast<std::int32_t>(sectors_.size())};
      sectors_.push_back(eta);
    }
    return seen.sector;
  }
  void number_bins();
  std::int32_t bin(std::size_t key) const;
  void place_runs(Strip& strip);
  void fill_runs(Strip& strip);

  std::int64_t n_eta_;
  std::int64_t tile_ = 0;
  std::vector<Seen> seen_;             // of each bin of eta
  std::vector<std::int64_t> sectors_;  // their bins of eta, as they came
  std::vector<std::int64_t> etas_;     // the same, ascending
  std::int64_t first_k_ = 0, end_k_ = 0;
  std::vector<Entry> entries_;  // the first n_entries_ of them
  std::size_t n_entries_ = 0;
  std::vector<std::int32_t> rank_;  // of each sector: its place in etas_
  std::vector<std::int32_t> bins_;  // of each key; empty where it follows from the key
  std::vector<std::int32_t> size_;  // of each key: its entries
  std::vector<Place> place_;        // of each key
};

}  // namespace midas

#endif
