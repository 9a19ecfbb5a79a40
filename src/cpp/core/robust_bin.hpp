// The robust statistics of the values of one bin. Equations and sources: robust.hpp.
//
// Quantiles are selected, not sorted for: fifteen of the values, sorted, cut them into parts; the weights up to each of
// the fifteen tell which part holds the quantile, and only the values of that part are looked at again.
#ifndef MIDAS_ROBUST_BIN_HPP
#define MIDAS_ROBUST_BIN_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "robust.hpp"
#include "robust_kernels.hpp"

namespace midas {

constexpr double LARGE_VALUE = 1e15;  // single precision: squares of what is above might overflow

// Values and their weights, filled up with NaN to whole LANES.
template <class Real>
struct Values {
  std::vector<Real> v, w;
  const Real* weights = nullptr;  // w, or a list that goes on for LANES
  std::int64_t n = 0;

  void reserve(std::int64_t most) {
    const auto size = static_cast<std::size_t>(most + LANES);
    if (v.size() < size) v.resize(size);
    if (w.size() < size) w.resize(size);
    weights = w.data();
  }
  void fill_up() {
    for (std::int64_t i = n; i < padded(); ++i) {
      v[static_cast<std::size_t>(i)] = std::numeric_limits<Real>::quiet_NaN();
      if (weights == w.data()) w[static_cast<std::size_t>(i)] = Real{0};
    }
  }
  std::int64_t padded() const { return (n + LANES - 1) / LANES * LANES; }
};

// A quantile: the value, and the weights below it and up to it.
template <class Real>
struct Quantile {
  Real value;
  double below, up_to;
};

constexpr std::int64_t SAMPLES = 3 * PIVOTS;  // values that cut a bin into parts

// Sorted samples of some values, and the weight up to each, found when it is asked for.
template <class Real>
struct Samples {
  std::array<Real, SAMPLES + 1> value;  // the last is the largest of all numbers
  std::array<double, SAMPLES> weight;
  std::array<bool, SAMPLES / PIVOTS> known;  // of which the weights have been asked for
};

// What is known of a bin before its counts.
struct BinContext {
  double scale = 1.0, dark = 0.0;  // means over its pixels
  double count = 0.0;              // the step of its values: a count of an integer frame, else 0
};

struct BinResult {
  double intensity = std::numeric_limits<double>::quiet_NaN(), variance = intensity, area = 0.0;
  std::int64_t n = 0;
};

// Works on one bin after another; keeps its work space.
template <class Real>
class BinStatistics {
 public:
  BinStatistics(const RobustOptions& options, InstructionSet set, bool with_variance)
      : options_(options), kernels_(robust_kernels<Real>(set)), with_variance_(with_variance) {}

  // The next bin's, for the caller to fill in; finite.
  Values<Real>& values() { return all_; }

  BinResult find(const BinContext& context);

 private:
  Moments between(Real low, Real high, Real reference) const;
  void sample(const Values<Real>& from, Samples<Real>& found) const;
  double up_to(const Values<Real>& from, Samples<Real>& cut, std::int64_t k) const;
  Quantile<Real> quantile(double weight);
  void part(const Values<Real>& from, Real low, Real high);
  static Quantile<Real> walk(const Values<Real>& from, double weight, double below, const Quantile<Real>& end);
  double poisson(double m) const;
  static double equal_pixels(const Moments& m) { return m.weight * m.weight / m.weight_squared; }
  double next_above(Real value) const;
  static double scatter(const Moments& m, double mean);
  double clip_sigma(const Moments& m, double mean, double reference, bool first) const;
  BinResult median();
  BinResult trimmed_mean();
  BinResult sigma_clip();

  const RobustOptions options_;
  const RobustKernels<Real>& kernels_;
  bool with_variance_;
  Values<Real> all_, part_;
  Samples<Real> samples_{}, other_{};
  Moments total_;
  BinContext context_;
};

}  // namespace midas

#endif
