// Memory of large results, used again when nobody holds them any more.
//
// A stack's cakes may take more memory than its frames. What is fresh from the system has to be cleared by it, page
// after page, which takes as long as caking.
#ifndef MIDAS_RESULT_MEMORY_HPP
#define MIDAS_RESULT_MEMORY_HPP

#include <cstddef>
#include <vector>

#include "arrays.hpp"

namespace midas_bindings {

constexpr std::size_t SMALL_RESULT = std::size_t{1} << 23;      // bytes below which numpy's own memory does
constexpr std::size_t MOST_IDLE_MEMORY = std::size_t{1} << 30;  // bytes that are kept for later, at most

// Memory of at least `size` bytes, uninitialised, that goes back when the capsule is dropped.
struct ResultMemory {
  void* data;
  py::capsule owner;
};
ResultMemory take_result_memory(std::size_t size);

// An uninitialised array for results.
template <class T>
Array<T> result_array(const std::vector<py::ssize_t>& shape) {
  std::size_t size = sizeof(T);
  for (const py::ssize_t n : shape) size *= static_cast<std::size_t>(n);
  if (size < SMALL_RESULT) return Array<T>(shape);
  const ResultMemory memory = take_result_memory(size);
  return Array<T>(shape, static_cast<T*>(memory.data), memory.owner);
}

}  // namespace midas_bindings

#endif
