// midas._core.Projection: the detector model of core/geometry.hpp. Angles are degrees on the Python side.
#include "arrays.hpp"
#include "geometry.hpp"
#include "module.hpp"

namespace midas_bindings {

namespace {

void scale(Array<double>& values, double factor) {
  double* p = values.mutable_data();
  for (py::ssize_t i = 0; i < values.size(); ++i) p[i] *= factor;
}

midas::Projection make_projection(double distance, double beam_y, double beam_z, double pixel_size,
                                  const std::array<double, 3>& tilts_deg, const midas::Distortion& distortion,
                                  double distortion_radius) {
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
  return midas::Projection(g);
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

// Rows: pixels; columns: d radius / d (distance, beam_y, beam_z, tilt_x, tilt_y, tilt_z [per deg], 15 coefficients).
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
  py::class_<midas::Projection>(m, "Projection")
      .def(py::init(&make_projection), py::kw_only(), py::arg("distance"), py::arg("beam_y"), py::arg("beam_z"),
           py::arg("pixel_size"), py::arg("tilts"), py::arg("distortion"), py::arg("distortion_radius"))
      .def("to_polar", &to_polar, py::arg("y").noconvert(), py::arg("z").noconvert(), py::arg("n_threads") = 0)
      .def("to_pixel", &to_pixel, py::arg("radius").noconvert(), py::arg("eta").noconvert(), py::arg("n_threads") = 0)
      .def("radius_gradient", &radius_gradient, py::arg("y").noconvert(), py::arg("z").noconvert());
}

}  // namespace midas_bindings
