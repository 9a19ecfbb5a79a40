// The inner loops of caking, compiled for several instruction sets. Equations: cake_kernels.hpp.
#include "cake_kernels.hpp"

#include <cstring>
#include <type_traits>

#include "vectors.hpp"

namespace midas {

namespace {

constexpr int CHAINS = 4;
static_assert(CHAINS == GROUP);
constexpr std::int64_t AHEAD = 12;                  // runs between asking for a bin's sums and adding to them
constexpr std::int64_t ENTRIES_AHEAD = 96;          // entries between asking for them and reading them
constexpr std::int64_t ENTRIES_AHEAD_ALONE = 1024;  // the same for one frame, which reads them 16 times as fast
constexpr std::int64_t BINS_AHEAD = 64;             // bins between asking for where their cake goes and writing it

template <class Sum>
alignas(128) constexpr Sum NOTHING[LANES] = {};

// Adds the runs of a tile to the sums, WIDTH frames a vector and as many vectors side by side as registers allow.
template <int WIDTH, int SIDE, bool SUMS, bool SQUARES, bool ONES, class Real, class Sum>
[[gnu::always_inline]] inline void add_runs(const TileRuns& runs, const Real* tile, Sum* sums, Sum* squares) {
  using V = Lanes<Real, WIDTH>;
  using S = Lanes<Sum, WIDTH>;
  const std::uint8_t* pixel = runs.pixel;
  const float* area = runs.area;
  const void* const* asked = runs.asked;
  const void* const* const asked_end = asked + runs.n_asked;
  const std::int64_t at_once = (runs.n_asked + runs.n - 1) / runs.n;
  for (std::int64_t r = 0; r < runs.n; ++r) {
    for (std::int64_t i = 0; i < at_once && asked < asked_end; ++i) __builtin_prefetch(*asked++, 0, 2);
    const std::int64_t later = runs.bin[r + AHEAD < runs.n ? r + AHEAD : runs.n - 1] * runs.stride;
    for (std::int64_t byte = 0; byte < LANES * static_cast<std::int64_t>(sizeof(Sum)); byte += 64) {
      if constexpr (SUMS) __builtin_prefetch(reinterpret_cast<const char*>(sums + later) + byte, 1, 3);
      if constexpr (SQUARES) __builtin_prefetch(reinterpret_cast<const char*>(squares + later) + byte, 1, 3);
    }
    const std::int64_t n = runs.groups[r] * GROUP;
    __builtin_prefetch(area + ENTRIES_AHEAD, 0, 3);
    __builtin_prefetch(area + ENTRIES_AHEAD + 16, 0, 3);
    __builtin_prefetch(pixel + ENTRIES_AHEAD, 0, 3);
    Sum* const into = sums + runs.bin[r] * runs.stride;
    const Sum* const before = runs.first[r] != 0 ? NOTHING<Sum> : into;
    Sum* const into_squares = SQUARES ? squares + runs.bin[r] * runs.stride : nullptr;
    const Sum* const squares_before = SQUARES && runs.first[r] == 0 ? into_squares : NOTHING<Sum>;
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
          const std::int64_t at = part + s * WIDTH;
          *reinterpret_cast<S*>(into + at) = *reinterpret_cast<const S*>(before + at) + __builtin_convertvector(sum, S);
        }
        if constexpr (SQUARES) {
          const V sum = (square[0][s] + square[1][s]) + (square[2][s] + square[3][s]);
          const std::int64_t at = part + s * WIDTH;
          *reinterpret_cast<S*>(into_squares + at) =
              *reinterpret_cast<const S*>(squares_before + at) + __builtin_convertvector(sum, S);
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

// (c0 + c1) + (c2 + c3).
template <class Real>
[[gnu::always_inline]] inline Real total(const Lanes<Real, CHAINS>& chain) {
  return (chain[0] + chain[1]) + (chain[2] + chain[3]);
}

template <bool SQUARES, class Real>
[[gnu::always_inline]] inline void sum_runs(const TileRuns& runs, const Real* tile, const Real* variance, Real* sums,
                                            Real* squares) {
  using Group = Lanes<Real, CHAINS>;
  const std::uint8_t* pixel = runs.pixel;
  const float* area = runs.area;
  for (std::int64_t r = 0; r < runs.n; ++r) {
    Group chain{}, square{};
    const std::int64_t n = runs.groups[r] * GROUP;
    __builtin_prefetch(area + ENTRIES_AHEAD_ALONE, 0, 3);
    __builtin_prefetch(area + ENTRIES_AHEAD_ALONE + 16, 0, 3);
    __builtin_prefetch(pixel + ENTRIES_AHEAD_ALONE, 0, 3);
    for (std::int64_t e = 0; e < n; e += GROUP) {
      const std::uint8_t* const p = pixel + e;
      Lanes<float, CHAINS> areas;
      std::memcpy(&areas, area + e, sizeof(areas));
      const auto weight = __builtin_convertvector(areas, Group);
      chain += weight * Group{tile[p[0]], tile[p[1]], tile[p[2]], tile[p[3]]};
      if constexpr (SQUARES) {
        square += (weight * weight) * Group{variance[p[0]], variance[p[1]], variance[p[2]], variance[p[3]]};
      }
    }
    sums[r] = total<Real>(chain);
    if constexpr (SQUARES) squares[r] = total<Real>(square);
    pixel += n;
    area += n;
  }
}

// A square of sums at a time: N bins of N frames, turned in registers. Returns how many bins are done.
template <int N, class Out>
[[gnu::always_inline]] inline std::int64_t take_squares(const float* sums, std::int64_t stride, std::int64_t n,
                                                        std::int64_t n_frames, const double* dark, const double* factor,
                                                        Out* const* out) {
  using Wide = Lanes<double, N>;
  std::int64_t b = 0;
  for (; b + N <= n; b += N) {
    Wide less, times;
    std::memcpy(&less, dark + b, sizeof(less));
    std::memcpy(&times, factor + b, sizeof(times));
    for (std::int64_t i = 0; i < N; ++i) __builtin_prefetch(sums + (b + 2 * N + i) * stride, 0, 3);
    for (std::int64_t f = 0; f < n_frames; ++f) __builtin_prefetch(out[f] + b + BINS_AHEAD, 1, 3);
    for (std::int64_t group = 0; group < n_frames; group += N) {
      Words<N> v[N];
#pragma GCC unroll 16
      for (std::int64_t i = 0; i < N; ++i) std::memcpy(&v[i], sums + (b + i) * stride + group, sizeof(v[i]));
      transpose<N>(v);
#pragma GCC unroll 16
      for (std::int64_t i = 0; i < N; ++i) {
        if (group + i >= n_frames) break;
        const Wide sum = __builtin_convertvector(reinterpret_cast<Lanes<float, N>>(v[i]), Wide);
        const auto taken = __builtin_convertvector((sum - less) * times, Lanes<Out, N>);
        std::memcpy(out[group + i] + b, &taken, sizeof(taken));
      }
    }
  }
  return b;
}

template <class Sum, class Out>
struct Take {
  template <int BYTES>
  [[gnu::always_inline]] static inline void run(const Sum* sums, std::int64_t stride, std::int64_t n,
                                                std::int64_t n_frames, const double* dark, const double* factor,
                                                Out* const* out) {
    std::int64_t done = 0;
    if constexpr (std::is_same_v<Sum, float>)
      done = take_squares<BYTES / 4>(sums, stride, n, n_frames, dark, factor, out);
    for (std::int64_t f = 0; f < n_frames; ++f)
      for (std::int64_t b = done; b < n; ++b)
        out[f][b] = static_cast<Out>((static_cast<double>(sums[b * stride + f]) - dark[b]) * factor[b]);
  }
};

template <int BYTES, class Real>
constexpr int WIDTH = BYTES / static_cast<int>(sizeof(Real));

template <class Real, class Sum>
struct Add {
  template <int BYTES>
  [[gnu::always_inline]] static inline void run(const TileRuns& runs, Weight weight, const Real* tile, Sum* sums) {
    constexpr int SIDE = LANES > WIDTH<BYTES, Real> ? 2 : 1;
    add_weighted<WIDTH<BYTES, Real>, SIDE, Real, Sum>(runs, weight, tile, sums);
  }
};

template <class Real, class Sum>
struct AddBoth {
  template <int BYTES>
  [[gnu::always_inline]] static inline void run(const TileRuns& runs, const Real* tile, Sum* sums, Sum* squares) {
    add_runs<WIDTH<BYTES, Real>, 1, true, true, false, Real, Sum>(runs, tile, sums, squares);
  }
};

template <class Real>
struct RunSums {
  template <int BYTES>
  [[gnu::always_inline]] static inline void run(const TileRuns& runs, const Real* tile, const Real* variance,
                                                Real* sums, Real* squares) {
    if (squares == nullptr) return sum_runs<false, Real>(runs, tile, variance, sums, squares);
    sum_runs<true, Real>(runs, tile, variance, sums, squares);
  }
};

template <class Set, class Real>
constexpr CakeKernels<Real> KERNELS = {
    Set::template run<Add<Real, float>, void>, Set::template run<Add<Real, double>, void>,
    Set::template run<AddBoth<Real, float>, void>, Set::template run<AddBoth<Real, double>, void>,
    Set::template run<RunSums<Real>, void>};

}  // namespace

template <class Real>
const CakeKernels<Real>& cake_kernels(InstructionSet set) {
  return choose(set, KERNELS<Baseline, Real>, KERNELS<V3, Real>, KERNELS<V4, Real>);
}

template <class Set, class Sum, class Out>
constexpr TakeFrames<Sum, Out> TAKE = Set::template run<Take<Sum, Out>, void>;

template <class Sum, class Out>
TakeFrames<Sum, Out> take_frames(InstructionSet set) {
  return choose(set, TAKE<Baseline, Sum, Out>, TAKE<V3, Sum, Out>, TAKE<V4, Sum, Out>);
}

template const CakeKernels<float>& cake_kernels(InstructionSet);
template const CakeKernels<double>& cake_kernels(InstructionSet);
template TakeFrames<float, float> take_frames(InstructionSet);
template TakeFrames<float, double> take_frames(InstructionSet);
template TakeFrames<double, float> take_frames(InstructionSet);
template TakeFrames<double, double> take_frames(InstructionSet);

}  // namespace midas
