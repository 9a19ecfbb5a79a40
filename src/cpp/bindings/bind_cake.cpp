// midas._core.CakeMap and Integrator: core/cake_map.hpp and core/cake.hpp. Angles are degrees on the Python side.
#include <memory>
#include <optional>

#include "arrays.hpp"
#include "cake.hpp"
#include "cake_map.hpp"
#include "cake_map_check.hpp"
#include "module.hpp"
#include "packed.hpp"
#include "parallel.hpp"
#include "result_memory.hpp"

namespace midas_bindings {

namespace {

std::vector<double> to_vector(const Array<double>& values, double factor) {
  std::vector<double> out(values.data(), values.data() + values.size());
  for (double& v : out) v *= factor;
  return out;
}

std::shared_ptr<midas::CakeMap> build(const midas::Projection& projection, const std::array<std::int64_t, 2>& shape,
                                      const std::array<std::int64_t, 3>& layout, const Array<double>& radius_edges,
                                      const Array<double>& eta_edges, const std::optional<Array<std::uint8_t>>& mask,
                                      int n_threads) {
  const midas::PixelLayout pixels{shape[1], shape[0], layout[0], layout[2], layout[1]};
  if (mask && mask->size() != pixels.n_y * pixels.n_z) {
    throw midas::InputError("the mask has " + std::to_string(mask->size()) + " elements; expected " +
                            std::to_string(pixels.n_y * pixels.n_z));
  }
  const std::vector<double> radii = to_vector(radius_edges, 1.0), etas = to_vector(eta_edges, RAD_PER_DEG);
  const std::uint8_t* mask_data = mask ? mask->data() : nullptr;
  py::gil_scoped_release release;
  return std::make_shared<midas::CakeMap>(midas::build_cake_map(projection, pixels, radii, etas, mask_data, n_threads));
}

// A read-only array over memory that the owner keeps.
template <class T>
py::array view(const py::object& owner, const std::vector<T>& values) {
  py::array_t<T> array({static_cast<py::ssize_t>(values.size())}, values.data(), owner);
  array.attr("setflags")(py::arg("write") = false);
  return array;
}

// An array that takes a vector's memory over.
template <class T>
py::array to_array(std::vector<T>&& values) {
  auto owned = std::make_unique<std::vector<T>>(std::move(values));
  const T* data = owned->data();
  const auto size = static_cast<py::ssize_t>(owned->size());
  py::capsule owner(owned.release(), [](void* p) { delete static_cast<std::vector<T>*>(p); });
  return py::array_t<T>({size}, data, owner);
}

// All arrays of a map by name, read-only, over its own memory.
py::dict arrays(const py::object& self) {
  py::dict found;
  midas::for_each_array(self.cast<midas::CakeMap&>(),
                        [&](const char* name, auto& values) { found[name] = view(self, values); });
  return found;
}

template <class T>
void take(const py::dict& arrays, const char* name, std::vector<T>& values) {
  if (!arrays.contains(name)) throw midas::InputError(std::string("the map has no array ") + name);
  const py::object found = arrays[name];
  if (!py::isinstance<Array<T>>(found)) {
    throw midas::InputError(std::string("the map's ") + name + " is not a C-contiguous array of " +
                            py::str(py::dtype::of<T>()).template cast<std::string>());
  }
  const auto array = py::cast<Array<T>>(found);
  values.assign(array.data(), array.data() + array.size());
}

// A map from the arrays of another, checked: whatever they hold, nothing is read out of bounds later.
std::shared_ptr<midas::CakeMap> from_arrays(const std::array<std::int64_t, 2>& shape,
                                            const std::array<std::int64_t, 2>& frame_shape, const py::dict& arrays,
                                            int n_threads) {
  auto map = std::make_shared<midas::CakeMap>();
  map->n_radius = shape[0];
  map->n_eta = shape[1];
  map->n_rows = frame_shape[0];
  map->n_columns = frame_shape[1];
  midas::for_each_array(*map, [&](const char* name, auto& values) { take(arrays, name, values); });
  py::gil_scoped_release release;
  midas::check_cake_map(*map, n_threads);
  return map;
}

py::tuple rows(const midas::CakeMap& map, int n_threads) {
  midas::CakeRows found;
  {
    py::gil_scoped_release release;
    found = midas::cake_rows(map, n_threads);
  }
  return py::make_tuple(to_array(std::move(found.offsets)), to_array(std::move(found.pixels)),
                        to_array(std::move(found.areas)));
}

template <class T>
const T* data_for(const midas::CakeMap& map, const std::optional<Array<T>>& values, const char* what) {
  if (!values) return nullptr;
  if (values->size() != map.n_pixels()) {
    throw midas::InputError(std::string(what) + " has " + std::to_string(values->size()) + " pixels; expected " +
                            std::to_string(map.n_pixels()));
  }
  return values->data();
}

std::shared_ptr<midas::Integrator> prepare(const std::shared_ptr<midas::CakeMap>& map,
                                           const std::optional<Array<double>>& dark,
                                           const std::optional<Array<double>>& scale,
                                           const std::optional<Array<std::uint8_t>>& mask,
                                           const std::vector<double>& bad_values, double saturation,
                                           bool negative_counts, bool normalize, int n_threads) {
  midas::CakeInput input;
  input.dark = data_for(*map, dark, "the dark");
  input.scale = data_for(*map, scale, "the correction");
  input.mask = data_for(*map, mask, "the mask");
  input.bad_values = bad_values;
  input.saturation = saturation;
  input.negative_counts = negative_counts;
  input.normalize = normalize;
  py::gil_scoped_release release;
  return std::make_shared<midas::Integrator>(map, input, midas::best_instruction_set(), n_threads);
}

// Arrays of the bins of single frames that differ from the others: frame, bin, pixels, area.
py::tuple own_arrays(const std::vector<midas::OwnBin>& own) {
  const auto n = static_cast<py::ssize_t>(own.size());
  Array<std::int64_t> frame(n);
  Array<std::int32_t> bin(n), pixels(n);
  Array<double> area(n);
  for (py::ssize_t i = 0; i < n; ++i) {
    const midas::OwnBin& b = own[static_cast<std::size_t>(i)];
    frame.mutable_data()[i] = b.frame;
    bin.mutable_data()[i] = b.bin;
    pixels.mutable_data()[i] = b.pixels;
    area.mutable_data()[i] = b.area;
  }
  return py::make_tuple(frame, bin, pixels, area);
}

template <class T, class Out, class Apply>
py::tuple integrate(const midas::Integrator& integrator, std::int64_t n, bool variance, const Apply& apply) {
  const std::vector<py::ssize_t> shape = {n, integrator.map().n_bins()};
  auto intensity = result_array<Out>(shape);
  auto variances = result_array<float>(variance ? shape : std::vector<py::ssize_t>{0});
  const midas::CakeOutput<Out> output{intensity.mutable_data(), variance ? variances.mutable_data() : nullptr};
  std::vector<midas::OwnBin> own;
  {
    py::gil_scoped_release release;
    own = apply(T{}, output);
  }
  return py::make_tuple(intensity, variance ? py::object(variances) : py::none(), own_arrays(own));
}

// Calls integrate for pixels of a dtype; apply(T, output) is to sum the frames.
template <class Out, class Apply>
py::tuple integrate_as(const py::dtype& dtype, const midas::Integrator& integrator, std::int64_t n, bool variance,
                       const Apply& apply) {
  const auto is = [&dtype](const py::dtype& other) { return dtype.equal(other); };
  if (is(py::dtype::of<std::uint8_t>())) return integrate<std::uint8_t, Out>(integrator, n, variance, apply);
  if (is(py::dtype::of<std::uint16_t>())) return integrate<std::uint16_t, Out>(integrator, n, variance, apply);
  if (is(py::dtype::of<std::uint32_t>())) return integrate<std::uint32_t, Out>(integrator, n, variance, apply);
  if (is(py::dtype::of<std::int16_t>())) return integrate<std::int16_t, Out>(integrator, n, variance, apply);
  if (is(py::dtype::of<std::int32_t>())) return integrate<std::int32_t, Out>(integrator, n, variance, apply);
  if (is(py::dtype::of<float>())) return integrate<float, Out>(integrator, n, variance, apply);
  if (is(py::dtype::of<double>())) return integrate<double, Out>(integrator, n, variance, apply);
  throw midas::InputError("the frame has dtype " + py::str(dtype).cast<std::string>() +
                          "; expected uint8, uint16, uint32, int16, int32, float32 or float64");
}

template <class Out>
py::tuple apply_to(const midas::Integrator& integrator, const std::vector<py::array>& frames, bool variance,
                   int n_threads) {
  if (frames.empty()) throw midas::InputError("there is no frame; expected at least one");
  const py::array& first = frames.front();
  std::vector<const void*> data;
  for (const py::array& frame : frames) {
    if (frame.size() != integrator.map().n_pixels()) {
      throw midas::InputError("the frame has " + std::to_string(frame.size()) + " pixels; the map was built for " +
                              std::to_string(integrator.map().n_pixels()));
    }
    if (!frame.dtype().is(first.dtype()) && !frame.dtype().equal(first.dtype())) {
      throw midas::InputError("the frames have the dtypes " + py::str(first.dtype()).cast<std::string>() + " and " +
                              py::str(frame.dtype()).cast<std::string>() + "; expected one");
    }
    if ((frame.flags() & py::array::c_style) == 0) throw midas::InputError("a frame is not C-contiguous");
    data.push_back(frame.data());
  }
  const auto n = static_cast<std::int64_t>(frames.size());
  return integrate_as<Out>(first.dtype(), integrator, n, variance, [&](auto type, const auto& output) {
    using T = decltype(type);
    std::vector<const T*> typed;
    for (const void* frame : data) typed.push_back(static_cast<const T*>(frame));
    return integrator.apply(typed.data(), n, output, n_threads);
  });
}

template <class Out>
py::tuple apply_packed_to(const midas::Integrator& integrator, const std::vector<py::bytes>& chunks,
                          const py::dtype& dtype, std::uintptr_t decompress, bool variance, int n_threads) {
  if (chunks.empty()) throw midas::InputError("there is no frame; expected at least one");
  if (decompress == 0) throw midas::InputError("there is no LZ4 to unpack with");
  const std::vector<midas::PackedChunk> packed = packed_chunks(chunks);
  const auto n = static_cast<std::int64_t>(packed.size());
  const midas::PackedFrames frames{packed.data(), n, reinterpret_cast<midas::Lz4Decompress>(decompress)};
  return integrate_as<Out>(dtype, integrator, n, variance, [&](auto type, const auto& output) {
    return integrator.apply<decltype(type)>(frames, output, n_threads);
  });
}

}  // namespace

void bind_cake(py::module_& m) {
  using midas::CakeMap;
  using midas::Integrator;
  py::class_<CakeMap, std::shared_ptr<CakeMap>>(m, "CakeMap")
      .def(py::init(&build), py::arg("projection"), py::kw_only(), py::arg("shape"), py::arg("layout"),
           py::arg("radius_edges").noconvert(), py::arg("eta_edges").noconvert(),
           py::arg("mask").noconvert() = py::none(), py::arg("n_threads") = 0)
      .def_property_readonly("shape", [](const CakeMap& map) { return py::make_tuple(map.n_radius, map.n_eta); })
      .def_property_readonly("n_pixels", &CakeMap::n_pixels)
      .def_property_readonly("n_entries", [](const CakeMap& map) { return map.area.size(); })
      .def_property_readonly("eta_overlap",
                             [](const py::object& self) { return view(self, self.cast<CakeMap&>().eta_overlap); })
      .def_property_readonly("bin_area",
                             [](const py::object& self) { return view(self, self.cast<CakeMap&>().bin_area); })
      .def_property_readonly("bin_pixels",
                             [](const py::object& self) { return view(self, self.cast<CakeMap&>().bin_pixels); })
      .def_property_readonly("arrays", &arrays)
      .def_static("from_arrays", &from_arrays, py::kw_only(), py::arg("shape"), py::arg("frame_shape"),
                  py::arg("arrays"), py::arg("n_threads") = 0)
      .def("rows", &rows, py::kw_only(), py::arg("n_threads") = 0);
  py::class_<Integrator, std::shared_ptr<Integrator>>(m, "Integrator")
      .def(py::init(&prepare), py::arg("map"), py::kw_only(), py::arg("dark").noconvert() = py::none(),
           py::arg("scale").noconvert() = py::none(), py::arg("mask").noconvert() = py::none(),
           py::arg("bad_values") = std::vector<double>(),
           py::arg("saturation") = std::numeric_limits<double>::infinity(), py::arg("negative_counts") = false,
           py::arg("normalize") = true, py::arg("n_threads") = 0)
      .def_property_readonly("bin_area",
                             [](const py::object& self) { return view(self, self.cast<Integrator&>().bin_area()); })
      .def_property_readonly("bin_pixels",
                             [](const py::object& self) { return view(self, self.cast<Integrator&>().bin_pixels()); })
      .def(
          "apply",
          [](const Integrator& self, const std::vector<py::array>& frames, bool variance, bool single, int n_threads) {
            return single ? apply_to<float>(self, frames, variance, n_threads)
                          : apply_to<double>(self, frames, variance, n_threads);
          },
          py::arg("frames"), py::kw_only(), py::arg("variance") = false, py::arg("single") = false,
          py::arg("n_threads") = 0)
      .def(
          "apply_packed",
          [](const Integrator& self, const std::vector<py::bytes>& chunks, const py::dtype& dtype,
             std::uintptr_t decompress, bool variance, bool single, int n_threads) {
            return single ? apply_packed_to<float>(self, chunks, dtype, decompress, variance, n_threads)
                          : apply_packed_to<double>(self, chunks, dtype, decompress, variance, n_threads);
          },
          py::arg("chunks"), py::kw_only(), py::arg("dtype"), py::arg("decompress"), py::arg("variance") = false,
          py::arg("single") = false, py::arg("n_threads") = 0);
}

}  // namespace midas_bindings
