// Votes of normals, sharpness of distances and the aim along normals. Equations: center_search.hpp.
#include "center_search.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>

#include "error.hpp"
#include "levmar.hpp"
#include "parallel.hpp"

namespace midas {

namespace {

constexpr double NEAREST_VOTE = 8.0;       // [px] closer in, any curved edge votes for itself
constexpr double VOTE_SPREAD = 100.0;      // [px] at which the error of a normal has spread its vote to twice the cell
constexpr std::int64_t MOST_BINS = 20000;  // of a table over the radius

// ---- votes ----

void cast_votes(const RidgeView& p, const TiltGuess& guess, const VoteGrid& grid, std::vector<float>& votes) {
  std::fill(votes.begin(), votes.end(), 0.0F);
  const double per_cell = 1.0 / grid.cell;
  const auto k = static_cast<float>(guess.inverse_distance), cells_y = static_cast<float>(grid.n_y),
             cells_z = static_cast<float>(grid.n_z), scale = static_cast<float>(per_cell);
  const auto n_y = static_cast<double>(grid.n_y), n_z = static_cast<double>(grid.n_z);
  const double middle_y = guess.low_y + 0.5 * n_y * grid.cell, middle_z = guess.low_z + 0.5 * n_z * grid.cell;
  const double reach = 0.5 * std::hypot(n_y, n_z) * grid.cell;
  const auto n = static_cast<std::int64_t>(2.0 * reach * per_cell);
  std::vector<double> share;  // of a vote this many cells away
  // The cell of the grid that each step along a curve lies in, or -1.
  std::vector<std::int32_t> cell(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < p.n; ++i) {
    const double ny = p.normal_y[i], nz = p.normal_z[i];  // along the ring: (-nz, ny)
    if (ny == 0.0 && nz == 0.0) continue;
    const double tau = guess.u_z * ny - guess.u_y * nz, nu = guess.u_y * ny + guess.u_z * nz;
    const double y = (p.y[i] - guess.low_y) * per_cell, z = (p.z[i] - guess.low_z) * per_cell;
    // Along the normal the curve can only be on the grid this near to the grid's middle.
    const double nearest = (p.y[i] - middle_y) * ny + (p.z[i] - middle_z) * nz;
    const double farthest = (std::abs(nearest) + reach) * per_cell;
    while (static_cast<double>(share.size()) <= farthest)
      share.push_back(1.0 / (1.0 + (static_cast<double>(share.size()) + 0.5) * grid.cell / VOTE_SPREAD));
    // Single precision: a thousandth of a cell is enough, and four steps go through a register.
    const auto first = static_cast<float>(nearest - reach), step = static_cast<float>(grid.cell);
    const auto across_y = static_cast<float>(ny), across_z = static_cast<float>(nz);
    const auto along = static_cast<float>(tau), outward = static_cast<float>(nu), rest = 1.0F - along * along;
    const auto from_y = static_cast<float>(y), from_z = static_cast<float>(z);
    const auto width = static_cast<std::int32_t>(grid.n_y);
#pragma omp simd
    for (std::int32_t j = 0; j < static_cast<std::int32_t>(n); ++j) {
      const float beta = first + static_cast<float>(j) * step;
      const float alpha = beta * along * (beta * k + outward) / (rest + beta * k * outward);
      const float vy = from_y - (beta * across_y - alpha * across_z) * scale;
      const float vz = from_z - (beta * across_z + alpha * across_y) * scale;
      const bool on = vy >= 0.0F && vz >= 0.0F && vy < cells_y && vz < cells_z &&
                      std::abs(beta) >= static_cast<float>(NEAREST_VOTE);
      // what is off the grid may be beyond any integer
      const auto at_y = static_cast<std::int32_t>(on ? vy : 0.0F), at_z = static_cast<std::int32_t>(on ? vz : 0.0F);
      cell[static_cast<std::size_t>(j)] = on ? at_z * width + at_y : -1;
    }
    for (std::int64_t j = 0; j < n; ++j) {
      const std::int32_t at = cell[static_cast<std::size_t>(j)];
      if (at < 0) continue;
      const double beta = nearest - reach + static_cast<double>(j) * grid.cell;
      votes[static_cast<std::size_t>(at)] +=
          static_cast<float>(p.weight[i] * share[static_cast<std::size_t>(std::abs(beta) * per_cell)]);
    }
  }
}

// The centre of gravity of a cell and its neighbours, weighted (1 2 1) along both axes, and their weighted sum.
CenterVote gravity_at(const TiltGuess& guess, const VoteGrid& grid, const std::vector<float>& votes, std::int64_t z,
                      std::int64_t y) {
  double sum = 0.0, sum_y = 0.0, sum_z = 0.0;
  for (std::int64_t j = -1; j <= 1; ++j)
    for (std::int64_t i = -1; i <= 1; ++i) {
      const auto at = static_cast<std::size_t>((z + j) * grid.n_y + y + i);
      const double v = static_cast<double>(votes[at]) * (i == 0 ? 2.0 : 1.0) * (j == 0 ? 2.0 : 1.0);
      sum += v;
      sum_y += v * static_cast<double>(i);
      sum_z += v * static_cast<double>(j);
    }
  if (!(sum > 0.0)) return {};
  return {guess.low_y + (static_cast<double>(y) + 0.5 + sum_y / sum) * grid.cell,
          guess.low_z + (static_cast<double>(z) + 0.5 + sum_z / sum) * grid.cell, sum};
}

// The cell with the largest weighted sum over itself and its neighbours, refined to their centre of gravity.
CenterVote strongest(const TiltGuess& guess, const VoteGrid& grid, const std::vector<float>& votes) {
  const auto n_y = static_cast<std::size_t>(grid.n_y), n_z = static_cast<std::size_t>(grid.n_z);
  if (n_y < 3 || n_z < 3) return {};
  std::vector<float> column(n_y);
  float best = 0.0F;
  std::size_t best_z = 1, best_y = 1;
  for (std::size_t z = 1; z + 1 < n_z; ++z) {
    const float *above = votes.data() + (z - 1) * n_y, *row = above + n_y, *below = row + n_y;
#pragma omp simd
    for (std::size_t y = 0; y < n_y; ++y) column[y] = above[y] + 2.0F * row[y] + below[y];
    for (std::size_t y = 1; y + 1 < n_y; ++y) {
      const float sum = column[y - 1] + 2.0F * column[y] + column[y + 1];
      if (!(sum > best)) continue;
      best = sum;
      best_z = z;
      best_y = y;
    }
  }
  return gravity_at(guess, grid, votes, static_cast<std::int64_t>(best_z), static_cast<std::int64_t>(best_y));
}

// ---- aim ----

constexpr int AIM_STEPS = 10;
constexpr int N_AIMED = 5;           // beam_y, beam_z, tilt_y, tilt_z, log(distance)
constexpr double AIM_SIGMA = 0.1;    // [rad] of a normal, in the robust weight
constexpr double STEEPEST = 1.2;     // [rad]
constexpr double TILT_PRIOR = 0.5;   // [rad] standard deviations of what little may be known before
constexpr double RANGE_PRIOR = 0.7;  // of log(distance) from where it starts

using Aim = std::array<double, N_AIMED>;
using AimMatrix = SmallMatrix<N_AIMED>;

Geometry aimed(const Geometry& start, const Aim& step) {
  Geometry g = start;
  g.beam_y += step[0];
  g.beam_z += step[1];
  g.tilt_y = std::clamp(g.tilt_y + step[2], -STEEPEST, STEEPEST);
  g.tilt_z = std::clamp(g.tilt_z + step[3], -STEEPEST, STEEPEST);
  g.distance *= std::exp(step[4]);
  return g;
}

// The sine of the angle between each point's normal and the ring's through it; NaN where there is none.
void sines(const Geometry& geometry, const RidgeView& p, std::vector<double>& out) {
  const Projection projection(geometry);
  for (std::int64_t i = 0; i < p.n; ++i) {
    GeometryGradient g;
    projection.radius_gradient(p.y[i], p.z[i], g);
    // At a fixed pixel a moving beam is the pixel moving the other way; close to the beam normals say nothing.
    const double gy = -g[BEAM_Y], gz = -g[BEAM_Z], length = std::sqrt(gy * gy + gz * gz);
    const double dy = p.y[i] - geometry.beam_y, dz = p.z[i] - geometry.beam_z;
    const bool near = dy * dy + dz * dz < NEAREST_VOTE * NEAREST_VOTE;
    const bool known = (p.normal_y[i] != 0.0 || p.normal_z[i] != 0.0) && length > 0.0 && !near;
    out[static_cast<std::size_t>(i)] =
        known ? (gy * p.normal_z[i] - gz * p.normal_y[i]) / length : std::numeric_limits<double>::quiet_NaN();
  }
}

// Sum of the robust (Geman-McClure) loss of the sines, where a point without one costs as much as the worst, and of the
// priors.
double aim_cost(const RidgeView& p, const std::vector<double>& sine, const Geometry& g, double first_distance) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < p.n; ++i) {
    const double s = sine[static_cast<std::size_t>(i)] / AIM_SIGMA;
    sum += p.weight[i] * (std::isfinite(s) ? s * s / (1.0 + s * s) : 1.0);
  }
  const double range = std::log(g.distance / first_distance) / RANGE_PRIOR;
  return sum + (g.tilt_y * g.tilt_y + g.tilt_z * g.tilt_z) / (TILT_PRIOR * TILT_PRIOR) + range * range;
}

