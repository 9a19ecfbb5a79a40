// Unpacks bitshuffled LZ4 chunks. Format and source: bitshuffle.hpp.
#include "bitshuffle.hpp"

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "bit_unshuffle.hpp"
#include "error.hpp"
#include "parallel.hpp"

namespace midas {

namespace {

template <class T>
std::int64_t big_endian(const std::uint8_t* p) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) value = value << 8 | p[i];
  return value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())
             ? -1
             : static_cast<std::int64_t>(value);
}

constexpr std::int64_t HEADER = 12, BLOCK_HEADER = 4;
constexpr std::int64_t GROUPED = 8;  // elements of which blocks hold a multiple

}  // namespace

ChunkReader::ChunkReader(const PackedChunk& chunk, std::int64_t number, std::int64_t n_elements,
                         std::int64_t element_size, Lz4Decompress decompress)
    : number_(number), n_elements_(n_elements), element_size_(element_size), decompress_(decompress) {
  if (chunk.size < HEADER) refuse("has " + std::to_string(chunk.size) + " bytes; expected 12 at least");
  const auto unpacked = big_endian<std::uint64_t>(chunk.data), expected = n_elements * element_size;
  if (unpacked != expected) {
    refuse("unpacks to " + std::to_string(unpacked) + " bytes; expected " + std::to_string(expected));
  }
  const auto block_bytes = big_endian<std::uint32_t>(chunk.data + 8);
  if (block_bytes <= 0 || block_bytes % (GROUPED * element_size) != 0 || block_bytes > std::numeric_limits<int>::max())
    refuse("has blocks of " + std::to_string(block_bytes) + " bytes; expected a multiple of 8 elements");
  block_elements_ = std::min(block_bytes / element_size, std::max(n_elements, GROUPED));
  rest_ = {chunk.data + HEADER, chunk.size - HEADER};
}

std::int64_t ChunkReader::next_elements() const {
  const std::int64_t left = n_elements_ - at_;
  return left < GROUPED ? left : std::min(block_elements_, left) / GROUPED * GROUPED;
}

// The bytes of the next n elements, packed unless they are those left over.
PackedChunk ChunkReader::take(std::int64_t n) {
  std::int64_t size = n * element_size_;
  if (n >= GROUPED) {
    if (rest_.size < BLOCK_HEADER) refuse("is cut short");
    size = big_endian<std::uint32_t>(rest_.data);
    rest_ = {rest_.data + BLOCK_HEADER, rest_.size - BLOCK_HEADER};
  }
  if (size > rest_.size || size > std::numeric_limits<int>::max()) refuse("is cut short");
  const PackedChunk taken{rest_.data, size};
  rest_ = {rest_.data + size, rest_.size - size};
  at_ += n;
  return taken;
}

void ChunkReader::next(std::uint8_t* to, std::vector<std::uint8_t>& shuffled) {
  const std::int64_t n = next_elements();
  const PackedChunk block = take(n);
  if (n < GROUPED) {
    std::copy(block.data, block.data + block.size, to);
    return;
  }
  const auto size = static_cast<std::size_t>(n * element_size_);
  if (shuffled.size() < size) shuffled.resize(size);
  const int wrote = decompress_(reinterpret_cast<const char*>(block.data), reinterpret_cast<char*>(shuffled.data()),
                                static_cast<int>(block.size), static_cast<int>(size));
  if (wrote != static_cast<int>(size)) refuse("holds a block that LZ4 cannot unpack");
  bit_unshuffle(shuffled.data(), n, element_size_, to);
}

void ChunkReader::skip() { take(next_elements()); }

void ChunkReader::refuse(const std::string& why) const {
  throw FormatError("compressed chunk " + std::to_string(number_) + " " + why);
}

void unpack_bitshuffle_lz4(const PackedChunk* chunks, std::int64_t n_chunks, std::int64_t n_elements,
                           std::int64_t element_size, Lz4Decompress decompress, std::uint8_t* out, int n_threads,
                           std::int64_t first_number) {
  if (element_size != 1 && element_size != 2 && element_size != 4 && element_size != 8)
    throw InputError("elements have " + std::to_string(element_size) + " bytes; expected 1, 2, 4 or 8");
  parallel_for(n_chunks, resolve_threads(n_threads), [&](std::int64_t i) {
    std::vector<std::uint8_t> shuffled;
    ChunkReader reader(chunks[i], first_number + i, n_elements, element_size, decompress);
    std::uint8_t* const to = out + i * n_elements * element_size;
    while (reader.at() < n_elements) reader.next(to + reader.at() * element_size, shuffled);
  });
}

}  // namespace midas
