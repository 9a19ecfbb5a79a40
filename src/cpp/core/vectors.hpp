// Vectors of N numbers: the compilers' own (GCC and Clang: attribute vector_size), and shuffles of two of them.
//
// All is inlined into the kernels that use it (instruction_set.hpp).
#ifndef MIDAS_VECTORS_HPP
#define MIDAS_VECTORS_HPP

#include <cstddef>
#include <cstdint>
#include <utility>

namespace midas {

template <class T, int N>
struct Vector {
  typedef T Type __attribute__((vector_size(N * sizeof(T))));
};
template <class T, int N>
using Lanes = typename Vector<T, N>::Type;

template <int N>
using Words = Lanes<std::uint32_t, N>;

// Which words of a and b (those from N on) are picked. Lanes are groups of 4 words, 128 bits.
enum class Pick {
  PAIRS_LOW,   // of each lane: a0 b0 a1 b1
  PAIRS_HIGH,  // of each lane: a2 b2 a3 b3
  HALF_LOW,    // of each lane: a0 a1 b0 b1
  HALF_HIGH,   // of each lane: a2 a3 b2 b3
  LANES_EVEN,  // lanes 0, 2, .. of a, then of b
  LANES_ODD    // lanes 1, 3, ..
};

constexpr int picked(Pick pick, int n, int i) {
  const int lane = i / 4 * 4, j = i % 4, half = n / 2;
  switch (pick) {
    case Pick::PAIRS_LOW:
      return lane + j / 2 + j % 2 * n;
    case Pick::PAIRS_HIGH:
      return lane + 2 + j / 2 + j % 2 * n;
    case Pick::HALF_LOW:
      return lane + j % 2 + j / 2 * n;
    case Pick::HALF_HIGH:
      return lane + 2 + j % 2 + j / 2 * n;
    case Pick::LANES_EVEN:
      return (i < half ? 2 * lane : n + 2 * (lane - half)) + j;
    default:
      return (i < half ? 2 * lane : n + 2 * (lane - half)) + 4 + j;
  }
}

template <Pick PICK, int N, std::size_t... I>
[[gnu::always_inline]] inline void shuffle(const Words<N>& a, const Words<N>& b, Words<N>& to,
                                           std::index_sequence<I...>) {
#if defined(__clang__) || __GNUC__ >= 12
  to = __builtin_shufflevector(a, b, picked(PICK, N, static_cast<int>(I))...);
#else
  to = __builtin_shuffle(a, b, Words<N>{static_cast<std::uint32_t>(picked(PICK, N, static_cast<int>(I)))...});
#endif
}
// v[i] and v[j] become what two picks take of both.
template <Pick FIRST, Pick SECOND, int N>
[[gnu::always_inline]] inline void exchange(Words<N>* v, int i, int j) {
  constexpr auto PLACES = std::make_index_sequence<N>();
  Words<N> first, second;
  shuffle<FIRST, N>(v[i], v[j], first, PLACES);
  shuffle<SECOND, N>(v[i], v[j], second, PLACES);
  v[i] = first;
  v[j] = second;
}

// Transposes N x N words, N 4, 8 or 16: 4 x 4 words in each lane, then the lanes.
template <int N>
[[gnu::always_inline]] inline void transpose(Words<N>* v) {
#pragma GCC unroll 4
  for (int q = 0; q < N; q += 4) {
    exchange<Pick::PAIRS_LOW, Pick::PAIRS_HIGH, N>(v, q, q + 1);
    exchange<Pick::PAIRS_LOW, Pick::PAIRS_HIGH, N>(v, q + 2, q + 3);
    exchange<Pick::HALF_LOW, Pick::HALF_HIGH, N>(v, q, q + 2);
    exchange<Pick::HALF_LOW, Pick::HALF_HIGH, N>(v, q + 1, q + 3);
    std::swap(v[q + 1], v[q + 2]);  // v[q + c]: column c of each lane
  }
  if constexpr (N > 4) {
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
#pragma GCC unroll 2
      for (int q = 0; q < N; q += 8) exchange<Pick::LANES_EVEN, Pick::LANES_ODD, N>(v, q + c, q + 4 + c);
      if constexpr (N > 8) {
        exchange<Pick::LANES_EVEN, Pick::LANES_ODD, N>(v, c, 8 + c);
        exchange<Pick::LANES_EVEN, Pick::LANES_ODD, N>(v, 4 + c, 12 + c);
      }
    }
  }
}

}  // namespace midas

#endif
