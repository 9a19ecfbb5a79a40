// midas._core.Projection: the detector model of core/geometry.hpp. Angles are degrees on the Python side.
#include <memory>
#include <optional>
#include <tuple>
#include <utility>

#include "arrays.hpp"
#include "geometry.hpp"
#include "module.hpp"

namespace midas_bindings {

namespace {

void scale(Array<double>& values, double factor) {
  double* p = values.mutable_data();
  for (py::ssize_t i = 0; i < values.size(); ++i) p[i] *= factor;
}

// Columns of spans (first, last) of panel columns and panel rows, and a shift (y, z [px], rotation [deg], distance
// [um], p2) for each panel; or nothing.
using Spans = std::vector<std::pair<std::int64_t, std::int64_t>>;
using Panels = std::tuple<Spans, Spans, Array<double>>;

std::vector<midas::Span> spans_of(const Spans& pairs) {
  std::vector<midas::Span> spans;
  for (const auto& [first, last] : pairs) spans.push_back({first, last});
  return spans;
}

void set_panels(const Panels& panels, midas::Geometry& g) {
  const auto& [columns, rows, table] = panels;
  g.panels = std::make_shared<midas::PanelLayout>(spans_of(columns), spans_of(rows));
  if (table.ndim() != 2 || table.shape(0) != g.panels->size() || table.shape(1) != midas::N_PANEL_PARAMETERS) {
    throw midas::InputError("the panel shifts must have the shape (" + std::to_string(g.panels->size()) + ", " +
                            std::to_string(static_cast<int>(midas::N_PANEL_PARAMETERS)) + "), a row a panel");
  }
  const double* row = table.data();
  for (std::int32_t k = 0; k < g.panels->size(); ++k, row += midas::N_PANEL_PARAMETERS) {
    midas::PanelShift shift;
    std::copy(row, row + midas::N_PANEL_PARAMETERS, shift.begin());
    shift[midas::PANEL_ROTATION] *= RAD_PER_DEG;
    g.panel_shifts.push_back(shift);
  }
}

midas::Projection make_projection(double distance, double beam_y, double beam_z, double pixel_size,
                                  const std::array<double, 3>& tilts_deg, const midas::Distortion& distortion,
                                  double distortion_radius, double parallax, const std::optional<Panels>& panels) {
  midas::Geometry g;
  g.distance = distance;
  g.beam_y = beam_y;
  g.beam_z = beam_z;
  g.pixel_size = pixel_size;
  g.tilt_x = tilts_deg[0] * RAD_PER_DEG;
  g.tilt_y = tilts_deg[1] * RAD_PER_DEG;
  g.tilt_z = tilts_deg[2] * RAD_PER_DEG;
  g.distortion = distortion;
  g.distortion_radius = distortion_radius;
  g.parallax = parallax;
  if (panels) set_panels(*panels, g);
  return midas::Projection(g);
}

// The panel of each position; -1 without panels.
Array<std::int64_t> panel_at(const midas::Projection& projection, const Array<double>& y, const Array<double>& z) {
  require_same_size(y, z, "y and z");
  auto out = empty_like<std::int64_t>(y);
  for (py::ssize_t i = 0; i < y.size(); ++i) out.mutable_data()[i] = projection.panel_at(y.data()[i], z.data()[i]);
  return out;
}

py::tuple to_polar(const midas::Projection& projection, const Array<double>& y, const Array<double>& z, int n_threads) {
  require_same_size(y, z, "y and z");
  auto radius = empty_like<double>(y), two_theta = empty_like<double>(y), eta = empty_like<double>(y);
  {
    double *r = radius.mutable_data(), *t = two_theta.mutable_data(), *e = eta.mutable_data();
    const double *yp = y.data(), *zp = z.data();
    const std::int64_t n = y.size();
    py::gil_scoped_release release;
    midas::to_polar(projection, yp, zp, n, r, t, e, n_threads);
  }
  scale(two_theta, 1.0 / RAD_PER_DEG);
  scale(eta, 1.0 / RAD_PER_DEG);
  return py::make_tuple(radius, two_theta, eta);
}

py::tuple to_pixel(const midas::Projection& projection, const Array<double>& radius, const Array<double>& eta_deg,
                   int n_threads) {
  require_same_size(radius, eta_deg, "radius and eta");
  auto y = empty_like<double>(radius), z = empty_like<double>(radius);
  std::vector<double> eta(eta_deg.data(), eta_deg.data() + eta_deg.size());
  for (double& e : eta) e *= RAD_PER_DEG;
  double *yp = y.mutable_data(), *zp = z.mutable_data();
  const double* r = radius.data();
  const std::int64_t n = radius.size();
  {
    py::gil_scoped_release release;
    midas::to_pixel(projection, r, eta.data(), n, yp, zp, n_threads);
  }
  return py::make_tuple(y, z);
}

// Rows: pixels; columns: d radius / d (distance, beam_y, beam_z, tilt_x, tilt_y, tilt_z [per deg], coefficients,
// parallax).
Array<double> radius_gradient(const midas::Projection& projection, const Array<double>& y, const Array<double>& z) {
  require_same_size(y, z, "y and z");
  Array<double> out({y.size(), static_cast<py::ssize_t>(midas::N_GEOMETRY_PARAMETERS)});
  midas::GeometryGradient gradient;
  double* row = out.mutable_data();
  for (py::ssize_t i = 0; i < y.size(); ++i, row += midas::N_GEOMETRY_PARAMETERS) {
    projection.radius_gradient(y.data()[i], z.data()[i], gradient);
    for (int k = midas::TILT_X; k <= midas::TILT_Z; ++k) gradient[static_cast<std::size_t>(k)] *= RAD_PER_DEG;
    std::copy(gradient.begin(), gradient.end(), row);
  }
  return out;
}

}  // namespace

void bind_geometry(py::module_& m) {
  py::list terms;
  for (const midas::DistortionTerm& t : midas::DISTORTION_TERMS)
    terms.append(py::make_tuple(t.name, t.power, t.harmonic, t.sine));
  m.attr("DISTORTION_TERMS") = py::tuple(terms);
  py::class_<midas::Projection>(m, "Projection")
      .def(py::init(&make_projection), py::kw_only(), py::arg("distance"), py::arg("beam_y"), py::arg("beam_z"),
           py::arg("pixel_size"), py::arg("tilts"), py::arg("distortion"), py::arg("distortion_radius"),
           py::arg("parallax") = 0.0, py::arg("panels") = py::none())
      .def("panel_at", &panel_at, py::arg("y").noconvert(), py::arg("z").noconvert())
      .def("to_polar", &to_polar, py::arg("y").noconvert(), py::arg("z").noconvert(), py::arg("n_threads") = 0)
      .def("to_pixel", &to_pixel, py::arg("radius").noconvert(), py::arg("eta").noconvert(), py::arg("n_threads") = 0)
      .def("radius_gradient", &radius_gradient, py::arg("y").noconvert(), py::arg("z").noconvert());
}

}  // namespace midas_bindings
