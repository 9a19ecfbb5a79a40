// Quantiles by selection, trimmed means and sigma clipping. Equations and sources: robust.hpp.
#include "robust_bin.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace midas {

namespace {

constexpr std::int64_t FEW = 24;      // values that are sorted by inserting
constexpr double SHARED_HALF = 1e-6;  // of the weight, above what single precision sums round
constexpr double LEAST_PIXELS = 2.0;  // that have a scatter
constexpr double WOODRUFF_SIGMAS = 2.0;

// The pairs of Batcher's merge exchange sort of 16 values (Knuth, The Art of Computer Programming 3, 5.2.2 M).
constexpr std::size_t EXCHANGES = 63;
constexpr std::array<std::pair<int, int>, EXCHANGES> exchanges() {
  std::array<std::pair<int, int>, EXCHANGES> pairs{};
  std::size_t n = 0;
  for (int p = 8; p > 0; p /= 2) {
    int q = 8, r = 0, d = p;
    while (true) {
      for (int i = 0; i < 16 - d; ++i) {
        if ((i & p) != r) continue;
        pairs[n].first = i;
        pairs[n].second = i + d;
        ++n;
      }
      if (q == p) break;
      d = q - p;
      q /= 2;
      r = p;
    }
  }
  return pairs;
}

template <class Real>
void sort_samples(std::array<Real, SAMPLES + 1>& values) {
  static constexpr auto PAIRS = exchanges();
  for (const auto& [a, b] : PAIRS) {
    const Real x = values[static_cast<std::size_t>(a)], y = values[static_cast<std::size_t>(b)];
    values[static_cast<std::size_t>(a)] = std::min(x, y);
    values[static_cast<std::size_t>(b)] = std::max(x, y);
  }
}

}  // namespace

template <class Real>
BinResult BinStatistics<Real>::find(const BinContext& context) {
  if (all_.n == 0) return {};
  context_ = context;
  all_.fill_up();
  total_ = between(std::numeric_limits<Real>::lowest(), std::numeric_limits<Real>::max(), all_.v[0]);
  if (all_.n > FEW) sample(all_, samples_);
  switch (options_.method) {
    case RobustMethod::MEDIAN:
      return median();
    case RobustMethod::TRIMMED_MEAN:
      return trimmed_mean();
    case RobustMethod::SIGMA_CLIP:
      return sigma_clip();
  }
  return {};
}

template <class Real>
Moments BinStatistics<Real>::between(Real low, Real high, Real reference) const {
  return kernels_.moments(all_.v.data(), all_.weights, all_.padded(), low, high, reference);
}

template <class Real>
void BinStatistics<Real>::sample(const Values<Real>& from, Samples<Real>& found) const {
  for (std::int64_t k = 0; k < SAMPLES; ++k)
    found.value[static_cast<std::size_t>(k)] = from.v[static_cast<std::size_t>((2 * k + 1) * from.n / (2 * SAMPLES))];
  found.value[SAMPLES] = std::numeric_limits<Real>::max();
  sort_samples(found.value);
  found.known.fill(false);
}

template <class Real>
double BinStatistics<Real>::up_to(const Values<Real>& from, Samples<Real>& cut, std::int64_t k) const {
  const std::int64_t group = k / PIVOTS, first = group * PIVOTS;
  if (!cut.known[static_cast<std::size_t>(group)]) {
    kernels_.weights_up_to(from.v.data(), from.weights, from.padded(), cut.value.data() + first,
                           cut.weight.data() + first);
    cut.known[static_cast<std::size_t>(group)] = true;
  }
  return cut.weight[static_cast<std::size_t>(k)];
}

