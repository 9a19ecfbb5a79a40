// The model of lineout_peaks.hpp over the bins of one window, for levmar.
#ifndef MIDAS_LINEOUT_MODEL_HPP
#define MIDAS_LINEOUT_MODEL_HPP

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "levmar.hpp"
#include "lineout_sharing.hpp"
#include "pseudo_voigt.hpp"

namespace midas {

constexpr int N_BACKGROUND = 2;  // b0, b1
constexpr int N_OF_PEAK = 4;     // area, centre, Gaussian and Lorentzian width

// The bins of a window, those without a value included, with weight 0.
struct LineoutWindow {
  const double* edges = nullptr;           // one more than bins [px]
  double middle = 0.0;                     // [px]
  double narrowest = 0.0;                  // total width that a peak may have [px]
  std::vector<double> value, root_weight;  // [counts], [1 / counts]
  std::vector<double> offset;              // of the bins' centres from the middle, times root_weight
  std::size_t size() const { return value.size(); }
};

inline double dot(const double* a, const double* b, std::size_t n) {
  double sum = 0.0;
#pragma omp simd reduction(+ : sum)
  for (std::size_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// What a model needs to evaluate itself, kept from window to window.
struct LineoutBuffers {
  std::vector<BinnedProfile> profiles;
  std::vector<TotalWidth> widths;
  std::vector<std::vector<double>> columns;  // of the Jacobian, times root_weight, the background's left out
  std::vector<double> residual;              // times root_weight
  std::vector<double> last;                  // parameters of the last evaluation
  std::vector<double> product;               // of the correlation and a column

  // Column of the Jacobian, times root_weight.
  const double* of_parameter(const LineoutWindow& window, std::size_t parameter) const {
    if (parameter == 0) return window.root_weight.data();
    return parameter == 1 ? window.offset.data() : columns[parameter - N_BACKGROUND].data();
  }
};

template <class Storage>
class LineoutModel {
 public:
  LineoutModel(const LineoutWindow& window, std::size_t n_peaks, LineoutBuffers& buffers)
      : window_(window), n_peaks_(n_peaks), buffers_(buffers) {
    const std::size_t n = window.size();
    if (buffers.profiles.size() < n_peaks) buffers.profiles.resize(n_peaks);
    if (buffers.columns.size() < N_OF_PEAK * n_peaks) buffers.columns.resize(N_OF_PEAK * n_peaks);
    buffers.widths.resize(n_peaks);
    for (std::size_t k = 0; k < n_peaks; ++k) buffers.profiles[k].resize(n);
    for (std::size_t k = 0; k < N_OF_PEAK * n_peaks; ++k) buffers.columns[k].resize(n);
    buffers.residual.resize(n);
    buffers.last.assign(N_BACKGROUND + N_OF_PEAK * n_peaks, std::nan(""));
  }

  // NaN where a peak is narrower than any may be.
  double cost(const double* p) const {
    const std::size_t n = window_.size();
    double* r = buffers_.residual.data();
    const double *value = window_.value.data(), *root = window_.root_weight.data(), *x = window_.offset.data();
#pragma omp simd
    for (std::size_t i = 0; i < n; ++i) r[i] = root[i] * (p[0] - value[i]) + p[1] * x[i];
    for (std::size_t k = 0; k < n_peaks_; ++k) {
      const double* q = p + N_BACKGROUND + N_OF_PEAK * k;
      TotalWidth& width = buffers_.widths[k];
      width = thompson_cox_hastings(q[2], q[3]);
      if (!(width.fwhm >= window_.narrowest)) {
        buffers_.last[0] = std::nan("");
        return std::nan("");
      }
      BinnedProfile& profile = buffers_.profiles[k];
      profile.evaluate(window_.edges, n, q[1], width.fwhm, width.mixing);
      const double area = q[0];
      const double* shape = profile.value.data();
#pragma omp simd
      for (std::size_t i = 0; i < n; ++i) r[i] += root[i] * area * shape[i];
    }
    std::copy(p, p + buffers_.last.size(), buffers_.last.begin());
    cost_ = dot(r, r, n);
    return cost_;
  }

  double normal_equations(const double* p, typename Storage::Matrix& jtj, double* jtr) const {
    if (!std::equal(buffers_.last.begin(), buffers_.last.end(), p)) {
      const double c = cost(p);
      if (std::isnan(c)) return c;
    }
    fill_columns(p);
    const std::size_t cells = window_.size();
    const auto n = static_cast<int>(buffers_.last.size());
    for (int a = 0; a < n; ++a) {
      const double* column = column_of(a);
      double* row = jtj.data() + a * Storage::stride(n);
      // the residual's product rides along: up to four sums at a time do not wait for one another
      for (int b = -1; b <= a; b += 4) {
        std::array<const double*, 4> others;
        for (int k = 0; k < 4; ++k)
          others[static_cast<std::size_t>(k)] = b + k < 0 ? buffers_.residual.data() : column_of(std::min(b + k, a));
        const std::array<double, 4> sums = dots(column, others, cells);
        for (int k = 0; k < 4 && b + k <= a; ++k) (b + k < 0 ? jtr[a] : row[b + k]) = sums[static_cast<std::size_t>(k)];
      }
    }
    return cost_;
  }

  // The lower triangle of J^T R J, after normal_equations.
  void correlated(const BinCorrelation& correlation, typename Storage::Matrix& out) const {
    const auto n = static_cast<int>(buffers_.last.size());
    buffers_.product.resize(window_.size());
    for (int a = 0; a < n; ++a) {
      correlation.multiply(column_of(a), buffers_.product.data());
      for (int b = a; b < n; ++b)
        out[static_cast<std::size_t>(b * Storage::stride(n) + a)] =
            dot(column_of(b), buffers_.product.data(), window_.size());
    }
  }

 private:
  static std::array<double, 4> dots(const double* a, const std::array<const double*, 4>& b, std::size_t n) {
    const double *b0 = b[0], *b1 = b[1], *b2 = b[2], *b3 = b[3];
    double s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
    for (std::size_t i = 0; i < n; ++i) {
      s0 += a[i] * b0[i];
      s1 += a[i] * b1[i];
      s2 += a[i] * b2[i];
      s3 += a[i] * b3[i];
    }
    return {s0, s1, s2, s3};
  }

  const double* column_of(int parameter) const {
    return buffers_.of_parameter(window_, static_cast<std::size_t>(parameter));
  }

  void fill_columns(const double* p) const {
    const std::size_t n = window_.size();
    const double* root = window_.root_weight.data();
    for (std::size_t k = 0; k < n_peaks_; ++k) {
      const BinnedProfile& profile = buffers_.profiles[k];
      const TotalWidth& w = buffers_.widths[k];
      const double area = p[N_BACKGROUND + N_OF_PEAK * k];
      const double *value = profile.value.data(), *by_center = profile.by_center.data();
      const double *by_fwhm = profile.by_fwhm.data(), *by_mixing = profile.by_mixing.data();
      double *to_area = buffers_.columns[N_OF_PEAK * k].data(), *to_center = buffers_.columns[N_OF_PEAK * k + 1].data();
      double* to_gauss = buffers_.columns[N_OF_PEAK * k + 2].data();
      double* to_lorentz = buffers_.columns[N_OF_PEAK * k + 3].data();
#pragma omp simd
      for (std::size_t i = 0; i < n; ++i) {
        const double share = root[i] * area;
        to_area[i] = root[i] * value[i];
        to_center[i] = share * by_center[i];
        to_gauss[i] = share * (w.fwhm_gauss * by_fwhm[i] + w.mixing_gauss * by_mixing[i]);
        to_lorentz[i] = share * (w.fwhm_lorentz * by_fwhm[i] + w.mixing_lorentz * by_mixing[i]);
      }
    }
  }

  const LineoutWindow& window_;
  std::size_t n_peaks_;
  LineoutBuffers& buffers_;
  mutable double cost_ = 0.0;
};

}  // namespace midas

#endif
