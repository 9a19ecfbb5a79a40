// midas._core.fit_rings and fit_geometry: core/peak.hpp and core/fit_geometry.hpp. Angles are degrees on the Python
// side.
#include <algorithm>
#include <optional>

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
  d["graininess"] = column<double>(points, [](const P& p) { return p.graininess; });
  d["coverage"] = column<double>(points, [](const P& p) { return p.coverage; });
  d["n_pixels"] = column<std::int64_t>(points, [](const P& p) { return p.n_pixels; });
  d["converged"] = column<bool>(points, [](const P& p) { return p.converged; });
  return d;
}

// windows: (low, high, [radius...], [ring index...]) each
using Window = std::tuple<double, double, std::vector<double>, std::vector<std::int64_t>>;

// numbers, radii, widths, mixing, heights (a row for each ring)
using KnownColumns =
    std::tuple<std::vector<std::int64_t>, std::vector<double>, std::vector<double>, std::vector<double>, Array<float>>;

midas::KnownRings known_rings(const std::optional<KnownColumns>& known) {
  if (!known) return {};
  const auto& [numbers, radii, widths, mixing, heights] = *known;
  return {numbers, radii, widths, mixing, {heights.data(), heights.data() + heights.size()}};
}

py::dict fit_rings(const midas::Projection& projection, const Array<float>& image, const Array<std::uint8_t>& mask,
                   const std::vector<Window>& windows, double eta_step, double fwhm, double max_shift,
                   const std::optional<KnownColumns>& known, int n_threads) {
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
  const midas::KnownRings others = known_rings(known);
  std::vector<midas::RingPoint> points;
  {
    py::gil_scoped_release release;
    points = midas::fit_rings(projection, values, masked, n_z, n_y, groups, others, options);
  }
  return as_columns(points);
}

using Indices = std::optional<Array<std::int64_t>>;

const std::int64_t* indices(const Indices& values, const Array<double>& y, const char* what) {
  if (!values) return nullptr;
  require_same_size(y, *values, what);
  return values->data();
}

midas::StrainPoints view(const Array<double>& y, const Array<double>& z, const Array<double>& tan_two_theta,
                         const Array<double>& weight, const Indices& image, const Indices& panel) {
  require_same_size(y, z, "y and z");
  require_same_size(y, tan_two_theta, "y and tan_two_theta");
  require_same_size(y, weight, "y and weight");
  return {y.data(),
          z.data(),
          tan_two_theta.data(),
          weight.data(),
          y.size(),
          indices(image, y, "y and image"),
          indices(panel, y, "y and panel")};
}

// The factor that turns a core parameter into its Python unit (tilts and rotations of panels: rad to deg).
double unit_of(const midas::ParameterSpace& space, int place) {
  const bool tilt = place >= midas::TILT_X && place <= midas::TILT_Z;
  const int first = space.panel(0, midas::PANEL_ROTATION);
  const bool rotation = place >= first && (place - first) % midas::N_PANEL_PARAMETERS == 0;
  return tilt || rotation ? 1.0 / RAD_PER_DEG : 1.0;
}

template <class T>
const T* table(const std::optional<Array<T>>& values, py::ssize_t rows, int columns, const char* what) {
  if (!values) return nullptr;
  if (values->ndim() != 2 || values->shape(0) != rows || values->shape(1) != columns) {
    throw midas::InputError(std::string(what) + " must have the shape (" + std::to_string(rows) + ", " +
                            std::to_string(columns) + ")");
  }
  return values->data();
}

// What a fit may do beyond the geometry of one image: see the stub of fit_geometry.
struct Extras {
  std::optional<Array<double>> image_offsets;
  std::optional<Array<bool>> image_free;
  double image_sigma;
  bool wavelength_free;
  double wavelength_sigma;
  std::optional<Array<bool>> panel_free;
  std::optional<std::array<double, midas::N_PANEL_PARAMETERS>> panel_sigma;
};

