// The model of peak.hpp over the cells of one bin, for levmar.
#ifndef MIDAS_PEAK_MODEL_HPP
#define MIDAS_PEAK_MODEL_HPP

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

#include "levmar.hpp"
#include "peak.hpp"

namespace midas {

constexpr double LN2 = 0.69314718055994530942;

// Neighbouring samples taken together: their mean radius and value, and how many they are. Cells a quarter pixel wide
// change a profile of width w by less than (0.25 / w)^2 / 12 of its curvature and make the fits several times shorter.
struct Cell {
  double radius;  // [px], from the middle of the window
  double value;   // [counts]
  double count;
};

using Parameters = std::array<double, MAX_PEAK_PARAMETERS>;

class PeakModel {
 public:
  PeakModel(const std::vector<Cell>& cells, const std::vector<double>& weights, int n_peaks)
      : cells_(cells), weights_(weights), n_peaks_(n_peaks) {}

  static double value(const double* p, int n_peaks, double x) {
    double f = p[0] + p[1] * x;
    for (int k = 0; k < n_peaks; ++k) {
      const double u = 2.0 * (x - p[N_SHARED + 2 * k]) / p[2], u2 = u * u;
      f += p[N_SHARED + 2 * k + 1] * (p[3] / (1.0 + u2) + (1.0 - p[3]) * std::exp(-LN2 * u2));
    }
    return f;
  }

  double cost(const double* p) const {
    double sum = 0.0;
    for (std::size_t i = 0; i < cells_.size(); ++i) {
      const double r = value(p, n_peaks_, cells_[i].radius) - cells_[i].value;
      sum += weights_[i] * r * r;
    }
    return sum;
  }

  double normal_equations(const double* p, SmallMatrix<MAX_PEAK_PARAMETERS>& jtj, double* jtr) const {
    const int n = N_SHARED + 2 * n_peaks_;
    jtj.fill(0.0);
    std::fill(jtr, jtr + n, 0.0);
    double sum = 0.0;
    Parameters g;
    const double mixing = p[3];
    for (std::size_t i = 0; i < cells_.size(); ++i) {
      const double x = cells_[i].radius, weight = weights_[i];
      double f = p[0] + p[1] * x;
      g[0] = 1.0;
      g[1] = x;
      g[2] = g[3] = 0.0;
      for (int k = 0; k < n_peaks_; ++k) {
        const auto c = static_cast<std::size_t>(N_SHARED + 2 * k);
        const double height = p[c + 1], u = 2.0 * (x - p[c]) / p[2], u2 = u * u;
        const double lorentz = 1.0 / (1.0 + u2), gauss = std::exp(-LN2 * u2);
        const double shape = mixing * lorentz + (1.0 - mixing) * gauss;
        // d shape / du; u changes by -2/w per unit centre and -u/w per unit width
        const double slope = -2.0 * u * (mixing * lorentz * lorentz + (1.0 - mixing) * LN2 * gauss);
        f += height * shape;
        g[2] -= height * slope * u / p[2];
        g[3] += height * (lorentz - gauss);
        g[c] = -2.0 * height * slope / p[2];
        g[c + 1] = shape;
      }
      const double r = f - cells_[i].value;
      sum += weight * r * r;
      for (int a = 0; a < n; ++a) {
        const double wg = weight * g[static_cast<std::size_t>(a)];
        jtr[a] += wg * r;
        for (int b = 0; b <= a; ++b)
          jtj[static_cast<std::size_t>(a * MAX_PEAK_PARAMETERS + b)] += wg * g[static_cast<std::size_t>(b)];
      }
    }
    return sum;
  }

 private:
  const std::vector<Cell>& cells_;
  const std::vector<double>& weights_;
  int n_peaks_;
};

}  // namespace midas

#endif
