// Hot and dead pixels by hand: the limits, the border, an image smaller than a tile.
#include <cstdint>
#include <vector>

#include "check.hpp"
#include "defects.hpp"
#include "error.hpp"

using midas_test::check;

namespace {

struct Image {
  std::int64_t n_z, n_y;
  std::vector<float> counts;
  std::vector<std::uint8_t> mask, defects;
  Image(std::int64_t z, std::int64_t y, float level)
      : n_z(z),
        n_y(y),
        counts(static_cast<std::size_t>(z * y), level),
        mask(counts.size(), 0),
        defects(counts.size(), 99) {}
  float& at(std::int64_t z, std::int64_t y) { return counts[static_cast<std::size_t>(z * n_y + y)]; }
  int kind(std::int64_t z, std::int64_t y) const { return defects[static_cast<std::size_t>(z * n_y + y)]; }
  void find(int n_threads) {
    midas::find_defects(counts.data(), mask.data(), n_z, n_y, midas::DefectLimits{}, defects.data(), n_threads);
  }
  int count() const {
    int n = 0;
    for (const std::uint8_t d : defects) n += d != midas::DEFECT_NONE;
    return n;
  }
};

}  // namespace

int main() {
  Image image(50, 37, 100.0F);
  image.at(10, 10) = 701.0F;  // above 5 * 100 + 20 * sqrt(100)
  image.at(0, 0) = 5000.0F;
  image.at(49, 36) = 19.0F;  // below 0.2 * 100
  image.at(20, 20) = image.at(20, 21) = 5000.0F;
  for (const int n_threads : {1, 3}) {
    image.find(n_threads);
    check(image.kind(10, 10) == midas::DEFECT_HOT, "a hot pixel");
    check(image.kind(0, 0) == midas::DEFECT_HOT, "a hot pixel in the corner");
    check(image.kind(49, 36) == midas::DEFECT_DEAD, "a dead pixel in a tile cut by the border");
    check(image.count() == 3, "two bright pixels side by side are no defects");
  }
  Image one(1, 1, 50.0F);
  one.find(1);
  check(one.kind(0, 0) == midas::DEFECT_HOT, "one pixel alone stands above nothing");
  one.mask[0] = 1;
  one.find(1);
  check(one.count() == 0, "a masked pixel is no defect");
  check(midas_test::throws<midas::InputError>(
            [] { midas::find_defects(nullptr, nullptr, 0, 5, midas::DefectLimits{}, nullptr, 1); }),
        "an image without pixels is refused");
  return midas_test::failures();
}
