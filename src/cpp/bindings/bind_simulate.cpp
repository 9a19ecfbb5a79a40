// midas._core.render_powder: the images of core/simulate.hpp. Angles are degrees on the Python side.
#include <optional>

#include "arrays.hpp"
#include "module.hpp"
#include "simulate.hpp"

namespace midas_bindings {

namespace {

std::vector<midas::Peak> peaks_of(const Array<double>& table) {
  if (table.ndim() != 2 || table.shape(1) != 4)
    throw midas::InputError("peaks must have the shape (n, 4): center, fwhm, mixing, area");
  std::vector<midas::Peak> peaks;
  const double* row = table.data();
  for (py::ssize_t k = 0; k < table.shape(0); ++k, row += 4) {
    peaks.push_back({row[0] * RAD_PER_DEG, row[1] * RAD_PER_DEG, row[2], row[3] * RAD_PER_DEG});
  }
  return peaks;
}

Array<float> render_powder(const midas::Projection& projection, std::int64_t n_z, std::int64_t n_y,
                           const Array<double>& peaks, const std::optional<Array<float>>& texture, double polarization,
                           double strain, double background, double falloff, double falloff_radius, int n_threads) {
  midas::Scene scene;
  scene.peaks = peaks_of(peaks);
  if (texture) {
    if (texture->ndim() != 2 || texture->shape(0) != peaks.shape(0) || texture->shape(1) < 1) {
      throw midas::InputError("the texture must have one row of factors a peak");
    }
    scene.texture = {texture->data(), texture->shape(1)};
  }
  scene.polarization = polarization;
  scene.strain = strain;
  scene.background = background;
  scene.falloff = falloff;
  scene.falloff_radius = falloff_radius;
  Array<float> image({std::max<py::ssize_t>(n_z, 0), std::max<py::ssize_t>(n_y, 0)});
  float* pixels = image.mutable_data();
  {
    py::gil_scoped_release release;
    midas::render(projection, scene, n_z, n_y, pixels, n_threads);
  }
  return image;
}

}  // namespace

void bind_simulate(py::module_& m) {
  m.def("render_powder", &render_powder, py::arg("projection"), py::arg("n_z"), py::arg("n_y"), py::kw_only(),
        py::arg("peaks").noconvert(), py::arg("texture").noconvert() = py::none(), py::arg("polarization") = 0.0,
        py::arg("strain") = 0.0, py::arg("background") = 0.0, py::arg("falloff") = 0.0, py::arg("falloff_radius") = 1.0,
        py::arg("n_threads") = 0);
}

}  // namespace midas_bindings
