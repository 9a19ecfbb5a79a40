// Levenberg-Marquardt least squares with bounds: small problems without heap memory, and problems of any size.
//
// Minimises cost(p) = sum r_i(p)^2 from the normal equations a model supplies. Marquardt's scaling, and the damping
// strategy of Nielsen (IMM-REP-1999-05, Technical University of Denmark, eq. 2.21). Bounds are held by an active set: a
// parameter on its bound whose step would leave the box is held for that step, and every trial is clamped to the box.
#ifndef MIDAS_LEVMAR_HPP
#define MIDAS_LEVMAR_HPP

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace midas {

struct LevmarOptions {
  int max_iterations = 50;
  double tolerance =
      1e-10;  // relative decrease of the cost, and step over parameter scale, at which the fit has converged
  double damping = 1e-3;  // of the first step, over the diagonal of the normal matrix; small where the start is near
};

struct LevmarResult {
  double cost = 0.0;  // sum of squared residuals at the end
  int iterations = 0;
  bool converged = false;
};

// A symmetric matrix of at most MAX rows, row-major with stride MAX, used in its lower triangle.
template <int MAX>
using SmallMatrix = std::array<double, static_cast<std::size_t>(MAX) * MAX>;

// Where a problem keeps its matrices: on the stack with room for MAX parameters, or on the heap with room for n.
template <int MAX>
struct SmallStorage {
  using Matrix = SmallMatrix<MAX>;
  using Vector = std::array<double, MAX>;
  static constexpr int stride(int) { return MAX; }
  static Matrix matrix(int) { return Matrix{}; }
  static Vector vector(int) { return Vector{}; }
};
struct HeapStorage {
  using Matrix = std::vector<double>;
  using Vector = std::vector<double>;
  static int stride(int n) { return n; }
  static Matrix matrix(int n) { return Matrix(static_cast<std::size_t>(n) * static_cast<std::size_t>(n), 0.0); }
  static Vector vector(int n) { return Vector(static_cast<std::size_t>(n), 0.0); }
};

// Factors a = L L^T in place (lower triangle). False where a is not positive definite.
template <class Storage>
bool cholesky(typename Storage::Matrix& a, int n) {
  const auto at = [&a, n](int i, int j) -> double& { return a[static_cast<std::size_t>(i * Storage::stride(n) + j)]; };
  for (int j = 0; j < n; ++j) {
    double diagonal = at(j, j);
    for (int k = 0; k < j; ++k) diagonal -= at(j, k) * at(j, k);
    if (!(diagonal > 1e-15 * std::abs(at(j, j)))) return false;
    at(j, j) = std::sqrt(diagonal);
    for (int i = j + 1; i < n; ++i) {
      double sum = at(i, j);
      for (int k = 0; k < j; ++k) sum -= at(i, k) * at(j, k);
      at(i, j) = sum / at(j, j);
    }
  }
  return true;
}

// Solves L L^T x = b in place.
template <class Storage>
void cholesky_solve(const typename Storage::Matrix& l, int n, double* b) {
  const auto at = [&l, n](int i, int j) { return l[static_cast<std::size_t>(i * Storage::stride(n) + j)]; };
  for (int i = 0; i < n; ++i) {
    for (int k = 0; k < i; ++k) b[i] -= at(i, k) * b[k];
    b[i] /= at(i, i);
  }
  for (int i = n - 1; i >= 0; --i) {
    for (int k = i + 1; k < n; ++k) b[i] -= at(k, i) * b[k];
    b[i] /= at(i, i);
  }
}

// The inverse of a symmetric positive definite matrix, both triangles filled, scaled to unit diagonal on the way (the
// parameters differ by many orders of magnitude). False where it is singular.
template <class Storage>
bool invert(const typename Storage::Matrix& a, int n, typename Storage::Matrix& inverse) {
  const auto place = [n](int i, int j) { return static_cast<std::size_t>(i * Storage::stride(n) + j); };
  auto scale = Storage::vector(n), unit = Storage::vector(n);
  auto l = Storage::matrix(n);
  for (int i = 0; i < n; ++i) {
    const double diagonal = a[place(i, i)];
    if (!(diagonal > 0.0)) return false;
    scale[static_cast<std::size_t>(i)] = 1.0 / std::sqrt(diagonal);
  }
  for (int i = 0; i < n; ++i)
    for (int j = 0; j <= i; ++j)
      l[place(i, j)] = a[place(i, j)] * scale[static_cast<std::size_t>(i)] * scale[static_cast<std::size_t>(j)];
  if (!cholesky<Storage>(l, n)) return false;
  for (int j = 0; j < n; ++j) {
    std::fill(unit.begin(), unit.end(), 0.0);
    unit[static_cast<std::size_t>(j)] = 1.0;
    cholesky_solve<Storage>(l, n, unit.data());
    for (int i = 0; i < n; ++i) {
      inverse[place(i, j)] =
          unit[static_cast<std::size_t>(i)] * scale[static_cast<std::size_t>(i)] * scale[static_cast<std::size_t>(j)];
    }
  }
  return true;
}

// Model: double normal_equations(const double* p, Storage::Matrix& jtj, double* jtr) fills the lower triangle of J^T J
// and J^T r and returns the cost; double cost(const double* p) returns the cost alone (NaN refuses the trial).
// p starts inside [lower, upper] and ends at the best point found.
template <class Storage, class Model>
LevmarResult levmar(const Model& model, int n, double* p, const double* lower, const double* upper,
                    const LevmarOptions& options) {
  const int stride = Storage::stride(n);
  auto jtj = Storage::matrix(n), damped = jtj;
  auto jtr = Storage::vector(n), step = jtr, trial = jtr, largest = jtr;
  LevmarResult result;
  result.cost = model.normal_equations(p, jtj, jtr.data());
  double damping = options.damping, growth = 2.0;
  while (result.iterations < options.max_iterations && std::isfinite(result.cost)) {
    ++result.iterations;
    damped = jtj;
    for (int i = 0; i < n; ++i) {
      const auto k = static_cast<std::size_t>(i);
      const double diagonal = jtj[static_cast<std::size_t>(i * stride + i)];
      largest[k] = std::max(largest[k], diagonal);
      step[k] = -jtr[k];
      damped[static_cast<std::size_t>(i * stride + i)] = diagonal + damping * largest[k];
      const bool held = (p[i] <= lower[i] && step[k] < 0.0) || (p[i] >= upper[i] && step[k] > 0.0) || largest[k] == 0.0;
      if (held) {
        for (int j = 0; j < n; ++j) damped[static_cast<std::size_t>(std::max(i, j) * stride + std::min(i, j))] = 0.0;
        damped[static_cast<std::size_t>(i * stride + i)] = 1.0;
        step[k] = 0.0;
      }
    }
    double predicted = 0.0, moved = 0.0, trial_cost = result.cost;
    const bool solved = cholesky<Storage>(damped, n);
    if (solved) {
      cholesky_solve<Storage>(damped, n, step.data());
      for (int i = 0; i < n; ++i) {
        const auto k = static_cast<std::size_t>(i);
        trial[k] = std::min(std::max(p[i] + step[k], lower[i]), upper[i]);
        step[k] = trial[k] - p[i];
        predicted += step[k] * (damping * largest[k] * step[k] - jtr[k]);
        moved = std::max(moved, std::abs(step[k]) * std::sqrt(largest[k]));
      }
      trial_cost = model.cost(trial.data());
    }
    // `moved` is the largest change of the residual vector that one parameter's step makes.
    const double gain = result.cost - trial_cost;
    const bool tiny = solved && moved * moved <= options.tolerance * options.tolerance * (result.cost + 1e-300);
    if (solved && gain > 0.0) {
      const double ratio = predicted > 0.0 ? gain / predicted : 1.0;
      damping *= std::max(1.0 / 3.0, 1.0 - std::pow(2.0 * ratio - 1.0, 3));
      growth = 2.0;
      const bool small_gain = gain <= options.tolerance * result.cost;
      std::copy(trial.begin(), trial.begin() + n, p);
      result.cost = model.normal_equations(p, jtj, jtr.data());
      if (tiny || small_gain || result.cost == 0.0) {
        result.converged = true;
        break;
      }
    } else {
      if (tiny) {
        result.converged = true;
        break;
      }
      damping *= growth;
      growth *= 2.0;
      if (!(damping < 1e16)) {  // no descent in any direction: the cost is flat to rounding
        result.converged = solved;
        break;
      }
    }
  }
  return result;
}

// The same for at most MAX parameters, on the stack.
template <int MAX>
bool invert(const SmallMatrix<MAX>& a, int n, SmallMatrix<MAX>& inverse) {
  return invert<SmallStorage<MAX>>(a, n, inverse);
}
template <int MAX, class Model>
LevmarResult levmar(const Model& model, int n, double* p, const double* lower, const double* upper,
                    const LevmarOptions& options) {
  return levmar<SmallStorage<MAX>>(model, n, p, lower, upper, options);
}

}  // namespace midas

#endif
