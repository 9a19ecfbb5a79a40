// midas._core.unpack_bitshuffle_lz4: core/bitshuffle.hpp. Chunks are bytes, the result is an array that the caller
// made.
#include "arrays.hpp"
#include "bitshuffle.hpp"
#include "module.hpp"
#include "packed.hpp"

namespace midas_bindings {

namespace {

void unpack(const std::vector<py::bytes>& chunks, py::array out, std::uintptr_t decompress, int n_threads) {
  if (!out.writeable() || (out.flags() & py::array::c_style) == 0)
    throw midas::InputError("the array to unpack into must be C-contiguous and writeable");
  const auto n_chunks = static_cast<std::int64_t>(chunks.size());
  if (n_chunks == 0 || out.ndim() < 1 || out.shape(0) != n_chunks) {
    throw midas::InputError("there are " + std::to_string(n_chunks) +
                            " chunks; expected as many as the array's first " + "axis is long, and one at least");
  }
  if (decompress == 0) throw midas::InputError("there is no LZ4 to unpack with");
  const std::vector<midas::PackedChunk> packed = packed_chunks(chunks);
  const std::int64_t n_elements = out.size() / n_chunks, element_size = out.itemsize();
  auto* const to = static_cast<std::uint8_t*>(out.mutable_data());
  py::gil_scoped_release release;
  midas::unpack_bitshuffle_lz4(packed.data(), n_chunks, n_elements, element_size,
                               reinterpret_cast<midas::Lz4Decompress>(decompress), to, n_threads);
}

}  // namespace

void bind_bitshuffle(py::module_& m) {
  m.def("unpack_bitshuffle_lz4", &unpack, py::arg("chunks"), py::arg("out").noconvert(), py::arg("decompress"),
        py::kw_only(), py::arg("n_threads") = 0);
}

}  // namespace midas_bindings
