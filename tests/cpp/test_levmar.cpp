// Levenberg-Marquardt on problems with known answers.
#include <algorithm>
#include <vector>

#include "check.hpp"
#include "levmar.hpp"

namespace {

using midas_test::check;
using midas_test::check_close;

// y = p0 + p1 x: linear, so the answer and the covariance are known by hand.
struct Line {
  std::vector<double> x, y;
  double cost(const double* p) const {
    double sum = 0.0;
    for (std::size_t i = 0; i < x.size(); ++i) sum += (p[0] + p[1] * x[i] - y[i]) * (p[0] + p[1] * x[i] - y[i]);
    return sum;
  }
  double normal_equations(const double* p, midas::SmallMatrix<4>& jtj, double* jtr) const {
    return fill(p, jtj, 4, jtr);
  }
  double normal_equations(const double* p, std::vector<double>& jtj, double* jtr) const { return fill(p, jtj, 2, jtr); }
  template <class Matrix>
  double fill(const double* p, Matrix& jtj, std::size_t stride, double* jtr) const {
    std::fill(jtj.begin(), jtj.end(), 0.0);
    jtr[0] = jtr[1] = 0.0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double r = p[0] + p[1] * x[i] - y[i];
      jtj[0] += 1.0;
      jtj[stride] += x[i];
      jtj[stride + 1] += x[i] * x[i];
      jtr[0] += r;
      jtr[1] += r * x[i];
    }
    return cost(p);
  }
};

constexpr double FAR = 1e30;

void test_line() {
  const Line line{{0.0, 1.0, 2.0, 3.0}, {1.0, 3.0, 5.0, 7.0}};
  double p[2] = {0.0, 0.0};
  const double lower[2] = {-FAR, -FAR}, upper[2] = {FAR, FAR};
  const midas::LevmarResult r = midas::levmar<4>(line, 2, p, lower, upper, {100, 1e-12});
  check(r.converged, "a line converges");
  check_close(p[0], 1.0, 1e-6, "intercept");
  check_close(p[1], 2.0, 1e-6, "slope");
}

void test_heap() {
  const Line line{{0.0, 1.0, 2.0, 3.5}, {1.0, 3.5, 5.0, 7.0}};
  double on_stack[2] = {0.0, 0.0}, on_heap[2] = {0.0, 0.0};
  const double lower[2] = {-FAR, -FAR}, upper[2] = {FAR, FAR};
  midas::levmar<4>(line, 2, on_stack, lower, upper, {100, 1e-12});
  midas::levmar<midas::HeapStorage>(line, 2, on_heap, lower, upper, {100, 1e-12});
  check(on_stack[0] == on_heap[0] && on_stack[1] == on_heap[1], "the same bytes with matrices on the heap");
  std::vector<double> a = {4.0, 0.0, 2.0, 3.0}, inverse(4, 0.0);
  check(midas::invert<midas::HeapStorage>(a, 2, inverse), "a positive definite matrix has an inverse");
  check_close(inverse[1], -0.25, 1e-15, "inverse 01");
  check_close(inverse[3], 0.5, 1e-15, "inverse 11");
}

void test_bound() {
  const Line line{{0.0, 1.0, 2.0, 3.0}, {1.0, 3.0, 5.0, 7.0}};
  double p[2] = {0.0, 0.0};
  const double lower[2] = {-FAR, -FAR}, upper[2] = {FAR, 1.0};
  const midas::LevmarResult r = midas::levmar<4>(line, 2, p, lower, upper, {100, 1e-12});
  check(r.converged, "a bounded line converges");
  check_close(p[1], 1.0, 0.0, "the slope stays on its bound");
  check_close(p[0], 2.5, 1e-6, "the intercept is the best for that slope: mean(y - x)");
}

// Rosenbrock's valley: r = (10 (y - x^2), 1 - x), minimum 0 at (1, 1).
struct Valley {
  double cost(const double* p) const {
    const double a = 10.0 * (p[1] - p[0] * p[0]), b = 1.0 - p[0];
    return a * a + b * b;
  }
  double normal_equations(const double* p, midas::SmallMatrix<4>& jtj, double* jtr) const {
    const double a = 10.0 * (p[1] - p[0] * p[0]), b = 1.0 - p[0], ax = -20.0 * p[0], ay = 10.0, bx = -1.0;
    jtj.fill(0.0);
    jtj[0] = ax * ax + bx * bx;
    jtj[4] = ax * ay;
    jtj[5] = ay * ay;
    jtr[0] = ax * a + bx * b;
    jtr[1] = ay * a;
    return cost(p);
  }
};

void test_valley() {
  double p[2] = {-1.2, 1.0};
  const double lower[2] = {-FAR, -FAR}, upper[2] = {FAR, FAR};
  const midas::LevmarResult r = midas::levmar<4>(Valley{}, 2, p, lower, upper, {200, 1e-12});
  check(r.converged, "Rosenbrock's valley converges");
  check_close(p[0], 1.0, 1e-6, "valley x");
  check_close(p[1], 1.0, 1e-6, "valley y");
}

void test_invert() {
  midas::SmallMatrix<4> a{}, inverse{};
  a[0] = 4.0;
  a[4] = 2.0;
  a[5] = 3.0;
  check(midas::invert<4>(a, 2, inverse), "a positive definite matrix has an inverse");
  check_close(inverse[0], 0.375, 1e-15, "inverse 00");
  check_close(inverse[1], -0.25, 1e-15, "inverse 01");
  check_close(inverse[5], 0.5, 1e-15, "inverse 11");
  a[5] = 1.0;  // 4 * 1 - 2 * 2 = 0
  check(!midas::invert<4>(a, 2, inverse), "a singular matrix has none");
}

}  // namespace

int main() {
  test_line();
  test_heap();
  test_bound();
  test_valley();
  test_invert();
  return midas_test::failures() == 0 ? 0 : 1;
}
