// The inner loops of caking, compiled for several instruction sets. Equations: cake_kernels.hpp.
//
// Vectors are the compilers' own (GCC and Clang: attribute vector_size), of the width that each instruction set has.
// Everything inside a kernel is inlined into it, since a function shared between instruction sets would be compiled for
// one of them.
#include "cake_kernels.hpp"

#include <cstring>
#include <type_traits>

namespace midas {

namespace {

constexpr int CHAINS = 4;
static_assert(CHAINS == GROUP);
constexpr std::int64_t AHEAD = 12;  // runs between asking for a bin's sums and adding to them

template <class T, int N>
struct Vector {
  typedef T Type __attribute__((vector_size(N * sizeof(T))));
};
template <class T, int N>
using Lanes = typename Vector<T, N>::Type;

// Adds the runs of a tile to the sums, WIDTH frames a vector and as many vectors side by side as registers allow.
template <int WIDTH, int SIDE, bool SUMS, bool SQUARES, bool ONES, class Real, class Sum>
[[gnu::always_inline]] inline void add_runs(const TileRuns& runs, const Real* tile, Sum* sums, Sum* squares) {
  using V = Lanes<Real, WIDTH>;
  using S = Lanes<Sum, WIDTH>;
  const std::uint8_t* pixel = runs.pixel;
  const float* area = runs.area;
  for (std::int64_t r = 0; r < runs.n; ++r) {
    const std::int64_t later = runs.bin[r + AHEAD < runs.n ? r + AHEAD : runs.n - 1] * LANES;
    for (std::int64_t byte = 0; byte < LANES * static_cast<std::int64_t>(sizeof(Sum)); byte += 64) {
      if constexpr (SUMS) __builtin_prefetch(reinterpret_cast<const char*>(sums + later) + byte, 1, 3);
      if constexpr (SQUARES) __builtin_prefetch(reinterpret_cast<const char*>(squares + later) + byte, 1, 3);
    }
    const std::int64_t n = runs.groups[r] * GROUP;
    Sum* const into = sums + runs.bin[r] * LANES;
    Sum* const into_squares = SQUARES ? squares + runs.bin[r] * LANES : nullptr;
    for (std::int64_t part = 0; part < LANES; part += WIDTH * SIDE) {
      V chain[CHAINS][SIDE]{}, square[CHAINS][SIDE]{};
      const Real* const base = tile + part;
      for (std::int64_t e = 0; e < n; e += GROUP) {
#pragma GCC unroll 4
        for (int k = 0; k < CHAINS; ++k) {
          const float a = area[e + k];
          const auto weight = static_cast<Real>(ONES ? (a > 0.0f ? 1.0f : 0.0f) : a);
          const auto weight2 = weight * weight;
          const V* const counts = reinterpret_cast<const V*>(base + pixel[e + k] * LANES);
#pragma GCC unroll 4
          for (int s = 0; s < SIDE; ++s) {
            if constexpr (SUMS) chain[k][s] += weight * counts[s];
            if constexpr (SQUARES) square[k][s] += weight2 * counts[s];
          }
        }
      }
#pragma GCC unroll 4
      for (int s = 0; s < SIDE; ++s) {
        if constexpr (SUMS) {
          const V sum = (chain[0][s] + chain[1][s]) + (chain[2][s] + chain[3][s]);
          *reinterpret_cast<S*>(into + part + s * WIDTH) += __builtin_convertvector(sum, S);
        }
        if constexpr (SQUARES) {
          const V sum = (square[0][s] + square[1][s]) + (square[2][s] + square[3][s]);
          *reinterpret_cast<S*>(into_squares + part + s * WIDTH) += __builtin_convertvector(sum, S);
        }
      }
    }
    pixel += n;
    area += n;
  }
}

template <int WIDTH, int SIDE, class Real, class Sum>
[[gnu::always_inline]] inline void add_weighted(const TileRuns& runs, Weight weight, const Real* tile, Sum* sums) {
  switch (weight) {
    case Weight::AREA:
      return add_runs<WIDTH, SIDE, true, false, false, Real, Sum>(runs, tile, sums, nullptr);
    case Weight::AREA_SQUARED:
      return add_runs<WIDTH, SIDE, false, true, false, Real, Sum>(runs, tile, sums, sums);
    case Weight::ONE:
      return add_runs<WIDTH, SIDE, true, false, true, Real, Sum>(runs, tile, sums, nullptr);
  }
}

template <bool SQUARES, class Real>
[[gnu::always_inline]] inline void sum_runs(const TileRuns& runs, const std::int64_t* slot, const Real* tile,
                                            const Real* variance, Real* sums, Real* squares) {
  const std::uint8_t* pixel = runs.pixel;
  const float* area = runs.area;
  for (std::int64_t r = 0; r < runs.n; ++r) {
    Real chain[CHAINS]{}, square[CHAINS]{};
    const std::int64_t n = runs.groups[r] * GROUP;
    for (std::int64_t e = 0; e < n; e += GROUP) {
#pragma GCC unroll 4
      for (int k = 0; k < CHAINS; ++k) {
        const auto weight = static_cast<Real>(area[e + k]);
        chain[k] += weight * tile[pixel[e + k]];
        if constexpr (SQUARES) square[k] += (weight * weight) * variance[pixel[e + k]];
      }
    }
    sums[slot[r]] = (chain[0] + chain[1]) + (chain[2] + chain[3]);
    if constexpr (SQUARES) squares[slot[r]] = (square[0] + square[1]) + (square[2] + square[3]);
    pixel += n;
    area += n;
  }
}

template <class T>
using Eight = Lanes<T, 8>;

// Interleaves two vectors: a0 b0 a1 b1 a2 b2 a3 b3 and a4 b4 ...
template <class T>
[[gnu::always_inline]] inline void zip(const Eight<T>& a, const Eight<T>& b, Eight<T>& low, Eight<T>& high) {
#if defined(__clang__) || __GNUC__ >= 12
  low = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
  high = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
  using Places = decltype(a < b);
  low = __builtin_shuffle(a, b, Places{0, 8, 1, 9, 2, 10, 3, 11});
  high = __builtin_shuffle(a, b, Places{4, 12, 5, 13, 6, 14, 7, 15});
#endif
}

// Transposes 8 x 8 values, by three perfect shuffles.
template <class T>
[[gnu::always_inline]] inline void transpose(Eight<T>* v) {
  Eight<T> t[8];
  for (int i = 0; i < 4; ++i) zip<T>(v[i], v[i + 4], t[2 * i], t[2 * i + 1]);
  for (int i = 0; i < 4; ++i) zip<T>(t[i], t[i + 4], v[2 * i], v[2 * i + 1]);
  for (int i = 0; i < 4; ++i) zip<T>(v[i], v[i + 4], t[2 * i], t[2 * i + 1]);
  for (int i = 0; i < 8; ++i) v[i] = t[i];
}

template <class T>
constexpr bool CAN_BE_WIDE = std::is_integral_v<T> && sizeof(T) == 4;

// Marks what is no count, and counts too wide for float, in vectors of eight.
template <class T>
struct Watch {
  using Marks = decltype(Eight<T>{} < Eight<T>{});
  const Valid<T>& valid;
  Marks invalid{}, wide{};
  template <bool MARKED>
  [[gnu::always_inline]] inline void look(const Eight<T>& v) {
    Marks no_count = ~((v >= valid.low) & (v <= valid.high));
    if constexpr (MARKED) {
      for (const T bad : valid.bad) no_count |= v == bad;
    }
    invalid |= no_count;
    if constexpr (CAN_BE_WIDE<T>) wide |= (v >= T{1 << 24}) & ~no_count;
    if constexpr (CAN_BE_WIDE<T> && std::is_signed_v<T>) wide |= (v <= -T{1 << 24}) & ~no_count;
  }
  [[gnu::always_inline]] inline TileState state() const {
    TileState found;
    for (int i = 0; i < 8; ++i) {
      found.invalid = found.invalid || invalid[i] != 0;
      found.wide = found.wide || wide[i] != 0;
    }
    return found;
  }
};

template <bool MARKED, class T, class Real>
[[gnu::always_inline]] inline TileState load_lanes(const T* const* frames, std::int64_t stride, const Valid<T>& valid,
                                                   Real* tile) {
  Watch<T> watch{valid};
  for (std::int64_t row = 0; row < TILE_ROWS; ++row) {
    for (std::int64_t group = 0; group < LANES; group += 8) {
      for (std::int64_t column = 0; column < TILE_COLUMNS; column += 8) {
        Eight<T> v[8];
#pragma GCC unroll 8
        for (std::int64_t f = 0; f < 8; ++f) {
          std::memcpy(&v[f], frames[group + f] + row * stride + column, sizeof(v[f]));
          watch.template look<MARKED>(v[f]);
        }
        transpose<T>(v);
        Real* const to = tile + (row * TILE_COLUMNS + column) * LANES + group;
        for (std::int64_t p = 0; p < 8; ++p)
          *reinterpret_cast<Eight<Real>*>(to + p * LANES) = __builtin_convertvector(v[p], Eight<Real>);
      }
    }
  }
  return watch.state();
}

template <class T, class Real>
[[gnu::always_inline]] inline TileState load_one(const T* frame, std::int64_t stride, const Valid<T>& valid,
                                                 Real* tile) {
  Watch<T> watch{valid};
  for (std::int64_t row = 0; row < TILE_ROWS; ++row) {
    for (std::int64_t column = 0; column < TILE_COLUMNS; column += 8) {
      Eight<T> v;
      std::memcpy(&v, frame + row * stride + column, sizeof(v));
      watch.template look<true>(v);
      *reinterpret_cast<Eight<Real>*>(tile + row * TILE_COLUMNS + column) = __builtin_convertvector(v, Eight<Real>);
    }
  }
  return watch.state();
}

#if defined(__x86_64__)
struct V4 {
  template <class Real>
  static constexpr int WIDTH = sizeof(Real) == 4 ? 16 : 8;
  template <class Real>
  static constexpr int SIDE = sizeof(Real) == 4 ? 1 : 2;
  template <class Real, class Sum>
  [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]] static void add(const TileRuns& runs,
                                                                                      Weight weight, const Real* tile,
                                                                                      Sum* sums) {
    add_weighted<WIDTH<Real>, SIDE<Real>, Real, Sum>(runs, weight, tile, sums);
  }
  template <class Real, class Sum>
  [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]] static void add_both(const TileRuns& runs,
                                                                                           const Real* tile, Sum* sums,
                                                                                           Sum* squares) {
    add_runs<WIDTH<Real>, 1, true, true, false, Real, Sum>(runs, tile, sums, squares);
  }
  template <class Real>
  [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]] static void run_sums(const TileRuns& runs,
                                                                                           const std::int64_t* slot,
                                                                                           const Real* tile,
                                                                                           const Real* variance,
                                                                                           Real* sums, Real* squares) {
    if (squares == nullptr) return sum_runs<false, Real>(runs, slot, tile, variance, sums, squares);
    sum_runs<true, Real>(runs, slot, tile, variance, sums, squares);
  }
  template <class T, class Real>
  [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]] static TileState load_frames(
      const T* const* frames, std::int64_t stride, const Valid<T>& valid, Real* tile) {
    if (valid.bad.empty()) return load_lanes<false, T, Real>(frames, stride, valid, tile);
    return load_lanes<true, T, Real>(frames, stride, valid, tile);
  }
  template <class T, class Real>
  [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]] static TileState load_frame(const T* frame,
                                                                                                  std::int64_t stride,
                                                                                                  const Valid<T>& valid,
                                                                                                  Real* tile) {
    return load_one<T, Real>(frame, stride, valid, tile);
  }
};

