// Tables at the border: ridge points as the rows of an array (5, n), geometries as its rows (n, 5), all in cells.
#ifndef MIDAS_BINDINGS_ROWS_HPP
#define MIDAS_BINDINGS_ROWS_HPP

#include "arrays.hpp"
#include "center_search.hpp"

namespace midas_bindings {

constexpr py::ssize_t POINT_COLUMNS = 5, GEOMETRY_COLUMNS = 5;

inline void require_columns(const Array<double>& array, py::ssize_t axis, py::ssize_t n, const char* what) {
  if (array.ndim() != 2 || array.shape(axis) != n) {
    throw midas::InputError(std::string(what) + " must have two dimensions and " + std::to_string(n) + " entries each");
  }
}

inline midas::RidgeView ridge_view(const Array<double>& points) {
  require_columns(points, 0, POINT_COLUMNS, "points (y, z, normal_y, normal_z, weight)");
  const double* p = points.data();
  const std::int64_t n = points.shape(1);
  return {p, p + n, p + 2 * n, p + 3 * n, p + 4 * n, n};
}

inline std::vector<midas::Geometry> geometries_of(const Array<double>& rows) {
  require_columns(rows, 1, GEOMETRY_COLUMNS, "geometries (distance, beam_y, beam_z, tilt_y, tilt_z)");
  std::vector<midas::Geometry> out(static_cast<std::size_t>(rows.shape(0)));
  const double* p = rows.data();
  for (auto& g : out) {
    g.distance = p[0];
    g.beam_y = p[1];
    g.beam_z = p[2];
    g.tilt_y = p[3] * RAD_PER_DEG;
    g.tilt_z = p[4] * RAD_PER_DEG;
    g.pixel_size = 1.0;
    p += GEOMETRY_COLUMNS;
  }
  return out;
}

inline Array<double> rows_of(const std::vector<midas::Geometry>& geometries) {
  Array<double> out({static_cast<py::ssize_t>(geometries.size()), GEOMETRY_COLUMNS});
  double* p = out.mutable_data();
  for (const auto& g : geometries) {
    *p++ = g.distance;
    *p++ = g.beam_y;
    *p++ = g.beam_z;
    *p++ = g.tilt_y / RAD_PER_DEG;
    *p++ = g.tilt_z / RAD_PER_DEG;
  }
  return out;
}

}  // namespace midas_bindings

#endif
