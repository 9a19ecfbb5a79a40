// Sums a frame over the bins of a map. Equations, validity and source: cake.hpp.
#include "cake.hpp"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "parallel.hpp"

namespace midas {

namespace {

template <class T>
bool is_count(T value, bool negative_counts) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::isfinite(value) && (negative_counts || value >= T{0});
  } else if constexpr (std::is_unsigned_v<T>) {
    (void)negative_counts;
    return value != std::numeric_limits<T>::max();
  } else {
    return negative_counts || value >= T{0};
  }
}

struct BinSum {
  double signal = 0.0, variance = 0.0, area = 0.0;
};

template <class T, bool WITH_VARIANCE>
BinSum sum_bin(const CakeMap& map, std::int64_t bin, const T* frame, const CakeInput& input) {
  BinSum sum;
  const auto end = static_cast<std::size_t>(map.offsets[static_cast<std::size_t>(bin) + 1]);
  for (auto i = static_cast<std::size_t>(map.offsets[static_cast<std::size_t>(bin)]); i < end; ++i) {
    const std::int32_t pixel = map.pixels[i];
    const T raw = frame[pixel];
    const auto counts = static_cast<double>(raw);
    if (!is_count(raw, input.negative_counts) || counts >= input.saturation) continue;
    if (!input.bad_values.empty() &&
        std::find(input.bad_values.begin(), input.bad_values.end(), counts) != input.bad_values.end())
      continue;
    if (input.mask != nullptr && input.mask[pixel] != 0) continue;
    const auto area = static_cast<double>(map.areas[i]);
    const double weight = input.scale != nullptr ? area * input.scale[pixel] : area;
    const double signal = input.dark != nullptr ? counts - input.dark[pixel] : counts;
    sum.signal += weight * signal;
    sum.area += area;
    if constexpr (WITH_VARIANCE) {
      if (counts > 0.0) sum.variance += weight * weight * counts;
    }
  }
  return sum;
}

}  // namespace

template <class T>
void apply_cake_map(const CakeMap& map, const T* frame, const CakeInput& input, double* intensity, double* variance,
                    double* area, int n_threads) {
  const std::int64_t n_bins = map.n_bins();
#pragma omp parallel for schedule(dynamic, 64) num_threads(resolve_threads(n_threads))
  for (std::int64_t bin = 0; bin < n_bins; ++bin) {
    const BinSum sum =
        variance != nullptr ? sum_bin<T, true>(map, bin, frame, input) : sum_bin<T, false>(map, bin, frame, input);
    const bool empty = !(sum.area > 0.0);
    const double divisor = empty ? std::numeric_limits<double>::quiet_NaN() : input.normalize ? sum.area : 1.0;
    area[bin] = sum.area;
    intensity[bin] = sum.signal / divisor;
    if (variance != nullptr) variance[bin] = sum.variance / (divisor * divisor);
  }
}

template void apply_cake_map(const CakeMap&, const std::uint8_t*, const CakeInput&, double*, double*, double*, int);
template void apply_cake_map(const CakeMap&, const std::uint16_t*, const CakeInput&, double*, double*, double*, int);
template void apply_cake_map(const CakeMap&, const std::uint32_t*, const CakeInput&, double*, double*, double*, int);
template void apply_cake_map(const CakeMap&, const std::int16_t*, const CakeInput&, double*, double*, double*, int);
template void apply_cake_map(const CakeMap&, const std::int32_t*, const CakeInput&, double*, double*, double*, int);
template void apply_cake_map(const CakeMap&, const float*, const CakeInput&, double*, double*, double*, int);
template void apply_cake_map(const CakeMap&, const double*, const CakeInput&, double*, double*, double*, int);

}  // namespace midas