struct V3 {
  template <class Real>
  static constexpr int WIDTH = sizeof(Real) == 4 ? 8 : 4;
  template <class Real>
  static constexpr int SIDE = sizeof(Real) == 4 ? 2 : 2;
  template <class Real, class Sum>
  [[gnu::target("avx2,fma,bmi2")]] static void add(const TileRuns& runs, Weight weight, const Real* tile, Sum* sums) {
    add_weighted<WIDTH<Real>, SIDE<Real>, Real, Sum>(runs, weight, tile, sums);
  }
  template <class Real, class Sum>
  [[gnu::target("avx2,fma,bmi2")]] static void add_both(const TileRuns& runs, const Real* tile, Sum* sums,
                                                        Sum* squares) {
    add_runs<WIDTH<Real>, 1, true, true, false, Real, Sum>(runs, tile, sums, squares);
  }
  template <class Real>
  [[gnu::target("avx2,fma,bmi2")]] static void run_sums(const TileRuns& runs, const std::int64_t* slot,
                                                        const Real* tile, const Real* variance, Real* sums,
                                                        Real* squares) {
    if (squares == nullptr) return sum_runs<false, Real>(runs, slot, tile, variance, sums, squares);
    sum_runs<true, Real>(runs, slot, tile, variance, sums, squares);
  }
  template <class T, class Real>
  [[gnu::target("avx2,fma,bmi2")]] static TileState load_frames(const T* const* frames, std::int64_t stride,
                                                                const Valid<T>& valid, Real* tile) {
    if (valid.bad.empty()) return load_lanes<false, T, Real>(frames, stride, valid, tile);
    return load_lanes<true, T, Real>(frames, stride, valid, tile);
  }
  template <class T, class Real>
  [[gnu::target("avx2,fma,bmi2")]] static TileState load_frame(const T* frame, std::int64_t stride,
                                                               const Valid<T>& valid, Real* tile) {
    return load_one<T, Real>(frame, stride, valid, tile);
  }
};

