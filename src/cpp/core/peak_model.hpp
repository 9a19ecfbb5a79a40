// The model of peak.hpp over the cells of one bin, for levmar. Single precision inside: counts and shapes need no more
// than 1e-6, and four lanes go through a register of the baseline instruction set.
#ifndef MIDAS_PEAK_MODEL_HPP
#define MIDAS_PEAK_MODEL_HPP

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

#include "levmar.hpp"
#include "peak.hpp"
#include "pseudo_voigt.hpp"

namespace midas {

using Parameters = std::array<double, MAX_PEAK_PARAMETERS>;

// A pixel's extent in radius as a few weighted offsets from its centre: the mean of a profile over the pixel is the
// weighted sum of the profile at them. One offset (none) where the ring is much wider than a pixel.
struct Footprint {
  int n = 1;
  std::array<float, 5> offset{};  // [px]
  std::array<float, 5> weight{{1.0f}};
  double broadening = 0.0;  // 8 ln2 times the variance: what the pixel adds to a squared width [px^2]
};

// Gauss quadrature for a pixel whose radius grows by `along_y` and `along_z` from one column and row to the next [px],
// for rings of `fwhm` [px]. The extent of a square in a direction is the convolution of two boxes that wide, a
// trapezoid; the nodes are the roots of its orthogonal polynomial of degree 3 or 5 (Golub & Welsch, Math. Comp. 23
// (1969) 221).
Footprint make_footprint(double along_y, double along_z, double fwhm);

// How the pixels of a bin see a ring. Its profile is symmetric in 2theta, as in refinement, not in R: R = L tan(2theta)
// stretches outward, a pixel further out subtends a smaller solid angle and gets another share of the polarized beam.
// On wide rings of a near detector this moves a symmetric fit by a few 1e-6 of R.
struct RingView {
  Footprint footprint;
  double bend = 0.0;  // the profile at x from its centre is the symmetric one at x (1 - bend x) [1 / px]
  double fade = 0.0;  // and (1 + fade x) times as high [1 / px]
};

// Columns of one float a cell, padded with cells of no weight to a multiple of LANES.
constexpr std::size_t LANES = 8;
struct Cells {
  std::vector<float> radius;  // [px], from the middle of the window
  std::vector<float> value;   // [counts]
  std::vector<float> weight;  // [1 / counts^2]

  std::size_t size() const { return radius.size(); }
  void clear() {
    radius.clear();
    value.clear();
    weight.clear();
  }
  void add(double x, double v, double w) {
    radius.push_back(static_cast<float>(x));
    value.push_back(static_cast<float>(v));
    weight.push_back(static_cast<float>(w));
  }
  void pad() {
    while (radius.size() % LANES != 0) add(0.0, 0.0, 0.0);
  }
};

// A peak of height 1 and its derivatives, a value a radius.
struct Shape {
  std::vector<float> value, by_center, by_width, by_mixing;
  void resize(std::size_t n) {
    for (auto* column : {&value, &by_center, &by_width, &by_mixing}) column->resize(n);
  }
};

// At n radii, n a multiple of LANES.
void evaluate(const float* radius, std::size_t n, const RingView& view, double center, double width, double mixing,
              Shape& shape);

// What a model needs to evaluate itself, kept from bin to bin.
struct ModelBuffers {
  std::array<Shape, MAX_PEAKS> shapes;
  std::array<std::vector<float>, MAX_PEAK_PARAMETERS> rows;  // the Jacobian, a column of cells for each parameter
  std::vector<float> residual, weighted;
};

// MAX: room for the parameters. The last evaluation is kept: levmar asks for the cost at a point, then, having
// accepted it, for the derivatives there.
template <int MAX>
class PeakModel {
 public:
  PeakModel(const Cells& cells, const RingView& view, int n_peaks, ModelBuffers& buffers)
      : cells_(cells), view_(view), n_peaks_(n_peaks), buffers_(buffers) {
    last_.fill(std::nan(""));
  }

  // To be called when the cells have changed.
  void renew() {
    const auto n_peaks = static_cast<std::size_t>(n_peaks_);
    for (std::size_t k = 0; k < n_peaks; ++k) buffers_.shapes[k].resize(cells_.size());
    for (std::size_t k = 0; k < N_SHARED + 2 * n_peaks; ++k) buffers_.rows[k].resize(cells_.size());
    buffers_.residual.resize(cells_.size());
    buffers_.weighted.resize(cells_.size());
    last_.fill(std::nan(""));
  }

