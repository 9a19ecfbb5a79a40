// Unpacks bitshuffled LZ4 chunks. Format and source: bitshuffle.hpp.
#include "bitshuffle.hpp"

#include <algorithm>
#include <cstring>
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

[[noreturn]] void refuse(std::int64_t chunk, const std::string& why) {
  throw FormatError("compressed chunk " + std::to_string(chunk) + " " + why);
}

void unpack(const PackedChunk& chunk, std::int64_t number, std::int64_t n_elements, std::int64_t size,
            Lz4Decompress decompress, std::uint8_t* out, std::vector<std::uint8_t>& shuffled) {
  constexpr std::int64_t HEADER = 12, BLOCK_HEADER = 4;
  if (chunk.size < HEADER) refuse(number, "has " + std::to_string(chunk.size) + " bytes; expected 12 at least");
  const std::int64_t unpacked = big_endian<std::uint64_t>(chunk.data);
  const std::int64_t block_bytes = big_endian<std::uint32_t>(chunk.data + 8);
  if (unpacked != n_elements * size) {
    refuse(number, "unpacks to " + std::to_string(unpacked) + " bytes; expected " + std::to_string(n_elements * size));
  }
  if (block_bytes <= 0 || block_bytes % (8 * size) != 0 || block_bytes > std::numeric_limits<int>::max())
    refuse(number, "has blocks of " + std::to_string(block_bytes) + " bytes; expected a multiple of 8 elements");
  shuffled.resize(static_cast<std::size_t>(block_bytes));
  std::int64_t at = HEADER;
  for (std::int64_t done = 0; n_elements - done >= 8;) {
    const std::int64_t n = std::min(block_bytes / size, (n_elements - done) / 8 * 8);
    if (chunk.size - at < BLOCK_HEADER) refuse(number, "is cut short");
    const std::int64_t packed = big_endian<std::uint32_t>(chunk.data + at);
    at += BLOCK_HEADER;
    if (packed > chunk.size - at || packed > std::numeric_limits<int>::max()) refuse(number, "is cut short");
    const int wrote =
        decompress(reinterpret_cast<const char*>(chunk.data + at), reinterpret_cast<char*>(shuffled.data()),
                   static_cast<int>(packed), static_cast<int>(n * size));
    if (wrote != n * size) refuse(number, "holds a block that LZ4 cannot unpack");
    bit_unshuffle(shuffled.data(), n, size, out + done * size);
    at += packed;
    done += n;
  }
  const std::int64_t left = n_elements % 8 * size;
  if (chunk.size - at < left) refuse(number, "is cut short");
  std::memcpy(out + (n_elements - n_elements % 8) * size, chunk.data + at, static_cast<std::size_t>(left));
}

}  // namespace

void unpack_bitshuffle_lz4(const PackedChunk* chunks, std::int64_t n_chunks, std::int64_t n_elements,
                           std::int64_t element_size, Lz4Decompress decompress, std::uint8_t* out, int n_threads) {
  if (element_size != 1 && element_size != 2 && element_size != 4 && element_size != 8)
    throw InputError("elements have " + std::to_string(element_size) + " bytes; expected 1, 2, 4 or 8");
  parallel_for(n_chunks, resolve_threads(n_threads), [&](std::int64_t i) {
    std::vector<std::uint8_t> shuffled;
    unpack(chunks[i], i, n_elements, element_size, decompress, out + i * n_elements * element_size, shuffled);
  });
}

}  // namespace midas