#endif

struct Baseline {
  template <class Real>
  static constexpr int WIDTH = sizeof(Real) == 4 ? 4 : 2;
  template <class Real>
  static constexpr int SIDE = sizeof(Real) == 4 ? 2 : 2;
  template <class Real, class Sum>
  static void add(const TileRuns& runs, Weight weight, const Real* tile, Sum* sums) {
    add_weighted<WIDTH<Real>, SIDE<Real>, Real, Sum>(runs, weight, tile, sums);
  }
  template <class Real, class Sum>
  static void add_both(const TileRuns& runs, const Real* tile, Sum* sums, Sum* squares) {
    add_runs<WIDTH<Real>, 1, true, true, false, Real, Sum>(runs, tile, sums, squares);
  }
  template <class Real>
  static void run_sums(const TileRuns& runs, const std::int64_t* slot, const Real* tile, const Real* variance,
                       Real* sums, Real* squares) {
    if (squares == nullptr) return sum_runs<false, Real>(runs, slot, tile, variance, sums, squares);
    sum_runs<true, Real>(runs, slot, tile, variance, sums, squares);
  }
  template <class T, class Real>
  static TileState load_frames(const T* const* frames, std::int64_t stride, const Valid<T>& valid, Real* tile) {
    if (valid.bad.empty()) return load_lanes<false, T, Real>(frames, stride, valid, tile);
    return load_lanes<true, T, Real>(frames, stride, valid, tile);
  }
  template <class T, class Real>
  static TileState load_frame(const T* frame, std::int64_t stride, const Valid<T>& valid, Real* tile) {
    return load_one<T, Real>(frame, stride, valid, tile);
  }
};

