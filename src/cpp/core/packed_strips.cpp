// Unpacks frames strip by strip: packed_strips.hpp.
#include "packed_strips.hpp"

#include <algorithm>

namespace midas {

template <class T>
PackedStrips<T>::PackedStrips(const PackedFrames& frames, std::int64_t first, std::int64_t n, std::int64_t n_rows,
                              std::int64_t n_columns)
    : frames_(frames), first_(first), n_(n), n_elements_(n_rows * n_columns), n_columns_(n_columns) {
  restart();
}

template <class T>
void PackedStrips<T>::restart() {
  open_.clear();
  for (std::int64_t i = first_; i < first_ + n_; ++i) {
    constexpr auto SIZE = static_cast<std::int64_t>(sizeof(T));
    open_.push_back({ChunkReader(frames_.chunks[i], i, n_elements_, SIZE, frames_.decompress), 0, {}});
  }
}

template <class T>
typename PackedStrips<T>::Rows PackedStrips<T>::rows(std::int64_t first, std::int64_t end) {
  Rows rows{};
  for (std::size_t f = 0; f < LANES; ++f)
    rows[f] = f < open_.size() ? elements(open_[f], first * n_columns_, end * n_columns_) : rows[f - 1];
  return rows;
}

template <class T>
const T* PackedStrips<T>::elements(Frame& frame, std::int64_t begin, std::int64_t end) {
  ChunkReader& reader = frame.reader;
  const std::int64_t held_to = reader.at();
  if (held_to < end) {
    if (begin < held_to) {
      const auto first = frame.held.begin() + (begin - frame.begin);
      std::copy(first, first + (held_to - begin), frame.held.begin());
    }
    while (reader.at() + reader.next_elements() <= begin) reader.skip();
    frame.begin = begin < held_to ? begin : reader.at();
    const auto most = static_cast<std::size_t>(end - frame.begin + reader.block_elements());
    if (frame.held.size() < most) frame.held.resize(most);
    while (reader.at() < end)
      reader.next(reinterpret_cast<std::uint8_t*>(frame.held.data() + (reader.at() - frame.begin)), shuffled_);
  }
  return frame.held.data() + (begin - frame.begin);
}

template <class T>
void PackedStrips<T>::finish() {
  for (Frame& frame : open_)
    while (frame.reader.at() < n_elements_) frame.reader.skip();
}

template class PackedStrips<std::uint8_t>;
template class PackedStrips<std::uint16_t>;
template class PackedStrips<std::uint32_t>;
template class PackedStrips<std::int16_t>;
template class PackedStrips<std::int32_t>;
template class PackedStrips<float>;
template class PackedStrips<double>;

}  // namespace midas
