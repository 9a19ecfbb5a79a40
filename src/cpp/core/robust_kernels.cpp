// The inner loops of robust statistics, compiled for several instruction sets. What they compute: robust_kernels.hpp.
#include "robust_kernels.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "vectors.hpp"

namespace midas {

namespace {

constexpr std::int64_t BLOCK = 4096;

// Leaves the lanes that `marks` picks, 0 in the others.
template <class V, class M>
[[gnu::always_inline]] inline void keep(V& values, const M& marks) {
  values = reinterpret_cast<V>(reinterpret_cast<const M&>(values) & marks);
}

// The sum over all lanes, halves onto halves: in the same order for every width.
template <class Real, class V>
[[gnu::always_inline]] inline double total(const V* parts) {
  Real lanes[LANES];
  std::memcpy(lanes, parts, sizeof(lanes));
  for (std::int64_t half = LANES / 2; half > 0; half /= 2)
    for (std::int64_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return static_cast<double>(lanes[0]);
}

template <int WIDTH, class Real>
[[gnu::always_inline]] inline void up_to(const Real* v, const Real* w, std::int64_t n, const Real* pivot,
                                         double* weight) {
  using V = Lanes<Real, WIDTH>;
  constexpr int PARTS = LANES / WIDTH;
  for (std::int64_t k = 0; k < PIVOTS; ++k) weight[k] = 0.0;
  for (std::int64_t first = 0; first < n; first += BLOCK) {
    const std::int64_t end = std::min(n, first + BLOCK);
    V sum[PIVOTS][PARTS]{};
    for (std::int64_t i = first; i < end; i += LANES) {
#pragma GCC unroll 8
      for (int part = 0; part < PARTS; ++part) {
        V value, area;
        std::memcpy(&value, v + i + part * WIDTH, sizeof(V));
        std::memcpy(&area, w + i + part * WIDTH, sizeof(V));
#pragma GCC unroll 8
        for (int k = 0; k < PIVOTS; ++k) {
          V below = area;
          keep(below, value <= pivot[k]);
          sum[k][part] += below;
        }
      }
    }
    for (std::int64_t k = 0; k < PIVOTS; ++k) weight[k] += total<Real>(sum[k]);
  }
}

template <int WIDTH, class Real>
[[gnu::always_inline]] inline Moments sums_between(const Real* v, const Real* w, std::int64_t n, Real low, Real high,
                                                   Real reference) {
  using V = Lanes<Real, WIDTH>;
  constexpr int PARTS = LANES / WIDTH;
  Moments found;
  double count = 0.0;
  const V one = V{} + Real{1};
  for (std::int64_t from = 0; from < n; from += BLOCK) {
    const std::int64_t end = std::min(n, from + BLOCK);
    V weight[PARTS]{}, squared[PARTS]{}, first[PARTS]{}, second[PARTS]{}, number[PARTS]{};
    for (std::int64_t i = from; i < end; i += LANES) {
#pragma GCC unroll 8
      for (int part = 0; part < PARTS; ++part) {
        V value, area;
        std::memcpy(&value, v + i + part * WIDTH, sizeof(V));
        std::memcpy(&area, w + i + part * WIDTH, sizeof(V));
        const auto inside = (value >= low) & (value <= high);
        keep(area, inside);
        V d = value - reference, here = one;
        keep(d, inside);
        keep(here, area > Real{0});
        const V moment = area * d;
        weight[part] += area;
        squared[part] += area * area;
        first[part] += moment;
        second[part] += moment * d;
        number[part] += here;
      }
    }
    found.weight += total<Real>(weight);
    found.weight_squared += total<Real>(squared);
    found.first += total<Real>(first);
    found.second += total<Real>(second);
    count += total<Real>(number);
  }
  found.n = static_cast<std::int64_t>(count);
  return found;
}

template <class Real>
struct WeightsUpTo {
  template <int BYTES>
  [[gnu::always_inline]] static inline void run(const Real* v, const Real* w, std::int64_t n, const Real* pivot,
                                                double* weight) {
    up_to<BYTES / static_cast<int>(sizeof(Real)), Real>(v, w, n, pivot, weight);
  }
};

template <class Real>
struct MomentsBetween {
  template <int BYTES>
  [[gnu::always_inline]] static inline Moments run(const Real* v, const Real* w, std::int64_t n, Real low, Real high,
                                                   Real reference) {
    return sums_between<BYTES / static_cast<int>(sizeof(Real)), Real>(v, w, n, low, high, reference);
  }
};

template <class Set, class Real>
constexpr RobustKernels<Real> KERNELS = {Set::template run<WeightsUpTo<Real>, void>,
                                         Set::template run<MomentsBetween<Real>, Moments>};

}  // namespace

template <class Real>
const RobustKernels<Real>& robust_kernels(InstructionSet set) {
  // AVX2 also where there is AVX-512, whose comparisons of 16 values GCC 12 takes apart; without fused multiply-add, so
  // that every instruction set gives the same bytes.
  return choose(set, KERNELS<Baseline, Real>, KERNELS<Avx2, Real>, KERNELS<Avx2, Real>);
}

template const RobustKernels<float>& robust_kernels(InstructionSet);
template const RobustKernels<double>& robust_kernels(InstructionSet);

}  // namespace midas
