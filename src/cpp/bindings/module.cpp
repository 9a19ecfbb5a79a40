// The private extension module midas._core.
#include "module.hpp"

PYBIND11_MODULE(_core, m) {
  m.doc() = "The compiled core of midas. Private: use the functions of the midas package.";
  midas_bindings::bind_errors(m);
  midas_bindings::bind_geometry(m);
  midas_bindings::bind_calibration(m);
  midas_bindings::bind_bitshuffle(m);
  midas_bindings::bind_cake(m);
  midas_bindings::bind_center_search(m);
  midas_bindings::bind_ring_search(m);
  midas_bindings::bind_lineout_peaks(m);
  midas_bindings::bind_defects(m);
  midas_bindings::bind_robust(m);  // after the map it is made of
  midas_bindings::bind_simulate(m);
}
