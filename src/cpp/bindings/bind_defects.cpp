// midas._core.find_defects, nearest_usable and median_filter: the hot and dead pixels of core/defects.hpp, what masked
// ones are filled from (core/nearest.hpp), and the background around them (core/median.hpp).
#include "arrays.hpp"
#include "defects.hpp"
#include "median.hpp"
#include "module.hpp"
#include "nearest.hpp"

namespace midas_bindings {

namespace {

Array<std::uint8_t> find_defects(const Array<float>& counts, const Array<std::uint8_t>& mask, double hot_ratio,
                                 double hot_sigma, double dead_ratio, double dead_level, int n_threads) {
  if (counts.ndim() != 2) throw midas::InputError("the image must have two dimensions (rows, columns)");
  require_same_size(counts, mask, "image and mask");
  Array<std::uint8_t> defects = empty_like<std::uint8_t>(counts);
  const float* in = counts.data();
  const std::uint8_t* masked = mask.data();
  std::uint8_t* out = defects.mutable_data();
  const std::int64_t n_z = counts.shape(0), n_y = counts.shape(1);
  py::gil_scoped_release release;
  midas::find_defects(in, masked, n_z, n_y, {hot_ratio, hot_sigma, dead_ratio, dead_level}, out, n_threads);
  return defects;
}

Array<std::int64_t> nearest_usable(const Array<std::uint8_t>& mask, int n_threads) {
  if (mask.ndim() != 2) throw midas::InputError("the mask must have two dimensions (rows, columns)");
  Array<std::int64_t> nearest = empty_like<std::int64_t>(mask);
  const std::uint8_t* masked = mask.data();
  std::int64_t* out = nearest.mutable_data();
  const std::int64_t n_z = mask.shape(0), n_y = mask.shape(1);
  py::gil_scoped_release release;
  midas::nearest_usable(masked, n_z, n_y, out, n_threads);
  return nearest;
}

Array<float> median_filter(const Array<float>& values, std::int64_t half, int n_threads) {
  if (values.ndim() != 2) throw midas::InputError("the image must have two dimensions (rows, columns)");
  Array<float> median = empty_like<float>(values);
  const float* in = values.data();
  float* out = median.mutable_data();
  const std::int64_t n_z = values.shape(0), n_y = values.shape(1);
  py::gil_scoped_release release;
  midas::median_filter(in, n_z, n_y, half, out, n_threads);
  return median;
}

}  // namespace

void bind_defects(py::module_& m) {
  m.attr("DEFECT_HOT") = static_cast<int>(midas::DEFECT_HOT);
  m.attr("DEFECT_DEAD") = static_cast<int>(midas::DEFECT_DEAD);
  m.def("find_defects", &find_defects, py::arg("counts").noconvert(), py::arg("mask").noconvert(), py::kw_only(),
        py::arg("hot_ratio"), py::arg("hot_sigma"), py::arg("dead_ratio"), py::arg("dead_level"),
        py::arg("n_threads") = 0);
  m.def("nearest_usable", &nearest_usable, py::arg("mask").noconvert(), py::kw_only(), py::arg("n_threads") = 0);
  m.def("median_filter", &median_filter, py::arg("values").noconvert(), py::kw_only(), py::arg("half"),
        py::arg("n_threads") = 0);
}

}  // namespace midas_bindings
