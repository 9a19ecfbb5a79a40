// core/simulate.hpp: the table against closed forms, a ring seen squarely, threads, refusals.
#include <cmath>
#include <cstring>
#include <vector>

#include "check.hpp"
#include "error.hpp"
#include "simulate.hpp"

using midas_test::check;
using midas_test::check_close;
using midas_test::throws;

namespace {

midas::Projection flat_detector() {
  midas::Geometry g{};
  g.distance = 2e5;
  g.beam_y = g.beam_z = 100.0;
  g.pixel_size = 100.0;
  return midas::Projection(g);
}

midas::Scene one_peak(double center, double fwhm) {
  midas::Scene scene;
  scene.peaks = {{center, fwhm, 0.4, 1.0}};
  return scene;
}

void table_by_hand() {
  const midas::PatternTable gauss = midas::tabulate({{0.1, 0.001, 0.0, 2.0}}, 0.2, 1);
  check_close(gauss.integral(0.1), 1.0, 1e-9, "half of a Gaussian's area lies before its centre");
  check_close(gauss.integral(0.1005) - gauss.integral(0.0995), 2.0 * std::erf(std::sqrt(std::log(2.0))), 1e-6,
              "a Gaussian's area within its width");
  check_close(gauss.density(0.1), 2000.0 * std::sqrt(4.0 * std::log(2.0) / midas::PI), 0.05, "a Gaussian's height");
  const midas::PatternTable lorentz = midas::tabulate({{0.1, 0.001, 1.0, 2.0}}, 0.2, 1);
  check_close(lorentz.integral(0.1005) - lorentz.integral(0.0995), 1.0, 1e-6,
              "half of a Lorentzian's area lies within its width");
  check_close(lorentz.density(0.1005) / lorentz.density(0.1), 0.5, 1e-5, "a Lorentzian at half its width");
  check_close(gauss.integral(-1.0), 0.0, 1e-12, "nothing before the table");
  check_close(gauss.integral(9.0), 2.0, 1e-9, "all of it after the table");
  check_close(gauss.density(9.0), 0.0, 0.0, "no density after the table");
}

void a_ring_seen_squarely() {
  // Radius 50 px on the axis: the Gaussian part by erf, the Lorentzian by atan; the detector's bend is far below 1e-3.
  const double center = std::atan(50.0 * 100.0 / 2e5), fwhm = 4.0 * 100.0 / 2e5;
  std::vector<float> image(201 * 201);
  midas::render(flat_detector(), one_peak(center, fwhm), 201, 201, image.data(), 1);
  const double gauss = std::erf(std::sqrt(std::log(2.0)) / 4.0), lorentz = 2.0 / midas::PI * std::atan(0.25);
  const double c = std::cos(center), pixel = 100.0 / 2e5 * c * c;
  const double expected = c * c * c * (0.6 * gauss + 0.4 * lorentz) / pixel;
  check_close(static_cast<double>(image[100 * 201 + 150]) / expected, 1.0, 1e-3, "the crest of a ring seen squarely");
  check_close(static_cast<double>(image[100 * 201 + 50]) / static_cast<double>(image[100 * 201 + 150]), 1.0, 1e-6,
              "the ring is the same on both sides");
}

void same_bytes_for_any_number_of_threads() {
  std::vector<float> one(201 * 201), other(201 * 201);
  const midas::Scene scene = one_peak(0.02, 0.001);
  midas::render(flat_detector(), scene, 201, 201, one.data(), 1);
  for (const int threads : {2, 7}) {
    midas::render(flat_detector(), scene, 201, 201, other.data(), threads);
    check(std::memcmp(one.data(), other.data(), one.size() * sizeof(float)) == 0,
          "the same bytes for any number of threads");
  }
}

void texture_stays_inside_its_bins() {
  midas::Scene scene = one_peak(0.02, 0.001);
  const std::vector<float> factors = {2.0f, 2.0f, 2.0f};
  scene.texture = {factors.data(), 3};
  std::vector<float> plain(201 * 201), doubled(201 * 201);
  midas::render(flat_detector(), one_peak(0.02, 0.001), 201, 201, plain.data(), 1);
  midas::render(flat_detector(), scene, 201, 201, doubled.data(), 1);
  const std::size_t crest = 100 * 201 + 140;
  check_close(static_cast<double>(doubled[crest] / plain[crest]), 2.0, 1e-3, "a uniform texture of 2 doubles the ring");
}

void bad_input() {
  const midas::Projection projection = flat_detector();
  float pixel = 0.0f;
  const auto refuses = [&](const midas::Scene& scene, std::int64_t n) {
    return throws<midas::InputError>([&] { midas::render(projection, scene, n, n, &pixel, 1); });
  };
  check(refuses(one_peak(0.02, 0.001), 0), "an empty image is refused");
  check(refuses(one_peak(0.02, 0.0), 1), "a peak without width is refused");
  check(refuses(one_peak(std::nan(""), 0.001), 1), "a NaN is refused");
  midas::Scene scene = one_peak(0.02, 0.001);
  scene.strain = 0.7;
  check(refuses(scene, 1), "an absurd strain is refused");
}

}  // namespace

int main() {
  table_by_hand();
  a_ring_seen_squarely();
  same_bytes_for_any_number_of_threads();
  texture_stays_inside_its_bins();
  bad_input();
  return midas_test::failures();
}