void set_images(const Extras& extras, midas::FitGeometryOptions& options) {
  if (!extras.image_offsets) return;
  const py::ssize_t n = extras.image_offsets->ndim() == 2 ? extras.image_offsets->shape(0) : 0;
  const double* offsets = table(extras.image_offsets, n, midas::N_IMAGE_PARAMETERS, "image_offsets");
  options.images.assign(static_cast<std::size_t>(n), midas::ImageOffset{});
  for (auto& image : options.images) {
    std::copy(offsets, offsets + midas::N_IMAGE_PARAMETERS, image.begin());
    offsets += midas::N_IMAGE_PARAMETERS;
  }
}

void set_freedom(const Extras& extras, const midas::ParameterSpace& space, midas::FitGeometryOptions& options) {
  using Space = midas::ParameterSpace;
  options.parameters.resize(static_cast<std::size_t>(space.size()));
  const auto at = [&](int place) -> midas::Freedom& { return options.parameters[static_cast<std::size_t>(place)]; };
  at(Space::wavelength()).free = extras.wavelength_free;
  at(Space::wavelength()).lower = 0.5;
  at(Space::wavelength()).upper = 2.0;
  at(Space::wavelength()).sigma = extras.wavelength_sigma;
  const bool* image_free = table(extras.image_free, space.n_images, midas::N_IMAGE_PARAMETERS, "image_free");
  for (int m = 0; image_free != nullptr && m < space.n_images; ++m) {
    for (int k = 0; k < midas::N_IMAGE_PARAMETERS; ++k) at(Space::image(m, k)).free = *image_free++;
    at(Space::image(m, midas::IMAGE_DISTANCE)).sigma = extras.image_sigma;
  }
  const bool* panel_free = table(extras.panel_free, space.n_panels, midas::N_PANEL_PARAMETERS, "panel_free");
  for (int m = 0; panel_free != nullptr && m < space.n_panels; ++m) {
    for (int k = 0; k < midas::N_PANEL_PARAMETERS; ++k) {
      at(space.panel(m, k)).free = *panel_free++;
      if (extras.panel_sigma) {
        const int place = space.panel(m, k);
        at(place).sigma = (*extras.panel_sigma)[static_cast<std::size_t>(k)] / unit_of(space, place);
      }
    }
  }
}

py::dict as_dict(const midas::FitGeometryResult& result, const midas::ParameterSpace& space) {
  const auto n = static_cast<py::ssize_t>(result.parameters.size());
  Array<double> covariance({n, n});
  for (std::size_t i = 0; i < result.parameters.size(); ++i)
    for (std::size_t j = 0; j < result.parameters.size(); ++j) {
      const std::size_t k = i * result.parameters.size() + j;
      covariance.mutable_data()[k] =
          result.covariance[k] * unit_of(space, result.parameters[i]) * unit_of(space, result.parameters[j]);
    }
  const midas::Geometry& g = result.geometry;
  Array<double> shifts({static_cast<py::ssize_t>(g.panel_shifts.size()), py::ssize_t{midas::N_PANEL_PARAMETERS}});
  double* row = shifts.mutable_data();
  for (midas::PanelShift shift : g.panel_shifts) {
    shift[midas::PANEL_ROTATION] /= RAD_PER_DEG;
    row = std::copy(shift.begin(), shift.end(), row);
  }
  py::dict d;
  d["distance"] = g.distance;
  d["beam_center"] = py::make_tuple(g.beam_y, g.beam_z);
  d["tilts"] = py::make_tuple(g.tilt_x / RAD_PER_DEG, g.tilt_y / RAD_PER_DEG, g.tilt_z / RAD_PER_DEG);
  d["distortion"] = py::cast(g.distortion);
  d["parallax"] = g.parallax;
  d["wavelength_ratio"] = result.wavelength_ratio;
  d["image_offsets"] = py::cast(result.images);
  d["panel_shifts"] = shifts;
  d["parameters"] = result.parameters;
  d["covariance"] = covariance;
  d["strain"] = Array<double>(static_cast<py::ssize_t>(result.strain.size()), result.strain.data());
  d["cost"] = result.fit.cost;
  d["iterations"] = result.fit.iterations;
  d["converged"] = result.fit.converged;
  return d;
}

