// What each bind_*.cpp adds to the module.
#ifndef MIDAS_BINDINGS_MODULE_HPP
#define MIDAS_BINDINGS_MODULE_HPP

#include <pybind11/pybind11.h>

namespace midas_bindings {

void bind_bitshuffle(pybind11::module_& m);
void bind_cake(pybind11::module_& m);
void bind_defects(pybind11::module_& m);
void bind_errors(pybind11::module_& m);
void bind_geometry(pybind11::module_& m);
void bind_calibration(pybind11::module_& m);
void bind_center_search(pybind11::module_& m);
void bind_lineout_peaks(pybind11::module_& m);
void bind_ring_search(pybind11::module_& m);
void bind_robust(pybind11::module_& m);
void bind_simulate(pybind11::module_& m);

}  // namespace midas_bindings

#endif
