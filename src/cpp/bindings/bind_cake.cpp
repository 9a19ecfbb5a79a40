// midas._core.CakeMap: core/cake_map.hpp and core/cake.hpp. Angles are degrees on the Python side.
#include <optional>

#include "arrays.hpp"
#include "cake.hpp"
#include "cake_map.hpp"
#include "module.hpp"

namespace midas_bindings {

namespace {

std::vector<double> to_vector(const Array<double>& values, double factor) {
  std::vector<double> out(values.data(), values.data() + values.size());
  for (double& v : out) v *= factor;
  return out;
}

midas::CakeMap build(const midas::Projection& projection, const std::array<std::int64_t, 2>& shape,
                     const std::array<std::int64_t, 3>& layout, const Array<double>& radius_edges,
                     const Array<double>& eta_edges, const std::optional<Array<std::uint8_t>>& mask, int n_threads) {
  const midas::PixelLayout pixels{shape[1], shape[0], layout[0], layout[2], layout[1]};
  if (mask && mask->size() != pixels.n_y * pixels.n_z) {
    throw midas::InputError("the mask has " + std::to_string(mask->size()) + " elements; expected " +
                            std::to_string(pixels.n_y * pixels.n_z));
  }
  const std::vector<double> radii = to_vector(radius_edges, 1.0), etas = to_vector(eta_edges, RAD_PER_DEG);
  const std::uint8_t* mask_data = mask ? mask->data() : nullptr;
  py::gil_scoped_release release;
  return midas::build_cake_map(projection, pixels, radii, etas, mask_data, n_threads);
}

// A read-only array over memory that the map owns.
template <class T>
py::array view(const py::object& owner, const std::vector<T>& values) {
  py::array_t<T> array({static_cast<py::ssize_t>(values.size())}, values.data(), owner);
  array.attr("setflags")(py::arg("write") = false);
  return array;
}

template <class T>
const T* data_for(const midas::CakeMap& map, const std::optional<Array<T>>& values, const char* what) {
  if (!values) return nullptr;
  if (values->size() != map.n_pixels) {
    throw midas::InputError(std::string(what) + " has " + std::to_string(values->size()) + " pixels; expected " +
                            std::to_string(map.n_pixels));
  }
  return values->data();
}

template <class T>
bool apply_as(const midas::CakeMap& map, const py::array& frame, const midas::CakeInput& input, double* intensity,
              double* variance, double* area, int n_threads) {
  if (!py::isinstance<Array<T>>(frame)) return false;
  const T* data = static_cast<const T*>(frame.data());
  py::gil_scoped_release release;
  midas::apply_cake_map<T>(map, data, input, intensity, variance, area, n_threads);
  return true;
}

py::tuple apply(const midas::CakeMap& map, const py::array& frame, const std::optional<Array<double>>& dark,
                const std::optional<Array<double>>& scale, const std::optional<Array<std::uint8_t>>& mask,
                const std::vector<double>& bad_values, double saturation, bool negative_counts, bool normalize,
                bool variance, int n_threads) {
  if (frame.size() != map.n_pixels) {
    throw midas::InputError("the frame has " + std::to_string(frame.size()) + " pixels; the map was built for " +
                            std::to_string(map.n_pixels));
  }
  midas::CakeInput input;
  input.dark = data_for(map, dark, "the dark");
  input.scale = data_for(map, scale, "the correction");
  input.mask = data_for(map, mask, "the mask");
  input.bad_values = bad_values;
  input.saturation = saturation;
  input.negative_counts = negative_counts;
  input.normalize = normalize;
  const std::vector<py::ssize_t> shape = {map.n_radius, map.n_eta};
  Array<double> intensity(shape), area(shape);
  std::optional<Array<double>> variances;
  if (variance) variances = Array<double>(shape);
  double *i = intensity.mutable_data(), *a = area.mutable_data(), *v = variances ? variances->mutable_data() : nullptr;
  const bool done = apply_as<std::uint8_t>(map, frame, input, i, v, a, n_threads) ||
                    apply_as<std::uint16_t>(map, frame, input, i, v, a, n_threads) ||
                    apply_as<std::uint32_t>(map, frame, input, i, v, a, n_threads) ||
                    apply_as<std::int16_t>(map, frame, input, i, v, a, n_threads) ||
                    apply_as<std::int32_t>(map, frame, input, i, v, a, n_threads) ||
                    apply_as<float>(map, frame, input, i, v, a, n_threads) ||
                    apply_as<double>(map, frame, input, i, v, a, n_threads);
  if (!done) {
    throw midas::InputError(
        "the frame has dtype " + py::str(frame.dtype()).cast<std::string>() +
        " or is not C-contiguous; expected contiguous uint8, uint16, uint32, int16, int32, float32 or float64");
  }
  return py::make_tuple(intensity, variances, area);
}

}  // namespace

void bind_cake(py::module_& m) {
  py::class_<midas::CakeMap>(m, "CakeMap")
      .def(py::init(&build), py::arg("projection"), py::kw_only(), py::arg("shape"), py::arg("layout"),
           py::arg("radius_edges").noconvert(), py::arg("eta_edges").noconvert(),
           py::arg("mask").noconvert() = py::none(), py::arg("n_threads") = 0)
      .def_property_readonly("shape", [](const midas::CakeMap& map) { return py::make_tuple(map.n_radius, map.n_eta); })
      .def_property_readonly("n_pixels", [](const midas::CakeMap& map) { return map.n_pixels; })
      .def_property_readonly("offsets",
                             [](const py::object& self) { return view(self, self.cast<midas::CakeMap&>().offsets); })
      .def_property_readonly(
          "eta_overlap", [](const py::object& self) { return view(self, self.cast<midas::CakeMap&>().eta_overlap); })
      .def_property_readonly("pixels",
                             [](const py::object& self) { return view(self, self.cast<midas::CakeMap&>().pixels); })
      .def_property_readonly("areas",
                             [](const py::object& self) { return view(self, self.cast<midas::CakeMap&>().areas); })
      .def("apply", &apply, py::arg("frame").noconvert(), py::kw_only(), py::arg("dark").noconvert() = py::none(),
           py::arg("scale").noconvert() = py::none(), py::arg("mask").noconvert() = py::none(),
           py::arg("bad_values") = std::vector<double>(),
           py::arg("saturation") = std::numeric_limits<double>::infinity(), py::arg("negative_counts") = false,
           py::arg("normalize") = true, py::arg("variance") = false, py::arg("n_threads") = 0);
}

}  // namespace midas_bindings
