// Shapes of rings seen by pixels. Equations and sources: peak.hpp, peak_model.hpp.
#include "peak_model.hpp"

#include <cstdint>
#include <cstring>

namespace midas {

namespace {

constexpr double WIDE = 4.0;  // rings wider than this are sampled at the pixels' centres: footprints only broaden [px]
constexpr double MEDIUM = 1.8;  // three nodes follow a profile this wide over the pixel, five a narrower one [px]

using Lane = std::array<float, LANES>;

// 2^x for -120 <= x <= 0, to 2e-7: the integer part goes into the exponent bits, the rest through its Taylor series.
inline Lane exp2_lane(const Lane& x) {
  constexpr float ROUND = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer held in the low bits
  std::array<std::uint32_t, LANES> bits, power;
  Lane shifted, series, result;
#pragma omp simd
  for (std::size_t j = 0; j < LANES; ++j) {
    shifted[j] = x[j] + ROUND;
    const float f = x[j] - (shifted[j] - ROUND);
    series[j] =
        1.0f +
        f * (0.69314718f +
             f * (0.24022651f + f * (0.055504109f + f * (0.0096181291f + f * (0.0013333558f + f * 0.00015403530f)))));
  }
  std::memcpy(bits.data(), series.data(), sizeof bits);
  std::memcpy(power.data(), shifted.data(), sizeof power);
#pragma omp simd
  for (std::size_t j = 0; j < LANES; ++j) bits[j] += power[j] << 23;
  std::memcpy(result.data(), bits.data(), sizeof bits);
  return result;
}

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

void evaluate(const float* radius, std::size_t n, const RingView& view, double center, double width, double mixing,
              Shape& shape) {
  constexpr float FARTHEST = 110.0f;  // of u^2: the Gaussian is below 1e-33 there
  const auto scale = static_cast<float>(2.0 / width), m = static_cast<float>(mixing), g = 1.0f - m;
  const float half_log = g * static_cast<float>(LN2);
  const auto bend = static_cast<float>(view.bend), fade = static_cast<float>(view.fade);
  const auto middle = static_cast<float>(center);
  const Footprint& footprint = view.footprint;
  for (std::size_t i = 0; i < n; i += LANES) {
    Lane value{}, slope_sum{}, slope_u{}, difference{};
    for (int q = 0; q < footprint.n; ++q) {
      const auto k = static_cast<std::size_t>(q);
      const float shift = footprint.offset[k] - middle, share = footprint.weight[k];
      Lane u, u2, exponent;
#pragma omp simd
      for (std::size_t j = 0; j < LANES; ++j) {
        const float x = radius[i + j] + shift;
        u[j] = scale * x * (1.0f - bend * x);
        u2[j] = u[j] * u[j];
        exponent[j] = u2[j] < FARTHEST ? -u2[j] : -FARTHEST;
      }
      const Lane gauss = exp2_lane(exponent);
#pragma omp simd
      for (std::size_t j = 0; j < LANES; ++j) {
        const float lorentz = 1.0f / (1.0f + u2[j]);
        // minus half of d shape / du
        const float slope = share * u[j] * (m * lorentz * lorentz + half_log * gauss[j]);
        value[j] += share * (m * lorentz + g * gauss[j]);
        slope_sum[j] += slope;
        slope_u[j] += slope * u[j];
        difference[j] += share * (lorentz - gauss[j]);
      }
    }
    // u changes by -2/w per unit centre and -u/w per unit width; what bend and fade add to that is below 1e-3 of it
#pragma omp simd
    for (std::size_t j = 0; j < LANES; ++j) {
      const float share = 1.0f + fade * (radius[i + j] - middle);
      shape.value[i + j] = share * value[j];
      shape.by_center[i + j] = share * 2.0f * scale * slope_sum[j];
      shape.by_width[i + j] = share * scale * slope_u[j];
      shape.by_mixing[i + j] = share * difference[j];
    }
  }
}

}  // namespace midas
