// The correlation of bins. Equations and source: lineout_sharing.hpp.
#include "lineout_sharing.hpp"

#include <algorithm>
#include <cmath>

namespace midas {

namespace {

constexpr double DIAGONAL = 1.41421356237309504880;  // of a pixel: no two places farther apart share one [px]
constexpr int ALONG_ARC = 48;                        // points of the integral over t; C_ij is right to 1e-3 of C_ii
constexpr double ETA_STEP = 0.1;                     // [rad]
constexpr int MOST_ETAS = 15;                        // 24 deg apart on a circle: four in each quarter

double overlap(double shift) { return std::max(0.0, 1.0 - std::abs(shift)); }

}  // namespace

void BinCorrelation::set_independent(std::size_t n_bins) {
  n = n_bins;
  n_bands = 1;
  band.assign(n, 1.0);
}

void BinCorrelation::multiply(const double* v, double* out) const {
  std::copy(v, v + n, out);
  for (std::size_t k = 1; k < n_bands; ++k) {
    const double* rho = band.data() + k * n;
    for (std::size_t i = 0; i + k < n; ++i) {
      out[i] += rho[i] * v[i + k];
      out[i + k] += rho[i] * v[i];
    }
  }
}

SharedPixels::SharedPixels(double radius, double eta_low, double eta_high) {
  const double span = eta_high - eta_low, arc = std::max(radius * span, 1e-6), farthest = std::min(DIAGONAL, arc);
  const int n_eta = std::clamp(static_cast<int>(std::ceil(span / ETA_STEP)), 1, MOST_ETAS);
  constexpr double STEP = DIAGONAL / (NODES - 1);
  const double along = 2.0 * farthest / ALONG_ARC;
  for (int e = 0; e < n_eta; ++e) {
    const double eta = eta_low + span * (e + 0.5) / n_eta, c = std::cos(eta), s = std::sin(eta);
    for (int j = 0; j < ALONG_ARC; ++j) {
      const double t = -farthest + along * (j + 0.5), weight = 1.0 - std::abs(t) / arc;
      for (std::size_t m = 0; m < NODES; ++m) {
        const double r = STEP * static_cast<double>(m);
        kernel_[m] += weight * overlap(r * c - t * s) * overlap(r * s + t * c);
      }
    }
  }
  for (std::size_t m = 1; m < NODES; ++m) {
    const double k0 = kernel_[m - 1], k1 = kernel_[m];
    once_[m] = once_[m - 1] + 0.5 * STEP * (k0 + k1);
    twice_[m] = twice_[m - 1] + STEP * once_[m - 1] + STEP * STEP * (k0 / 3.0 + k1 / 6.0);
  }
}

// Of K, straight between the nodes.
double SharedPixels::twice_integrated(double r) const {
  constexpr double STEP = DIAGONAL / (NODES - 1);
  const double x = std::abs(r) / STEP;
  const std::size_t m = std::min(static_cast<std::size_t>(x), NODES - 1);
  const double d = STEP * (x - static_cast<double>(m));
  if (m == NODES - 1) return twice_[m] + d * once_[m];
  return twice_[m] + d * (once_[m] + d * (0.5 * kernel_[m] + d * (kernel_[m + 1] - kernel_[m]) / (6.0 * STEP)));
}

void SharedPixels::correlation(const double* edges, std::size_t n, BinCorrelation& out) const {
  out.set_independent(n);
  std::vector<double> own(n);
  for (std::size_t i = 0; i < n; ++i) own[i] = covariance(edges[i], edges[i + 1], edges[i], edges[i + 1]);
  for (std::size_t k = 1; k < n; ++k) {
    bool is_shared = false;
    out.band.resize((k + 1) * n, 0.0);
    double* rho = out.band.data() + k * n;
    for (std::size_t i = 0; i + k < n; ++i) {
      if (edges[i + k] - edges[i + 1] >= DIAGONAL) continue;
      is_shared = true;
      rho[i] = covariance(edges[i], edges[i + 1], edges[i + k], edges[i + k + 1]) / std::sqrt(own[i] * own[i + k]);
    }
    if (!is_shared) return;
    out.n_bands = k + 1;
  }
}

}  // namespace midas
