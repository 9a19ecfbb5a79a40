// Crests of bright lines. Equations and source: ridges.hpp.
#include "ridges.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "error.hpp"
#include "parallel.hpp"

namespace midas {

namespace {

using Plane = std::vector<float>;
using Kernel = std::vector<float>;

// The Gaussian or its first or second derivative, sampled; for convolution, so the first derivative is odd.
Kernel gaussian(double sigma, int derivative) {
  const int reach = std::max(1, static_cast<int>(std::ceil(3.5 * sigma)));
  std::vector<double> values;
  double sum = 0.0;
  for (int i = -reach; i <= reach; ++i) {
    values.push_back(std::exp(-0.5 * i * i / (sigma * sigma)));
    sum += values.back();
  }
  double mean = 0.0;
  for (int i = -reach; i <= reach; ++i) {
    double& v = values[static_cast<std::size_t>(i + reach)];
    v /= sum;
    const double s2 = sigma * sigma;
    if (derivative == 1) v *= i / s2;  // correlation with -g' is convolution with g'
    if (derivative == 2) v *= i * i / (s2 * s2) - 1.0 / s2;
    mean += v;
  }
  Kernel kernel;
  for (const double v : values) {
    // A constant image has no curvature: the sampled second derivative is made to sum to zero.
    kernel.push_back(static_cast<float>(derivative == 2 ? v - mean / static_cast<double>(values.size()) : v));
  }
  return kernel;
}

double norm(const Kernel& kernel) {
  double sum = 0.0;
  for (const float v : kernel) sum += static_cast<double>(v) * static_cast<double>(v);
  return std::sqrt(sum);
}

struct Size {
  std::int64_t n_z, n_y;
  std::size_t at(std::int64_t z, std::int64_t y) const { return static_cast<std::size_t>(z * n_y + y); }
};

// Correlation along the rows (y) and then the columns (z), the edges repeated.
void filter(const Plane& in, Size size, const Kernel& along_y, const Kernel& along_z, Plane& work, Plane& out,
            int n_threads) {
  const auto reach_y = static_cast<std::int64_t>(along_y.size() / 2);
  const auto reach_z = static_cast<std::int64_t>(along_z.size() / 2);
  parallel_for(size.n_z, n_threads, [&](std::int64_t z) {
    const float* row = &in[size.at(z, 0)];
    std::vector<float> padded(static_cast<std::size_t>(size.n_y + 2 * reach_y));
    for (std::int64_t y = -reach_y; y < size.n_y + reach_y; ++y)
      padded[static_cast<std::size_t>(y + reach_y)] = row[std::clamp<std::int64_t>(y, 0, size.n_y - 1)];
    float* to = &work[size.at(z, 0)];
    std::fill(to, to + size.n_y, 0.0F);
    for (std::size_t k = 0; k < along_y.size(); ++k) {
      const float c = along_y[k];
      const float* from = &padded[k];
      for (std::int64_t y = 0; y < size.n_y; ++y) to[y] += c * from[y];
    }
  });
  parallel_for(size.n_z, n_threads, [&](std::int64_t z) {
    float* to = &out[size.at(z, 0)];
    std::fill(to, to + size.n_y, 0.0F);
    for (std::size_t k = 0; k < along_z.size(); ++k) {
      const float c = along_z[k];
      const std::int64_t source = std::clamp<std::int64_t>(z + static_cast<std::int64_t>(k) - reach_z, 0, size.n_z - 1);
      const float* from = &work[size.at(source, 0)];
      for (std::int64_t y = 0; y < size.n_y; ++y) to[y] += c * from[y];
    }
  });
}

struct Derivatives {
  Plane value, y, z, yy, yz, zz;
};

struct Directions {
  Plane cosine, sine, weight;  // of the double angle of the strongest curvature, times the curvature; its size
};

// The direction of the most negative curvature of every cell; zero where none is negative.
Directions directions(const Derivatives& d, std::size_t n) {
  Directions out{Plane(n), Plane(n), Plane(n)};
  for (std::size_t i = 0; i < n; ++i) {
    // Eigenvalues m -+ r of the Hessian; the direction of m - r is perpendicular to (half, d.yz) in double angles.
    const float half = 0.5F * (d.yy[i] - d.zz[i]), r = std::sqrt(half * half + d.yz[i] * d.yz[i]);
    const float curvature = r - 0.5F * (d.yy[i] + d.zz[i]);
    if (!(curvature > 0.0F) || !(r > 0.0F)) continue;
    out.cosine[i] = -half / r * curvature;
    out.sine[i] = -d.yz[i] / r * curvature;
    out.weight[i] = curvature;
  }
  return out;
}

constexpr double REACH = 0.55;  // a crest on the border of two cells may be claimed by both, never by none

// Whether something much brighter lies on the line through a cell along (ty, tz).
bool is_outshone(const Plane& value, Size size, std::int64_t z, std::int64_t y, double ty, double tz,
                 const RidgeOptions& options) {
  const double limit = static_cast<double>(value[size.at(z, y)]) + options.outshone;
  for (int k = -options.outshone_reach; k <= options.outshone_reach; ++k) {
    const auto py = static_cast<std::int64_t>(std::lround(static_cast<double>(y) + k * ty));
    const auto pz = static_cast<std::int64_t>(std::lround(static_cast<double>(z) + k * tz));
    if (py < 0 || pz < 0 || py >= size.n_y || pz >= size.n_z) continue;
    if (static_cast<double>(value[size.at(pz, py)]) > limit) return true;
  }
  return false;
}

// A maximum that is sharp in every direction; `noise` is the standard deviation of a second derivative.
bool is_spot(const Derivatives& d, std::size_t i, double noise, const RidgeOptions& options, RidgePoint& point) {
  const auto yy = static_cast<double>(d.yy[i]), yz = static_cast<double>(d.yz[i]), zz = static_cast<double>(d.zz[i]);
  const double bluntest = -0.5 * (yy + zz) - std::sqrt(0.25 * (yy - zz) * (yy - zz) + yz * yz);
  if (!(bluntest > options.threshold * noise)) return false;
  const double determinant = yy * zz - yz * yz;
  const auto gy = static_cast<double>(d.y[i]), gz = static_cast<double>(d.z[i]);
  const double ty = -(zz * gy - yz * gz) / determinant, tz = -(yy * gz - yz * gy) / determinant;
  if (std::abs(ty) > REACH || std::abs(tz) > REACH) return false;
  point = {ty, tz, 0.0, 0.0, bluntest / noise};
  return true;
}

void row_ridges(const Derivatives& d, const Directions& mean, const std::uint8_t* blocked, Size size, std::int64_t z,
                double noise, const RidgeOptions& options, std::vector<RidgePoint>& out) {
  for (std::int64_t y = 0; y < size.n_y; ++y) {
    const std::size_t i = size.at(z, y);
    if (blocked[i] != 0) continue;
    RidgePoint spot{};
    if (is_spot(d, i, noise, options, spot)) {
      spot.y += static_cast<double>(y);
      spot.z += static_cast<double>(z);
      out.push_back(spot);
      continue;
    }
    const double length = std::hypot(mean.cosine[i], mean.sine[i]);
    if (!(length > options.coherence * static_cast<double>(mean.weight[i])) || length == 0.0) continue;
    const double angle = 0.5 * std::atan2(static_cast<double>(mean.sine[i]), static_cast<double>(mean.cosine[i]));
    const double ny = std::cos(angle), nz = std::sin(angle);
    const double curvature = -(static_cast<double>(d.yy[i]) * ny * ny + 2.0 * static_cast<double>(d.yz[i]) * ny * nz +
                               static_cast<double>(d.zz[i]) * nz * nz);
    if (!(curvature > options.threshold * noise)) continue;
    const double t = (static_cast<double>(d.y[i]) * ny + static_cast<double>(d.z[i]) * nz) / curvature;
    if (std::abs(t * ny) > REACH || std::abs(t * nz) > REACH) continue;
    if (std::abs(static_cast<double>(d.z[i]) * ny - static_cast<double>(d.y[i]) * nz) > options.slope) continue;
    if (is_outshone(d.value, size, z, y, -nz, ny, options)) continue;
    out.push_back({static_cast<double>(y) + t * ny, static_cast<double>(z) + t * nz, ny, nz, curvature / noise});
  }
}

}  // namespace

std::vector<RidgePoint> find_ridges(const float* image, const std::uint8_t* blocked, std::int64_t n_z, std::int64_t n_y,
                                    const RidgeOptions& options) {
  if (n_z < 1 || n_y < 1) throw InputError("the image has no cells; expected at least one row and one column");
  if (!(options.scale > 0.0) || !(options.orientation > 0.0)) {
    throw InputError("the scales of the ridge filter must be above 0 px");
  }
  const int n_threads = resolve_threads(options.n_threads);
  const Size size{n_z, n_y};
  const auto n = static_cast<std::size_t>(n_z * n_y);
  const Kernel g0 = gaussian(options.scale, 0), g1 = gaussian(options.scale, 1), g2 = gaussian(options.scale, 2);
  Plane work(n);
  const Plane in(image, image + n);
  Derivatives d{Plane(n), Plane(n), Plane(n), Plane(n), Plane(n), Plane(n)};
  filter(in, size, g0, g0, work, d.value, n_threads);
  filter(in, size, g1, g0, work, d.y, n_threads);
  filter(in, size, g0, g1, work, d.z, n_threads);
  filter(in, size, g2, g0, work, d.yy, n_threads);
  filter(in, size, g1, g1, work, d.yz, n_threads);
  filter(in, size, g0, g2, work, d.zz, n_threads);
  Directions mean = directions(d, n);
  const Kernel wide = gaussian(options.orientation, 0);
  for (Plane* plane : {&mean.cosine, &mean.sine, &mean.weight}) {
    const Plane copy = *plane;
    filter(copy, size, wide, wide, work, *plane, n_threads);
  }
  const double noise = norm(g2) * norm(g0);
  std::vector<std::vector<RidgePoint>> rows(static_cast<std::size_t>(n_z));
  parallel_for(n_z, n_threads, [&](std::int64_t z) {
    row_ridges(d, mean, blocked, size, z, noise, options, rows[static_cast<std::size_t>(z)]);
  });
  std::vector<RidgePoint> out;
  for (const auto& row : rows) out.insert(out.end(), row.begin(), row.end());
  return out;
}

}  // namespace midas
