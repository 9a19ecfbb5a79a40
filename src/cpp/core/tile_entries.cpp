// Puts a tile's entries into runs, by counting: tile_entries.hpp.
#include "tile_entries.hpp"

#include <array>
#include <limits>

#include "cake_map.hpp"

namespace midas {

namespace {

constexpr std::size_t LONGEST = TILE_PIXELS / GROUP;  // run, in groups

std::size_t groups_of(std::int32_t size) { return (static_cast<std::size_t>(size) + GROUP - 1) / GROUP; }

}  // namespace

void TileEntries::clear() {
  ++tile_;
  sectors_.clear();
  n_entries_ = 0;
  first_k_ = std::numeric_limits<std::int64_t>::max();
  end_k_ = -1;
}

void TileEntries::append_to(Strip& strip) {
  const std::size_t runs = strip.run_bin.size(), entries = strip.pixel.size();
  if (n_entries_ > 0) {
    number_bins();
    place_runs(strip);
    fill_runs(strip);
  }
  strip.n_runs.push_back(static_cast<std::int64_t>(strip.run_bin.size() - runs));
  strip.n_entries.push_back(static_cast<std::int64_t>(strip.pixel.size() - entries));
}

// Gives the bins that the tile may have numbers from 0 on, ascending as they do, and counts their entries.
void TileEntries::number_bins() {
  Entry *begin = entries_.data(), *end = begin + n_entries_;
  const std::size_t n = sectors_.size();
  etas_ = sectors_;
  std::sort(etas_.begin(), etas_.end());
  rank_.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    rank_[i] = static_cast<std::int32_t>(std::lower_bound(etas_.begin(), etas_.end(), sectors_[i]) - etas_.begin());
  }
  bins_.clear();
  auto n_keys = static_cast<std::size_t>(end_k_ - first_k_) * n;
  if (n_keys <= 16 * n_entries_ + 1024) {
    const auto step = static_cast<std::int32_t>(n), first = static_cast<std::int32_t>(first_k_);
    for (Entry* e = begin; e != end; ++e) e->key = (e->key - first) * step + rank_[static_cast<std::size_t>(e->sector)];
  } else {  // most of them empty: those with entries alone, found by sorting
    for (Entry* e = begin; e != end; ++e) {
      const std::int64_t eta = sectors_[static_cast<std::size_t>(e->sector)];
      e->key = static_cast<std::int32_t>(e->key * n_eta_ + eta);
      bins_.push_back(e->key);
    }
    std::sort(bins_.begin(), bins_.end());
    bins_.erase(std::unique(bins_.begin(), bins_.end()), bins_.end());
    for (Entry* e = begin; e != end; ++e) {
      e->key = static_cast<std::int32_t>(std::lower_bound(bins_.begin(), bins_.end(), e->key) - bins_.begin());
    }
    n_keys = bins_.size();
  }
  size_.assign(n_keys, 0);
  for (const Entry* e = begin; e != end; ++e) ++size_[static_cast<std::size_t>(e->key)];
}

std::int32_t TileEntries::bin(std::size_t key) const {
  if (!bins_.empty()) return bins_[key];
  const auto n = static_cast<std::int64_t>(etas_.size()), k = static_cast<std::int64_t>(key) / n;
  return static_cast<std::int32_t>((first_k_ + k) * n_eta_ + etas_[key - static_cast<std::size_t>(k * n)]);
}

void TileEntries::place_runs(Strip& strip) {
  std::array<std::size_t, LONGEST + 1> runs{};  // of each length
  for (const std::int32_t size : size_) ++runs[groups_of(size)];
  std::array<Place, LONGEST + 1> next;  // of each length
  Place end = {strip.run_bin.size(), strip.pixel.size()};
  for (std::size_t groups = 1; groups <= LONGEST; ++groups) {
    next[groups] = end;
    end.run += runs[groups];
    end.entry += runs[groups] * groups * GROUP;
  }
  strip.run_bin.resize(end.run);
  strip.run_groups.resize(end.run);
  strip.run_pixels.resize(end.run);
  strip.run_area.resize(end.run);
  strip.pixel.resize(end.entry);
  strip.area.resize(end.entry);
  place_.resize(size_.size());
  for (std::size_t key = 0; key < size_.size(); ++key) {
    const std::size_t groups = groups_of(size_[key]);
    if (groups == 0) continue;
    const Place place = next[groups];
    next[groups] = {place.run + 1, place.entry + groups * GROUP};
    place_[key] = place;
    strip.run_bin[place.run] = bin(key);
    strip.run_groups[place.run] = static_cast<std::uint8_t>(groups);
    strip.run_pixels[place.run] = static_cast<std::uint16_t>(size_[key]);
  }
}

void TileEntries::fill_runs(Strip& strip) {
  const Entry *begin = entries_.data(), *end = begin + n_entries_;
  for (const Entry* e = begin; e != end; ++e) {
    Place& place = place_[static_cast<std::size_t>(e->key)];
    strip.pixel[place.entry] = e->pixel;
    strip.area[place.entry] = e->area;
    strip.run_area[place.run] += static_cast<double>(e->area);
    ++place.entry;
  }
  // To whole groups: areas of 0, of the run's last pixel.
  for (std::size_t key = 0; key < size_.size(); ++key) {
    for (auto i = static_cast<std::size_t>(size_[key]); i < groups_of(size_[key]) * GROUP; ++i) {
      std::size_t& entry = place_[key].entry;
      strip.pixel[entry] = strip.pixel[entry - 1];
      ++entry;
    }
  }
}

}  // namespace midas
