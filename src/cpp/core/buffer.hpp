// Memory for vectors to lie in.
#ifndef MIDAS_BUFFER_HPP
#define MIDAS_BUFFER_HPP

#include <algorithm>
#include <cstddef>
#include <new>

#include "huge_pages.hpp"

namespace midas {

// Numbers, 0 at first.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { release(); }

  // The numbers, of which there are at least `size`; those that are added are 0, and so are all then.
  T* get(std::size_t size) {
    if (size > size_) {
      release();
      huge_ = size * sizeof(T) >= LARGE;
      data_ =
          static_cast<T*>(huge_ ? allocate_huge(size * sizeof(T)) : ::operator new(size * sizeof(T), WIDEST_VECTOR));
      size_ = size;
      std::fill(data_, data_ + size_, T{0});
    }
    return data_;
  }

 private:
  static constexpr std::align_val_t WIDEST_VECTOR{128};  // bytes: 16 doubles
  static constexpr std::size_t LARGE = std::size_t{1} << 22;

  void release() {
    if (data_ != nullptr && huge_) free_huge(data_);
    if (data_ != nullptr && !huge_) ::operator delete(data_, WIDEST_VECTOR);
    data_ = nullptr;
    size_ = 0;
  }

  T* data_ = nullptr;
  std::size_t size_ = 0;
  bool huge_ = false;
};

}  // namespace midas

#endif
