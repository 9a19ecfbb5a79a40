// From the stored image back to the geometry's frame.
#ifndef MIDAS_STORED_IMAGE_HPP
#define MIDAS_STORED_IMAGE_HPP

#include <cstdint>

#include "cake_map.hpp"

namespace midas {

// y = y0 + row * y_row + column * y_column, z likewise.
struct StoredImage {
  std::int64_t n_rows, n_columns;
  std::int64_t y0, y_row, y_column, z0, z_row, z_column;

  // Throws InputError for a layout without pixels, of 2^31 or more, or that leaves the image.
  explicit StoredImage(const PixelLayout& layout);

  template <class T>
  T y(T row, T column) const {
    return static_cast<T>(y0) + row * static_cast<T>(y_row) + column * static_cast<T>(y_column);
  }
  template <class T>
  T z(T row, T column) const {
    return static_cast<T>(z0) + row * static_cast<T>(z_row) + column * static_cast<T>(z_column);
  }
};

}  // namespace midas

#endif
