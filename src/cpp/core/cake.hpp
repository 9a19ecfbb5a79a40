// A frame into a cake: sums of counts over the bins of a CakeMap.
//
//   intensity = sum(area s (raw - dark)) / sum(area)           over the valid pixels of the bin
//   variance  = sum(area^2 s^2 max(raw, 0)) / sum(area)^2      Poisson: the variance of a count is the count, without a
//   floor
//
// s is a correction per pixel (1 without). Without `normalize` both sums stand undivided. Each bin is summed by one
// thread, in double, in the order of the map: the same bytes for any number of threads. A pixel is valid unless it is
// masked, not finite, negative (detectors mark gaps and bad pixels with -1 and -2), at the largest value of an unsigned
// type, or at or above `saturation`. Source: SPEC sections 4 and 5.
#ifndef MIDAS_CAKE_HPP
#define MIDAS_CAKE_HPP

#include <cstdint>
#include <limits>
#include <vector>

#include "cake_map.hpp"

namespace midas {

// What a frame is combined with; arrays are laid out as the frame, or null.
struct CakeInput {
  const double* dark = nullptr;        // counts, finite
  const double* scale = nullptr;       // s, finite
  const std::uint8_t* mask = nullptr;  // non-zero leaves the pixel out
  std::vector<double> bad_values;      // values that mark a pixel without counts
  double saturation = std::numeric_limits<double>::infinity();
  bool negative_counts = false;  // negative values are counts (frames whose dark is subtracted), not marks
  bool normalize = true;
};

// intensity, variance and area have map.n_bins() elements; variance may be null. A bin without a valid pixel is NaN
// with area 0. T: std::uint8_t, uint16_t, uint32_t, int16_t, int32_t, float, double.
template <class T>
void apply_cake_map(const CakeMap& map, const T* frame, const CakeInput& input, double* intensity, double* variance,
                    double* area, int n_threads);

}  // namespace midas

#endif
