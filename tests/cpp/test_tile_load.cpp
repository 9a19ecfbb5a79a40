// The loaders of every type and instruction set, beside pixels taken one by one.
#include <cstdint>
#include <limits>
#include <random>
#include <type_traits>
#include <vector>

#include "check.hpp"
#include "tile_load.hpp"

using midas::LANES;
using midas::TILE_COLUMNS;
using midas::TILE_PIXELS;
using midas::TILE_ROWS;
using midas_test::check;

namespace {

constexpr std::int64_t STRIDE = TILE_COLUMNS + 5;

template <class T>
using Frames = std::vector<std::vector<T>>;

template <class T>
Frames<T> draw(double most) {
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> uniform(0.0, most);
  Frames<T> frames(LANES, std::vector<T>(static_cast<std::size_t>(TILE_ROWS * STRIDE)));
  for (auto& frame : frames)
    for (T& v : frame) v = static_cast<T>(uniform(random));
  return frames;
}

// Whether every count of all frames together, and of one alone, arrives at its place.
template <class T, class Real>
bool arrives(const Frames<T>& frames, const midas::Valid<T>& valid, midas::InstructionSet set, bool invalid,
             bool wide) {
  const auto& loader = midas::tile_loader<T, Real>(set);
  alignas(128) static Real tile[TILE_PIXELS * LANES], alone[TILE_PIXELS];
  std::vector<const T*> at;
  for (const auto& frame : frames) at.push_back(frame.data());
  const midas::TileState all = loader.frames(at.data(), STRIDE, valid, tile);
  bool ok = all.invalid == invalid && (all.wide != 0) == wide, any_invalid = false, any_wide = false;
  for (std::int64_t f = 0; f < LANES; ++f) {
    const midas::TileState one = loader.frame(at[static_cast<std::size_t>(f)], STRIDE, valid, alone);
    any_invalid = any_invalid || one.invalid;
    any_wide = any_wide || one.wide != 0;
    ok = ok && (all.wide >> f & 1u) == one.wide;
    for (std::int64_t p = 0; p < TILE_PIXELS; ++p) {
      const T v = at[static_cast<std::size_t>(f)][p / TILE_COLUMNS * STRIDE + p % TILE_COLUMNS];
      const bool lost = std::is_integral_v<T> && std::is_same_v<Real, float> && static_cast<double>(v) >= 1 << 24;
      if (lost || v != v) continue;
      ok = ok && tile[p * LANES + f] == static_cast<Real>(v) && alone[p] == static_cast<Real>(v);
    }
  }
  return ok && any_invalid == invalid && any_wide == wide;
}

template <class T>
void test_type(const char* what) {
  using Limits = std::numeric_limits<T>;
  constexpr double INFINITE = std::numeric_limits<double>::infinity();
  constexpr bool WIDE = std::is_integral_v<T> && sizeof(T) == 4;
  const auto plain = midas::valid_counts<T>(INFINITE, false, {});
  const Frames<T> small = draw<T>(100.0);
  const auto with = [&](T value) {
    Frames<T> frames = small;
    frames[LANES - 1].back() = frames[3][static_cast<std::size_t>(5 * STRIDE + 31)] = value;
    frames[LANES - 1].back() = T{0};  // beyond the tile
    return frames;
  };
  for (const auto set : {midas::InstructionSet::BASELINE, midas::InstructionSet::V3, midas::InstructionSet::V4}) {
    if (set > midas::best_instruction_set()) continue;
    const auto passes = [&](const Frames<T>& frames, const midas::Valid<T>& valid, bool invalid, bool wide) {
      if constexpr (sizeof(T) < 8) {
        if (!arrives<T, float>(frames, valid, set, invalid, wide)) return false;
      }
      return arrives<T, double>(frames, valid, set, invalid, wide);
    };
    check(passes(small, plain, false, false), what);
    check(passes(small, midas::valid_counts<T>(0.0, false, {}), true, false), "nothing is a count");
    check(passes(with(T{101}), midas::valid_counts<T>(101.0, false, {}), true, false), "saturated");
    check(passes(with(T{100}), midas::valid_counts<T>(101.0, false, {}), false, false), "not saturated");
    check(passes(with(T{120}), midas::valid_counts<T>(INFINITE, false, {120.0}), true, false), "marked bad");
    if (std::is_unsigned_v<T>) check(passes(with(Limits::max()), plain, true, false), "the sentinel");
    if constexpr (std::is_signed_v<T>) {
      check(passes(with(T{-2}), plain, true, false), "negative");
      check(passes(with(T{-2}), midas::valid_counts<T>(INFINITE, true, {}), false, false), "negative counts");
    }
    if constexpr (WIDE) {
      check(passes(with(T{1 << 24}), plain, false, true), "wide");
      Frames<T> both = with(T{1 << 24});
      both[0][0] = std::is_signed_v<T> ? static_cast<T>(-1) : Limits::max();
      check(arrives<T, double>(both, plain, set, true, true), "wide beside a pixel without counts");
      check(passes(with(T{1 << 24}), midas::valid_counts<T>(1000.0, false, {}), true, false), "wide but saturated");
    }
    if constexpr (std::is_floating_point_v<T>) {
      check(passes(with(Limits::quiet_NaN()), plain, true, false), "NaN");
      check(passes(with(Limits::infinity()), plain, true, false), "infinity");
    }
  }
}

}  // namespace

int main() {
  test_type<std::uint8_t>("uint8");
  test_type<std::uint16_t>("uint16");
  test_type<std::int16_t>("int16");
  test_type<std::uint32_t>("uint32");
  test_type<std::int32_t>("int32");
  test_type<float>("float");
  test_type<double>("double");
  return midas_test::failures();
}
