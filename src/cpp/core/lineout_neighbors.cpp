// The search of the residuals. Equations and source: lineout_neighbors.hpp.
#include "lineout_neighbors.hpp"

#include <cmath>
#include <cstddef>

namespace midas {

namespace {

constexpr double MIXING = 0.4;
constexpr double EVEN = 1e-6;  // of a bin's width, by which even ones differ

// v less what the parameters can imitate of it.
void take_off_imitation(const EndedFit& fit, std::vector<double>& v) {
  const std::size_t n = fit.window.size(), n_parameters = fit.buffers.last.size();
  std::vector<double> product(n_parameters);
  for (std::size_t a = 0; a < n_parameters; ++a) product[a] = dot(fit.buffers.of_parameter(fit.window, a), v.data(), n);
  for (std::size_t a = 0; a < n_parameters; ++a) {
    double step = 0.0;
    for (std::size_t b = 0; b < n_parameters; ++b) step += fit.inverse[a * n_parameters + b] * product[b];
    const double* by = fit.buffers.of_parameter(fit.window, a);
    for (std::size_t i = 0; i < n; ++i) v[i] -= step * by[i];
  }
}

bool are_even(const double* edges, std::size_t n) {
  const double step = (edges[n] - edges[0]) / static_cast<double>(n);
  for (std::size_t i = 0; i < n; ++i)
    if (!(std::abs(edges[i + 1] - edges[i] - step) < EVEN * step)) return false;
  return true;
}

// Peaks of area 1 on the middles of the bins of a window. On even bins all are one, moved.
class UnitPeaks {
 public:
  UnitPeaks(const LineoutWindow& window, double fwhm)
      : window_(window), fwhm_(fwhm), is_even_(are_even(window.edges, window.size())) {
    const std::size_t n = window.size(), n_values = is_even_ ? 2 * n - 1 : n;
    profile_.resize(n_values);
    if (!is_even_) return;
    const double step = (window.edges[n] - window.edges[0]) / static_cast<double>(n);
    std::vector<double> edges(2 * n);
    for (std::size_t i = 0; i < edges.size(); ++i)
      edges[i] = step * (static_cast<double>(i) - static_cast<double>(n) + 0.5);
    profile_.evaluate(edges.data(), n_values, 0.0, fwhm, MIXING);
  }

  // Means over the bins of the one on bin `at`.
  const double* on(std::size_t at) {
    if (is_even_) return profile_.value.data() + (window_.size() - 1 - at);
    const double center = 0.5 * (window_.edges[at] + window_.edges[at + 1]);
    profile_.evaluate(window_.edges, window_.size(), center, fwhm_, MIXING);
    return profile_.value.data();
  }

 private:
  const LineoutWindow& window_;
  double fwhm_;
  bool is_even_;
  BinnedProfile profile_;
};

}  // namespace

Neighbor find_neighbor(const EndedFit& fit, double fwhm) {
  const LineoutWindow& window = fit.window;
  const std::size_t n = window.size();
  Neighbor best;
  std::vector<double> v(n), shared(n);
  for (const double width : {fwhm, 0.5 * fwhm}) {
    UnitPeaks peaks(window, width);
    for (std::size_t at = 0; at < n; ++at) {
      if (!(window.root_weight[at] > 0.0)) continue;
      const double center = 0.5 * (window.edges[at] + window.edges[at + 1]);
      const double* peak = peaks.on(at);
      for (std::size_t i = 0; i < n; ++i) v[i] = window.root_weight[i] * peak[i];
      take_off_imitation(fit, v);
      fit.correlation.multiply(v.data(), shared.data());
      const double score = -dot(v.data(), fit.buffers.residual.data(), n), variance = dot(v.data(), shared.data(), n);
      if (!(variance > 0.0) || !(score > best.significance * std::sqrt(variance))) continue;
      best = {center + window.middle, width, score / dot(v.data(), v.data(), n), score / std::sqrt(variance)};
    }
  }
  return best;
}

}  // namespace midas