// The normal equations of the sines and the priors at a geometry.
struct AimEquations {
  AimMatrix jtj{};
  Aim jtr{};
};

AimEquations aim_equations(const Geometry& geometry, const RidgeView& p, const std::vector<double>& sine, int n_free,
                           double first_distance, std::array<std::vector<double>, N_AIMED>& moved) {
  constexpr Aim DIFFERENCE = {0.5, 0.5, 0.005, 0.005, 0.02};
  AimEquations e;
  const auto free = static_cast<std::size_t>(n_free);
  for (std::size_t k = 0; k < free; ++k) {
    Aim step{};
    step[k] = DIFFERENCE[k];
    sines(aimed(geometry, step), p, moved[k]);
  }
  for (std::size_t i = 0; i < sine.size(); ++i) {
    const double s = sine[i] / AIM_SIGMA;
    if (!std::isfinite(s)) continue;
    const double w = p.weight[i] / ((1.0 + s * s) * (1.0 + s * s));
    Aim j{};
    bool known = true;
    for (std::size_t k = 0; k < free; ++k) {
      j[k] = (moved[k][i] - sine[i]) / DIFFERENCE[k] / AIM_SIGMA;
      known = known && std::isfinite(j[k]);
    }
    if (!known) continue;
    for (std::size_t a = 0; a < free; ++a) {
      e.jtr[a] -= w * j[a] * s;
      for (std::size_t b = 0; b <= a; ++b) e.jtj[a * N_AIMED + b] += w * j[a] * j[b];
    }
  }
  if (n_free < N_AIMED) return e;
  const Aim prior = {0.0, 0.0, geometry.tilt_y / TILT_PRIOR, geometry.tilt_z / TILT_PRIOR,
                     std::log(geometry.distance / first_distance) / RANGE_PRIOR};
  const Aim scale = {0.0, 0.0, 1.0 / TILT_PRIOR, 1.0 / TILT_PRIOR, 1.0 / RANGE_PRIOR};
  for (std::size_t k = 2; k < N_AIMED; ++k) {
    e.jtj[k * N_AIMED + k] += scale[k] * scale[k];
    e.jtr[k] -= prior[k] * scale[k];
  }
  return e;
}