template <class Set, class Real>
constexpr CakeKernels<Real> KERNELS = {Set::template add<Real, float>, Set::template add<Real, double>,
                                       Set::template add_both<Real, float>, Set::template add_both<Real, double>,
                                       Set::template run_sums<Real>};

}  // namespace

InstructionSet best_instruction_set() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return InstructionSet::V4;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
    return InstructionSet::V3;
#endif
  return InstructionSet::BASELINE;
}

template <class Real>
const CakeKernels<Real>& cake_kernels(InstructionSet set) {
#if defined(__x86_64__)
  if (set == InstructionSet::V4) return KERNELS<V4, Real>;
  if (set == InstructionSet::V3) return KERNELS<V3, Real>;
#endif
  (void)set;
  return KERNELS<Baseline, Real>;
}

template <class T, class Real>
LoadFrames<T, Real> load_frames(InstructionSet set) {
#if defined(__x86_64__)
  if (set == InstructionSet::V4) return V4::load_frames<T, Real>;
  if (set == InstructionSet::V3) return V3::load_frames<T, Real>;
#endif
  (void)set;
  return Baseline::load_frames<T, Real>;
}

template <class T, class Real>
LoadFrame<T, Real> load_frame(InstructionSet set) {
#if defined(__x86_64__)
  if (set == InstructionSet::V4) return V4::load_frame<T, Real>;
  if (set == InstructionSet::V3) return V3::load_frame<T, Real>;
#endif
  (void)set;
  return Baseline::load_frame<T, Real>;
}

template const CakeKernels<float>& cake_kernels(InstructionSet);
template const CakeKernels<double>& cake_kernels(InstructionSet);
template LoadFrames<std::uint8_t, float> load_frames(InstructionSet);
template LoadFrame<std::uint8_t, float> load_frame(InstructionSet);
template LoadFrames<std::uint8_t, double> load_frames(InstructionSet);
template LoadFrame<std::uint8_t, double> load_frame(InstructionSet);
template LoadFrames<std::uint16_t, float> load_frames(InstructionSet);
template LoadFrame<std::uint16_t, float> load_frame(InstructionSet);
template LoadFrames<std::uint16_t, double> load_frames(InstructionSet);
template LoadFrame<std::uint16_t, double> load_frame(InstructionSet);
template LoadFrames<std::int16_t, float> load_frames(InstructionSet);
template LoadFrame<std::int16_t, float> load_frame(InstructionSet);
template LoadFrames<std::int16_t, double> load_frames(InstructionSet);
template LoadFrame<std::int16_t, double> load_frame(InstructionSet);
template LoadFrames<std::uint32_t, float> load_frames(InstructionSet);
template LoadFrame<std::uint32_t, float> load_frame(InstructionSet);
template LoadFrames<std::uint32_t, double> load_frames(InstructionSet);
template LoadFrame<std::uint32_t, double> load_frame(InstructionSet);
template LoadFrames<std::int32_t, float> load_frames(InstructionSet);
template LoadFrame<std::int32_t, float> load_frame(InstructionSet);
template LoadFrames<std::int32_t, double> load_frames(InstructionSet);
template LoadFrame<std::int32_t, double> load_frame(InstructionSet);
template LoadFrames<float, float> load_frames(InstructionSet);
template LoadFrame<float, float> load_frame(InstructionSet);
template LoadFrames<float, double> load_frames(InstructionSet);
template LoadFrame<float, double> load_frame(InstructionSet);
template LoadFrames<double, float> load_frames(InstructionSet);
template LoadFrame<double, float> load_frame(InstructionSet);
template LoadFrames<double, double> load_frames(InstructionSet);
template LoadFrame<double, double> load_frame(InstructionSet);

}  // namespace midas
