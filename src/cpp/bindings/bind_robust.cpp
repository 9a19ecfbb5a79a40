// midas._core.RobustIntegrator: core/robust.hpp.
#include <memory>
#include <optional>

#include "arrays.hpp"
#include "module.hpp"
#include "robust.hpp"

namespace midas_bindings {

namespace {

template <class T>
const T* of_pixels(const midas::CakeMap& map, const std::optional<Array<T>>& values, const char* what) {
  if (!values) return nullptr;
  if (values->size() != map.n_pixels()) {
    throw midas::InputError(std::string(what) + " has " + std::to_string(values->size()) + " pixels; expected " +
                            std::to_string(map.n_pixels()));
  }
  return values->data();
}

midas::RobustMethod method_of(const std::string& name) {
  if (name == "median") return midas::RobustMethod::MEDIAN;
  if (name == "trimmed_mean") return midas::RobustMethod::TRIMMED_MEAN;
  if (name == "sigma_clip") return midas::RobustMethod::SIGMA_CLIP;
  throw midas::InputError("unknown method '" + name + "'; expected median, trimmed_mean or sigma_clip");
}

midas::ClipSigma sigma_of(const std::string& name) {
  if (name == "scatter") return midas::ClipSigma::SCATTER;
  if (name == "poisson") return midas::ClipSigma::POISSON;
  throw midas::InputError("unknown sigma '" + name + "'; expected scatter or poisson");
}

struct Choices {
  std::string method;
  std::array<double, 2> trim;
  double threshold;
  std::int64_t max_iterations;
  double tolerance;
  std::string sigma;
};

std::unique_ptr<midas::RobustIntegrator> prepare(const midas::CakeMap& map, const Choices& choices,
                                                 const midas::CakeInput& input, int n_threads) {
  const midas::RobustOptions options{method_of(choices.method), choices.trim[0],        choices.trim[1],
                                     choices.threshold,         choices.max_iterations, choices.tolerance,
                                     sigma_of(choices.sigma)};
  py::gil_scoped_release release;
  return std::make_unique<midas::RobustIntegrator>(map, input, options, n_threads);
}

template <class T>
py::tuple integrate(const midas::RobustIntegrator& integrator, const std::vector<py::array>& frames, bool variance,
                    int n_threads) {
  std::vector<const T*> data;
  for (const py::array& frame : frames) data.push_back(static_cast<const T*>(frame.data()));
  const auto n = static_cast<std::int64_t>(frames.size());
  const std::vector<py::ssize_t> shape = {n, integrator.n_bins()};
  Array<double> intensity(shape), variances(variance ? shape : std::vector<py::ssize_t>{0}), area(shape);
  Array<std::int32_t> pixels(shape);
  const midas::RobustOutput output{intensity.mutable_data(), variance ? variances.mutable_data() : nullptr,
                                   area.mutable_data(), pixels.mutable_data()};
  {
    py::gil_scoped_release release;
    integrator.apply(data.data(), n, output, n_threads);
  }
  return py::make_tuple(intensity, variance ? py::object(variances) : py::none(), area, pixels);
}

template <class T>
bool holds(const py::array& frame) {
  return py::isinstance<Array<T>>(frame);
}

py::tuple apply(const midas::RobustIntegrator& self, const std::vector<py::array>& frames, bool variance,
                int n_threads) {
  if (frames.empty()) throw midas::InputError("there is no frame; expected at least one");
  const py::array& first = frames.front();
  for (const py::array& frame : frames) {
    if (frame.size() != self.n_pixels()) {
      throw midas::InputError("the frame has " + std::to_string(frame.size()) + " pixels; the map was built for " +
                              std::to_string(self.n_pixels()));
    }
    if (!frame.dtype().equal(first.dtype())) {
      throw midas::InputError("the frames have the dtypes " + py::str(first.dtype()).cast<std::string>() + " and " +
                              py::str(frame.dtype()).cast<std::string>() + "; expected one");
    }
    if ((frame.flags() & py::array::c_style) == 0) throw midas::InputError("a frame is not C-contiguous");
  }
  if (holds<std::uint8_t>(first)) return integrate<std::uint8_t>(self, frames, variance, n_threads);
  if (holds<std::uint16_t>(first)) return integrate<std::uint16_t>(self, frames, variance, n_threads);
  if (holds<std::uint32_t>(first)) return integrate<std::uint32_t>(self, frames, variance, n_threads);
  if (holds<std::int16_t>(first)) return integrate<std::int16_t>(self, frames, variance, n_threads);
  if (holds<std::int32_t>(first)) return integrate<std::int32_t>(self, frames, variance, n_threads);
  if (holds<float>(first)) return integrate<float>(self, frames, variance, n_threads);
  if (holds<double>(first)) return integrate<double>(self, frames, variance, n_threads);
  throw midas::InputError("the frame has dtype " + py::str(first.dtype()).cast<std::string>() +
                          "; expected uint8, uint16, uint32, int16, int32, float32 or float64");
}

}  // namespace

void bind_robust(py::module_& m) {
  using midas::RobustIntegrator;
  py::class_<RobustIntegrator>(m, "RobustIntegrator")
      .def(py::init([](const midas::CakeMap& map, const std::string& method, const std::array<double, 2>& trim,
                       double threshold, std::int64_t max_iterations, double tolerance, const std::string& sigma,
                       const std::optional<Array<double>>& dark, const std::optional<Array<double>>& scale,
                       const std::optional<Array<std::uint8_t>>& mask, const std::vector<double>& bad_values,
                       double saturation, bool negative_counts, bool normalize, int n_threads) {
             midas::CakeInput input;
             input.dark = of_pixels(map, dark, "the dark");
             input.scale = of_pixels(map, scale, "the correction");
             input.mask = of_pixels(map, mask, "the mask");
             input.bad_values = bad_values;
             input.saturation = saturation;
             input.negative_counts = negative_counts;
             input.normalize = normalize;
             return prepare(map, {method, trim, threshold, max_iterations, tolerance, sigma}, input, n_threads);
           }),
           py::arg("map"), py::kw_only(), py::arg("method"), py::arg("trim") = std::array<double, 2>{0.1, 0.1},
           py::arg("threshold") = 5.0, py::arg("max_iterations") = 10, py::arg("tolerance") = 0.0,
           py::arg("sigma") = "scatter", py::arg("dark").noconvert() = py::none(),
           py::arg("scale").noconvert() = py::none(), py::arg("mask").noconvert() = py::none(),
           py::arg("bad_values") = std::vector<double>(),
           py::arg("saturation") = std::numeric_limits<double>::infinity(), py::arg("negative_counts") = false,
           py::arg("normalize") = true, py::arg("n_threads") = 0)
      .def("apply", &apply, py::arg("frames"), py::kw_only(), py::arg("variance") = true, py::arg("n_threads") = 0);
}

}  // namespace midas_bindings
