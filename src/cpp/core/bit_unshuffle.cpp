// Turns rows of bits into elements, compiled for several instruction sets. Format: bitshuffle.hpp.
//
// A vector holds W bytes of one row, one bit of 8 W elements. Bits are transposed across eight such vectors (bits 0 to
// 7 of a byte), by exchanging halves, quarters and single bits of each byte between pairs of vectors (Hacker's Delight,
// section 7-3, with vectors in place of words): vector i then holds that byte of the elements 8 c + i, c counting the
// bytes of a vector. Interleaving the vectors of all bytes and all i puts the elements in order, within each 16 bytes
// of c, so that no instruction crosses lanes.
//
// Counts are small: bytes of the elements whose rows are all 0, the upper ones, are not transposed but filled in (one
// of 2 bytes, two or three of 4).
#include "bit_unshuffle.hpp"

#include <cstring>
#include <utility>

#include "vectors.hpp"

namespace midas {

namespace {

constexpr int LANE = 16;  // bytes within which vectors are interleaved

template <int W>
using Bytes = Lanes<std::uint8_t, W>;
template <int W>
using Words64 = Lanes<std::uint64_t, W / 8>;

// Where byte i of two interleaved vectors comes from: the lower or the upper half of each lane of either, UNIT bytes of
// one and UNIT of the other.
template <int W, int UNIT, bool HIGH>
constexpr int origin(int i) {
  const int unit = i % LANE / UNIT;
  return i / LANE * LANE + (HIGH ? LANE / 2 : 0) + unit / 2 * UNIT + i % UNIT + unit % 2 * W;
}

template <int W, int UNIT, bool HIGH, int... I>
[[gnu::always_inline]] inline void interleave(const Bytes<W>& a, const Bytes<W>& b, Bytes<W>& out,
                                              std::integer_sequence<int, I...> /*places*/) {
#if defined(__clang__) || __GNUC__ >= 12
  out = __builtin_shufflevector(a, b, origin<W, UNIT, HIGH>(I)...);
#else
  out = __builtin_shuffle(a, b, Bytes<W>{static_cast<std::uint8_t>(origin<W, UNIT, HIGH>(I))...});
#endif
}

template <int W, int UNIT>
[[gnu::always_inline]] inline void zip(const Bytes<W>& a, const Bytes<W>& b, Bytes<W>& low, Bytes<W>& high) {
  constexpr auto PLACES = std::make_integer_sequence<int, W>{};
  interleave<W, UNIT, false>(a, b, low, PLACES);
  interleave<W, UNIT, true>(a, b, high, PLACES);
}

// Exchanges the bits of `a` above SHIFT, by mask, with those of `b` below.
template <int W, int SHIFT>
[[gnu::always_inline]] inline void exchange(Words64<W>& a, Words64<W>& b, std::uint64_t mask) {
  const Words64<W> t = ((a >> SHIFT) ^ b) & mask;
  b ^= t;
  a ^= t << SHIFT;
}

template <int W>
[[gnu::always_inline]] inline void transpose_bits(Words64<W>* v) {
  for (int i = 0; i < 4; ++i) exchange<W, 4>(v[i], v[i + 4], 0x0F0F0F0F0F0F0F0Full);
  for (const int i : {0, 1, 4, 5}) exchange<W, 2>(v[i], v[i + 2], 0x3333333333333333ull);
  for (int i = 0; i < 8; i += 2) exchange<W, 1>(v[i], v[i + 1], 0x5555555555555555ull);
}

// N vectors after a perfect shuffle of all their bytes, lane by lane.
template <int W, int N>
[[gnu::always_inline]] inline void shuffle_all(Bytes<W>* v) {
  Bytes<W> out[N];
#pragma GCC unroll 32
  for (int i = 0; i < N / 2; ++i) zip<W, 1>(v[i], v[i + N / 2], out[2 * i], out[2 * i + 1]);
#pragma GCC unroll 64
  for (int i = 0; i < N; ++i) v[i] = out[i];
}

// Stores the elements of USED bytes of each lane as elements of SIZE; those of lanes lie 8 * LANE elements apart.
template <int W, int USED, int SIZE>
[[gnu::always_inline]] inline void store(const Bytes<W>& v, std::uint8_t* to) {
  if constexpr (USED == SIZE) {
#pragma GCC unroll 4
    for (int lane = 0; lane < W; lane += LANE)
      std::memcpy(to + 8 * lane * SIZE, reinterpret_cast<const std::uint8_t*>(&v) + lane, LANE);
  } else {
    Bytes<W> low, high;
    zip<W, USED>(v, Bytes<W>{}, low, high);
    store<W, 2 * USED, SIZE>(low, to);
    store<W, 2 * USED, SIZE>(high, to + LANE / USED * SIZE / 2);
  }
}

// Elements of SIZE bytes of which the rows of the lower USED are not all 0, W bytes of each row at a time; returns how
// many bytes of each row are done.
template <int W, int USED, int SIZE>
[[gnu::always_inline]] inline std::int64_t unshuffle_vectors(const std::uint8_t* from, std::int64_t row,
                                                             std::uint8_t* to) {
  std::int64_t j = 0;
  for (; j + W <= row; j += W) {
    Bytes<W> all[8 * USED];  // of i and, within it, byte k
#pragma GCC unroll 8
    for (int k = 0; k < USED; ++k) {
      Words64<W> bits[8];
#pragma GCC unroll 8
      for (int b = 0; b < 8; ++b) std::memcpy(&bits[b], from + (8 * k + b) * row + j, W);
      transpose_bits<W>(bits);
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) all[i * USED + k] = reinterpret_cast<Bytes<W>>(bits[i]);
    }
#pragma GCC unroll 8
    for (int n = 1; n < 8 * USED; n *= 2) shuffle_all<W, 8 * USED>(all);
#pragma GCC unroll 64
    for (int i = 0; i < 8 * USED; ++i) store<W, USED, SIZE>(all[i], to + (8 * j + i * (LANE / USED)) * SIZE);
  }
  return j;
}

// How many of the lower bytes of the elements have a bit in this block.
[[gnu::always_inline]] inline std::int64_t used_bytes(const std::uint8_t* from, std::int64_t row, std::int64_t size) {
  for (std::int64_t used = size; used > 1; --used) {
    const std::uint8_t* const rows = from + 8 * (used - 1) * row;
    std::uint64_t any = 0;
    for (std::int64_t j = 0; j < row; ++j) {
      std::uint64_t word;
      std::memcpy(&word, rows + 8 * j, sizeof(word));
      any |= word;
    }
    if (any != 0) return used;
  }
  return 1;
}

template <int W>
[[gnu::always_inline]] inline std::int64_t unshuffle(const std::uint8_t* from, std::int64_t row, std::int64_t size,
                                                     std::uint8_t* to) {
  if (size == 1) return unshuffle_vectors<W, 1, 1>(from, row, to);
  if (size == 8) return unshuffle_vectors<W, 8, 8>(from, row, to);
  const std::int64_t used = used_bytes(from, row, size);
  if (size == 2)
    return used == 1 ? unshuffle_vectors<W, 1, 2>(from, row, to) : unshuffle_vectors<W, 2, 2>(from, row, to);
  if (size == 4 && used == 1) return unshuffle_vectors<W, 1, 4>(from, row, to);
  if (size == 4 && used == 2) return unshuffle_vectors<W, 2, 4>(from, row, to);
  return unshuffle_vectors<W, 4, 4>(from, row, to);
}

struct Unshuffle {
  template <int BYTES>
  [[gnu::always_inline]] static inline std::int64_t run(const std::uint8_t* from, std::int64_t row, std::int64_t size,
                                                        std::uint8_t* to) {
    return unshuffle<BYTES>(from, row, size, to);
  }
};

using UnshuffleVectors = std::int64_t (*)(const std::uint8_t*, std::int64_t, std::int64_t, std::uint8_t*);
template <class Set>
constexpr UnshuffleVectors UNSHUFFLE = Set::template run<Unshuffle, std::int64_t>;

// The 8 x 8 bits of a word transposed: bit j of byte i becomes bit i of byte j (Hacker's Delight, section 7-3).
std::uint64_t transposed(std::uint64_t x) {
  std::uint64_t t = (x ^ (x >> 7)) & 0x00AA00AA00AA00AAull;
  x ^= t ^ (t << 7);
  t = (x ^ (x >> 14)) & 0x0000CCCC0000CCCCull;
  x ^= t ^ (t << 14);
  t = (x ^ (x >> 28)) & 0x00000000F0F0F0F0ull;
  return x ^ t ^ (t << 28);
}

// The elements of the bytes `first` to `row` of each row.
void unshuffle_words(const std::uint8_t* from, std::int64_t row, std::int64_t first, std::int64_t size,
                     std::uint8_t* to) {
  for (std::int64_t j = first; j < row; ++j) {
    for (std::int64_t k = 0; k < size; ++k) {
      std::uint64_t word = 0;
      for (std::int64_t b = 0; b < 8; ++b) word |= static_cast<std::uint64_t>(from[(8 * k + b) * row + j]) << (8 * b);
      word = transposed(word);
      for (std::int64_t i = 0; i < 8; ++i) to[(8 * j + i) * size + k] = static_cast<std::uint8_t>(word >> (8 * i));
    }
  }
}

}  // namespace

void bit_unshuffle(const std::uint8_t* from, std::int64_t n, std::int64_t element_size, std::uint8_t* to,
                   InstructionSet set) {
  const std::int64_t row = n / 8;
  const auto vectors = choose(set, UNSHUFFLE<Baseline>, UNSHUFFLE<V3>, UNSHUFFLE<V4>);
  unshuffle_words(from, row, vectors(from, row, element_size, to), element_size, to);
}

void bit_unshuffle_by_words(const std::uint8_t* from, std::int64_t n, std::int64_t element_size, std::uint8_t* to) {
  unshuffle_words(from, n / 8, 0, element_size, to);
}

}  // namespace midas
