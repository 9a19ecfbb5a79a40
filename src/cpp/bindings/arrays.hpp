// Arrays at the border: what every bind_*.cpp shares.
#ifndef MIDAS_BINDINGS_ARRAYS_HPP
#define MIDAS_BINDINGS_ARRAYS_HPP

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <vector>

#include "error.hpp"
#include "geometry.hpp"

namespace midas_bindings {

namespace py = pybind11;

// Angles are degrees in Python, radians in the core.
constexpr double RAD_PER_DEG = midas::PI / 180.0;

// A C-contiguous array of exactly this dtype: pybind11 refuses others, because arguments are declared noconvert.
template <class T>
using Array = py::array_t<T, py::array::c_style>;

inline void require_same_size(const py::array& a, const py::array& b, const char* what) {
  if (a.size() != b.size()) {
    throw midas::InputError(std::string(what) + " have " + std::to_string(a.size()) + " and " +
                            std::to_string(b.size()) + " elements; expected the same number");
  }
}

template <class T>
Array<T> empty_like(const py::array& model) {
  return Array<T>(std::vector<py::ssize_t>(model.shape(), model.shape() + model.ndim()));
}

}  // namespace midas_bindings

#endif
