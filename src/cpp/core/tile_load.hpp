// Counts of a tile of the stored image brought together, checked and converted for the kernels of cake_kernels.hpp.
#ifndef MIDAS_TILE_LOAD_HPP
#define MIDAS_TILE_LOAD_HPP

#include <cstdint>

#include "cake_map.hpp"
#include "instruction_set.hpp"
#include "valid.hpp"

namespace midas {

constexpr std::int64_t LANES = 16;  // frames that are summed side by side

// What reading a tile has found.
struct TileState {
  bool invalid = false;    // a value that is no count
  std::uint32_t wide = 0;  // a bit for each frame with a count of 2^24 or more, which float would round
};

// TILE_ROWS rows of TILE_COLUMNS pixels, rows `stride` elements apart. Where a frame is wide, float has lost bits of
// it.
template <class T, class Real>
struct TileLoader {
  // Of LANES frames: tile[pixel * LANES + frame].
  TileState (*frames)(const T* const* frames, std::int64_t stride, const Valid<T>&, Real* tile);
  // Of one frame: tile[pixel].
  TileState (*frame)(const T* frame, std::int64_t stride, const Valid<T>&, Real* tile);
};

template <class T, class Real>
const TileLoader<T, Real>& tile_loader(InstructionSet set);

}  // namespace midas

#endif
