// Threads: one place that knows whether OpenMP is there.
#ifndef MIDAS_PARALLEL_HPP
#define MIDAS_PARALLEL_HPP

#ifdef _OPENMP
#include <omp.h>
#endif

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

}  // namespace midas

// Marks a hot kernel that the compiler builds for several instruction sets, chosen at run time where the loader can do
// it (GCC on x86-64 Linux). Mark the loop inside the parallel region: OpenMP's outlined bodies do not inherit the
// choice.
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__linux__) && \
    !defined(__SANITIZE_ADDRESS__)
#define MIDAS_DISPATCH __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define MIDAS_DISPATCH
#endif

#endif
