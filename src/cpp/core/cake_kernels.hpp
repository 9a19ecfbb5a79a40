// The inner loops of caking: counts of a tile brought together, and the areas of a CakeMap times these counts.
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
#include "valid.hpp"

namespace midas {

constexpr std::int64_t LANES = 16;  // frames that are summed side by side

// What reading a tile has found.
struct TileState {
  bool invalid = false;  // a value that is no count
  bool wide = false;     // a count of 2^24 or more: float would round it
};

// The runs of one tile.
struct TileRuns {
  const std::int32_t* bin;
  const std::uint8_t* groups;
  std::int64_t n;
  const std::uint8_t* pixel;
  const float* area;
};

enum class Weight { AREA, AREA_SQUARED, ONE };  // ONE: for every entry of an area above 0

// Real: float, or double where float would lose bits; `tile` holds TILE_PIXELS pixels of LANES frames each.
template <class Real>
struct CakeKernels {
  // sums[bin * LANES + frame] += sum over the run.
  void (*add_float)(const TileRuns&, Weight, const Real* tile, float* sums);
  void (*add_double)(const TileRuns&, Weight, const Real* tile, double* sums);
  // Weights AREA into sums and AREA_SQUARED into squares, of the same tile.
  void (*add_both_float)(const TileRuns&, const Real* tile, float* sums, float* squares);
  void (*add_both_double)(const TileRuns&, const Real* tile, double* sums, double* squares);
  // For one frame: the sum of each run of areas times `tile` goes to sums[slot of the run], and that of areas squared
  // times `variance` to squares, unless that is null.
  void (*run_sums)(const TileRuns&, const std::int64_t* slot, const Real* tile, const Real* variance, Real* sums,
                   Real* squares);
};

// TILE_ROWS rows of TILE_COLUMNS pixels, rows `stride` elements apart, of LANES frames into a tile.
template <class T, class Real>
using LoadFrames = TileState (*)(const T* const* frames, std::int64_t stride, const Valid<T>&, Real* tile);
// The same of one frame.
template <class T, class Real>
using LoadFrame = TileState (*)(const T* frame, std::int64_t stride, const Valid<T>&, Real* tile);

// x86-64-v4 has AVX-512, v3 AVX2 and fused multiply-add; the baseline is what every processor of the family has.
enum class InstructionSet { BASELINE, V3, V4 };
InstructionSet best_instruction_set();

template <class Real>
const CakeKernels<Real>& cake_kernels(InstructionSet set);
template <class T, class Real>
LoadFrames<T, Real> load_frames(InstructionSet set);
template <class T, class Real>
LoadFrame<T, Real> load_frame(InstructionSet set);

}  // namespace midas

#endif
