// The exceptions of the core. bindings/bind_errors.cpp maps each, once, to the Python error of the same name.
#ifndef MIDAS_ERROR_HPP
#define MIDAS_ERROR_HPP

#include <stdexcept>
#include <string>

namespace midas {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// An argument of the wrong size or range.
class InputError : public Error {
 public:
  using Error::Error;
};

// Stored data that are not what they should be.
class FormatError : public Error {
 public:
  using Error::Error;
};

// An impossible detector geometry.
class GeometryError : public Error {
 public:
  using Error::Error;
};

// A fit that has no answer to return.
class FitError : public Error {
 public:
  using Error::Error;
};

}  // namespace midas

#endif
