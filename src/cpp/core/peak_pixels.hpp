// The pixels of ring windows, sorted by (window, eta bin): the one pass over the image that ring fits need.
//
// Positions come from midas::Projection, which is called at nine pixels of each tile of 32 x 32: across a tile the
// position on the untilted plane (R sin eta, R cos eta) follows a parabola in row and column to better than 1e-4 px,
// which is tested at two more pixels of the tile, where a parabola is furthest off. A tile that fails the test, or lies
// on two panels, asks the projection for each of its pixels.
#ifndef MIDAS_PEAK_PIXELS_HPP
#define MIDAS_PEAK_PIXELS_HPP

#include <cstdint>
#include <vector>

#include "peak.hpp"

namespace midas {

struct Sample {
  float radius;  // [px], from the middle of the window
  float eta;     // [rad], from the middle of the bin
  float value;   // [counts]
};

// All pixels of all windows, sorted by bin (group-major, eta-minor), in a fixed order within a bin.
struct BinnedPixels {
  std::vector<Sample> samples;
  std::vector<std::int64_t> first;  // n_bins + 1
};

struct Frame {
  const Projection& projection;
  const float* image;        // [counts]
  const std::uint8_t* mask;  // non-zero where a pixel must not be used; may be null
  std::int64_t n_z, n_y;
};

BinnedPixels bin_pixels(const Frame& frame, const std::vector<RingGroup>& groups, std::int64_t n_eta, int threads);

// atan2(y, x) to 3e-8 rad. Source: Abramowitz & Stegun, Handbook of Mathematical Functions, 4.4.49.
double fast_atan2(double y, double x);

}  // namespace midas

#endif
