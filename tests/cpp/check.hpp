// The few lines a C++ test needs: checks that print what was found and a count that becomes the exit status.
#ifndef MIDAS_TESTS_CHECK_HPP
#define MIDAS_TESTS_CHECK_HPP

#include <cmath>
#include <cstdio>

namespace midas_test {

inline int& failures() {
  static int count = 0;
  return count;
}

inline void check(bool passed, const char* what) {
  if (!passed) {
    std::printf("FAILED: %s\n", what);
    ++failures();
  }
}

inline void check_close(double found, double expected, double tolerance, const char* what) {
  if (!(std::abs(found - expected) <= tolerance)) {
    std::printf("FAILED: %s: found %.12g, expected %.12g within %.3g\n", what, found, expected, tolerance);
    ++failures();
  }
}

// True when calling f throws an Expected.
template <class Expected, class F>
bool throws(F f) {
  try {
    f();
  } catch (const Expected&) {
    return true;
  }
  return false;
}

}  // namespace midas_test

#endif
