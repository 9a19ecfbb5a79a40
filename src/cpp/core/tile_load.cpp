// Reads tiles: as words of 32 bits, of which the frames' are transposed. What comes out: tile_load.hpp.
#include "tile_load.hpp"

#include <cstring>
#include <type_traits>

#include "vectors.hpp"

namespace midas {

namespace {

template <class T>
constexpr bool CAN_BE_WIDE = std::is_integral_v<T> && sizeof(T) == 4;
constexpr std::int64_t WIDE = 1 << 24;

template <class T>
bool is_count(T v, const Valid<T>& valid) {
  bool count = v >= valid.low && v <= valid.high;
  for (const T bad : valid.bad) count = count && v != bad;
  return count;
}

template <class T>
bool is_wide(T v) {
  return static_cast<std::int64_t>(v) >= WIDE || static_cast<std::int64_t>(v) <= -WIDE;
}

// Watches values in vectors of N for what is no count, or too wide for float.
template <class T, int N>
class Watch {
 public:
  using V = Lanes<T, N>;
  [[gnu::always_inline]] explicit inline Watch(const Valid<T>& valid) : valid_(valid) {
    if constexpr (std::is_integral_v<T>) {
      least_ = V{} + valid.high;
      most_ = V{} + valid.low;
    }
  }

  template <bool MARKED>
  [[gnu::always_inline]] inline void look(const V& v) {
    if constexpr (std::is_integral_v<T>) {
      most_ = v > most_ ? v : most_;
      if constexpr (std::is_signed_v<T>) least_ = v < least_ ? v : least_;
    } else {
      marks_ |= ~((v >= valid_.low) & (v <= valid_.high));  // NaN, too
    }
    if constexpr (MARKED) {
      for (const T bad : valid_.bad) marks_ |= v == bad;
    }
  }

  // `wide` is 1 where some value is, whether it is a count or not: the caller is to find out of which frames.
  [[gnu::always_inline]] inline TileState state() const {
    TileState found;
    found.invalid = valid_.low > valid_.high;
    for (int i = 0; i < N; ++i) {
      found.invalid = found.invalid || marks_[i] != 0;
      if constexpr (std::is_integral_v<T>) found.invalid = found.invalid || most_[i] > valid_.high;
      if constexpr (CAN_BE_WIDE<T>) found.wide |= is_wide(most_[i]) ? 1u : 0u;
      if constexpr (std::is_integral_v<T> && std::is_signed_v<T>) {
        found.invalid = found.invalid || least_[i] < valid_.low;
        if constexpr (CAN_BE_WIDE<T>) found.wide |= is_wide(least_[i]) ? 1u : 0u;
      }
    }
    return found;
  }

