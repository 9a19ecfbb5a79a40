// Rows of frames that come packed (bitshuffle.hpp), unpacked when they are asked for.
//
// Blocks do not end with rows: what is left of one stays until its rows are wanted, so that no more than a strip and
// two blocks of each frame lie unpacked. Blocks of which no row is wanted are passed over.
#ifndef MIDAS_PACKED_STRIPS_HPP
#define MIDAS_PACKED_STRIPS_HPP

#include <cstdint>
#include <vector>

#include "bitshuffle.hpp"
#include "strips.hpp"

namespace midas {

struct PackedFrames {
  const PackedChunk* chunks = nullptr;  // one a frame
  std::int64_t n = 0;
  Lz4Decompress decompress = nullptr;
};

template <class T>
class PackedStrips final : public Strips<T> {
 public:
  using Rows = typename Strips<T>::Rows;
  // `n` of the frames, at most LANES, from `first` on.
  PackedStrips(const PackedFrames& frames, std::int64_t first, std::int64_t n, std::int64_t n_rows,
               std::int64_t n_columns);
  Rows rows(std::int64_t first, std::int64_t end) override;
  void restart() override;
  void finish() override;

 private:
  struct Frame {
    ChunkReader reader;
    std::int64_t begin = 0;  // element of the frame that stands first in `held`; the last is the one before the reader
    std::vector<T> held;
  };
  const T* elements(Frame& frame, std::int64_t begin, std::int64_t end);

  const PackedFrames frames_;
  std::int64_t first_, n_, n_elements_, n_columns_;
  std::vector<Frame> open_;
  std::vector<std::uint8_t> shuffled_;
};

}  // namespace midas

#endif
