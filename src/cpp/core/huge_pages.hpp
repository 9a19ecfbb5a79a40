// Large memory in huge pages, where the system has them: with pages of 4 kB every bin wants a page of its own, since
// bins that neighbour in the image lie far apart.
#ifndef MIDAS_HUGE_PAGES_HPP
#define MIDAS_HUGE_PAGES_HPP

#include <cstddef>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace midas {

constexpr std::align_val_t HUGE_PAGE{std::size_t{1} << 21};

// Throws std::bad_alloc.
inline void* allocate_huge(std::size_t size) {
  void* const data = ::operator new(size, HUGE_PAGE);
#if defined(MADV_HUGEPAGE)
  madvise(data, size, MADV_HUGEPAGE);
#endif
  return data;
}

inline void free_huge(void* data) { ::operator delete(data, HUGE_PAGE); }

}  // namespace midas

#endif
