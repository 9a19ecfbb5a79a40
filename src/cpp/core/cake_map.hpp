// The map from pixels to cake bins: how much of each pixel lies in each bin of (R, eta).
//
// A pixel's corners (y +- 0.5, z +- 0.5) go through Projection::to_polar to (R, eta); the straight-edged quadrilateral
// through the points (R cos eta, R sin eta) [px] is the mapped pixel, and neighbours share their corners, so the mapped
// pixels tile the plane; on a tiled detector the pixels of each panel do, their corners moved as the panel is. The area
// [px^2] of its part between two circles and two rays (polygon.hpp) is the weight of the pixel in the bin. Source: SPEC
// section 5.
#ifndef MIDAS_CAKE_MAP_HPP
#define MIDAS_CAKE_MAP_HPP

#include <cstdint>
#include <vector>

#include "geometry.hpp"

namespace midas {

// Where the pixel (y, z) of the geometry's frame is stored: element first + y * step_y + z * step_z of an image of n_y
// * n_z elements. Flips and transposes of the image as read are folded in here, so the raw frame is never copied.
struct PixelLayout {
  std::int64_t n_y = 0, n_z = 0;
  std::int64_t first = 0, step_y = 1, step_z = 0;
};

// Compressed rows: bin b (= R index * n_eta + eta index) holds entries offsets[b] .. offsets[b + 1], in the order of
// the pixels (z, then y) of the geometry's frame.
struct CakeMap {
  std::int64_t n_radius = 0, n_eta = 0, n_pixels = 0;
  std::vector<std::int64_t> offsets;  // n_bins + 1
  std::vector<std::int32_t> pixels;   // element of the stored image
  std::vector<float> areas;           // [px^2]
  // For each R: sum over pixels of (sum over eta of area)^2 / sum over pixels and eta of area^2, 1 where empty. Pixels
  // cut by a ray are in two bins, whose errors are therefore correlated: a sum over eta has this many times the
  // variance of the bins taken as independent (for counts that vary little along eta).
  std::vector<double> eta_overlap;
  std::int64_t n_bins() const { return n_radius * n_eta; }
};

// radius_edges [px] and eta_edges [rad] ascend; eta covers at most a full turn, at any place (it wraps), and a last bin
// that reaches past a full turn is cut there. mask: n_y * n_z bytes in the geometry's frame (z, y), non-zero leaves the
// pixel out, or null. Pixels with a corner at or behind the sample plane are left out. The result does not depend on
// n_threads. Throws InputError for edges that do not ascend, a layout that leaves the image, or more than 2^31 bins or
// pixels.
CakeMap build_cake_map(const Projection& projection, const PixelLayout& layout, const std::vector<double>& radius_edges,
                       const std::vector<double>& eta_edges, const std::uint8_t* mask, int n_threads);

}  // namespace midas

#endif
