// Pixels that are no measurement: hot ones, far above all their neighbours, and dead or shadowed ones, far below their
// surroundings.
//
//   hot:  c > hot_ratio m + hot_sigma sqrt(max(m, 1))        m: the largest of the (up to) eight neighbours
//   dead: c < dead_ratio b  where  b > dead_level            b: the background around
//
// A detector spreads diffraction over neighbours, so that nothing that stands alone is a ring. The background is the
// lower quartile of every second pixel of every second row of a tile of 16 x 16, the smallest over the tile and its
// neighbours: no ring raises it. Masked and negative pixels count as 0 among the neighbours; masked ones not at all in
// the quartiles.
// Counts are in [counts] with Poisson noise. Each output pixel belongs to one thread.
#ifndef MIDAS_DEFECTS_HPP
#define MIDAS_DEFECTS_HPP

#include <cstdint>

namespace midas {

struct DefectLimits {
  double hot_ratio = 5.0;    // of the brightest neighbour
  double hot_sigma = 20.0;   // standard deviations of its counting noise on top
  double dead_ratio = 0.2;   // of the background
  double dead_level = 25.0;  // counts of background below which few counts may be chance
};

enum Defect : std::uint8_t { DEFECT_NONE = 0, DEFECT_HOT = 1, DEFECT_DEAD = 2 };

// counts (finite), mask (non-zero: leave out) and defects (Defect values) hold n_z rows of n_y pixels. A masked pixel
// is neither hot nor dead.
void find_defects(const float* counts, const std::uint8_t* mask, std::int64_t n_z, std::int64_t n_y,
                  const DefectLimits& limits, std::uint8_t* defects, int n_threads);

}  // namespace midas

#endif