 private:
  const Valid<T>& valid_;
  V least_{}, most_{};
  decltype(V{} < V{}) marks_{};
};

// Which frames have a wide count.
template <class T>
std::uint32_t wide_frames(const T* const* frames, std::int64_t n, std::int64_t stride, const Valid<T>& valid) {
  std::uint32_t wide = 0;
  for (std::int64_t f = 0; f < n; ++f)
    for (std::int64_t row = 0; row < TILE_ROWS; ++row)
      for (std::int64_t column = 0; column < TILE_COLUMNS; ++column) {
        const T v = frames[f][row * stride + column];
        if (is_wide(v) && is_count(v, valid)) wide |= 1u << f;
      }
  return wide;
}

// As wide as words: bytes become 16 bits.
template <class T>
using Stored = std::conditional_t<sizeof(T) == 1, std::uint16_t, T>;

// N words of a row, watched.
template <int N, bool MARKED, class T, class Watching>
[[gnu::always_inline]] inline void read_words(const T* from, Watching& watch, Words<N>& words) {
  constexpr int COUNT = N * 4 / static_cast<int>(sizeof(Stored<T>));
  Lanes<T, COUNT> values;
  std::memcpy(&values, from, sizeof(values));
  watch.template look<MARKED>(values);
  words = reinterpret_cast<Words<N>>(__builtin_convertvector(values, Lanes<Stored<T>, COUNT>));
}

template <int N, class Real, class V>
[[gnu::always_inline]] inline void put(const V& v, Real* at) {
  *reinterpret_cast<Lanes<Real, N>*>(at) = __builtin_convertvector(v, Lanes<Real, N>);
}

// The counts in N words of one column, a frame each: of one pixel, or of two side by side.
template <int N, class T, class Real>
[[gnu::always_inline]] inline void write_counts(const Words<N>& words, Real* to) {
  using Signed = Lanes<std::int32_t, N>;
  const auto as_signed = reinterpret_cast<Signed>(words);
  if constexpr (sizeof(T) == 2 && std::is_signed_v<T>) {
    put<N>(reinterpret_cast<Signed>(words << 16) >> 16, to);
    put<N>(as_signed >> 16, to + LANES);
  } else if constexpr (sizeof(T) == 2) {
    put<N>(reinterpret_cast<Signed>(words & 0xffffu), to);
    put<N>(reinterpret_cast<Signed>(words >> 16), to + LANES);
  } else if constexpr (std::is_floating_point_v<T>) {
    put<N>(reinterpret_cast<Lanes<float, N>>(words), to);
  } else if constexpr (std::is_same_v<Real, float>) {
    put<N>(as_signed, to);  // counts of 2^31 and more are wide
  } else {
    put<N>(reinterpret_cast<Lanes<T, N>>(words), to);
  }
}

template <int BYTES, bool MARKED, class T, class Real>
[[gnu::always_inline]] inline TileState load_words(const T* const* frames, std::int64_t stride, const Valid<T>& valid,
                                                   Real* tile) {
  constexpr int N = BYTES / 4, COUNT = N * 4 / static_cast<int>(sizeof(Stored<T>));
  static_assert(LANES % N == 0 && TILE_COLUMNS % COUNT == 0);
  Watch<T, COUNT> watch(valid);
  for (std::int64_t row = 0; row < TILE_ROWS; ++row) {
    for (std::int64_t column = 0; column < TILE_COLUMNS; column += COUNT) {
      for (std::int64_t group = 0; group < LANES; group += N) {
        Words<N> v[N];
#pragma GCC unroll 16
        for (std::int64_t f = 0; f < N; ++f)
          read_words<N, MARKED>(frames[group + f] + row * stride + column, watch, v[f]);
        transpose<N>(v);
        Real* const to = tile + (row * TILE_COLUMNS + column) * LANES + group;
#pragma GCC unroll 16
        for (std::int64_t w = 0; w < N; ++w) write_counts<N, Stored<T>>(v[w], to + w * (COUNT / N) * LANES);
      }
    }
  }
  return watch.state();
}

// Of the one type that is wider than words, which is rare.
template <class Real>
TileState load_doubles(const double* const* frames, std::int64_t n, std::int64_t stride, const Valid<double>& valid,
                       Real* tile) {
  TileState found;
  for (std::int64_t row = 0; row < TILE_ROWS; ++row) {
    for (std::int64_t column = 0; column < TILE_COLUMNS; ++column) {
      for (std::int64_t f = 0; f < n; ++f) {
        const double v = frames[f][row * stride + column];
        found.invalid = found.invalid || !is_count(v, valid);
        tile[(row * TILE_COLUMNS + column) * n + f] = static_cast<Real>(v);
      }
    }
  }
  return found;
}

template <class T, class Real>
struct LoadFrames {
  template <int BYTES>
  [[gnu::always_inline]] static inline TileState run(const T* const* frames, std::int64_t stride, const Valid<T>& valid,
                                                     Real* tile) {
    if constexpr (sizeof(T) == 8) {
      return load_doubles(frames, LANES, stride, valid, tile);
    } else {
      TileState found = valid.bad.empty() ? load_words<BYTES, false>(frames, stride, valid, tile)
                                          : load_words<BYTES, true>(frames, stride, valid, tile);
      if constexpr (CAN_BE_WIDE<T>) {
        if (found.wide != 0) found.wide = wide_frames(frames, LANES, stride, valid);
      }
      return found;
    }
  }
};

template <class T, class Real>
struct LoadFrame {
  template <int BYTES>
  [[gnu::always_inline]] static inline TileState run(const T* frame, std::int64_t stride, const Valid<T>& valid,
                                                     Real* tile) {
    if constexpr (sizeof(T) == 8) {
      return load_doubles(&frame, 1, stride, valid, tile);
    } else {
      constexpr int COUNT = BYTES / 4;
      Watch<T, COUNT> watch(valid);
      for (std::int64_t row = 0; row < TILE_ROWS; ++row) {
        for (std::int64_t column = 0; column < TILE_COLUMNS; column += COUNT) {
          Lanes<T, COUNT> v;
          std::memcpy(&v, frame + row * stride + column, sizeof(v));
          watch.template look<true>(v);
          put<COUNT>(v, tile + row * TILE_COLUMNS + column);
        }
      }
      TileState found = watch.state();
      if constexpr (CAN_BE_WIDE<T>) {
        if (found.wide != 0) found.wide = wide_frames(&frame, 1, stride, valid);
      }
      return found;
    }
  }
};

template <class Set, class T, class Real>
constexpr TileLoader<T, Real> LOADER = {Set::template run<LoadFrames<T, Real>, TileState>,
                                        Set::template run<LoadFrame<T, Real>, TileState>};

}  // namespace

template <class T, class Real>
const TileLoader<T, Real>& tile_loader(InstructionSet set) {
  return choose(set, LOADER<Baseline, T, Real>, LOADER<V3, T, Real>, LOADER<V4, T, Real>);
}

template const TileLoader<std::uint8_t, float>& tile_loader(InstructionSet);
template const TileLoader<std::uint8_t, double>& tile_loader(InstructionSet);
template const TileLoader<std::uint16_t, float>& tile_loader(InstructionSet);
template const TileLoader<std::uint16_t, double>& tile_loader(InstructionSet);
template const TileLoader<std::int16_t, float>& tile_loader(InstructionSet);
template const TileLoader<std::int16_t, double>& tile_loader(InstructionSet);
template const TileLoader<std::uint32_t, float>& tile_loader(InstructionSet);
template const TileLoader<std::uint32_t, double>& tile_loader(InstructionSet);
template const TileLoader<std::int32_t, float>& tile_loader(InstructionSet);
template const TileLoader<std::int32_t, double>& tile_loader(InstructionSet);
template const TileLoader<float, float>& tile_loader(InstructionSet);
template const TileLoader<float, double>& tile_loader(InstructionSet);
template const TileLoader<double, double>& tile_loader(InstructionSet);

}  // namespace midas
