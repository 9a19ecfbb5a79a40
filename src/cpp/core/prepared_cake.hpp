// A map and all that its frames are combined with, folded in once.
#ifndef MIDAS_PREPARED_CAKE_HPP
#define MIDAS_PREPARED_CAKE_HPP

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "cake_map.hpp"
#include "instruction_set.hpp"

namespace midas {

// What frames are combined with; arrays are laid out as the stored frame, or null.
struct CakeInput {
  const double* dark = nullptr;        // counts, finite
  const double* scale = nullptr;       // s, finite
  const std::uint8_t* mask = nullptr;  // non-zero leaves the pixel out
  std::vector<double> bad_values;      // values that mark a pixel without counts
  double saturation = std::numeric_limits<double>::infinity();
  bool negative_counts = false;  // negative values are counts (frames whose dark is subtracted), not marks
  bool normalize = true;
};

// What a bin's sum is multiplied by: NaN where it holds no pixel.
inline double factor_of(double area, std::int32_t pixels, bool normalize) {
  if (pixels <= 0) return std::numeric_limits<double>::quiet_NaN();
  return normalize ? 1.0 / area : 1.0;
}

struct PreparedCake {
  PreparedCake(std::shared_ptr<const CakeMap> map, const CakeInput& input, InstructionSet set, int n_threads);

  std::shared_ptr<const CakeMap> map;
  InstructionSet set;
  double saturation;
  bool negative_counts, normalize;
  std::vector<double> bad_values;
  std::vector<double> dark;               // of each element of the stored image, or empty
  std::vector<float> scale;               // likewise
  std::vector<std::uint8_t> masked_tile;  // whether a tile has pixels that the mask leaves out
  std::vector<std::uint32_t> used;        // of each tile's row: a bit for each column whose pixel is in a bin
  std::vector<double> bin_area;           // [px^2], without the pixels of the mask
  std::vector<std::int32_t> bin_pixels;
  std::vector<double> dark_sum, factor;    // of each bin: what its sum is lessened and then multiplied by
  std::vector<std::int32_t> runs_of_bins;  // bin by bin, as CakeMap::first_slot counts
  std::vector<std::uint8_t> first_of_bin;  // whether a run is its bin's first
  std::int64_t most_runs = 0;              // of a tile
  bool many_tiles_a_bin = false;           // so many that their sum wants double

  std::size_t n_bins() const { return bin_area.size(); }
  double corrected_dark(std::size_t element) const {
    return dark[element] * (scale.empty() ? 1.0 : static_cast<double>(scale[element]));
  }

 private:
  void order_runs();
  void fold_in(const std::uint8_t* mask, int n_threads);
};

}  // namespace midas

#endif
