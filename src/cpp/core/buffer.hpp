// Memory for vectors to lie in, in huge pages where it is large and the system has them.
#ifndef MIDAS_BUFFER_HPP
#define MIDAS_BUFFER_HPP

#include <algorithm>
#include <cstddef>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace midas {

// Numbers, 0 at first.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { release(); }

  // The numbers, of which there are at least `size`; what is added is 0.
  T* get(std::size_t size) {
    if (size > size_) {
      release();
      alignment_ = std::align_val_t{size * sizeof(T) < 2 * HUGE_PAGE ? WIDEST_VECTOR : HUGE_PAGE};
      data_ = static_cast<T*>(::operator new(size * sizeof(T), alignment_));
      size_ = size;
      // Sums of bins that neighbour in the image lie far apart: with pages of 4 kB each wants a page of its own.
#if defined(MADV_HUGEPAGE)
      if (alignment_ == std::align_val_t{HUGE_PAGE}) madvise(data_, size * sizeof(T), MADV_HUGEPAGE);
#endif
      std::fill(data_, data_ + size_, T{0});
    }
    return data_;
  }

 private:
  static constexpr std::size_t WIDEST_VECTOR = 128;  // bytes: 16 doubles
  static constexpr std::size_t HUGE_PAGE = std::size_t{1} << 21;

  void release() {
    if (data_ != nullptr) ::operator delete(data_, alignment_);
    data_ = nullptr;
    size_ = 0;
  }

  T* data_ = nullptr;
  std::size_t size_ = 0;
  std::align_val_t alignment_{WIDEST_VECTOR};
};

}  // namespace midas

#endif
