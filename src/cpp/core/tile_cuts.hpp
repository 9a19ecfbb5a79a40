// The parts of the pixels of one tile in the bins.
//
// Neighbours share their corners and edges, so a tile's corners are mapped once and each edge is cut once by every
// circle that it or its two pixels meet: what it sweeps beyond the circle (SweptEdge, polygon.hpp) counts for one pixel
// and against the other. The area of a pixel beyond the circle R_k is the sum over its four edges, and its part in bin
// k the difference of two such areas. This holds for a pixel within one zone of eta and away from the beam; any other
// goes to PixelCutter. On a tiled detector the pixels of each panel in the tile have corners of their own.
#ifndef MIDAS_TILE_CUTS_HPP
#define MIDAS_TILE_CUTS_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cake_map.hpp"
#include "geometry.hpp"
#include "pixel_cuts.hpp"
#include "polygon.hpp"
#include "stored_image.hpp"
#include "tile_entries.hpp"

namespace midas {

// What all tiles share.
struct CakeJob {
  const Projection& projection;
  const PixelLayout& layout;
  const Edges& radii;
  const AngularZones& zones;
  const std::uint8_t* mask;
  const StoredImage& image;
};

// Pixels [row, row + n_rows) x [column, column + n_columns) of the stored image, the first of which is the pixel
// (first_row, first_column) of its tile.
struct PixelBlock {
  std::int64_t row, column, n_rows, n_columns;
  std::int64_t first_row = 0, first_column = 0;
};

class TileCutter {
 public:
  explicit TileCutter(const CakeJob& job);

  // Appends a tile's runs to the strip, and adds to its sums over R.
  void cut(const PixelBlock& tile, Strip& strip);

 private:
  static constexpr std::size_t ACROSS = TILE_COLUMNS + 1, CORNERS = (TILE_ROWS + 1) * ACROSS;
  // Edges along the rows of the stored image or along its columns, each named for its first corner.
  struct EdgeSet {
    std::array<double, CORNERS> cross, angle, foot, far_end, near_end;
    std::array<std::int32_t, CORNERS> first_k, end_k;  // the radii R_k that cut the edge
    std::array<std::int64_t, CORNERS> at;              // beyond_[at + k] belongs to R_k
  };
  // Arguments of swept_beyond and the place in beyond_ to add the result to, which takes the place of the radius.
  struct Crossings {
    std::vector<double> foot, end, radius;
    std::vector<std::size_t> target;
    std::size_t n = 0;
    void resize(std::size_t size) {
      foot.resize(size);
      end.resize(size);
      radius.resize(size);
      target.resize(size);
    }
    void add(double p, double s, double r, std::size_t to) {
      foot[n] = p;
      end[n] = s;
      radius[n] = r;
      target[n++] = to;
    }
  };

  static std::size_t index(std::int64_t i, std::int64_t j) {
    return static_cast<std::size_t>(i) * ACROSS + static_cast<std::size_t>(j);
  }
  Point point(std::size_t i) const { return {u_[i], v_[i]}; }

  std::int32_t panel_of(std::int64_t row, std::int64_t column) const;
  bool is_masked(std::int64_t row, std::int64_t column) const;
  void cut_block(const PixelBlock& block, Strip& strip);
  bool map_corners(const PixelBlock& block);
  bool measure(const PixelBlock& block);
  void find_zones(const PixelBlock& block);
  void measure_edges(const PixelBlock& block);
  void measure_edges(EdgeSet& edges, std::size_t first, std::size_t n, std::size_t to_end);
  void find_radii(const PixelBlock& block);
  void cut_edges(const PixelBlock& block);
  void reserve(const PixelBlock& block);
  void cut_edge(EdgeSet& edges, std::size_t i, std::int32_t first_k, std::int32_t end_k);
  // Whether the pixel after a corner is in one zone and does not hold the beam.
  bool is_plain(std::size_t corner) const {
    const std::int32_t zone = zone_[corner];
    const std::size_t below = corner + ACROSS;
    return zone >= 0 && zone_[corner + 1] == zone && zone_[below] == zone && zone_[below + 1] == zone &&
           std::min({radius_[corner], radius_[corner + 1], radius_[below], radius_[below + 1]}) > longest_;
  }
  void cut_pixel(std::size_t corner, std::int64_t pixel, Strip& strip);
  void cut_alone(std::size_t corner, std::int64_t pixel, Strip& strip);

  const CakeJob& job_;
  PixelCutter cutter_;
  TileEntries entries_;
  // Of each corner: R cos eta, R sin eta, R [px]; how many radii are not beyond it; its zone (Corner::zone)
  std::array<double, CORNERS> u_, v_, radius_;
  std::array<std::int32_t, CORNERS> radii_below_, zone_;
  double longest_ = 0.0;   // edge of the block: |du| + |dv| [px]
  bool is_small_ = false;  // no edge of the block subtends more than SMALL_TANGENT
  EdgeSet along_rows_, along_columns_;
  std::array<std::int32_t, CORNERS> first_k_, end_k_;  // of each pixel: the radii that cut it
  std::vector<double> beyond_;                         // swept areas, see EdgeSet::at
  std::size_t n_beyond_ = 0;
  Crossings crossings_;
  std::vector<Part> by_radius_;
};

}  // namespace midas

#endif