// The smallest value that has at least this weight with all below.
template <class Real>
Quantile<Real> BinStatistics<Real>::quantile(double weight) {
  constexpr Real INFINITE = std::numeric_limits<Real>::infinity();
  weight = std::max(weight, 1e-9 * total_.weight);
  const Values<Real>* from = &all_;
  double below = 0.0;
  Quantile<Real> end{INFINITE, 0.0, 0.0};  // the answer where no smaller value is
  double left = total_.weight;
  for (bool first = true; from->n > FEW; first = false) {
    if (!first) sample(*from, other_);
    Samples<Real>& cut = first ? samples_ : other_;
    const double wanted = weight - below;
    std::int64_t k = std::clamp(static_cast<std::int64_t>(wanted / left * static_cast<double>(SAMPLES)),
                                std::int64_t{0}, SAMPLES - 1);
    while (k > 0 && up_to(*from, cut, k - 1) >= wanted) --k;
    while (k < SAMPLES && up_to(*from, cut, k) < wanted) ++k;
    const Real low = k > 0 ? cut.value[static_cast<std::size_t>(k - 1)] : -INFINITE;
    const double start = k > 0 ? below + up_to(*from, cut, k - 1) : below;
    left = below + left - start;
    if (k < SAMPLES) {
      end = {cut.value[static_cast<std::size_t>(k)], 0.0, below + up_to(*from, cut, k)};
      left = end.up_to - start;
    }
    below = start;
    part(*from, low, end.value);
    if (part_.n == 0 && !(end.value < INFINITE)) return {low, below, below};  // by rounding: there is nothing above
    from = &part_;
  }
  return walk(*from, weight, below, end);
}

// Copies the values between two, these left out; `from` may be part_ itself.
template <class Real>
void BinStatistics<Real>::part(const Values<Real>& from, Real low, Real high) {
  part_.reserve(from.n);
  const Real *const v = from.v.data(), *const w = from.weights;
  Real *const to_v = part_.v.data(), *const to_w = part_.w.data();
  const std::int64_t n = from.n;
  std::int64_t k = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const Real value = v[i], weight = w[i];
    to_v[k] = value;
    to_w[k] = weight;
    k += static_cast<std::int64_t>((value > low) & (value < high));
  }
  part_.n = k;
  part_.fill_up();
}

template <class Real>
Quantile<Real> BinStatistics<Real>::walk(const Values<Real>& from, double weight, double below,
                                         const Quantile<Real>& end) {
  std::array<std::pair<Real, Real>, FEW> sorted;
  const auto n = static_cast<std::size_t>(from.n);
  for (std::size_t i = 0; i < n; ++i) {
    const std::pair<Real, Real> entry{from.v[i], from.weights[i]};
    std::size_t k = i;
    for (; k > 0 && sorted[k - 1].first > entry.first; --k) sorted[k] = sorted[k - 1];
    sorted[k] = entry;
  }
  double up_to = below;
  for (std::size_t i = 0; i < n;) {
    below = up_to;
    const Real value = sorted[i].first;
    for (; i < n && !(sorted[i].first > value); ++i) up_to += static_cast<double>(sorted[i].second);
    if (up_to >= weight || (i == n && !(end.value < std::numeric_limits<Real>::infinity())))
      return {value, below, up_to};
  }
  return {end.value, up_to, end.up_to};
}

// The Poisson variance of a pixel whose value is expected to be m.
template <class Real>
double BinStatistics<Real>::poisson(double m) const {
  return std::max(context_.scale * (m + context_.scale * context_.dark), 0.0);
}

template <class Real>
BinResult BinStatistics<Real>::median() {
  const double weight = total_.weight, half = 0.5 * weight;
  const Quantile<Real> q = quantile(half * (1.0 - 2.0 * SHARED_HALF));
  double found = static_cast<double>(q.value);
  if (q.up_to <= half * (1.0 + 2.0 * SHARED_HALF)) found = 0.5 * (found + next_above(q.value));
  BinResult result{found, 0.0, weight, total_.n};
  if (!with_variance_) return result;
  const double n = equal_pixels(total_);
  if (n < LEAST_PIXELS) {
    result.variance = poisson(found) / n;
    return result;
  }
  // Below four pixels the quantiles are the smallest and the largest value, fewer standard deviations apart.
  const double h = std::min(0.5 * WOODRUFF_SIGMAS / std::sqrt(n), 0.5);
  const double width =
      static_cast<double>(quantile((0.5 + h) * weight).value) - static_cast<double>(quantile((0.5 - h) * weight).value);
  const double sigma = width / (4.0 * h * std::sqrt(n));
  result.variance = sigma * sigma + context_.count * context_.count / 12.0;
  return result;
}

