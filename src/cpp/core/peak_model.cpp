// Shapes of rings seen by pixels. Equations and sources: peak.hpp, peak_model.hpp.
#include "peak_model.hpp"

namespace midas {

namespace {

constexpr double WIDE = 4.0;  // rings wider than this are sampled at the pixels' centres: footprints only broaden [px]
constexpr double MEDIUM = 1.8;  // three nodes follow a profile this wide over the pixel, five a narrower one [px]

// E x^2, E x^4, E x^6, E x^8 of a box of this width.
std::array<double, 4> box_moments(double width) {
  const double s = width * width;
  return {s / 12.0, s * s / 80.0, s * s * s / 448.0, s * s * s * s / 2304.0};
}

}  // namespace

Footprint make_footprint(double along_y, double along_z, double fwhm) {
  Footprint f;
  if (!(fwhm < WIDE) || !std::isfinite(along_y) || !std::isfinite(along_z) ||
      along_y * along_y + along_z * along_z <= 0)
    return f;
  const std::array<double, 4> a = box_moments(along_y), b = box_moments(along_z);
  const double m2 = a[0] + b[0], m4 = a[1] + 6.0 * a[0] * b[0] + b[1];
  f.broadening = 8.0 * LN2 * m2;
  if (fwhm >= MEDIUM) {
    f.n = 3;
    const double node = std::sqrt(m4 / m2), side = 0.5 * m2 * m2 / m4;
    f.offset = {0.0f, static_cast<float>(-node), static_cast<float>(node)};
    f.weight = {static_cast<float>(1.0 - 2.0 * side), static_cast<float>(side), static_cast<float>(side)};
    return f;
  }
  const double m6 = a[2] + 15.0 * (a[1] * b[0] + a[0] * b[1]) + b[2];
  const double m8 = a[3] + 28.0 * (a[2] * b[0] + a[0] * b[2]) + 70.0 * a[1] * b[1] + b[3];
  // x (x^4 - s x^2 + t) is orthogonal to x and x^3
  const double s = (m6 * m4 / m2 - m8) / (m4 * m4 / m2 - m6), t = (s * m4 - m6) / m2;
  const double root = std::sqrt(std::max(0.0, 0.25 * s * s - t)), far = 0.5 * s + root, near = 0.5 * s - root;
  const double at_far = 0.5 * (m4 - near * m2) / (far * (far - near));
  const double at_near = 0.5 * (far * m2 - m4) / (near * (far - near));
  f.n = 5;
  const auto x1 = static_cast<float>(std::sqrt(near)), x2 = static_cast<float>(std::sqrt(far));
  const auto w1 = static_cast<float>(at_near), w2 = static_cast<float>(at_far);
  f.offset = {0.0f, -x1, x1, -x2, x2};
  f.weight = {static_cast<float>(1.0 - 2.0 * at_near - 2.0 * at_far), w1, w1, w2, w2};
  return f;
}

void evaluate(const float* radius, std::size_t n, const Footprint& footprint, double center, double width,
              double mixing, Shape& shape) {
  constexpr float FARTHEST = 110.0f;  // of u^2: the Gaussian is below 1e-33 there
  const auto scale = static_cast<float>(2.0 / width), m = static_cast<float>(mixing);
  const auto log2 = static_cast<float>(LN2);
  float *value = shape.value.data(), *by_center = shape.by_center.data();
  float *by_width = shape.by_width.data(), *by_mixing = shape.by_mixing.data();
  const auto per_width = static_cast<float>(1.0 / width);
  for (int q = 0; q < footprint.n; ++q) {
    const auto k = static_cast<std::size_t>(q);
    const float shift = footprint.offset[k] - static_cast<float>(center), share = footprint.weight[k];
    if (q == 0) {
      for (auto* column : {value, by_center, by_width, by_mixing}) std::fill(column, column + n, 0.0f);
    }
#pragma omp simd
    for (std::size_t i = 0; i < n; ++i) {
      const float u = scale * (radius[i] + shift), u2 = u * u;
      const float lorentz = 1.0f / (1.0f + u2), gauss = fast_exp2(-std::min(u2, FARTHEST));
      // d shape / du; u changes by -2/w per unit centre and -u/w per unit width
      const float slope = -2.0f * share * u * (m * lorentz * lorentz + (1.0f - m) * log2 * gauss);
      value[i] += share * (m * lorentz + (1.0f - m) * gauss);
      by_center[i] -= scale * slope;
      by_width[i] -= per_width * u * slope;
      by_mixing[i] += share * (lorentz - gauss);
    }
  }
}

}  // namespace midas
