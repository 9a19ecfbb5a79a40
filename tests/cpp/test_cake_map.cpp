// The map of pixel areas: every pixel whole, bins by hand, the same for any number of threads, frames of every type.
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "cake.hpp"
#include "cake_map.hpp"
#include "check.hpp"
#include "error.hpp"
#include "polygon.hpp"

using midas::CakeMap;
using midas::CakeRows;
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

// The corners of each pixel [px].
std::vector<std::vector<midas::Point>> quadrilaterals(const midas::Geometry& g) {
  const midas::Projection projection(g);
  std::vector<std::vector<midas::Point>> all;
  for (std::int64_t i = 0; i < N * N; ++i) {
    const auto y = static_cast<double>(i % N), z = static_cast<double>(i / N);
    const auto corner = [&](double a, double b) {
      const midas::Polar p = projection.to_polar(y + a, z + b, projection.panel_at(y, z));
      return midas::Point{p.radius / g.pixel_size * std::cos(p.eta), p.radius / g.pixel_size * std::sin(p.eta)};
    };
    all.push_back({corner(-0.5, -0.5), corner(0.5, -0.5), corner(0.5, 0.5), corner(-0.5, 0.5)});
  }
  return all;
}

// The mapped area of each pixel, from its corners alone.
std::vector<double> pixel_areas(const midas::Geometry& g) {
  std::vector<double> areas;
  for (const auto& q : quadrilaterals(g)) areas.push_back(std::abs(midas::polygon_area(q)));
  return areas;
}

