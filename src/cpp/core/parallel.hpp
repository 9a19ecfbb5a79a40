// Threads: one place that knows whether OpenMP is there, and loops that may throw.
#ifndef MIDAS_PARALLEL_HPP
#define MIDAS_PARALLEL_HPP

#ifdef _OPENMP
#include <omp.h>
#endif

#include <atomic>
#include <cstdint>
#include <exception>

namespace midas {

// The number of threads to use: n_threads where it is positive, else all that OpenMP offers (1 without OpenMP).
inline int resolve_threads(int n_threads) {
#ifdef _OPENMP
  return n_threads > 0 ? n_threads : omp_get_max_threads();
#else
  (void)n_threads;
  return 1;
#endif
}

// Runs body(i) for i in [0, n) on n_threads, each index taken by the next free thread. An exception may not leave an
// OpenMP region: the first one is kept, the indices not begun are left out, and it is thrown again in the caller. Any
// body that allocates belongs here.
template <class Body>
void parallel_for(std::int64_t n, int n_threads, const Body& body) {
  std::exception_ptr error;
  std::atomic<bool> failed{false};
  (void)n_threads;
#pragma omp parallel for schedule(dynamic, 1) num_threads(n_threads)
  for (std::int64_t i = 0; i < n; ++i) {
    try {
      if (!failed.load(std::memory_order_relaxed)) body(i);
    } catch (...) {
      if (!failed.exchange(true)) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace midas

#endif
