// Ridges of an image: the crests of bright lines, with sub-cell positions and the direction across the line.
//
// The image is smoothed with a Gaussian and its derivatives. Where the second derivative across a line is negative and
// the first one vanishes within the cell, a crest passes. Source of the sub-cell position: Steger, IEEE Trans. Pattern
// Anal. Mach. Intell. 20 (1998) 113, eq. 14: t = -(g . n) / (n^T H n) along the normal n.
// Compact spots of single grains lie on rings too, but say nothing of their direction: maxima that are sharp both ways
// are points without a normal. Their flanks are ridges that lead away from the ring: a point with something much
// brighter along its own line is none. The normal is the mean direction of the curvatures around (double angles,
// weighted by curvature), which spots of single grains disturb less than the curvature of one cell.
#ifndef MIDAS_RIDGES_HPP
#define MIDAS_RIDGES_HPP

#include <cstdint>
#include <vector>

namespace midas {

struct RidgeOptions {
  double scale = 1.3;        // sigma of the Gaussian [px]
  double orientation = 2.5;  // sigma of the mean over which the normal is taken [px]
  double threshold = 4.0;    // curvature over its standard deviation in white noise of unit variance
  double coherence = 0.3;    // 0 no common direction of the curvatures around, 1 all the same
  double outshone = 3.0;     // image units by which something along the line may be brighter than a point of it
  int outshone_reach = 16;   // [px] how far along the line
  double slope = 0.4;        // [1/px] image units by which a line may brighten along itself
  int n_threads = 0;
};

struct RidgePoint {
  double y, z;                // [px]
  double normal_y, normal_z;  // unit vector across the line; both 0 for a spot
  double strength;            // curvature over its standard deviation in noise
};

// image: n_z x n_y in standard deviations of its noise; blocked: non-zero where no crest is wanted. Row by row.
std::vector<RidgePoint> find_ridges(const float* image, const std::uint8_t* blocked, std::int64_t n_z, std::int64_t n_y,
                                    const RidgeOptions& options);

}  // namespace midas

#endif
