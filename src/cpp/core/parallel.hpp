// Threads: one place that knows whether OpenMP is there, and loops that may throw.
//
// The thread sanitizer does not see OpenMP's own synchronisation and would report every result that a loop hands back.
// For it, and for it alone, the same loops run on std::thread (MIDAS_STD_THREADS, CMake's MIDAS_SANITIZE=thread).
#ifndef MIDAS_PARALLEL_HPP
#define MIDAS_PARALLEL_HPP

#ifdef MIDAS_STD_THREADS
#include <thread>
#include <vector>
#elif defined(_OPENMP)
#include <omp.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>

namespace midas {

// The number of threads to use: n_threads where it is positive, else all that OpenMP offers (1 without OpenMP).
inline int resolve_threads(int n_threads) {
#ifdef MIDAS_STD_THREADS
  return n_threads > 0 ? n_threads : 2;
#elif defined(_OPENMP)
  return n_threads > 0 ? n_threads : omp_get_max_threads();
#else
  (void)n_threads;
  return 1;
#endif
}

// Runs body(i), which must not throw, for i in [0, n) on n_threads, each index taken by the next free thread.
template <class Body>
void share_out(std::int64_t n, int n_threads, const Body& body) {
#ifdef MIDAS_STD_THREADS
  std::atomic<std::int64_t> next{0};
  const auto work = [&] {
    for (std::int64_t i = next++; i < n; i = next++) body(i);
  };
  std::vector<std::thread> others;
  for (int t = 1; t < n_threads; ++t) others.emplace_back(work);
  work();
  for (std::thread& other : others) other.join();
#else
  (void)n_threads;
#pragma omp parallel for schedule(dynamic, 1) num_threads(n_threads)
  for (std::int64_t i = 0; i < n; ++i) body(i);
#endif
}

// Runs body(i) for i in [0, n) on n_threads, each index taken by the next free thread. An exception may not leave an
// OpenMP region: the first one is kept, the indices not begun are left out, and it is thrown again in the caller. Any
// body that allocates belongs here.
template <class Body>
void parallel_for(std::int64_t n, int n_threads, const Body& body) {
  std::exception_ptr error;
  std::atomic<bool> failed{false};
  share_out(n, n_threads, [&](std::int64_t i) {
    try {
      if (!failed.load(std::memory_order_relaxed)) body(i);
    } catch (...) {
      if (!failed.exchange(true)) error = std::current_exception();
    }
  });
  if (error) std::rethrow_exception(error);
}

// The same for many short turns, which each thread takes `block` at a time.
template <class Body>
void parallel_for_blocks(std::int64_t n, std::int64_t block, int n_threads, const Body& body) {
  parallel_for((n + block - 1) / block, n_threads, [&](std::int64_t b) {
    for (std::int64_t i = b * block; i < std::min(n, (b + 1) * block); ++i) body(i);
  });
}

}  // namespace midas

#endif
