// The map of pixel areas: every pixel whole, bins by hand, the same for any number of threads, frames of every type.
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "cake.hpp"
#include "cake_map.hpp"
#include "check.hpp"
#include "error.hpp"
#include "polygon.hpp"

using midas::CakeMap;
using midas::PI;
using midas_test::check;
using midas_test::check_close;

namespace {

constexpr std::int64_t N = 61;

midas::Geometry tilted(double y, double z) {
  midas::Geometry g;
  g.distance = 2e5;
  g.beam_y = y;
  g.beam_z = z;
  g.pixel_size = 100.0;
  g.tilt_x = 0.02;
  g.tilt_y = 0.01;
  g.tilt_z = -0.03;
  g.distortion_radius = 5e3;
  for (std::size_t k = 0; k < g.distortion.size(); ++k) g.distortion[k] = 1e-3 * std::sin(static_cast<double>(k + 1));
  return g;
}

midas::Geometry flat(double y, double z) {
  midas::Geometry g = tilted(y, z);
  g.tilt_x = g.tilt_y = g.tilt_z = 0.0;
  g.distortion.fill(0.0);
  return g;
}

std::vector<double> steps(double from, double step, int n) {
  std::vector<double> edges;
  for (int i = 0; i <= n; ++i) edges.push_back(from + step * i);
  return edges;
}

midas::PixelLayout rows() { return {N, N, 0, 1, N}; }

CakeMap build(const midas::Geometry& g, const std::vector<double>& radii, const std::vector<double>& etas,
              int n_threads = 1, const std::uint8_t* mask = nullptr) {
  return midas::build_cake_map(midas::Projection(g), rows(), radii, etas, mask, n_threads);
}

// The mapped area of each pixel, from its corners alone.
std::vector<double> pixel_areas(const midas::Geometry& g) {
  const midas::Projection projection(g);
  const auto corner = [&](double y, double z) {
    const midas::Polar p = projection.to_polar(y, z);
    return midas::Point{p.radius / g.pixel_size * std::cos(p.eta), p.radius / g.pixel_size * std::sin(p.eta)};
  };
  std::vector<double> areas;
  for (std::int64_t z = 0; z < N; ++z) {
    for (std::int64_t y = 0; y < N; ++y) {
      const double a = static_cast<double>(y) - 0.5, b = static_cast<double>(z) - 0.5;
      areas.push_back(std::abs(
          midas::polygon_area({corner(a, b), corner(a + 1.0, b), corner(a + 1.0, b + 1.0), corner(a, b + 1.0)})));
    }
  }
  return areas;
}

// Largest difference between the areas of a pixel in all bins and its mapped area.
double largest_error(const midas::Geometry& g, const CakeMap& map) {
  std::vector<double> left = pixel_areas(g);
  for (std::size_t i = 0; i < map.pixels.size(); ++i)
    left[static_cast<std::size_t>(map.pixels[i])] -= static_cast<double>(map.areas[i]);
  double largest = 0.0;
  for (const double d : left) largest = std::max(largest, std::abs(d));
  return largest;
}

void test_every_pixel_whole() {
  const double deg = PI / 180.0;
  const std::array<std::array<double, 2>, 6> centres = {
      {{30.0, 30.0}, {30.5, 30.5}, {30.5, 30.0}, {30.2, 29.9}, {-40.0, 20.0}, {60.5, -0.5}}};
  for (const auto& c : centres) {
    for (const midas::Geometry& g : {flat(c[0], c[1]), tilted(c[0], c[1])}) {
      for (const double eta_step : {5.0, 7.0, 120.0, 180.0, 360.0}) {
        for (const double from : {-180.0, -177.5, 33.0, 0.0}) {
          const auto etas = steps(from * deg, eta_step * deg, static_cast<int>(std::ceil(360.0 / eta_step)));
          for (const double step : {0.3, 1.0, 300.0}) {
            const CakeMap map = build(g, steps(0.0, step, static_cast<int>(std::ceil(130.0 / step))), etas);
            check_close(largest_error(g, map), 0.0, 1e-6, "the areas of a pixel add up to its mapped area [px^2]");
          }
        }
      }
    }
  }
}

void test_by_hand() {
  // Beam at a pixel's centre: the middle pixel holds a disk of radius 1/2; a quarter of it in each quadrant.
  const CakeMap map = build(flat(30.0, 30.0), {0.0, 0.5, 1.0}, steps(-PI, 0.5 * PI, 4));
  for (std::size_t eta = 0; eta < 4; ++eta) {
    check(map.offsets[eta + 1] - map.offsets[eta] == 1, "one pixel holds the innermost bins");
    const auto i = static_cast<std::size_t>(map.offsets[eta]);
    check(map.pixels[i] == 30 * N + 30, "it is the one the beam hits");
    check_close(static_cast<double>(map.areas[i]), PI / 16.0, 1e-7, "a quarter of a disk of radius 1/2 [px^2]");
  }
  // Every bin well inside the detector is full.
  const CakeMap fine = build(flat(30.3, 29.8), {0.0, 3.0, 5.0, 11.0, 20.0}, steps(-PI, PI / 18.0, 36));
  for (std::size_t b = 0; b < static_cast<std::size_t>(fine.n_bins()); ++b) {
    double area = 0.0;
    for (auto i = fine.offsets[b]; i < fine.offsets[b + 1]; ++i)
      area += static_cast<double>(fine.areas[static_cast<std::size_t>(i)]);
    const std::array<double, 5> r = {0.0, 3.0, 5.0, 11.0, 20.0};
    const std::size_t k = b / 36;
    check_close(area, 0.5 * PI / 18.0 * (r[k + 1] * r[k + 1] - r[k] * r[k]), 1e-5, "the area of a full bin [px^2]");
  }
}

void test_partial_range_and_mask() {
  const midas::Geometry g = tilted(30.2, 29.9);
  const CakeMap half = build(g, {0.0, 200.0}, steps(0.5, 0.25 * PI, 4)),
                other = build(g, {0.0, 200.0}, steps(0.5 + PI, 0.25 * PI, 4));
  double total = 0.0, expected = 0.0;
  for (const CakeMap* m : {&half, &other}) {
    for (const float a : m->areas) total += static_cast<double>(a);
  }
  for (const double a : pixel_areas(g)) expected += a;
  check_close(total, expected, 1e-5, "two half turns hold every pixel once");
  // The same half named a turn later is the same half.
  const CakeMap later = build(g, {0.0, 200.0}, steps(0.5 - 2.0 * PI, 0.25 * PI, 4));
  check(later.pixels == half.pixels, "eta wraps");
  std::vector<std::uint8_t> mask(N * N, 0);
  mask[5] = 1;
  const CakeMap masked = build(g, {0.0, 200.0}, steps(-PI, PI, 2), 1, mask.data());
  for (const std::int32_t p : masked.pixels) check(p != 5, "a masked pixel is in no bin");
}

// A panel that reaches behind the sample: those pixels are left out, the others stay whole.
void test_behind_the_sample() {
  midas::Geometry g = flat(30.0, 30.0);
  g.distance = 1000.0;
  g.tilt_y = 1.0;
  const CakeMap map = build(g, {0.0, 5.0, 1e9}, steps(-PI, PI / 36.0, 72));
  check(!map.areas.empty(), "the pixels before the sample are there");
  std::vector<double> left = pixel_areas(g);
  std::vector<double> found(left.size(), 0.0);
  for (std::size_t i = 0; i < map.pixels.size(); ++i) {
    found[static_cast<std::size_t>(map.pixels[i])] += static_cast<double>(map.areas[i]);
  }
  std::size_t behind = 0;
  for (std::size_t p = 0; p < left.size(); ++p) {
    if (std::isnan(left[p])) {
      ++behind;
      check(found[p] == 0.0, "a pixel behind the sample is in no bin");
    } else {
      check_close(found[p] / left[p], 1.0, 1e-6, "a pixel before the sample is whole");
    }
  }
  check(behind > 100, "part of the panel is behind the sample");
}

void test_threads_and_layout() {
  const midas::Geometry g = tilted(30.2, 29.9);
  const auto radii = steps(2.0, 0.5, 90), etas = steps(-PI, PI / 36.0, 72);
  const CakeMap one = build(g, radii, etas, 1);
  for (const int n : {2, 7}) {
    const CakeMap many = build(g, radii, etas, n);
    check(one.offsets == many.offsets && one.pixels == many.pixels && one.areas == many.areas &&
              one.eta_overlap == many.eta_overlap,
          "the same map for any number of threads");
  }
  // Stored with columns flipped: the same areas on mirrored elements.
  const CakeMap flipped = midas::build_cake_map(midas::Projection(g), {N, N, N - 1, -1, N}, radii, etas, nullptr, 1);
  check(flipped.areas == one.areas, "a flipped layout has the same areas");
  for (std::size_t i = 0; i < one.pixels.size(); ++i) {
    const std::int64_t y = one.pixels[i] % N, z = one.pixels[i] / N;
    if (flipped.pixels[i] != z * N + (N - 1 - y)) check(false, "a flipped layout mirrors the pixels");
  }
}

void test_overlap() {
  // One bin of eta: nothing is shared.
  for (const double f : build(tilted(30.2, 29.9), steps(0.0, 1.0, 60), steps(-PI, 2.0 * PI, 1)).eta_overlap) {
    check_close(f, 1.0, 0.0, "one eta bin shares no pixel with another");
  }
  // The pixel under the beam in two halves of 1/2 px^2 each: (1/2 + 1/2)^2 / (1/4 + 1/4).
  const CakeMap halves = build(flat(30.0, 30.0), {0.0, 0.71}, steps(-PI, PI, 2));
  check(halves.eta_overlap[0] > 1.9 && halves.eta_overlap[0] < 2.0, "a pixel halved between two bins counts twice");
}

template <class T>
void test_type(T bad) {
  const CakeMap map = build(flat(30.0, 30.0), {3.0, 20.0}, steps(-PI, PI, 2));
  std::vector<T> frame(N * N, T{7});
  frame[30 * N + 40] = bad;
  double intensity[2], variance[2], area[2];
  midas::apply_cake_map(map, frame.data(), {}, intensity, variance, area, 1);
  for (int b = 0; b < 2; ++b) {
    check_close(intensity[b], 7.0, 1e-12, "a constant image is constant, without the bad pixel");
    check(variance[b] > 0.0 && variance[b] < 7.0, "its variance is less than that of one pixel");
  }
  check_close(area[0] + area[1], PI * (400.0 - 9.0) - 1.0, 1e-4, "the bad pixel's area is left out [px^2]");
}

void test_apply() {
  test_type<std::uint8_t>(255);
  test_type<std::uint16_t>(65535);
  test_type<std::uint32_t>(4294967295u);
  test_type<std::int16_t>(-1);
  test_type<std::int32_t>(-2);
  test_type<float>(std::numeric_limits<float>::quiet_NaN());
  test_type<double>(-1.0);
  // By hand: one bin that holds two whole pixels of 3 and 5 counts, darks 1 and 2, scales 1 and 2.
  CakeMap map;
  map.n_radius = map.n_eta = 1;
  map.n_pixels = 2;
  map.offsets = {0, 2};
  map.pixels = {0, 1};
  map.areas = {1.0f, 0.5f};
  const std::vector<std::uint32_t> frame = {3, 4000000005u};
  const std::vector<double> dark = {1.0, 4000000002.0}, scale = {1.0, 2.0};
  midas::CakeInput input;
  input.dark = dark.data();
  input.scale = scale.data();
  double intensity, variance, area;
  midas::apply_cake_map(map, frame.data(), input, &intensity, &variance, &area, 1);
  check_close(intensity, (2.0 + 0.5 * 2.0 * 3.0) / 1.5, 1e-15,
              "sum(area s (raw - dark)) / sum(area), exact above 2^31");
  check_close(variance, (3.0 + 4000000005.0) / 2.25, 1e-6, "sum(area^2 s^2 raw) / sum(area)^2");
  input.normalize = false;
  midas::apply_cake_map(map, frame.data(), input, &intensity, &variance, &area, 1);
  check_close(intensity, 5.0, 1e-15, "the plain sum");
  input.saturation = 3.0;
  midas::apply_cake_map(map, frame.data(), input, &intensity, &variance, &area, 1);
  check(std::isnan(intensity) && std::isnan(variance) && area == 0.0, "a bin without a valid pixel is NaN with area 0");
}

void test_refused() {
  const midas::Projection p(flat(30.0, 30.0));
  const auto radii = steps(0.0, 1.0, 5), etas = steps(-PI, PI, 2);
  check(midas_test::throws<midas::InputError>([&] { midas::build_cake_map(p, rows(), {3.0, 2.0}, etas, nullptr, 1); }),
        "descending radii are refused");
  check(midas_test::throws<midas::InputError>([&] { midas::build_cake_map(p, rows(), {-1.0, 2.0}, etas, nullptr, 1); }),
        "a negative radius is refused");
  check(midas_test::throws<midas::InputError>(
            [&] { midas::build_cake_map(p, {N, N, 1, 1, N}, radii, etas, nullptr, 1); }),
        "a layout that leaves the image is refused");
  check(midas_test::throws<midas::InputError>(
            [&] { midas::build_cake_map(p, {0, N, 0, 1, N}, radii, etas, nullptr, 1); }),
        "a detector without pixels is refused");
}

}  // namespace

int main() {
  test_every_pixel_whole();
  test_by_hand();
  test_partial_range_and_mask();
  test_behind_the_sample();
  test_threads_and_layout();
  test_overlap();
  test_apply();
  test_refused();
  return midas_test::failures();
}