  double cost(const double* p) const {
    const std::size_t n = cells_.size();
    const auto b0 = static_cast<float>(p[0]), b1 = static_cast<float>(p[1]);
    const float *x = cells_.radius.data(), *value = cells_.value.data(), *weight = cells_.weight.data();
    float* r = buffers_.residual.data();
#pragma omp simd
    for (std::size_t i = 0; i < n; ++i) r[i] = b0 + b1 * x[i] - value[i];
    for (int k = 0; k < n_peaks_; ++k) {
      Shape& shape = buffers_.shapes[static_cast<std::size_t>(k)];
      evaluate(x, n, view_, p[N_SHARED + 2 * k], p[2], p[3], shape);
      const auto height = static_cast<float>(p[N_SHARED + 2 * k + 1]);
      const float* s = shape.value.data();
#pragma omp simd
      for (std::size_t i = 0; i < n; ++i) r[i] += height * s[i];
    }
    std::copy(p, p + N_SHARED + 2 * n_peaks_, last_.begin());
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (std::size_t i = 0; i < n; ++i) sum += weight[i] * r[i] * r[i];
    cost_ = static_cast<double>(sum);
    return cost_;
  }

  double normal_equations(const double* p, SmallMatrix<MAX>& jtj, double* jtr) const {
    const int n = N_SHARED + 2 * n_peaks_;
    if (!std::equal(p, p + n, last_.begin())) cost(p);
    fill_rows(p);
    const std::size_t cells = cells_.size();
    const float *weight = cells_.weight.data(), *r = buffers_.residual.data();
    float* wg = buffers_.weighted.data();
    for (int a = 0; a < n; ++a) {
      const float* g = buffers_.rows[static_cast<std::size_t>(a)].data();
      float with_residual = 0.0f;
#pragma omp simd reduction(+ : with_residual)
      for (std::size_t i = 0; i < cells; ++i) {
        wg[i] = weight[i] * g[i];
        with_residual += wg[i] * r[i];
      }
      jtr[a] = static_cast<double>(with_residual);
      for (int b = 0; b <= a; ++b) {
        const float* other = buffers_.rows[static_cast<std::size_t>(b)].data();
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (std::size_t i = 0; i < cells; ++i) sum += wg[i] * other[i];
        jtj[static_cast<std::size_t>(a * MAX + b)] = static_cast<double>(sum);
      }
    }
    return cost_;
  }

 private:
  void fill_rows(const double* p) const {
    const std::size_t cells = cells_.size();
    std::fill(buffers_.rows[0].begin(), buffers_.rows[0].end(), 1.0f);
    std::copy(cells_.radius.begin(), cells_.radius.end(), buffers_.rows[1].begin());
    float *width = buffers_.rows[2].data(), *mixing = buffers_.rows[3].data();
    std::fill(buffers_.rows[2].begin(), buffers_.rows[2].end(), 0.0f);
    std::fill(buffers_.rows[3].begin(), buffers_.rows[3].end(), 0.0f);
    for (int k = 0; k < n_peaks_; ++k) {
      const Shape& shape = buffers_.shapes[static_cast<std::size_t>(k)];
      const auto c = static_cast<std::size_t>(N_SHARED + 2 * k);
      const auto height = static_cast<float>(p[c + 1]);
      const float *by_center = shape.by_center.data(), *by_width = shape.by_width.data();
      const float* by_mixing = shape.by_mixing.data();
      float* center = buffers_.rows[c].data();
#pragma omp simd
      for (std::size_t i = 0; i < cells; ++i) {
        center[i] = height * by_center[i];
        width[i] += height * by_width[i];
        mixing[i] += height * by_mixing[i];
      }
      std::copy(shape.value.begin(), shape.value.end(), buffers_.rows[c + 1].begin());
    }
  }

  const Cells& cells_;
  const RingView& view_;
  int n_peaks_;
  ModelBuffers& buffers_;
  mutable std::array<double, MAX> last_;
  mutable double cost_ = 0.0;
};

}  // namespace midas

#endif
