// The search of the residuals. Equations and source: lineout_neighbors.hpp.
#include "lineout_neighbors.hpp"

#include <cmath>
#include <cstddef>

namespace midas {

namespace {

constexpr double MIXING = 0.4;

double dot(const std::vector<double>& a, const std::vector<double>& b, std::size_t n) {
  double sum = 0.0;
#pragma omp simd reduction(+ : sum)
  for (std::size_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

const std::vector<double>& column(const EndedFit& fit, std::size_t parameter) {
  if (parameter == 0) return fit.window.root_weight;
  return parameter == 1 ? fit.window.offset : fit.buffers.columns[parameter - N_BACKGROUND];
}

// v less what the parameters can imitate of it.
void take_off_imitation(const EndedFit& fit, std::vector<double>& v) {
  const std::size_t n = fit.window.size(), n_parameters = fit.buffers.last.size();
  std::vector<double> product(n_parameters);
  for (std::size_t a = 0; a < n_parameters; ++a) product[a] = dot(column(fit, a), v, n);
  for (std::size_t a = 0; a < n_parameters; ++a) {
    double step = 0.0;
    for (std::size_t b = 0; b < n_parameters; ++b) step += fit.inverse[a * n_parameters + b] * product[b];
    const std::vector<double>& by = column(fit, a);
    for (std::size_t i = 0; i < n; ++i) v[i] -= step * by[i];
  }
}

}  // namespace

Neighbor find_neighbor(const EndedFit& fit, double fwhm) {
  const LineoutWindow& window = fit.window;
  const std::size_t n = window.size();
  Neighbor best;
  BinnedProfile profile;
  profile.resize(n);
  std::vector<double> v(n), shared(n);
  for (const double width : {fwhm, 0.5 * fwhm}) {
    for (std::size_t at = 0; at < n; ++at) {
      if (!(window.root_weight[at] > 0.0)) continue;
      const double center = 0.5 * (window.edges[at] + window.edges[at + 1]);
      profile.evaluate(window.edges, n, center, width, MIXING);
      for (std::size_t i = 0; i < n; ++i) v[i] = window.root_weight[i] * profile.value[i];
      take_off_imitation(fit, v);
      fit.correlation.multiply(v.data(), shared.data());
      const double score = -dot(v, fit.buffers.residual, n), variance = dot(v, shared, n);
      if (!(variance > 0.0) || !(score > best.significance * std::sqrt(variance))) continue;
      best = {center + window.middle, width, score / dot(v, v, n), score / std::sqrt(variance)};
    }
  }
  return best;
}

}  // namespace midas
