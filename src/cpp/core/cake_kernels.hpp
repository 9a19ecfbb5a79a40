// The inner loops of caking: the areas of a CakeMap times the counts of a tile.
//
// For a run of entries e of one bin, in chains k = e mod 4:
//
//   sum = (c0 + c1) + (c2 + c3),   ck = sum over the chain of area_e counts_e
//
// in the order of the entries, for each of LANES frames side by side or for one: the same operations, so a frame comes
// out the same alone and among others. Which instructions compute them is chosen when the program runs; with fused
// multiply-add (x86-64-v3 and v4) the last bit may differ from that without (docs/decisions/instruction-sets.md).
#ifndef MIDAS_CAKE_KERNELS_HPP
#define MIDAS_CAKE_KERNELS_HPP

#include <cstdint>

#include "cake_map.hpp"
#include "instruction_set.hpp"
#include "tile_load.hpp"

namespace midas {

// The runs of one tile, and what memory is asked for while they are summed: asked for all at once it would be waited
// for.
struct TileRuns {
  const std::int32_t* bin;
  std::int64_t stride;        // from the sums of one bin to those of the next
  const std::uint8_t* first;  // 1 where the run is its bin's first: what stood for its sum before is not read
  const std::uint8_t* groups;
  std::int64_t n;
  const std::uint8_t* pixel;
  const float* area;
  const void* const* asked;
  std::int64_t n_asked;
};

enum class Weight { AREA, AREA_SQUARED, ONE };  // ONE: for every entry of an area above 0

// Real: float, or double where float would lose bits; `tile` holds TILE_PIXELS pixels of LANES frames each.
template <class Real>
struct CakeKernels {
  // sums[bin * stride + frame] += sum over the run, or = for the first.
  void (*add_float)(const TileRuns&, Weight, const Real* tile, float* sums);
  void (*add_double)(const TileRuns&, Weight, const Real* tile, double* sums);
  // Weights AREA into sums and AREA_SQUARED into squares, of the same tile.
  void (*add_both_float)(const TileRuns&, const Real* tile, float* sums, float* squares);
  void (*add_both_double)(const TileRuns&, const Real* tile, double* sums, double* squares);
  // For one frame: the sum of each run of areas times `tile` goes to sums[run], and that of areas squared times
  // `variance` to squares, unless that is null.
  void (*run_sums)(const TileRuns&, const Real* tile, const Real* variance, Real* sums, Real* squares);
};

// out[frame][bin] = (sums[bin * stride + frame] - dark[bin]) * factor[bin] in double, for n bins of n_frames frames.
template <class Sum, class Out>
using TakeFrames = void (*)(const Sum* sums, std::int64_t stride, std::int64_t n, std::int64_t n_frames,
                            const double* dark, const double* factor, Out* const* out);

template <class Real>
const CakeKernels<Real>& cake_kernels(InstructionSet set);
template <class Sum, class Out>
TakeFrames<Sum, Out> take_frames(InstructionSet set);

}  // namespace midas

#endif