py::dict fit_geometry(const midas::Projection& start, const Array<double>& y, const Array<double>& z,
                      const Array<double>& tan_two_theta, const Array<double>& weight,
                      const std::array<bool, midas::N_GEOMETRY_PARAMETERS>& free, const midas::GeometryGradient& lower,
                      const midas::GeometryGradient& upper, double robust, const Indices& image,
                      const std::optional<Array<double>>& image_offsets, const std::optional<Array<bool>>& image_free,
                      double image_sigma, bool wavelength_free, double wavelength_sigma, const Indices& panel,
                      const std::optional<Array<bool>>& panel_free,
                      const std::optional<std::array<double, midas::N_PANEL_PARAMETERS>>& panel_sigma, bool gauge) {
  const midas::StrainPoints points = view(y, z, tan_two_theta, weight, image, panel);
  const Extras extras{image_offsets,    image_free, image_sigma, wavelength_free,
                      wavelength_sigma, panel_free, panel_sigma};
  midas::FitGeometryOptions options;
  options.robust = robust;
  options.gauge = gauge;
  set_images(extras, options);
  midas::ParameterSpace space;
  space.n_images = static_cast<int>(options.images.size());
  space.n_panels = start.geometry().panels == nullptr ? 0 : start.geometry().panels->size();
  set_freedom(extras, space, options);
  for (int k = 0; k < midas::N_GEOMETRY_PARAMETERS; ++k) {
    const auto i = static_cast<std::size_t>(k);
    options.parameters[i] = {free[i], lower[i] / unit_of(space, k), upper[i] / unit_of(space, k), midas::NO_PRIOR};
  }
  midas::FitGeometryResult result;
  {
    py::gil_scoped_release release;
    result = midas::fit_geometry(start.geometry(), points, options);
  }
  return as_dict(result, space);
}

Array<double> pseudo_strain(const midas::Projection& projection, const Array<double>& y, const Array<double>& z,
                            const Array<double>& tan_two_theta, const Indices& panel) {
  const midas::StrainPoints points = view(y, z, tan_two_theta, tan_two_theta, std::nullopt, panel);
  auto strain = empty_like<double>(y);
  midas::pseudo_strain(projection, points, strain.mutable_data());
  return strain;
}

}  // namespace

void bind_calibration(py::module_& m) {
  m.attr("N_GEOMETRY_PARAMETERS") = static_cast<int>(midas::N_GEOMETRY_PARAMETERS);
  m.attr("FIRST_DISTORTION") = static_cast<int>(midas::FIRST_DISTORTION);
  m.attr("PARALLAX") = static_cast<int>(midas::PARALLAX);
  m.attr("N_IMAGE_PARAMETERS") = static_cast<int>(midas::N_IMAGE_PARAMETERS);
  m.attr("MAX_PEAKS") = midas::MAX_PEAKS;
  m.def("eta_bins", [](double eta_step) { return midas::eta_bins(eta_step * RAD_PER_DEG); }, py::arg("eta_step"));
  m.def("fit_rings", &fit_rings, py::arg("projection"), py::arg("image").noconvert(), py::arg("mask").noconvert(),
        py::arg("windows"), py::kw_only(), py::arg("eta_step"), py::arg("fwhm"), py::arg("max_shift"),
        py::arg("known") = py::none(), py::arg("n_threads") = 0);
  m.def("fit_geometry", &fit_geometry, py::arg("start"), py::arg("y").noconvert(), py::arg("z").noconvert(),
        py::arg("tan_two_theta").noconvert(), py::arg("weight").noconvert(), py::kw_only(), py::arg("free"),
        py::arg("lower"), py::arg("upper"), py::arg("robust") = 0.0, py::arg("image").noconvert() = py::none(),
        py::arg("image_offsets").noconvert() = py::none(), py::arg("image_free").noconvert() = py::none(),
        py::arg("image_sigma") = midas::NO_PRIOR, py::arg("wavelength_free") = false,
        py::arg("wavelength_sigma") = midas::NO_PRIOR, py::arg("panel").noconvert() = py::none(),
        py::arg("panel_free").noconvert() = py::none(), py::arg("panel_sigma") = py::none(), py::arg("gauge") = false);
  m.def("pseudo_strain", &pseudo_strain, py::arg("projection"), py::arg("y").noconvert(), py::arg("z").noconvert(),
        py::arg("tan_two_theta").noconvert(), py::arg("panel").noconvert() = py::none());
}

}  // namespace midas_bindings