template <class Real>
double BinStatistics<Real>::next_above(Real value) const {
  Real next = std::numeric_limits<Real>::max();
  bool found = false;
  for (std::int64_t i = 0; i < all_.n; ++i) {
    const Real v = all_.v[static_cast<std::size_t>(i)];
    if (!(v > value)) continue;
    next = std::min(next, v);
    found = true;
  }
  return static_cast<double>(found ? next : value);
}

template <class Real>
BinResult BinStatistics<Real>::trimmed_mean() {
  const double weight = total_.weight, kept = (1.0 - options_.trim_low - options_.trim_high) * weight,
               end = (1.0 - options_.trim_high) * weight;
  const Quantile<Real> low = quantile(options_.trim_low * weight), high = quantile(end);
  // Sums of other lists round otherwise: nothing lies beyond where nothing is cut.
  const double up_to = options_.trim_high > 0.0 ? high.up_to : end;
  const Moments m = between(low.value, high.value, low.value);
  const double reference = static_cast<double>(low.value), d = static_cast<double>(high.value) - reference;
  BinResult result{reference + (m.first - (up_to - end) * d) / kept, 0.0, kept, m.n};
  if (!with_variance_) return result;
  const double n = equal_pixels(total_), h = n * kept / weight;
  if (h < LEAST_PIXELS) {
    result.variance = poisson(result.intensity) / h;
    return result;
  }
  const double beyond = weight - up_to, mean = (m.first + beyond * d) / weight;
  const double square = std::max((m.second + beyond * d * d) / weight - mean * mean, 0.0);
  result.variance = n * square / (h * (h - 1.0));
  return result;
}

// The mean square deviation from the mean, as of n pixels of the same weight.
template <class Real>
double BinStatistics<Real>::scatter(const Moments& m, double mean) {
  const double n = equal_pixels(m);
  return std::max(m.second / m.weight - mean * mean, 0.0) * n / (n - 1.0);
}

template <class Real>
double BinStatistics<Real>::clip_sigma(const Moments& m, double mean, double reference, bool first) const {
  if (options_.sigma == ClipSigma::POISSON) {
    const double expected = first ? reference : reference + mean;
    return std::sqrt(std::max(poisson(expected), context_.scale * context_.scale));
  }
  if (first) return std::sqrt(m.second / m.weight);
  return equal_pixels(m) < LEAST_PIXELS ? std::numeric_limits<double>::infinity() : std::sqrt(scatter(m, mean));
}

template <class Real>
BinResult BinStatistics<Real>::sigma_clip() {
  const Real reference = quantile(0.5 * total_.weight).value;
  const auto base = static_cast<double>(reference);
  Real low = std::numeric_limits<Real>::lowest(), high = std::numeric_limits<Real>::max();
  Moments m = between(low, high, reference);
  for (std::int64_t i = 0; i < options_.max_iterations; ++i) {
    const double mean = m.first / m.weight, center = base + (i == 0 ? 0.0 : mean);
    const double reach = options_.threshold * clip_sigma(m, mean, base, i == 0);
    if (!(reach < LARGE_VALUE * LARGE_VALUE)) break;
    low = std::max(low, static_cast<Real>(center - reach));
    high = std::min(high, static_cast<Real>(center + reach));
    const Moments next = between(low, high, reference);
    if (next.n == 0) break;  // the values stand in two heaps that the threshold does not reach
    const bool done = m.weight - next.weight <= options_.tolerance * m.weight;
    m = next;
    if (done) break;
  }
  const double mean = m.first / m.weight, n = equal_pixels(m);
  BinResult result{base + mean, 0.0, m.weight, m.n};
  const bool by_poisson = options_.sigma == ClipSigma::POISSON || n < LEAST_PIXELS;
  result.variance = (by_poisson ? poisson(result.intensity) : scatter(m, mean)) / n;
  return result;
}

template class BinStatistics<float>;
template class BinStatistics<double>;

}  // namespace midas
