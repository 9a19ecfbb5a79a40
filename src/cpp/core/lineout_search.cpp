// The search for peaks. What is meant: lineout_search.hpp.
#include "lineout_search.hpp"

#include <algorithm>
#include <cmath>

namespace midas {

namespace {

constexpr double LEAST_SHIFT = 5.0, LEAST_SHIFT_BINS = 3.0;  // [px], bins
constexpr std::size_t BASE_REACH = 30;  // bins on either side in which a given peak's base is sought

double mean_of_three(const std::vector<double>& v, std::size_t i) {
  const std::size_t from = i > 0 ? i - 1 : 0, to = std::min(v.size(), i + 2);
  double sum = 0.0;
  for (std::size_t k = from; k < to; ++k) sum += v[k];
  return sum / static_cast<double>(to - from);
}

// The highest local maximum of bins [from, to), each the mean of three; without one, the bin nearest to the radius. The
// highest bin may be the flank of a neighbour.
std::size_t highest_top(const Lineout& lineout, std::size_t from, std::size_t to, double radius) {
  std::size_t top = from;
  bool is_maximum = false;
  for (std::size_t i = from; i < to; ++i) {
    const double here = mean_of_three(lineout.value, i);
    const bool falls_left = i == 0 || mean_of_three(lineout.value, i - 1) < here;
    const bool falls_right = i + 1 == lineout.size() || mean_of_three(lineout.value, i + 1) <= here;
    if (falls_left && falls_right) {
      if (!is_maximum || here > mean_of_three(lineout.value, top)) top = i;
      is_maximum = true;
    } else if (!is_maximum && std::abs(lineout.radius[i] - radius) < std::abs(lineout.radius[top] - radius)) {
      top = i;
    }
  }
  return top;
}

// Of those in [low, high).
std::vector<PeakStart>::iterator nearest_peak(std::vector<PeakStart>& seen, double low, double high, double radius) {
  auto nearest = seen.end();
  for (auto s = seen.begin(); s != seen.end(); ++s) {
    if (s->center < low || s->center >= high) continue;
    if (nearest == seen.end() || std::abs(s->center - radius) < std::abs(nearest->center - radius)) nearest = s;
  }
  return nearest;
}

void sort_by_center(std::vector<PeakStart>& starts) {
  std::stable_sort(starts.begin(), starts.end(),
                   [](const PeakStart& p, const PeakStart& q) { return p.center < q.center; });
}

// From the top outward to where the value falls below `level`, on the side where that is nearer, doubled.
double width_at(const Lineout& lineout, const std::vector<double>& values, std::size_t top, double level,
                std::size_t from, std::size_t to) {
  double left = 0.0, right = 0.0;
  const auto crossing = [&](std::size_t above, std::size_t below) {
    const double share = (values[above] - level) / (values[above] - values[below]);
    return std::abs(lineout.radius[above] + share * (lineout.radius[below] - lineout.radius[above]) -
                    lineout.radius[top]);
  };
  for (std::size_t i = top; i > from && left == 0.0; --i)
    if (values[i - 1] < level) left = crossing(i, i - 1);
  for (std::size_t i = top; i + 1 < to && right == 0.0; ++i)
    if (values[i + 1] < level) right = crossing(i, i + 1);
  if (left == 0.0 || right == 0.0) return 2.0 * std::max(left, right);
  return 2.0 * std::min(left, right);
}

}  // namespace

void Lineout::load(const LineoutView& view, std::int64_t sum, std::int64_t eta_bin) {
  bin.clear();
  radius.clear();
  value.clear();
  sigma.clear();
  for (std::int64_t r = 0; r < view.n_radius; ++r) {
    const std::int64_t at = (sum * view.n_radius + r) * view.n_eta + eta_bin;
    const double y = view.intensity[at], s = view.sigma[at];
    if (!std::isfinite(y) || !std::isfinite(s) || !(s > 0.0)) continue;
    bin.push_back(static_cast<std::size_t>(r));
    radius.push_back(0.5 * (view.edges[r] + view.edges[r + 1]));
    value.push_back(y);
    sigma.push_back(s);
  }
}

double mean_bin(const LineoutView& view) {
  return (view.edges[view.n_radius] - view.edges[0]) / static_cast<double>(view.n_radius);
}

double max_shift(const LineoutView& view, const LineoutOptions& options) {
  return options.max_shift > 0.0 ? options.max_shift : std::max(LEAST_SHIFT, LEAST_SHIFT_BINS * mean_bin(view));
}

void starts_at(const LineoutView& view, const LineoutOptions& options, Lineout& lineout,
               std::vector<PeakStart>& starts) {
  std::vector<PeakStart> seen;
  LineoutOptions all = options;
  all.n_peaks = 0;
  find_peaks(all, lineout, seen);
  const std::vector<double>& positions = options.positions;
  const double reach = max_shift(view, options);
  const auto place = [&](double r) {
    return static_cast<std::size_t>(std::lower_bound(lineout.radius.begin(), lineout.radius.end(), r) -
                                    lineout.radius.begin());
  };
  for (std::size_t k = 0; k < positions.size(); ++k) {
    PeakStart start;
    start.peak = static_cast<std::int64_t>(k);
    start.center = positions[k];
    double low = positions[k] - reach, high = positions[k] + reach;
    // between the middles to the neighbours, so that centres keep their order
    const double left = k > 0 ? 0.5 * (positions[k - 1] + positions[k]) : low - 1e9;
    const double right = k + 1 < positions.size() ? 0.5 * (positions[k] + positions[k + 1]) : high + 1e9;
    low = std::max(low, left);
    high = std::min(high, right);
    const std::size_t from = place(low), to = place(high);
    if (from == to) {
      start.outcome = PeakOutcome::NO_BINS;
      starts.push_back(start);
      continue;
    }
    const auto nearest = nearest_peak(seen, low, high, positions[k]);
    const std::size_t top =
        nearest == seen.end() ? highest_top(lineout, from, to, positions[k]) : place(nearest->center);
    if (nearest != seen.end()) seen.erase(nearest);
    const std::size_t first = std::max(place(left), top > BASE_REACH ? top - BASE_REACH : 0);
    const std::size_t last = std::min(place(right), top + BASE_REACH + 1);
    double lowest_left = lineout.value[top], lowest_right = lowest_left;
    for (std::size_t i = first; i < top; ++i) lowest_left = std::min(lowest_left, mean_of_three(lineout.value, i));
    for (std::size_t i = top + 1; i < last; ++i) lowest_right = std::min(lowest_right, mean_of_three(lineout.value, i));
    // a neighbour lifts its side, the end of the lineout leaves one without bins
    const double base = std::min(lowest_left, lowest_right);
    start.center = lineout.radius[top];
    start.height = mean_of_three(lineout.value, top) - base;
    if (!(start.height > 0.0)) {
      start.outcome = PeakOutcome::NO_PEAK;
    } else {
      start.prominence = start.height / lineout.sigma[top];
      start.fwhm = width_at(lineout, lineout.value, top, base + 0.5 * start.height, first, last);
    }
    starts.push_back(start);
  }
  for (PeakStart& s : seen) s.peak = NEIGHBOR;
  starts.insert(starts.end(), seen.begin(), seen.end());
  sort_by_center(starts);
}

void smooth(std::int64_t n_bins, Lineout& lineout) {
  lineout.smooth = lineout.value;
  lineout.noise = lineout.sigma;
  const std::int64_t half = n_bins / 2;
  const auto h = static_cast<double>(half);
  const double norm = 3.0 / ((2.0 * h + 3.0) * (2.0 * h + 1.0) * (2.0 * h - 1.0));
  const auto n = static_cast<std::int64_t>(lineout.size());
  for (std::int64_t i = half; half > 0 && i + half < n; ++i) {
    const auto from = static_cast<std::size_t>(i - half), to = static_cast<std::size_t>(i + half);
    if (lineout.bin[to] - lineout.bin[from] != to - from) continue;
    double sum = 0.0, variance = 0.0;
    for (std::int64_t j = -half; j <= half; ++j) {
      const auto k = static_cast<std::size_t>(i + j);
      const double c = norm * (3.0 * h * h + 3.0 * h - 1.0 - 5.0 * static_cast<double>(j * j));
      sum += c * lineout.value[k];
      variance += c * c * lineout.sigma[k] * lineout.sigma[k];
    }
    lineout.smooth[static_cast<std::size_t>(i)] = sum;
    lineout.noise[static_cast<std::size_t>(i)] = std::sqrt(variance);
  }
}

void find_peaks(const LineoutOptions& options, Lineout& lineout, std::vector<PeakStart>& starts) {
  smooth(options.smoothing, lineout);
  const std::vector<double>& y = lineout.smooth;
  const std::size_t n = lineout.size();
  for (std::size_t i = 1; i + 1 < n; ++i) {
    if (!(y[i] > y[i - 1] && y[i] >= y[i + 1])) continue;
    std::size_t left = i, right = i, a = i, b = i + 1;  // the lowest bins; [a, b) is as far as nothing is higher
    while (a > 0 && y[a - 1] < y[i]) {                  // of two equal tops the left one is the higher
      --a;
      if (y[a] < y[left]) left = a;
    }
    while (b < n && y[b] <= y[i]) {
      if (y[b] < y[right]) right = b;
      ++b;
    }
    if (left == i || right == i) continue;  // an end of the lineout, or the first bins of a flat top that rises on
    const std::size_t base = y[left] > y[right] ? left : right;
    PeakStart start;
    start.height = y[i] - y[base];
    start.prominence = start.height / std::hypot(lineout.noise[i], lineout.noise[base]);
    if (!(start.prominence >= options.min_prominence)) continue;
    start.center = lineout.radius[i];
    start.fwhm = width_at(lineout, y, i, y[i] - 0.5 * start.height, a, b);
    starts.push_back(start);
  }
  const auto wanted = static_cast<std::size_t>(options.n_peaks);
  if (wanted > 0 && starts.size() > wanted) {
    std::stable_sort(starts.begin(), starts.end(),
                     [](const PeakStart& p, const PeakStart& q) { return p.prominence > q.prominence; });
    for (std::size_t k = wanted; k < starts.size(); ++k) starts[k].peak = NEIGHBOR;
    sort_by_center(starts);
  }
  std::int64_t number = 0;
  for (PeakStart& s : starts)
    if (s.peak != NEIGHBOR) s.peak = number++;
}

}  // namespace midas
