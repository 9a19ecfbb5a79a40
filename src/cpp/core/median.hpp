// The median over a square around each pixel of an image, mirrored at its edge pixels (d c b | a b c d | c b a).
//
// The values are replaced by their ranks among all values of the image, and a histogram of ranks slides along each row
// (Huang, Yang and Tang, IEEE Trans. ASSP 27 (1979) 13): 2 (2h + 1) updates a pixel and a short search, whatever the
// type and range of the values; the medians are exact. Each row belongs to one thread.
#ifndef MIDAS_MEDIAN_HPP
#define MIDAS_MEDIAN_HPP

#include <cstdint>

namespace midas {

// values (finite) and median hold n_z rows of n_y pixels; the square has 2 half + 1 pixels on an edge.
void median_filter(const float* values, std::int64_t n_z, std::int64_t n_y, std::int64_t half, float* median,
                   int n_threads);

}  // namespace midas

#endif
