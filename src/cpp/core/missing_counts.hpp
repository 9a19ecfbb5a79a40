// What bins lose in one frame alone, where some of its pixels are no counts.
#ifndef MIDAS_MISSING_COUNTS_HPP
#define MIDAS_MISSING_COUNTS_HPP

#include <algorithm>
#include <cstdint>
#include <vector>

#include "prepared_cake.hpp"

namespace midas {

// What is taken from a bin: by one tile, or by all.
struct Missing {
  std::int32_t bin, pixels;
  double area, dark;
};

// A bin of a frame whose valid pixels are not those of the other frames.
struct OwnBin {
  std::int64_t frame;
  std::int32_t bin, pixels;
  double area;  // [px^2]; 0 where no pixel is left
};

// One entry a bin, ascending; what several tiles take is added up in their order.
inline void merge_by_bin(std::vector<Missing>& missing) {
  std::stable_sort(missing.begin(), missing.end(), [](const Missing& a, const Missing& b) { return a.bin < b.bin; });
  std::size_t n = 0;
  for (const Missing& m : missing) {
    if (n > 0 && missing[n - 1].bin == m.bin) {
      missing[n - 1].pixels += m.pixels;
      missing[n - 1].area += m.area;
      missing[n - 1].dark += m.dark;
    } else {
      missing[n++] = m;
    }
  }
  missing.resize(n);
}

// Mends the bins of a frame that lack something; sum_of(bin) and square_of(bin) are its sums, `variance` may be null.
template <class Out, class SumOf, class SquareOf>
void mend(const PreparedCake& cake, std::int64_t frame, std::vector<Missing>& missing, const SumOf& sum_of,
          const SquareOf& square_of, Out* intensity, float* variance, std::vector<OwnBin>& own) {
  merge_by_bin(missing);
  for (const Missing& m : missing) {
    const auto b = static_cast<std::size_t>(m.bin);
    const std::int32_t pixels = cake.bin_pixels[b] - m.pixels;
    const double area = pixels > 0 ? cake.bin_area[b] - m.area : 0.0;
    const double factor = factor_of(area, pixels, cake.normalize);
    intensity[b] = static_cast<Out>((sum_of(b) - (cake.dark_sum[b] - m.dark)) * factor);
    if (variance != nullptr) variance[b] = static_cast<float>(square_of(b) * (factor * factor));
    own.push_back({frame, m.bin, pixels, area});
  }
}

}  // namespace midas

#endif
