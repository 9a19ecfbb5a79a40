// The parts of one mapped pixel in the bins, whatever it is like: with the beam in it, on its border or on a corner,
// across any number of rays, bent over itself. The general way; tile_cuts.hpp cuts most pixels faster.
#ifndef MIDAS_PIXEL_CUTS_HPP
#define MIDAS_PIXEL_CUTS_HPP

#include <array>
#include <cstdint>
#include <vector>

#include "polygon.hpp"

namespace midas {

// Areas below this are rounding of the cuts, not parts of a pixel [px^2].
constexpr double SLIVER = 1e-9;

// A corner of a mapped pixel.
struct Corner {
  Point at;           // [px]
  double radius;      // [px], NaN at or behind the sample
  std::int64_t zone;  // that contains it (AngularZones::contains), -1 for none or not known
};

// The area [px^2] that a pixel has in the bin (k of R, zone of eta).
struct Part {
  std::int64_t k, zone;
  double area;
};

class PixelCutter {
 public:
  // Both are kept by reference.
  PixelCutter(const Edges& radii, const AngularZones& zones) : radii_(radii), zones_(zones) {}

  // The parts, one a bin, by ascending zone and k; those in no bin of eta are left out. Good until the next call.
  const std::vector<Part>& cut(const std::array<Corner, 4>& corners);

 private:
  void split(const std::array<Corner, 4>& corners);
  void sort_by_zone();
  void cut_zone(const EdgePiece* begin, const EdgePiece* end, double sign, bool at_origin);

  const Edges& radii_;
  const AngularZones& zones_;
  std::vector<EdgePiece> pieces_;
  std::vector<Part> parts_;
};

}  // namespace midas

#endif
