// Maps from outside: one that was built passes for any number of threads, one with a number out of place does not.
#include <cstdint>
#include <limits>
#include <vector>

#include "cake_map.hpp"
#include "cake_map_check.hpp"
#include "check.hpp"
#include "error.hpp"
#include "geometry.hpp"

using midas::CakeMap;
using midas_test::check;

namespace {

constexpr std::int64_t N = 43;  // no multiple of a tile

CakeMap built() {
  midas::Geometry g;
  g.distance = 2e5;
  g.beam_y = 20.2;
  g.beam_z = 17.9;
  g.pixel_size = 100.0;
  std::vector<double> radii, etas;
  for (int i = 0; i <= 30; ++i) radii.push_back(i);
  for (int i = 0; i <= 12; ++i) etas.push_back(midas::PI / 6.0 * i);
  return midas::build_cake_map(midas::Projection(g), {N, N, 0, 1, N}, radii, etas, nullptr, 1);
}

template <class Change>
void check_refused(const CakeMap& good, const Change& change, const char* what) {
  for (const int n_threads : {1, 2, 7}) {
    CakeMap map = good;
    change(map);
    check(midas_test::throws<midas::InputError>([&] { midas::check_cake_map(map, n_threads); }), what);
  }
}

}  // namespace

int main() {
  const CakeMap map = built();
  for (const int n_threads : {1, 2, 7}) midas::check_cake_map(map, n_threads);
  int n_arrays = 0;
  midas::for_each_array(map, [&](const char*, const auto& values) { n_arrays += values.empty() ? 0 : 1; });
  check(n_arrays == 11, "every array is named once");

  constexpr std::int64_t FAR = std::int64_t{1} << 40;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  check_refused(map, [](CakeMap& m) { m.n_eta = FAR; }, "bins beyond 2^31");
  check_refused(map, [](CakeMap& m) { m.n_rows = 0; }, "no rows");
  check_refused(map, [](CakeMap& m) { m.n_columns = 20; }, "fewer tiles");
  check_refused(map, [](CakeMap& m) { m.n_columns = 33; }, "pixels beyond a narrower image");
  check_refused(map, [](CakeMap& m) { m.first_run[1] = FAR; }, "runs beyond the end");
  check_refused(map, [](CakeMap& m) { m.first_entry[1] = -4; }, "entries before the start");
  check_refused(map, [](CakeMap& m) { m.run_bin[3] = -1; }, "a bin below 0");
  check_refused(map, [](CakeMap& m) { m.run_bin[3] = 30 * 12; }, "a bin too far");
  check_refused(map, [](CakeMap& m) { m.run_groups.back() = 255; }, "a run beyond its tile");
  check_refused(map, [](CakeMap& m) { m.area[9] = -1.0f; }, "an area below 0");
  check_refused(map, [](CakeMap& m) { m.run_slot[2] = FAR; }, "a place beyond the end");
  check_refused(map, [](CakeMap& m) { m.first_slot[5] += 1; }, "a bin's first place");
  check_refused(map, [](CakeMap& m) { m.bin_pixels[100] += 1; }, "a bin's pixels");
  check_refused(map, [nan](CakeMap& m) { m.bin_area[100] = nan; }, "a bin's area");
  check_refused(map, [](CakeMap& m) { m.eta_overlap.pop_back(); }, "an array that is short");
  return midas_test::failures() == 0 ? 0 : 1;
}
