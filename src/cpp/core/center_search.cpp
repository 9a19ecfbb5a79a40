// Votes of normals, sharpness of distances and the aim along normals. Equations: center_search.hpp.
#include "center_search.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "error.hpp"
#include "parallel.hpp"

namespace midas {

namespace {

constexpr double NEAREST_VOTE = 8.0;       // [px] closer in, any curved edge votes for itself
constexpr double VOTE_SPREAD = 100.0;      // [px] at which the error of a normal has spread its vote to twice the cell
constexpr std::int64_t MOST_BINS = 20000;  // of a table over the radius

// ---- votes ----

void cast_votes(const RidgeView& p, const TiltGuess& guess, const VoteGrid& grid, std::vector<float>& votes) {
  std::fill(votes.begin(), votes.end(), 0.0F);
  const double k = guess.inverse_distance, per_cell = 1.0 / grid.cell;
  const auto n_y = static_cast<double>(grid.n_y), n_z = static_cast<double>(grid.n_z);
  const double middle_y = guess.low_y + 0.5 * n_y * grid.cell, middle_z = guess.low_z + 0.5 * n_z * grid.cell;
  const double reach = 0.5 * std::hypot(n_y, n_z) * grid.cell;
  const auto n = static_cast<std::int64_t>(2.0 * reach * per_cell);
  std::vector<double> share;  // of a vote this many cells away
  for (std::int64_t i = 0; i < p.n; ++i) {
    const double ny = p.normal_y[i], nz = p.normal_z[i], ty = -nz, tz = ny;
    if (ny == 0.0 && nz == 0.0) continue;
    const double tau = guess.u_y * ty + guess.u_z * tz, nu = guess.u_y * ny + guess.u_z * nz;
    const double y = (p.y[i] - guess.low_y) * per_cell, z = (p.z[i] - guess.low_z) * per_cell;
    // Along the normal the curve can only be on the grid this near to the grid's middle.
    const double nearest = (p.y[i] - middle_y) * ny + (p.z[i] - middle_z) * nz;
    const double farthest = (std::abs(nearest) + reach) * per_cell;
    while (static_cast<double>(share.size()) <= farthest)
      share.push_back(1.0 / (1.0 + (static_cast<double>(share.size()) + 0.5) * grid.cell / VOTE_SPREAD));
    for (std::int64_t j = 0; j < n; ++j) {
      const double beta = nearest - reach + static_cast<double>(j) * grid.cell;
      if (std::abs(beta) < NEAREST_VOTE) continue;
      const double alpha = beta * tau * (beta * k + nu) / (1.0 - tau * tau + beta * k * nu);
      const double vy = y - (beta * ny + alpha * ty) * per_cell, vz = z - (beta * nz + alpha * tz) * per_cell;
      if (!(vy >= 0.0 && vz >= 0.0 && vy < n_y && vz < n_z)) continue;
      const auto at =
          static_cast<std::size_t>(static_cast<std::int64_t>(vz) * grid.n_y + static_cast<std::int64_t>(vy));
      votes[at] += static_cast<float>(p.weight[i] * share[static_cast<std::size_t>(std::abs(beta) * per_cell)]);
    }
  }
}

// The cell with the largest sum over itself and its neighbours, refined to their centre of gravity.
CenterVote strongest(const TiltGuess& guess, const VoteGrid& grid, const std::vector<float>& votes) {
  const auto at = [&](std::int64_t z, std::int64_t y) {
    return static_cast<double>(votes[static_cast<std::size_t>(z * grid.n_y + y)]);
  };
  CenterVote best;
  best.votes = -1.0;
  for (std::int64_t z = 1; z + 1 < grid.n_z; ++z)
    for (std::int64_t y = 1; y + 1 < grid.n_y; ++y) {
      double sum = 0.0, sum_y = 0.0, sum_z = 0.0;
      for (std::int64_t j = -1; j <= 1; ++j)
        for (std::int64_t i = -1; i <= 1; ++i) {
          const double v = at(z + j, y + i) * (i == 0 ? 2.0 : 1.0) * (j == 0 ? 2.0 : 1.0);
          sum += v;
          sum_y += v * static_cast<double>(i);
          sum_z += v * static_cast<double>(j);
        }
      if (sum <= best.votes || sum <= 0.0) continue;
      best = {guess.low_y + (static_cast<double>(y) + 0.5 + sum_y / sum) * grid.cell,
              guess.low_z + (static_cast<double>(z) + 0.5 + sum_z / sum) * grid.cell, sum};
    }
  best.votes = std::max(best.votes, 0.0);
  return best;
}

// ---- aim ----

constexpr int AIM_STEPS = 8;
constexpr double AIM_SIGMA = 0.1;  // [rad] of a normal, in the robust weight

// One robust least-squares step of the beam on the sines between the points' normals and the rings'. The derivative is
// that of circles, which leads to the same place.
bool aim_once(Geometry& geometry, const RidgeView& p) {
  const Projection projection(geometry);
  double a = 0.0, b = 0.0, c = 0.0, u = 0.0, v = 0.0;
  for (std::int64_t i = 0; i < p.n; ++i) {
    if (p.normal_y[i] == 0.0 && p.normal_z[i] == 0.0) continue;
    GeometryGradient g;
    const double radius = projection.radius_gradient(p.y[i], p.z[i], g);
    const double length = std::hypot(g[BEAM_Y], g[BEAM_Z]);
    const double r = std::hypot(p.y[i] - geometry.beam_y, p.z[i] - geometry.beam_z);
    if (!std::isfinite(radius) || !(length > 0.0) || r < NEAREST_VOTE) continue;
    const double ey = -g[BEAM_Y] / length, ez = -g[BEAM_Z] / length;
    const double sine = ey * p.normal_z[i] - ez * p.normal_y[i];
    const double robust = 1.0 / (1.0 + sine * sine / (AIM_SIGMA * AIM_SIGMA));
    const double w = p.weight[i] * robust * robust;
    const double jy = -((1.0 - ey * ey) * p.normal_z[i] + ey * ez * p.normal_y[i]) / r;
    const double jz = ((1.0 - ez * ez) * p.normal_y[i] + ey * ez * p.normal_z[i]) / r;
    a += w * jy * jy;
    b += w * jy * jz;
    c += w * jz * jz;
    u -= w * jy * sine;
    v -= w * jz * sine;
  }
  const double determinant = a * c - b * b;
  if (!(determinant > 1e-9 * a * c)) return false;
  const double dy = (c * u - b * v) / determinant, dz = (a * v - b * u) / determinant;
  const double scale = std::min(1.0, 20.0 / std::max(std::hypot(dy, dz), 1e-300));
  geometry.beam_y += scale * dy;
  geometry.beam_z += scale * dz;
  return true;
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

std::vector<Geometry> aim_beams(const std::vector<Geometry>& geometries, const RidgeView& points, int n_threads) {
  if (points.n < 1) throw InputError("there are no ridge points; expected at least one");
  std::vector<Geometry> out = geometries;
  parallel_for(static_cast<std::int64_t>(out.size()), resolve_threads(n_threads), [&](std::int64_t i) {
    for (int step = 0; step < AIM_STEPS; ++step)
      if (!aim_once(out[static_cast<std::size_t>(i)], points)) break;
  });
  return out;
}

}  // namespace midas