// Largest difference between the areas of a pixel in all bins and its mapped area.
double largest_error(const midas::Geometry& g, const CakeMap& map) {
  std::vector<double> left = pixel_areas(g);
  const CakeRows rows = midas::cake_rows(map, 1);
  for (std::size_t i = 0; i < rows.pixels.size(); ++i)
    left[static_cast<std::size_t>(rows.pixels[i])] -= static_cast<double>(rows.areas[i]);
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

// Three panels by two, shifted and turned, whose borders are no borders of tiles.
midas::Geometry panelled(double y, double z) {
  midas::Geometry g = tilted(y, z);
  g.panels = std::make_shared<midas::PanelLayout>(std::vector<midas::Span>{{0, 18}, {20, 39}, {41, 60}},
                                                  std::vector<midas::Span>{{0, 28}, {30, 60}});
  for (int k = 0; k < 6; ++k) g.panel_shifts.push_back({0.1 * k, -0.2 * k, 0.004 * k, 30.0 * k, 1e-4 * k});
  return g;
}

// Each part of each pixel against the pixel cut alone by its bin; no part is missing, since they add up to the pixel.
void check_against_sectors(const midas::Geometry& g, const std::vector<double>& radii,
                           const std::vector<double>& etas) {
  const auto pixels = quadrilaterals(g);
  const CakeMap map = build(g, radii, etas, 2);
  const CakeRows rows = midas::cake_rows(map, 1);
  double largest = 0.0;
  for (std::size_t b = 0; b + 1 < rows.offsets.size(); ++b) {
    const std::size_t k = b / (etas.size() - 1), e = b % (etas.size() - 1);
    for (auto i = static_cast<std::size_t>(rows.offsets[b]); i < static_cast<std::size_t>(rows.offsets[b + 1]); ++i) {
      const double area = midas::polygon_sector_area(pixels[static_cast<std::size_t>(rows.pixels[i])], radii[k],
                                                     radii[k + 1], etas[e], etas[e + 1]);
      largest = std::max(largest, std::abs(std::abs(area) - static_cast<double>(rows.areas[i])));
    }
  }
  check_close(largest, 0.0, 2e-7, "each part is the pixel's own, cut by its bin [px^2]");
  check_close(largest_error(g, map), 0.0, 1e-6, "the parts of a pixel add up to its mapped area [px^2]");
}

// Near the beam and far from it (where angles are small), rings of any width, zones of half a turn and more, one narrow
// gap, neighbours that are wide and have narrow ones between them on the short way.
void test_against_sectors() {
  const double deg = PI / 180.0;
  std::vector<double> uneven = {0.0, 0.2, 0.21, 1.5, 1.7, 9.0, 9.05, 30.0};
  for (double r = 31.0; r < 700.0; r += 0.3 + 0.01 * (r - 31.0)) uneven.push_back(r);
  uneven.push_back(5000.0);
  std::vector<std::vector<double>> all_etas = {{-180.0, -21.127711, 15.363642, 15.514576, 180.0},
                                               {-180.0, 179.9, 180.0},
                                               {-90.0, 90.0, 270.0},
                                               {10.0, 230.0, 231.0, 370.0}};
  for (auto& etas : all_etas)
    for (double& eta : etas) eta *= deg;
  all_etas.push_back(steps(-PI, 2.0 * PI / 180.0, 180));
  const std::array<std::array<double, 2>, 6> centres = {
      {{30.0, 30.0}, {30.0, 30.5}, {30.5, 30.5}, {30.2, 29.9}, {-300.0, 20.0}, {25.0, 190.5}}};
  bool is_even = true;
  for (const auto& c : centres) {
    for (midas::Geometry g : {tilted(c[0], c[1]), panelled(c[0], c[1])}) {
      g.distortion_radius = 3e4;  // of the farthest pixels: no pixel grows beyond 2 px^2
      for (const auto& etas : all_etas) {
        check_against_sectors(g, is_even ? steps(0.0, 0.7, 1000) : uneven, etas);
        is_even = !is_even;
      }
    }
    is_even = !is_even;  // both kinds of radii for every geometry and zones
  }
}

// So many bins near the beam that most of a tile's are empty.
void test_finest_bins() {
  std::vector<double> radii = steps(0.0, 0.02, 60);
  radii.push_back(900.0);
  const midas::Geometry g = flat(30.1, 29.7);
  const CakeMap map = build(g, radii, steps(-PI, 2.0 * PI / 3600.0, 3600));
  check_close(largest_error(g, map), 0.0, 2e-5, "thousands of parts add up to a pixel [px^2]");
  for (std::size_t b = 10 * 3600; b < 60 * 3600; ++b) {
    const auto k = static_cast<double>(b / 3600);
    check_close(map.bin_area[b], PI / 3600.0 * 4e-4 * (2.0 * k + 1.0), 1e-9, "the area of a tiny bin [px^2]");
  }
}

void test_by_hand() {
  // Beam at a pixel's centre: the middle pixel holds a disk of radius 1/2; a quarter of it in each quadrant.
  const CakeRows map = midas::cake_rows(build(flat(30.0, 30.0), {0.0, 0.5, 1.0}, steps(-PI, 0.5 * PI, 4)), 1);
  for (std::size_t eta = 0; eta < 4; ++eta) {
    check(map.offsets[eta + 1] - map.offsets[eta] == 1, "one pixel holds the innermost bins");
    const auto i = static_cast<std::size_t>(map.offsets[eta]);
    check(map.pixels[i] == 30 * N + 30, "it is the one the beam hits");
    check_close(static_cast<double>(map.areas[i]), PI / 16.0, 1e-7, "a quarter of a disk of radius 1/2 [px^2]");
  }
  // Every bin well inside the detector is full.
  const CakeMap fine = build(flat(30.3, 29.8), {0.0, 3.0, 5.0, 11.0, 20.0}, steps(-PI, PI / 18.0, 36));
  for (std::size_t b = 0; b < static_cast<std::size_t>(fine.n_bins()); ++b) {
    const std::array<double, 5> r = {0.0, 3.0, 5.0, 11.0, 20.0};
    const std::size_t k = b / 36;
    check_close(fine.bin_area[b], 0.5 * PI / 18.0 * (r[k + 1] * r[k + 1] - r[k] * r[k]), 1e-5,
                "the area of a full bin [px^2]");
  }
}

void test_partial_range_and_mask() {
  const midas::Geometry g = tilted(30.2, 29.9);
  const CakeMap half = build(g, {0.0, 200.0}, steps(0.5, 0.25 * PI, 4)),
                other = build(g, {0.0, 200.0}, steps(0.5 + PI, 0.25 * PI, 4));
  double total = 0.0, expected = 0.0;
  for (const CakeMap* m : {&half, &other}) {
    for (const double a : m->bin_area) total += a;
  }
  for (const double a : pixel_areas(g)) expected += a;
  check_close(total, expected, 1e-5, "two half turns hold every pixel once");
  // The same half named a turn later is the same half.
  const CakeMap later = build(g, {0.0, 200.0}, steps(0.5 - 2.0 * PI, 0.25 * PI, 4));
  check(later.pixel == half.pixel && later.run_bin == half.run_bin, "eta wraps");
  std::vector<std::uint8_t> mask(N * N, 0);
  mask[5] = 1;
  const CakeMap masked = build(g, {0.0, 200.0}, steps(-PI, PI, 2), 1, mask.data());
  for (const std::int32_t p : midas::cake_rows(masked, 1).pixels) check(p != 5, "a masked pixel is in no bin");
}

// A panel that reaches behind the sample: those pixels are left out, the others stay whole.
void test_behind_the_sample() {
  midas::Geometry g = flat(30.0, 30.0);
  g.distance = 1000.0;
  g.tilt_y = 1.0;
  const CakeMap map = build(g, {0.0, 5.0, 1e9}, steps(-PI, PI / 36.0, 72));
  const CakeRows rows = midas::cake_rows(map, 1);
  check(!rows.areas.empty(), "the pixels before the sample are there");
  std::vector<double> left = pixel_areas(g);
  std::vector<double> found(left.size(), 0.0);
  for (std::size_t i = 0; i < rows.pixels.size(); ++i) {
    found[static_cast<std::size_t>(rows.pixels[i])] += static_cast<double>(rows.areas[i]);
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
    check(one.first_run == many.first_run && one.run_bin == many.run_bin && one.pixel == many.pixel &&
              one.area == many.area && one.run_slot == many.run_slot && one.bin_area == many.bin_area &&
              one.eta_overlap == many.eta_overlap,
          "the same map for any number of threads");
  }
  // Stored with columns flipped, or with rows and columns exchanged: the same areas on other elements.
  const CakeRows straight = midas::cake_rows(one, 1), again = midas::cake_rows(one, 7);
  check(straight.pixels == again.pixels && straight.areas == again.areas, "the same rows for any number of threads");
  const auto areas_of = [&](const midas::PixelLayout& layout) {
    const CakeMap map = midas::build_cake_map(midas::Projection(g), layout, radii, etas, nullptr, 1);
    const CakeRows stored = midas::cake_rows(map, 1);
    std::map<std::pair<std::size_t, std::int64_t>, float> found;  // by bin and by pixel of the geometry's frame
    for (std::size_t b = 0; b + 1 < stored.offsets.size(); ++b) {
      for (auto i = static_cast<std::size_t>(stored.offsets[b]); i < static_cast<std::size_t>(stored.offsets[b + 1]);
           ++i) {
        for (std::int64_t at = 0; at < N * N; ++at) {
          const std::int64_t y = at % N, z = at / N;
          if (layout.first + y * layout.step_y + z * layout.step_z != stored.pixels[i]) continue;
          found[{b, at}] = stored.areas[i];
          break;
        }
      }
    }
    return found;
  };
  const auto expected = areas_of(rows());
  check(expected.size() == straight.pixels.size(), "each pixel is once in a bin");
  const std::array<midas::PixelLayout, 3> layouts = {
      {{N, N, N - 1, -1, N}, {N, N, (N - 1) * N, 1, -N}, {N, N, N - 1, N, -1}}};
  for (const midas::PixelLayout& layout : layouts) {
    const auto turned = areas_of(layout);
    check(turned.size() == expected.size(), "a turned image has the same pixels");
    for (const auto& [place, area] : expected) {
      const auto same = turned.find(place);
      check(same != turned.end() && std::abs(same->second - area) < 2e-7f, "a turned image has the same areas");
    }
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

struct Caked {
  std::vector<double> intensity;
  std::vector<float> variance;
  std::vector<double> area;
  std::vector<std::int32_t> pixels;
};

// One frame, or `copies` of it side by side, of which the last is returned.
template <class T>
Caked apply(const CakeMap& map, const std::vector<T>& frame, const midas::CakeInput& input = {}, int n_threads = 1,
            std::size_t copies = 1, midas::InstructionSet set = midas::best_instruction_set()) {
  const midas::Integrator integrator(std::make_shared<CakeMap>(map), input, set);
  const auto n = static_cast<std::size_t>(map.n_bins());
  std::vector<double> intensity(n * copies);
  std::vector<float> variance(n * copies);
  const std::vector<const T*> frames(copies, frame.data());
  const midas::CakeOutput<double> output{intensity.data(), variance.data()};
  const auto own = integrator.apply(frames.data(), static_cast<std::int64_t>(copies), output, n_threads);
  Caked one{{intensity.end() - static_cast<std::ptrdiff_t>(n), intensity.end()},
            {variance.end() - static_cast<std::ptrdiff_t>(n), variance.end()},
            integrator.bin_area(),
            integrator.bin_pixels()};
  for (const midas::OwnBin& bin : own) {
    if (bin.frame + 1 != static_cast<std::int64_t>(copies)) continue;
    one.area[static_cast<std::size_t>(bin.bin)] = bin.area;
    one.pixels[static_cast<std::size_t>(bin.bin)] = bin.pixels;
  }
  return one;
}

template <class T>
void test_type(T bad) {
  const CakeMap map = build(flat(30.0, 30.0), {3.0, 20.0}, steps(-PI, PI, 2));
  std::vector<T> frame(N * N, T{7});
  frame[30 * N + 40] = bad;
  for (const std::size_t copies : {1, 40}) {
    const Caked caked = apply(map, frame, {}, 1, copies);
    for (std::size_t b = 0; b < 2; ++b) {
      check_close(caked.intensity[b], 7.0, 1e-6, "a constant image is constant, without the bad pixel");
      check(caked.variance[b] > 0.0 && caked.variance[b] < 7.0, "its variance is less than that of one pixel");
    }
    check(caked.pixels[0] + caked.pixels[1] == map.bin_pixels[0] + map.bin_pixels[1] - 1,
          "the bad pixel is not counted");
    check_close(caked.area[0] + caked.area[1], PI * (400.0 - 9.0) - 1.0, 1e-4, "the bad pixel's area is left out");
  }
}

void test_apply() {
  test_type<std::uint8_t>(255);
  test_type<std::uint16_t>(65535);
  test_type<std::uint32_t>(4294967295u);
  test_type<std::int16_t>(-1);
  test_type<std::int32_t>(-2);
  test_type<float>(std::numeric_limits<float>::quiet_NaN());
  test_type<double>(-1.0);
  // By hand: one bin that holds two pixels, whole and half, of 3 and 4000000005 counts, with darks and scales.
  CakeMap map;
  map.n_radius = map.n_eta = map.n_rows = 1;
  map.n_columns = 2;
  map.first_run = {0, 1};
  map.first_entry = {0, 4};
  map.run_bin = {0};
  map.run_groups = {1};
  map.pixel = {0, 1, 1, 1};
  map.area = {1.0f, 0.5f, 0.0f, 0.0f};
  map.run_slot = {0};
  map.first_slot = {0, 1};
  map.bin_area = {1.5};
  map.bin_pixels = {2};
  const std::vector<std::uint32_t> frame = {3, 4000000005u};
  const std::vector<double> dark = {1.0, 4000000002.0}, scale = {1.0, 2.0};
  for (const std::size_t copies : {1, 40}) {
    midas::CakeInput input;
    input.dark = dark.data();
    input.scale = scale.data();
    Caked caked = apply(map, frame, input, 1, copies);
    check_close(caked.intensity[0], (2.0 + 0.5 * 2.0 * 3.0) / 1.5, 1e-15,
                "sum(area s (raw - dark)) / sum(area), exact above 2^31");
    check_close(caked.variance[0], (3.0 + 4000000005.0) / 2.25, 200.0,
                "sum(area^2 s^2 raw) / sum(area)^2");  // 1e-7 of it
    input.normalize = false;
    check_close(apply(map, frame, input, 1, copies).intensity[0], 5.0, 1e-15, "the plain sum");
    input.saturation = 4e9;
    caked = apply(map, frame, input, 1, copies);
    check(caked.intensity[0] == 2.0 && caked.area[0] == 1.0 && caked.pixels[0] == 1, "saturated pixels are left out");
    input.saturation = 3.0;
    caked = apply(map, frame, input, 1, copies);
    check(std::isnan(caked.intensity[0]) && std::isnan(caked.variance[0]) && caked.area[0] == 0.0,
          "a bin without a valid pixel is NaN with area 0");
  }
}

// Every instruction set that this processor has gives the same sums, to rounding; the same bytes for any number of
// threads, and for a frame alone and among others.
void test_instruction_sets() {
  const CakeMap map = build(tilted(30.2, 29.9), steps(0.0, 0.7, 60), steps(-PI, PI / 20.0, 40));
  std::vector<std::uint16_t> frame(N * N);
  for (std::size_t i = 0; i < frame.size(); ++i) frame[i] = static_cast<std::uint16_t>((i * 7919) % 1000);
  frame[17] = 65535;
  const Caked expected = apply(map, frame, {}, 1, 1, midas::InstructionSet::BASELINE);
  for (const auto set : {midas::InstructionSet::BASELINE, midas::InstructionSet::V3, midas::InstructionSet::V4}) {
    if (set > midas::best_instruction_set()) continue;
    const Caked alone = apply(map, frame, {}, 1, 1, set);
    for (std::size_t b = 0; b < alone.intensity.size(); ++b) {
      if (std::isnan(expected.intensity[b]) && std::isnan(alone.intensity[b])) continue;
      check_close(alone.intensity[b], expected.intensity[b], 1e-3, "instruction sets agree, of 1000 counts");
    }
    for (const int n_threads : {1, 2, 7}) {
      for (const std::size_t copies : {1, 40}) {
        const Caked other = apply(map, frame, {}, n_threads, copies, set);
        check(std::memcmp(alone.intensity.data(), other.intensity.data(), alone.intensity.size() * 8) == 0 &&
                  std::memcmp(alone.variance.data(), other.variance.data(), alone.variance.size() * 4) == 0 &&
                  alone.area == other.area,
              "the same bytes for any number of threads and frames");
      }
    }
  }
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
  test_against_sectors();
  test_finest_bins();
  test_by_hand();
  test_partial_range_and_mask();
  test_behind_the_sample();
  test_threads_and_layout();
  test_overlap();
  test_apply();
  test_instruction_sets();
  test_refused();
  return midas_test::failures();
}