// The step that the damped equations give; false where they have no solution.
bool aim_step(const AimEquations& e, int n_free, double damping, Aim& step) {
  AimMatrix damped = e.jtj;
  step = e.jtr;
  for (std::size_t k = 0; k < static_cast<std::size_t>(n_free); ++k) damped[k * N_AIMED + k] *= 1.0 + damping;
  if (!cholesky<SmallStorage<N_AIMED>>(damped, n_free)) return false;
  cholesky_solve<SmallStorage<N_AIMED>>(damped, n_free, step.data());
  return std::all_of(step.begin(), step.end(), [](double v) { return std::isfinite(v); }) && std::abs(step[4]) < 10.0;
}

Geometry aim_one(Geometry geometry, const RidgeView& p, int n_free) {
  const auto n = static_cast<std::size_t>(p.n);
  const double first_distance = geometry.distance;
  std::vector<double> sine(n), trial(n);
  std::array<std::vector<double>, N_AIMED> moved;
  for (auto& m : moved) m.resize(n);
  sines(geometry, p, sine);
  double cost = aim_cost(p, sine, geometry, first_distance), damping = 1e-2;
  for (int iteration = 0; iteration < AIM_STEPS; ++iteration) {
    const AimEquations equations = aim_equations(geometry, p, sine, n_free, first_distance, moved);
    bool better = false;
    for (int attempt = 0; attempt < 4 && !better; ++attempt) {
      Aim step{};
      if (!aim_step(equations, n_free, damping, step)) return geometry;
      const Geometry next = aimed(geometry, step);
      sines(next, p, trial);
      const double next_cost = aim_cost(p, trial, next, first_distance);
      better = next_cost < cost;
      damping *= better ? 0.2 : 10.0;
      if (!better) continue;
      const bool settled = cost - next_cost < 1e-4 * cost;
      geometry = next;
      cost = next_cost;
      sine.swap(trial);
      if (settled) return geometry;
    }
    if (!better) break;
  }
  return geometry;
}

