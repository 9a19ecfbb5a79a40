// The map from pixels to cake bins: how much of each pixel lies in each bin of (R, eta).
//
// A pixel's corners (y +- 0.5, z +- 0.5) go through Projection::on_plane to (R cos eta, R sin eta) [px]; the
// straight-edged quadrilateral through these points is the mapped pixel, and neighbours share their corners, so the
// mapped pixels tile the plane; on a tiled detector the pixels of each panel do, their corners moved as the panel is.
// The area [px^2] of its part between two circles and two rays (polygon.hpp) is the weight of the pixel in the bin. A
// pixel that the geometry folds over itself has no part in a bin where its signed area is negative.
// Source: docs/physics/areas.md.
//
// The map is kept by tiles of the stored image, 8 rows of 32 pixels: a tile's counts fit the first cache with room for
// 16 frames, its pixels are numbered by one byte, and the areas that belong to one bin stand together in a run, so that
// a sum stays in registers until the run ends.
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

constexpr std::int64_t TILE_ROWS = 8, TILE_COLUMNS = 32, TILE_PIXELS = TILE_ROWS * TILE_COLUMNS;
// Runs are filled up to whole groups with areas of 0: without a remainder the loops over them are not mispredicted.
constexpr std::int64_t GROUP = 4;

// Bins are numbered R index * n_eta + eta index; tiles row by row of the stored image.
struct CakeMap {
  std::int64_t n_radius = 0, n_eta = 0;
  std::int64_t n_rows = 0, n_columns = 0;  // of the stored image
  std::vector<std::int64_t> first_run;     // of each tile, and the end
  std::vector<std::int64_t> first_entry;   // of each tile, and the end
  std::vector<std::int32_t> run_bin;       // each bin once a tile; short runs of a tile before long ones
  std::vector<std::uint8_t> run_groups;    // entries of the run / GROUP
  std::vector<std::uint8_t> pixel;         // of each entry: row * TILE_COLUMNS + column in its tile
  std::vector<float> area;                 // of each entry [px^2]
  std::vector<std::int64_t> run_slot;      // place of the run when all are ordered by bin, then tile
  std::vector<std::int64_t> first_slot;    // of each bin, and the end
  std::vector<double> bin_area;            // [px^2]
  std::vector<std::int32_t> bin_pixels;    // pixels with a part in the bin
  // For each R: sum over pixels of (sum over eta of area)^2 / sum over pixels and eta of area^2, 1 where empty. Pixels
  // cut by a ray are in two bins, whose errors are therefore correlated: a sum over eta has this many times the
  // variance of the bins taken as independent (for counts that vary little along eta).
  std::vector<double> eta_overlap;

  std::int64_t n_bins() const { return n_radius * n_eta; }
  std::int64_t n_pixels() const { return n_rows * n_columns; }
  std::int64_t tiles_across() const { return (n_columns + TILE_COLUMNS - 1) / TILE_COLUMNS; }
  std::int64_t tiles_down() const { return (n_rows + TILE_ROWS - 1) / TILE_ROWS; }
};

// radius_edges [px] and eta_edges [rad] ascend; eta covers at most a full turn, at any place (it wraps), and a last bin
// that reaches past a full turn is cut there. mask: n_y * n_z bytes in the geometry's frame (z, y), non-zero leaves the
// pixel out, or null. Pixels with a corner at or behind the sample plane are left out. The result does not depend on
// n_threads. Throws InputError for edges that do not ascend, a layout that leaves the image, or more than 2^31 bins or
// pixels.
CakeMap build_cake_map(const Projection& projection, const PixelLayout& layout, const std::vector<double>& radius_edges,
                       const std::vector<double>& eta_edges, const std::uint8_t* mask, int n_threads);

// The same areas as compressed rows: bin b holds entries offsets[b] .. offsets[b + 1], by ascending element of the
// stored image.
struct CakeRows {
  std::vector<std::int64_t> offsets;  // n_bins + 1
  std::vector<std::int32_t> pixels;   // element of the stored image
  std::vector<float> areas;           // [px^2]
};
CakeRows cake_rows(const CakeMap& map, int n_threads);

}  // namespace midas

#endif
