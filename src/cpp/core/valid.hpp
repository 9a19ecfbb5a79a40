// Which values of a frame are counts: the rule of docs/files.md, for every type of pixel.
#ifndef MIDAS_VALID_HPP
#define MIDAS_VALID_HPP

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

namespace midas {

// Which values are counts: low <= v <= high, and none of `bad`. NaN is none.
template <class T>
struct Valid {
  T low, high;
  double limit;  // the same end as the first value that is none: v < limit
  std::vector<T> bad;
};

// Negative values mark gaps and bad pixels unless `negative`; counts end below `saturation`, at the largest value of an
// unsigned type, and at infinity.
template <class T>
Valid<T> valid_counts(double saturation, bool negative, const std::vector<double>& bad_values) {
  using Limits = std::numeric_limits<T>;
  Valid<T> valid{};
  valid.low = negative ? Limits::lowest() : T{0};
  if constexpr (std::is_floating_point_v<T>) {
    valid.high = static_cast<T>(saturation);  // infinity is no count
    if (!(static_cast<double>(valid.high) < saturation)) valid.high = std::nextafter(valid.high, Limits::lowest());
    valid.limit = static_cast<double>(std::nextafter(valid.high, Limits::infinity()));
  } else {
    // The largest value of an unsigned type marks a pixel without counts.
    const double end = static_cast<double>(Limits::max()) + (std::is_signed_v<T> ? 1.0 : 0.0);
    valid.limit = std::min(std::ceil(saturation), end);
    if (valid.limit <= static_cast<double>(valid.low)) {
      valid.low = T{1};  // nothing is a count
      valid.high = T{0};
    } else {
      valid.high = static_cast<T>(valid.limit - 1.0);
    }
  }
  for (const double bad : bad_values) {
    const bool fits = bad >= static_cast<double>(Limits::lowest()) && bad <= static_cast<double>(Limits::max());
    if (fits && static_cast<double>(static_cast<T>(bad)) == bad) valid.bad.push_back(static_cast<T>(bad));
  }
  return valid;
}

}  // namespace midas

#endif
