// Tiled detectors: which panel a pixel belongs to, and how each panel stands off its nominal place.
//
// Panels form a grid: columns of panels along Y and rows along Z, with gaps. A position belongs to the panel of the
// pixel that holds it; a pixel in a gap or beyond the last panel belongs to the nearest. Panels are numbered column by
// column, rows running fastest, as the panel-shifts files of MIDAS number them.
//
//   y' = center_y + (y - center_y) cos(rotation) - (z - center_z) sin(rotation) + shift_y          (z' likewise)
//
// The moved position goes through the model of geometry.hpp, with `distance` added to the distance of the panel's plane
// and `p2` to the coefficient of rho^2. Source: docs/physics/geometry.md; of the numbering and the
// sense of the rotation the MIDAS manual of CalibrantPanelShiftsOMP.
#ifndef MIDAS_PANELS_HPP
#define MIDAS_PANELS_HPP

#include <array>
#include <cstdint>
#include <vector>

namespace midas {

// Pixels first .. last, both included.
struct Span {
  std::int64_t first, last;
};

constexpr std::int32_t NO_PANEL = -1;

class PanelLayout {
 public:
  // Throws InputError unless both lists ascend without overlap and hold at least one span each.
  PanelLayout(std::vector<Span> columns, std::vector<Span> rows);

  std::int32_t n_columns() const { return static_cast<std::int32_t>(columns_.size()); }
  std::int32_t n_rows() const { return static_cast<std::int32_t>(rows_.size()); }
  std::int32_t size() const { return n_columns() * n_rows(); }

  std::int32_t column(double y) const { return look_up(column_table_, y - static_cast<double>(columns_[0].first)); }
  std::int32_t row(double z) const { return look_up(row_table_, z - static_cast<double>(rows_[0].first)); }
  std::int32_t find(double y, double z) const { return column(y) * n_rows() + row(z); }

  const Span& columns_of(std::int32_t panel) const { return columns_[static_cast<std::size_t>(panel / n_rows())]; }
  const Span& rows_of(std::int32_t panel) const { return rows_[static_cast<std::size_t>(panel % n_rows())]; }
  double center_y(std::int32_t panel) const { return middle(columns_of(panel)); }
  double center_z(std::int32_t panel) const { return middle(rows_of(panel)); }

 private:
  static double middle(const Span& s) { return 0.5 * static_cast<double>(s.first + s.last); }
  // NaN is taken as the first pixel: its position stays NaN.
  static std::int32_t look_up(const std::vector<std::int32_t>& table, double offset) {
    if (!(offset > 0.0)) return table.front();
    if (offset >= static_cast<double>(table.size() - 1)) return table.back();
    return table[static_cast<std::size_t>(offset + 0.5)];
  }

  std::vector<Span> columns_, rows_;
  std::vector<std::int32_t> column_table_, row_table_;  // of every pixel from the first panel's to the last one's
};

// The parameters of a panel, in the order of every gradient.
enum PanelParameter : int {
  PANEL_SHIFT_Y = 0,
  PANEL_SHIFT_Z,
  PANEL_ROTATION,
  PANEL_DISTANCE,
  PANEL_P2,
  N_PANEL_PARAMETERS
};

using PanelGradient = std::array<double, N_PANEL_PARAMETERS>;

// shift y, z [px], rotation [rad], distance [um], p2 [1]
using PanelShift = std::array<double, N_PANEL_PARAMETERS>;

}  // namespace midas

#endif
