// Scoring and polishing geometries on ridge points. Equations: ring_search.hpp.
#include "ring_search.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "error.hpp"
#include "levmar.hpp"
#include "parallel.hpp"

namespace midas {

namespace {

constexpr double RELATIVE_SIGMA = 5e-4;  // of a radius: distortion of the detector
constexpr double AREA_STEP = 4.0;        // [px] bins of the usable area over the radius
constexpr double NORMAL_SIGMA = 0.08;    // [rad] of a good normal
constexpr double NORMAL_UNIFORM = 0.3;   // share of normals that say nothing, in the polish
constexpr double MOST_SHARE = 0.95, LEAST_SHARE = 0.02;
constexpr std::int64_t MOST_BINS = 20000;  // of a table over the radius
constexpr double EXPECTED = 0.5;           // visibility of a ring that is expected to show
constexpr double INVISIBLE = 0.01;         // visibility of a ring that is left out
constexpr double REACH = 4.0;              // standard deviations from a ring beyond which no point is on it
constexpr int SHARE_ITERATIONS = 4;
constexpr double SAME_AREA = 1.05;  // ratio of distances that share the usable area by radius

// ---- score ----

// Values over the radius at steps of `step`, linear between.
struct Table {
  double step = 1.0;
  std::vector<double> value;
  double at(double radius) const {
    const double x = radius / step;
    if (!(x >= 0.0) || !(x < static_cast<double>(value.size()) - 1.0)) return 0.0;
    const auto i = static_cast<std::size_t>(x);
    const double f = x - static_cast<double>(i);
    return value[i] * (1.0 - f) + value[i + 1] * f;
  }
};

// The usable area per radius [area / px] of a geometry, smoothed over a few cells.
Table area_by_radius(const Projection& projection, const AreaView& area, double& total) {
  std::vector<double> radius(static_cast<std::size_t>(area.n));
  double largest = 0.0;
  total = 0.0;
  for (std::int64_t i = 0; i < area.n; ++i) {
    const double r = projection.radius(area.y[i], area.z[i]);
    radius[static_cast<std::size_t>(i)] = r;
    total += area.weight[i];
    if (r > largest) largest = r;
  }
  Table table;
  // Behind a strongly tilted detector's horizon radii grow without limit: the few cells there are left to the last bin.
  table.step = std::max(AREA_STEP, largest / static_cast<double>(MOST_BINS));
  const auto n = std::min<std::int64_t>(MOST_BINS, static_cast<std::int64_t>(largest / table.step) + 2);
  std::vector<double> bins(static_cast<std::size_t>(n) + 1, 0.0);
  for (std::int64_t i = 0; i < area.n; ++i) {
    const double x = radius[static_cast<std::size_t>(i)] / table.step;
    if (!(x >= 0.0) || x >= static_cast<double>(n)) continue;
    const auto k = static_cast<std::size_t>(x);
    const double f = x - static_cast<double>(k);
    bins[k] += (1.0 - f) * area.weight[i];
    bins[k + 1] += f * area.weight[i];
  }
  table.value.assign(bins.size(), 0.0);
  constexpr std::array<double, 5> KERNEL = {1.0 / 9.0, 2.0 / 9.0, 3.0 / 9.0, 2.0 / 9.0, 1.0 / 9.0};
  const auto size = static_cast<std::int64_t>(bins.size());
  for (std::int64_t k = 0; k < size; ++k)
    for (std::int64_t j = -2; j <= 2; ++j) {
      const std::int64_t from = std::clamp<std::int64_t>(k + j, 0, size - 1);
      table.value[static_cast<std::size_t>(k)] +=
          KERNEL[static_cast<std::size_t>(j + 2)] * bins[static_cast<std::size_t>(from)] / table.step;
    }
  return table;
}

// What a hypothesis says of the radii: ring positions and A / Z sum_k f_k N(R - R_k).
struct Prediction {
  std::vector<double> radius;  // of the rings that fall on usable area, ascending
  std::vector<double> strong;  // of those expected to show
  Table excess;                // density of points on rings over that of points anywhere
  Table moment;                // the same, times the ring's radius: over `excess` it is the mean ring of a point
  bool possible = false;
};

// Called for every point: std::hypot's care for overflow takes ten times as long.
double length_of(double a, double b) { return std::sqrt(a * a + b * b); }

double sigma_at(double radius, double sigma) { return length_of(sigma, RELATIVE_SIGMA * radius); }

Prediction predict(double distance, const RingPattern& rings, double faintest, const Table& area, double total,
                   double sigma) {
  Prediction p;
  const double largest = static_cast<double>(area.value.size() - 1) * area.step;
  std::vector<double> visibility, length;
  double brightest = 0.0;
  for (std::size_t k = 0; k < rings.tangent.size(); ++k) {
    const double r = distance * rings.tangent[k];
    if (r > largest) break;
    const double shown = area.at(r);
    if (!(shown > 0.0) || !(rings.brightness[k] > 0.0)) continue;
    p.radius.push_back(r);
    length.push_back(shown);
    visibility.push_back(rings.brightness[k]);
    brightest = std::max(brightest, rings.brightness[k]);
  }
  double z = 0.0;
  for (std::size_t k = 0; k < length.size(); ++k) {
    visibility[k] /= visibility[k] + faintest * brightest;
    z += visibility[k] * length[k];
    if (visibility[k] > EXPECTED) p.strong.push_back(p.radius[k]);
  }
  if (p.radius.size() < 2 || !(z > 0.0)) return p;
  p.excess.step = std::max(0.5 * sigma, largest / static_cast<double>(MOST_BINS));
  const auto n = static_cast<std::int64_t>(largest / p.excess.step) + 2;
  p.excess.value.assign(static_cast<std::size_t>(n), 0.0);
  p.moment = p.excess;
  for (std::size_t k = 0; k < p.radius.size(); ++k) {
    if (visibility[k] < INVISIBLE) continue;
    const double s = sigma_at(p.radius[k], sigma), r = p.radius[k];
    const double height = visibility[k] * total / z / (s * std::sqrt(2.0 * PI));
    const auto first = std::max<std::int64_t>(0, static_cast<std::int64_t>((r - REACH * s) / p.excess.step));
    const auto last = std::min<std::int64_t>(n - 1, static_cast<std::int64_t>((r + REACH * s) / p.excess.step) + 1);
    // exp(-x^2 / 2) at equal steps h by products: the ratio of neighbours, exp(-x h - h^2 / 2), falls by exp(-h^2) a
    // step.
    const double h = p.excess.step / s, x = (static_cast<double>(first) * p.excess.step - r) / s;
    double density = height * std::exp(-0.5 * x * x), ratio = std::exp(-h * (x + 0.5 * h));
    const double fall = std::exp(-h * h);
    for (std::int64_t i = first; i <= last; ++i) {
      p.excess.value[static_cast<std::size_t>(i)] += density;
      p.moment.value[static_cast<std::size_t>(i)] += density * r;
      density *= ratio;
      ratio *= fall;
    }
  }
  p.possible = true;
  return p;
}

// pi V(delta) of a normal known well, for the sine of the angle between a point's normal and the ring's.
double normal_excess(double sine) {
  const double d = sine / NORMAL_SIGMA;
  return std::sqrt(PI / 2.0) / NORMAL_SIGMA * std::exp(-0.5 * d * d);
}

// The share of the points that follow a density, given how many times denser than chance it is at each.
double share_of(const std::vector<double>& excess, const std::vector<double>& weight) {
  double share = 0.5;
  for (int iteration = 0; iteration < SHARE_ITERATIONS; ++iteration) {
    double on = 0.0, all = 0.0;
    for (std::size_t i = 0; i < excess.size(); ++i) {
      const double d = share * excess[i];
      on += weight[i] * d / (d + 1.0 - share);
      all += weight[i];
    }
    share = std::clamp(on / all, LEAST_SHARE, MOST_SHARE);
  }
  return share;
}

// sum_i w_i log(s excess_i + 1 - s) with the share s that makes it largest.
double log_likelihood(const std::vector<double>& excess, const std::vector<double>& weight, double& share) {
  share = excess.empty() ? 0.0 : share_of(excess, weight);
  double sum = 0.0;
  for (std::size_t i = 0; i < excess.size(); ++i) sum += weight[i] * std::log(share * excess[i] + 1.0 - share);
  return sum;
}

// The log-likelihood ratio of the points' normals.
double score_normals(const Projection& projection, const RidgeView& points) {
  std::vector<double> excess, weight;
  for (std::int64_t i = 0; i < points.n; ++i) {
    if (points.normal_y[i] == 0.0 && points.normal_z[i] == 0.0) continue;
    GeometryGradient g;
    const double r = projection.radius_gradient(points.y[i], points.z[i], g);
    // At a fixed pixel a moving beam is the pixel moving the other way.
    const double gy = -g[BEAM_Y], gz = -g[BEAM_Z], length = length_of(gy, gz);
    const bool seen = std::isfinite(r) && length > 0.0;
    excess.push_back(seen ? normal_excess((gy * points.normal_z[i] - gz * points.normal_y[i]) / length) : 0.0);
    weight.push_back(points.weight[i]);
  }
  double share = 0.0;
  return log_likelihood(excess, weight, share);
}

constexpr RingScore IMPOSSIBLE = {-1e30, -1e30, 0.0};

// The score of the radii with the faintness that suits them best, `by_radius` the usable area of which there is
// `total`.
RingScore score_radii(const Projection& projection, const RidgeView& points, const RingPattern& rings,
                      const Table& by_radius, double total, double sigma) {
  std::vector<double> radius(static_cast<std::size_t>(points.n)), excess(radius.size());
  const std::vector<double> weight(points.weight, points.weight + points.n);
  for (std::int64_t i = 0; i < points.n; ++i)
    radius[static_cast<std::size_t>(i)] = projection.radius(points.y[i], points.z[i]);
  RingScore best = IMPOSSIBLE;
  for (const double faintest : rings.faintest) {
    const Prediction p = predict(projection.geometry().distance, rings, faintest, by_radius, total, sigma);
    if (!p.possible) return IMPOSSIBLE;
    for (std::size_t i = 0; i < radius.size(); ++i) excess[i] = p.excess.at(radius[i]);
    RingScore score;
    score.radial = log_likelihood(excess, weight, score.share);
    if (score.radial > best.radial) best = score;
  }
  return best;
}

RingScore score_one(const Projection& projection, const RidgeView& points, const AreaView& area,
                    const RingPattern& rings, double sigma) {
  double total = 0.0;
  const Table by_radius = area_by_radius(projection, area, total);
  RingScore score = score_radii(projection, points, rings, by_radius, total, sigma);
  if (score.radial > IMPOSSIBLE.radial) score.angular = score_normals(projection, points);
  return score;
}

// ---- polish ----

constexpr int N_FREE = 5;
constexpr std::array<int, N_FREE> FREE = {DISTANCE, BEAM_Y, BEAM_Z, TILT_Y, TILT_Z};

double& value_of(Geometry& g, int parameter) {
  switch (parameter) {
    case DISTANCE:
      return g.distance;
    case BEAM_Y:
      return g.beam_y;
    case BEAM_Z:
      return g.beam_z;
    case TILT_Y:
      return g.tilt_y;
    default:
      return g.tilt_z;
  }
}

// One weighted least-squares step on the points within `limit`; false where they do not determine it.
bool improve(Geometry& geometry, const RidgeView& points, const Prediction& p, double sigma, double limit,
             double tilt_prior) {
  const Projection projection(geometry);
  SmallMatrix<N_FREE> jtj{};
  std::array<double, N_FREE> step{};
  for (std::int64_t i = 0; i < points.n; ++i) {
    const double r = projection.radius(points.y[i], points.z[i]);
    if (!(r < limit)) continue;
    const double excess = p.excess.at(r);
    if (!(excess > 1.0)) continue;
    GeometryGradient g;
    projection.radius_gradient(points.y[i], points.z[i], g);
    const double length = length_of(g[BEAM_Y], g[BEAM_Z]);
    const double sine = (g[BEAM_Z] * points.normal_y[i] - g[BEAM_Y] * points.normal_z[i]) / length;
    const double along = (1.0 - NORMAL_UNIFORM) * normal_excess(sine);
    const double aligned = along / (along + NORMAL_UNIFORM);
    const double ring = p.moment.at(r) / excess, s = sigma_at(ring, sigma);
    // A point counts by how sure it is to be on this ring: where rings are denser than sigma it says nothing.
    const double w = points.weight[i] * aligned * (1.0 - 1.0 / excess) / (s * s);
    std::array<double, N_FREE> j;
    for (int a = 0; a < N_FREE; ++a)
      j[static_cast<std::size_t>(a)] = g[static_cast<std::size_t>(FREE[static_cast<std::size_t>(a)])];
    j[0] -= ring / geometry.distance;
    const double residual = r - ring;
    for (std::size_t a = 0; a < N_FREE; ++a) {
      step[a] -= w * residual * j[a];
      for (std::size_t b = 0; b <= a; ++b) jtj[a * N_FREE + b] += w * j[a] * j[b];
    }
  }
  const double prior = 1.0 / (tilt_prior * tilt_prior);
  for (const std::size_t a : {std::size_t{3}, std::size_t{4}}) {
    jtj[a * N_FREE + a] += prior;
    step[a] -= prior * value_of(geometry, FREE[a]);
  }
  for (std::size_t a = 0; a < N_FREE; ++a) {
    if (!(jtj[a * N_FREE + a] > 0.0)) return false;
    jtj[a * N_FREE + a] *= 1.0 + 1e-4;
  }
  if (!cholesky<SmallStorage<N_FREE>>(jtj, N_FREE)) return false;
  cholesky_solve<SmallStorage<N_FREE>>(jtj, N_FREE, step.data());
  // Steps are held to what the linearisation can bear.
  double scale = 1.0;
  const std::array<double, N_FREE> most = {0.1 * geometry.distance, 40.0, 40.0, 0.12, 0.12};
  for (std::size_t a = 0; a < N_FREE; ++a) scale = std::min(scale, most[a] / std::max(std::abs(step[a]), 1e-300));
  for (std::size_t a = 0; a < N_FREE; ++a) value_of(geometry, FREE[a]) += scale * step[a];
  const double steepest = 1.3;  // rad
  geometry.tilt_y = std::clamp(geometry.tilt_y, -steepest, steepest);
  geometry.tilt_z = std::clamp(geometry.tilt_z, -steepest, steepest);
  return std::isfinite(geometry.distance) && geometry.distance > 0.0;
}

Geometry polish_one(Geometry geometry, const RidgeView& points, const AreaView& area, const RingPattern& rings,
                    const PolishOptions& options) {
  double limit = 0.0, sigma = options.sigma_first;
  bool whole = false;
  for (int stage = 0; stage < 40; ++stage) {
    double total = 0.0;
    const Table by_radius = area_by_radius(Projection(geometry), area, total);
    for (int iteration = 0; iteration < options.iterations; ++iteration) {
      const Prediction p = predict(geometry.distance, rings, rings.faintest.front(), by_radius, total, sigma);
      if (!p.possible) return geometry;
      const double largest = p.radius.back() + 4.0 * sigma;
      if (stage == 0 && iteration == 0) {
        if (p.strong.empty()) return geometry;
        const auto first = std::min(p.strong.size(), static_cast<std::size_t>(options.rings_first)) - 1;
        limit = p.strong[first] + 4.0 * sigma;
      }
      whole = limit >= largest;
      Geometry moved = geometry;
      if (improve(moved, points, p, sigma, limit, options.tilt_prior)) geometry = moved;
    }
    if (whole && sigma <= options.sigma_last) break;
    if (whole) sigma = std::max(options.sigma_last, 0.7 * sigma);
    limit *= options.growth;
  }
  return geometry;
}

void require(const RidgeView& points, const RingPattern& rings) {
  if (points.n < 1) throw InputError("there are no ridge points; expected at least one");
  if (rings.tangent.size() < 2 || rings.tangent.size() != rings.brightness.size()) {
    throw InputError("the ring pattern needs at least two rings, each with a tangent and a brightness");
  }
  if (rings.faintest.empty() || !(*std::min_element(rings.faintest.begin(), rings.faintest.end()) > 0.0)) {
    throw InputError("the ring pattern needs at least one faintness, above 0");
  }
  for (std::size_t k = 0; k < rings.tangent.size(); ++k) {
    if (!(rings.tangent[k] > (k == 0 ? 0.0 : rings.tangent[k - 1])) || !(rings.brightness[k] >= 0.0)) {
      throw InputError("ring tangents must be positive and ascend, brightnesses not be negative");
    }
  }
}

}  // namespace

std::vector<RingScore> score_geometries(const std::vector<Geometry>& geometries, const RidgeView& points,
                                        const AreaView& area, const RingPattern& rings, double sigma, int n_threads) {
  require(points, rings);
  if (!(sigma > 0.0)) throw InputError("sigma must be above 0 px");
  std::vector<RingScore> out(geometries.size());
  parallel_for(static_cast<std::int64_t>(geometries.size()), resolve_threads(n_threads), [&](std::int64_t i) {
    const Projection projection(geometries[static_cast<std::size_t>(i)]);
    out[static_cast<std::size_t>(i)] = score_one(projection, points, area, rings, sigma);
  });
  return out;
}

std::vector<RingScore> score_distances(const Geometry& geometry, const std::vector<double>& distances,
                                       const RidgeView& points, const AreaView& area, const RingPattern& rings,
                                       double sigma, int n_threads) {
  require(points, rings);
  if (!(sigma > 0.0)) throw InputError("sigma must be above 0 px");
  std::vector<std::size_t> starts;  // of runs of distances that share what varies slowly
  for (std::size_t i = 0; i < distances.size(); ++i) {
    if (!(distances[i] > 0.0) || (i > 0 && distances[i] < distances[i - 1])) {
      throw InputError("distances must be above 0 and ascend");
    }
    if (starts.empty() || distances[i] > SAME_AREA * distances[starts.back()]) starts.push_back(i);
  }
  std::vector<RingScore> out(distances.size());
  parallel_for(static_cast<std::int64_t>(starts.size()), resolve_threads(n_threads), [&](std::int64_t run) {
    const std::size_t first = starts[static_cast<std::size_t>(run)];
    const std::size_t last = static_cast<std::size_t>(run) + 1 < starts.size()
                                 ? starts[static_cast<std::size_t>(run) + 1]
                                 : distances.size();
    Geometry moved = geometry;
    moved.distance = distances[(first + last) / 2];
    const Projection middle(moved);
    double total = 0.0;
    const Table by_radius = area_by_radius(middle, area, total);
    const double angular = score_normals(middle, points);
    for (std::size_t i = first; i < last; ++i) {
      moved.distance = distances[i];
      out[i] = score_radii(Projection(moved), points, rings, by_radius, total, sigma);
      if (out[i].radial > IMPOSSIBLE.radial) out[i].angular = angular;
    }
  });
  return out;
}

std::vector<Geometry> polish_geometries(const std::vector<Geometry>& geometries, const RidgeView& points,
                                        const AreaView& area, const RingPattern& rings, const PolishOptions& options,
                                        int n_threads) {
  require(points, rings);
  if (!(options.sigma_last > 0.0) || !(options.growth > 1.0) || options.rings_first < 1) {
    throw InputError("the polish needs a sigma above 0 px, a growth above 1 and at least one ring");
  }
  std::vector<Geometry> out(geometries.size());
  parallel_for(static_cast<std::int64_t>(geometries.size()), resolve_threads(n_threads), [&](std::int64_t i) {
    out[static_cast<std::size_t>(i)] =
        polish_one(geometries[static_cast<std::size_t>(i)], points, area, rings, options);
  });
  return out;
}

}  // namespace midas
