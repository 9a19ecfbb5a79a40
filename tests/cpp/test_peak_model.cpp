// Shapes of rings as pixels see them, and where the pixels of windows are found to lie.
#include <cmath>
#include <memory>
#include <vector>

#include "check.hpp"
#include "peak_model.hpp"
#include "peak_pixels.hpp"

namespace {

using midas_test::check;
using midas_test::check_close;

double pseudo_voigt(double x, double width, double mixing) {
  const double u2 = 4.0 * x * x / (width * width);
  return mixing / (1.0 + u2) + (1.0 - mixing) * std::exp(-midas::LN2 * u2);
}

// The mean over a square pixel by brute force.
double over_pixel(double x, double along_y, double along_z, double width, double mixing) {
  constexpr int N = 60;
  double sum = 0.0;
  for (int i = 0; i < N; ++i)
    for (int j = 0; j < N; ++j)
      sum += pseudo_voigt(x + along_y * ((i + 0.5) / N - 0.5) + along_z * ((j + 0.5) / N - 0.5), width, mixing);
  return sum / (N * N);
}

midas::Shape shape_at(const std::vector<float>& radius, const midas::Footprint& footprint, double center, double width,
                      double mixing) {
  midas::Shape shape;
  shape.resize(radius.size());
  midas::evaluate(radius.data(), radius.size(), {footprint}, center, width, mixing, shape);
  return shape;
}

const std::vector<float> RADII = {-8.0f, -2.0f, -1.0f, -0.4f, 0.0f, 0.3f, 0.9f, 2.5f};

void profiles_are_averaged_over_pixels() {
  for (const double angle : {0.0, 0.3, 0.7853981}) {
    const double along_y = std::cos(angle), along_z = std::sin(angle);
    for (const double width : {0.7, 1.2, 2.5}) {
      const auto footprint = midas::make_footprint(along_y, along_z, width);
      check(footprint.n == (width < 1.8 ? 5 : 3), "narrow rings take more nodes");
      check_close(footprint.broadening, 8.0 * midas::LN2 / 12.0, 1e-9,
                  "a square pixel's variance is 1/12 any way round");
      const auto shape = shape_at(RADII, footprint, 0.1, width, 0.4);
      for (std::size_t i = 0; i < RADII.size(); ++i) {
        const double expected = over_pixel(static_cast<double>(RADII[i]) - 0.1, along_y, along_z, width, 0.4);
        check_close(static_cast<double>(shape.value[i]), expected, width < 1.0 ? 2e-2 : 4e-3, "mean over the pixel");
      }
    }
  }
}

void far_from_the_beam_profiles_are_lopsided() {
  const midas::RingView view{{}, 1e-2, -3e-2};
  midas::Shape shape;
  shape.resize(RADII.size());
  midas::evaluate(RADII.data(), RADII.size(), view, 0.2, 5.0, 0.3, shape);
  for (std::size_t i = 0; i < RADII.size(); ++i) {
    const double x = static_cast<double>(RADII[i]) - 0.2;
    const double expected = (1.0 - 3e-2 * x) * pseudo_voigt(x * (1.0 - 1e-2 * x), 5.0, 0.3);
    check_close(static_cast<double>(shape.value[i]), expected, 1e-6, "stretched and fading");
  }
}

void wide_profiles_are_sampled() {
  const auto footprint = midas::make_footprint(1.0, 0.0, 5.0);
  check(footprint.n == 1 && footprint.broadening == 0.0, "one node");
  const auto shape = shape_at(RADII, footprint, 0.2, 5.0, 0.3);
  for (std::size_t i = 0; i < RADII.size(); ++i)
    check_close(static_cast<double>(shape.value[i]), pseudo_voigt(static_cast<double>(RADII[i]) - 0.2, 5.0, 0.3), 1e-6,
                "the formula");
}

void derivatives_are_those_of_the_values() {
  const auto footprint = midas::make_footprint(0.8, 0.6, 1.5);
  const double at[3] = {0.1, 1.5, 0.4}, step = 2e-3;
  const auto shape = shape_at(RADII, footprint, at[0], at[1], at[2]);
  const std::vector<float>* analytic[3] = {&shape.by_center, &shape.by_width, &shape.by_mixing};
  for (int k = 0; k < 3; ++k) {
    double up[3] = {at[0], at[1], at[2]}, down[3] = {at[0], at[1], at[2]};
    up[k] += step;
    down[k] -= step;
    const auto high = shape_at(RADII, footprint, up[0], up[1], up[2]);
    const auto low = shape_at(RADII, footprint, down[0], down[1], down[2]);
    for (std::size_t i = 0; i < RADII.size(); ++i) {
      const double numeric = static_cast<double>(high.value[i] - low.value[i]) / (2.0 * step);
      check_close(static_cast<double>((*analytic[k])[i]), numeric, 2e-4, "analytic = numeric");  // single precision
    }
  }
}

void fast_atan2_is_atan2() {
  for (int i = 0; i < 4000; ++i) {
    const double angle = -midas::PI + 2.0 * midas::PI * (i + 0.5) / 4000.0, r = 1.0 + i % 7;
    check_close(midas::fast_atan2(r * std::sin(angle), r * std::cos(angle)), angle, 4e-8, "angle");
  }
  check(midas::fast_atan2(0.0, 0.0) == 0.0, "the origin");
}

midas::Geometry tilted() {
  midas::Geometry g;
  g.distance = 1.2e5;
  g.beam_y = 61.3;
  g.beam_z = -20.7;
  g.pixel_size = 100.0;
  g.tilt_y = 0.2;
  g.tilt_z = -0.3;
  g.distortion[midas::place_of("p2")] = 3e-3;
  g.distortion[midas::place_of("p1")] = 2e-3;
  g.distortion_radius = 2e4;
  return g;
}

// Every pixel of the windows, once, at the radius and eta that the projection gives it.
void pixels_lie_where_the_projection_says(const midas::Geometry& geometry) {
  constexpr std::int64_t N_Z = 150, N_Y = 171, N_ETA = 36;
  const midas::Projection projection(geometry);
  std::vector<float> image(N_Z * N_Y);
  for (std::size_t i = 0; i < image.size(); ++i) image[i] = static_cast<float>(i);
  std::vector<std::uint8_t> mask(image.size(), 0);
  mask[40 * N_Y + 50] = 1;
  const std::vector<midas::RingGroup> groups = {
      {30.0, 60.5, {45.0}, {0}}, {60.5, 90.0, {75.0}, {1}}, {110.0, 150.0, {130.0}, {2}}};
  const auto pixels = midas::bin_pixels({projection, image.data(), mask.data(), N_Z, N_Y}, groups, N_ETA, 1);
  std::vector<int> seen(image.size(), 0);
  for (std::size_t bin = 0; bin + 1 < pixels.first.size(); ++bin) {
    const auto& group = groups[bin / N_ETA];
    const double middle = -midas::PI + (static_cast<double>(bin % N_ETA) + 0.5) * 2.0 * midas::PI / N_ETA;
    for (auto i = pixels.first[bin]; i < pixels.first[bin + 1]; ++i) {
      const midas::Sample& s = pixels.samples[static_cast<std::size_t>(i)];
      const auto k = static_cast<std::int64_t>(s.value);
      ++seen[static_cast<std::size_t>(k)];
      const auto p = projection.to_polar(static_cast<double>(k % N_Y), static_cast<double>(k / N_Y));
      const double r = p.radius / geometry.pixel_size;
      check_close(static_cast<double>(s.radius) + 0.5 * (group.low + group.high), r + 1.0 / (24.0 * r), 2e-4, "radius");
      check_close(static_cast<double>(s.eta) + middle, p.eta, 1e-5, "eta");
    }
  }
  for (std::int64_t k = 0; k < N_Z * N_Y; ++k) {
    const double r =
        projection.radius(static_cast<double>(k % N_Y), static_cast<double>(k / N_Y)) / geometry.pixel_size;
    const double mean = r + 1.0 / (24.0 * r);
    bool inside = false, near_an_edge = false;
    for (const auto& g : groups) {
      inside = inside || (mean >= g.low && mean < g.high);
      near_an_edge = near_an_edge || std::abs(mean - g.low) < 1e-3 || std::abs(mean - g.high) < 1e-3;
    }
    const bool masked = mask[static_cast<std::size_t>(k)] != 0;
    if (!near_an_edge) check(seen[static_cast<std::size_t>(k)] == (inside && !masked ? 1 : 0), "each pixel once");
  }
}

void panels_have_their_own_map() {
  midas::Geometry g = tilted();
  g.panels = std::make_shared<midas::PanelLayout>(std::vector<midas::Span>{{0, 79}, {85, 170}},
                                                  std::vector<midas::Span>{{0, 149}});
  g.panel_shifts.assign(2, midas::PanelShift{});
  g.panel_shifts[1] = {0.7, -0.4, 0.01};
  pixels_lie_where_the_projection_says(g);
}

}  // namespace

int main() {
  profiles_are_averaged_over_pixels();
  far_from_the_beam_profiles_are_lopsided();
  wide_profiles_are_sampled();
  derivatives_are_those_of_the_values();
  fast_atan2_is_atan2();
  pixels_lie_where_the_projection_says(tilted());
  panels_have_their_own_map();
  return midas_test::failures() == 0 ? 0 : 1;
}
