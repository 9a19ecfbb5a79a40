// C++ exceptions become the Python errors of the same name (midas.errors), here and only here.
#include <pybind11/pybind11.h>

#include "error.hpp"
#include "module.hpp"
#include "parallel.hpp"

namespace midas_bindings {

namespace py = pybind11;

namespace {

void raise(const char* name, const char* message) {
  const py::object type = py::module_::import("midas.errors").attr(name);
  PyErr_SetString(type.ptr(), message);
}

}  // namespace

void bind_errors(py::module_& m) {
  py::register_local_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const midas::InputError& e) {
      raise("InputError", e.what());
    } catch (const midas::FormatError& e) {
      raise("FormatError", e.what());
    } catch (const midas::GeometryError& e) {
      raise("GeometryError", e.what());
    } catch (const midas::FitError& e) {
      raise("FitError", e.what());
    } catch (const midas::Error& e) {
      raise("MidasError", e.what());
    }
  });
  m.def("max_threads", []() { return midas::resolve_threads(0); });
#ifdef _OPENMP
  m.attr("HAS_OPENMP") = true;
#else
  m.attr("HAS_OPENMP") = false;
#endif
}

}  // namespace midas_bindings
