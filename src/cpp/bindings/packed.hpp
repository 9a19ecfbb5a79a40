// Compressed chunks as Python holds them: bytes.
#ifndef MIDAS_BINDINGS_PACKED_HPP
#define MIDAS_BINDINGS_PACKED_HPP

#include <pybind11/pybind11.h>

#include <vector>

#include "bitshuffle.hpp"

namespace midas_bindings {

// Views of chunks, which must outlive them.
inline std::vector<midas::PackedChunk> packed_chunks(const std::vector<pybind11::bytes>& chunks) {
  std::vector<midas::PackedChunk> packed;
  for (const pybind11::bytes& chunk : chunks) {
    char* data = nullptr;
    pybind11::ssize_t size = 0;
    if (PyBytes_AsStringAndSize(chunk.ptr(), &data, &size) != 0) throw pybind11::error_already_set();
    packed.push_back({reinterpret_cast<const std::uint8_t*>(data), size});
  }
  return packed;
}

}  // namespace midas_bindings

#endif
