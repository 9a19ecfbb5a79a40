// Chunks compressed with bitshuffle and LZ4, as Eiger detectors and h5py write them (HDF5 filter 32008).
//
// A chunk is 8 bytes of its size unpacked, 4 of its block's size in bytes (both big-endian), then for each block 4
// bytes of its compressed size and that many of LZ4; what is left over, less than 8 elements, stands at the end as it
// is. A block of n elements of s bytes, n a multiple of 8, holds 8 s rows of n / 8 bytes: row 8 k + b is bit b of byte
// k of each element, elements ascending from the lowest bit of each byte. Source: K. Masui et al., Astronomy and
// Computing 12 (2015) 181, and the format's description in the bitshuffle project's README.
//
// LZ4 itself is the caller's: a function with the signature of LZ4_decompress_safe.
#ifndef MIDAS_BITSHUFFLE_HPP
#define MIDAS_BITSHUFFLE_HPP

#include <cstdint>
#include <string>
#include <vector>

namespace midas {

// Returns the number of bytes written, negative for a malformed block.
using Lz4Decompress = int (*)(const char* from, char* to, int size, int capacity);

struct PackedChunk {
  const std::uint8_t* data = nullptr;
  std::int64_t size = 0;  // bytes
};

// Unpacks one chunk of `n_elements` elements of `element_size` bytes (1, 2, 4 or 8) from front to end. Throws
// FormatError, naming the chunk by its number, where it is cut short, malformed or of another size.
class ChunkReader {
 public:
  ChunkReader(const PackedChunk& chunk, std::int64_t number, std::int64_t n_elements, std::int64_t element_size,
              Lz4Decompress decompress);
  // The most elements that a call of `next` unpacks.
  std::int64_t block_elements() const { return block_elements_; }
  // How many have been unpacked or passed over.
  std::int64_t at() const { return at_; }
  // How many come next: those of a block, or what is left over at the end; 0 there.
  std::int64_t next_elements() const;
  // Unpacks them; `shuffled` is memory to work in.
  void next(std::uint8_t* to, std::vector<std::uint8_t>& shuffled);
  // Passes over them.
  void skip();

 private:
  PackedChunk take(std::int64_t n_elements);
  [[noreturn]] void refuse(const std::string& why) const;

  PackedChunk rest_;
  std::int64_t number_, n_elements_, element_size_, block_elements_, at_ = 0;
  Lz4Decompress decompress_;
};

// Unpacks chunks of `n_elements` elements of `element_size` bytes (1, 2, 4 or 8), one after another, in n_threads; they
// are numbered from `first_number`. Throws FormatError, naming the chunk, where one is cut short, malformed or of
// another size.
void unpack_bitshuffle_lz4(const PackedChunk* chunks, std::int64_t n_chunks, std::int64_t n_elements,
                           std::int64_t element_size, Lz4Decompress decompress, std::uint8_t* out, int n_threads,
                           std::int64_t first_number = 0);

}  // namespace midas

#endif