// ---- sharpness ----

constexpr std::int64_t AROUND = 4;  // bins either side of one over which the mean is taken

double sharpness(const RidgeView& p, double y, double z, double per_bin, std::vector<double>& bins) {
  std::fill(bins.begin(), bins.end(), 0.0);
  const double most = static_cast<double>(bins.size()) - 1.0;
  for (std::int64_t i = 0; i < p.n; ++i) {
    const double dy = p.y[i] - y, dz = p.z[i] - z;
    const double x = std::sqrt(dy * dy + dz * dz) * per_bin;
    if (!(x < most)) continue;
    const auto k = static_cast<std::size_t>(x);
    const double share = x - static_cast<double>(k);
    bins[k] += (1.0 - share) * p.weight[i];
    bins[k + 1] += share * p.weight[i];
  }
  const auto n = static_cast<std::int64_t>(bins.size());
  double sum = 0.0, around = 0.0;
  for (std::int64_t k = -AROUND; k < n; ++k) {
    if (k + AROUND < n) around += bins[static_cast<std::size_t>(k + AROUND)];
    if (k - AROUND > 0) around -= bins[static_cast<std::size_t>(k - AROUND - 1)];
    if (k < 0) continue;
    const double mean = around / static_cast<double>(2 * AROUND + 1), d = bins[static_cast<std::size_t>(k)] - mean;
    sum += d * d / (mean + 1.0);
  }
  return sum;
}

}  // namespace

std::vector<CenterVote> vote_centers(const RidgeView& points, const std::vector<TiltGuess>& guesses,
                                     const VoteGrid& grid, int n_threads) {
  if (points.n < 1) throw InputError("there are no ridge points; expected at least one");
  if (grid.n_y < 3 || grid.n_z < 3 || !(grid.cell > 0.0)) {
    throw InputError("the grid of votes needs at least three cells either way, of a size above 0 px");
  }
  std::vector<CenterVote> out(guesses.size());
  const int threads = resolve_threads(n_threads);
  parallel_for(static_cast<std::int64_t>(guesses.size()), threads, [&](std::int64_t i) {
    std::vector<float> votes(static_cast<std::size_t>(grid.n_y * grid.n_z));
    const TiltGuess& guess = guesses[static_cast<std::size_t>(i)];
    cast_votes(points, guess, grid, votes);
    out[static_cast<std::size_t>(i)] = strongest(guess, grid, votes);
  });
  return out;
}

std::vector<double> center_sharpness(const RidgeView& points, const std::vector<std::array<double, 2>>& centers,
                                     double bin, int n_threads) {
  if (points.n < 1) throw InputError("there are no ridge points; expected at least one");
  if (!(bin > 0.0)) throw InputError("the bins of the sharpness must be wider than 0 px");
  double farthest = 0.0;
  for (const auto& c : centers)
    for (std::int64_t i = 0; i < points.n; ++i)
      farthest = std::max(farthest, std::abs(points.y[i] - c[0]) + std::abs(points.z[i] - c[1]));
  const auto n_bins = static_cast<std::size_t>(std::min(farthest / bin, static_cast<double>(MOST_BINS))) + 2;
  std::vector<double> out(centers.size());
  constexpr std::int64_t RUN = 64;  // centers that share their work space
  const auto n = static_cast<std::int64_t>(centers.size());
  parallel_for((n + RUN - 1) / RUN, resolve_threads(n_threads), [&](std::int64_t run) {
    std::vector<double> bins(n_bins);
    for (std::int64_t i = run * RUN; i < std::min(n, (run + 1) * RUN); ++i) {
      const auto k = static_cast<std::size_t>(i);
      out[k] = sharpness(points, centers[k][0], centers[k][1], 1.0 / bin, bins);
    }
  });
  return out;
}

std::vector<Geometry> aim_beams(const std::vector<Geometry>& geometries, const RidgeView& points, bool tilts,
                                int n_threads) {
  if (points.n < 1) throw InputError("there are no ridge points; expected at least one");
  std::vector<Geometry> out(geometries.size());
  parallel_for(static_cast<std::int64_t>(out.size()), resolve_threads(n_threads), [&](std::int64_t i) {
    const auto k = static_cast<std::size_t>(i);
    out[k] = aim_one(geometries[k], points, tilts ? N_AIMED : 2);
  });
  return out;
}

}  // namespace midas
