// midas._core.fit_rings and fit_geometry: core/peak.hpp and core/fit_geometry.hpp. Angles are degrees on the Python
// side.
#include "arrays.hpp"
#include "fit_geometry.hpp"
#include "module.hpp"
#include "peak.hpp"

namespace midas_bindings {

namespace {

template <class T, class Get>
Array<T> column(const std::vector<midas::RingPoint>& points, Get get) {
  Array<T> out(static_cast<py::ssize_t>(points.size()));
  T* p = out.mutable_data();
  for (std::size_t i = 0; i < points.size(); ++i) p[i] = get(points[i]);
  return out;
}

py::dict as_columns(const std::vector<midas::RingPoint>& points) {
  using P = midas::RingPoint;
  py::dict d;
  d["ring"] = column<std::int64_t>(points, [](const P& p) { return p.ring; });
  d["eta_bin"] = column<std::int64_t>(points, [](const P& p) { return p.eta_bin; });
  d["radius"] = column<double>(points, [](const P& p) { return p.radius; });
  d["radius_sigma"] = column<double>(points, [](const P& p) { return p.radius_sigma; });
  d["eta"] = column<double>(points, [](const P& p) { return p.eta / RAD_PER_DEG; });
  d["y"] = column<double>(points, [](const P& p) { return p.y; });
  d["z"] = column<double>(points, [](const P& p) { return p.z; });
  d["height"] = column<double>(points, [](const P& p) { return p.height; });
  d["background"] = column<double>(points, [](const P& p) { return p.background; });
  d["fwhm"] = column<double>(points, [](const P& p) { return p.fwhm; });
  d["mixing"] = column<double>(points, [](const P& p) { return p.mixing; });
  d["snr"] = column<double>(points, [](const P& p) { return p.snr; });
  d["chi2"] = column<double>(points, [](const P& p) { return p.chi2; });
  d["coverage"] = column<double>(points, [](const P& p) { return p.coverage; });
  d["n_pixels"] = column<std::int64_t>(points, [](const P& p) { return p.n_pixels; });
  d["converged"] = column<bool>(points, [](const P& p) { return p.converged; });
  return d;
}

// windows: (low, high, [radius...], [ring index...]) each
using Window = std::tuple<double, double, std::vector<double>, std::vector<std::int64_t>>;

py::dict fit_rings(const midas::Projection& projection, const Array<float>& image, const Array<std::uint8_t>& mask,
                   const std::vector<Window>& windows, double eta_step, double fwhm, double max_shift, int n_threads) {
  if (image.ndim() != 2) throw midas::InputError("image must have two dimensions");
  require_same_size(image, mask, "image and mask");
  std::vector<midas::RingGroup> groups;
  for (const auto& [low, high, centers, numbers] : windows) groups.push_back({low, high, centers, numbers});
  midas::PeakOptions options;
  options.eta_step = eta_step * RAD_PER_DEG;
  options.fwhm = fwhm;
  options.max_shift = max_shift;
  options.n_threads = n_threads;
  const float* values = image.data();
  const std::uint8_t* masked = mask.data();
  const std::int64_t n_z = image.shape(0), n_y = image.shape(1);
  std::vector<midas::RingPoint> points;
  {
    py::gil_scoped_release release;
    points = midas::fit_rings(projection, values, masked, n_z, n_y, groups, options);
  }
  return as_columns(points);
}

midas::StrainPoints view(const Array<double>& y, const Array<double>& z, const Array<double>& tan_two_theta,
                         const Array<double>& weight) {
  require_same_size(y, z, "y and z");
  require_same_size(y, tan_two_theta, "y and tan_two_theta");
  require_same_size(y, weight, "y and weight");
  return {y.data(), z.data(), tan_two_theta.data(), weight.data(), y.size()};
}

// The factor that turns a core parameter into its Python unit (tilts: rad to deg).
double unit_of(int parameter) {
  return parameter >= midas::TILT_X && parameter <= midas::TILT_Z ? 1.0 / RAD_PER_DEG : 1.0;
}

py::dict fit_geometry(const midas::Projection& start, const Array<double>& y, const Array<double>& z,
                      const Array<double>& tan_two_theta, const Array<double>& weight,
                      const std::array<bool, midas::N_GEOMETRY_PARAMETERS>& free, const midas::GeometryGradient& lower,
                      const midas::GeometryGradient& upper, double robust) {
  const midas::StrainPoints points = view(y, z, tan_two_theta, weight);
  midas::FitGeometryOptions options;
  options.free = free;
  options.robust = robust;
  for (int k = 0; k < midas::N_GEOMETRY_PARAMETERS; ++k) {
    const auto i = static_cast<std::size_t>(k);
    options.lower[i] = lower[i] / unit_of(k);
    options.upper[i] = upper[i] / unit_of(k);
  }
  midas::FitGeometryResult result;
  {
    py::gil_scoped_release release;
    result = midas::fit_geometry(start.geometry(), points, options);
  }
  const auto n = static_cast<py::ssize_t>(result.parameters.size());
  Array<double> covariance({n, n});
  for (std::size_t i = 0; i < result.parameters.size(); ++i)
    for (std::size_t j = 0; j < result.parameters.size(); ++j) {
      const std::size_t k = i * result.parameters.size() + j;
      covariance.mutable_data()[k] =
          result.covariance[k] * unit_of(result.parameters[i]) * unit_of(result.parameters[j]);
    }
  const midas::Geometry& g = result.geometry;
  py::dict d;
  d["distance"] = g.distance;
  d["beam_center"] = py::make_tuple(g.beam_y, g.beam_z);
  d["tilts"] = py::make_tuple(g.tilt_x / RAD_PER_DEG, g.tilt_y / RAD_PER_DEG, g.tilt_z / RAD_PER_DEG);
  d["distortion"] = py::cast(g.distortion);
  d["parameters"] = result.parameters;
  d["covariance"] = covariance;
  d["strain"] = Array<double>(static_cast<py::ssize_t>(result.strain.size()), result.strain.data());
  d["cost"] = result.fit.cost;
  d["iterations"] = result.fit.iterations;
  d["converged"] = result.fit.converged;
  return d;
}

Array<double> pseudo_strain(const midas::Projection& projection, const Array<double>& y, const Array<double>& z,
                            const Array<double>& tan_two_theta) {
  const midas::StrainPoints points = view(y, z, tan_two_theta, tan_two_theta);
  auto strain = empty_like<double>(y);
  midas::pseudo_strain(projection, points, strain.mutable_data());
  return strain;
}

}  // namespace

void bind_calibration(py::module_& m) {
  m.attr("N_GEOMETRY_PARAMETERS") = static_cast<int>(midas::N_GEOMETRY_PARAMETERS);
  m.attr("FIRST_DISTORTION") = static_cast<int>(midas::FIRST_DISTORTION);
  m.attr("MAX_PEAKS") = midas::MAX_PEAKS;
  m.def("fit_rings", &fit_rings, py::arg("projection"), py::arg("image").noconvert(), py::arg("mask").noconvert(),
        py::arg("windows"), py::kw_only(), py::arg("eta_step"), py::arg("fwhm"), py::arg("max_shift"),
        py::arg("n_threads") = 0);
  m.def("fit_geometry", &fit_geometry, py::arg("start"), py::arg("y").noconvert(), py::arg("z").noconvert(),
        py::arg("tan_two_theta").noconvert(), py::arg("weight").noconvert(), py::kw_only(), py::arg("free"),
        py::arg("lower"), py::arg("upper"), py::arg("robust") = 0.0);
  m.def("pseudo_strain", &pseudo_strain, py::arg("projection"), py::arg("y").noconvert(), py::arg("z").noconvert(),
        py::arg("tan_two_theta").noconvert());
}

}  // namespace midas_bindings
