// From the stored image back to the geometry's frame: stored_image.hpp.
#include "stored_image.hpp"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <string>

#include "error.hpp"

namespace midas {

namespace {

void check_layout(const PixelLayout& layout) {
  const std::int64_t limit = std::numeric_limits<std::int32_t>::max();
  if (layout.n_y < 1 || layout.n_z < 1 || layout.n_y > limit / layout.n_z) {
    throw InputError("the detector has " + std::to_string(layout.n_z) + " x " + std::to_string(layout.n_y) +
                     " pixels; expected at least 1 and fewer than 2^31");
  }
  const std::int64_t end_y = (layout.n_y - 1) * layout.step_y, end_z = (layout.n_z - 1) * layout.step_z;
  const std::int64_t low = layout.first + std::min<std::int64_t>(0, end_y) + std::min<std::int64_t>(0, end_z);
  const std::int64_t high = layout.first + std::max<std::int64_t>(0, end_y) + std::max<std::int64_t>(0, end_z);
  if (low < 0 || high >= layout.n_y * layout.n_z) throw InputError("the pixel layout reaches outside the image");
}

}  // namespace

StoredImage::StoredImage(const PixelLayout& layout) {
  check_layout(layout);
  const bool upright = std::abs(layout.step_y) == 1;  // columns of the stored image run along y
  n_columns = upright ? layout.n_y : layout.n_z;
  n_rows = upright ? layout.n_z : layout.n_y;
  const std::int64_t row0 = layout.first / n_columns, column0 = layout.first % n_columns;
  const std::int64_t along_columns = upright ? layout.step_y : layout.step_z;
  const std::int64_t along_rows = (upright ? layout.step_z : layout.step_y) < 0 ? -1 : 1;
  y_column = upright ? along_columns : 0;
  z_column = upright ? 0 : along_columns;
  y_row = upright ? 0 : along_rows;
  z_row = upright ? along_rows : 0;
  y0 = -row0 * y_row - column0 * y_column;
  z0 = -row0 * z_row - column0 * z_column;
}

}  // namespace midas
