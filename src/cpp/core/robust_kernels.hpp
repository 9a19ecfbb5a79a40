// The inner loops of robust statistics: weights below some values, and sums over the values between two.
//
// Sums run in LANES chains of single or double precision over blocks of values, blocks in double: the same operations,
// so the same bytes, with every instruction set.
#ifndef MIDAS_ROBUST_KERNELS_HPP
#define MIDAS_ROBUST_KERNELS_HPP

#include <cstdint>

#include "cake_kernels.hpp"

namespace midas {

constexpr std::int64_t PIVOTS = 5;  // that are compared with at a time

// Over the entries with low <= v <= high and d = v - reference.
struct Moments {
  double weight = 0.0, weight_squared = 0.0, first = 0.0, second = 0.0;  // sums of w, w^2, w d, w d^2
  std::int64_t n = 0;
};

// n is a multiple of LANES: NaN, which lies between no two values, fills v up.
template <class Real>
struct RobustKernels {
  // weight[k] = sum of w over v <= pivot[k], for PIVOTS pivots.
  void (*weights_up_to)(const Real* v, const Real* w, std::int64_t n, const Real* pivot, double* weight);
  Moments (*moments)(const Real* v, const Real* w, std::int64_t n, Real low, Real high, Real reference);
};

template <class Real>
const RobustKernels<Real>& robust_kernels(InstructionSet set);

}  // namespace midas

#endif
