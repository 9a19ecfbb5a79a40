// The pixels of ring windows, sorted by bin. What and why: peak_pixels.hpp.
#include "peak_pixels.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "parallel.hpp"

namespace midas {

namespace {

constexpr std::int64_t TILE = 32;
constexpr std::int64_t ROWS_PER_BLOCK = TILE;  // fixed: the order of pixels does not depend on the threads
constexpr double NODES[3] = {0.0, 0.5 * (TILE - 1), TILE - 1.0};
constexpr double CHECKS[2] = {8.0, 23.0};     // where a parabola through NODES is furthest off
constexpr double LARGEST_ERROR = 1e-4;        // [px]
constexpr double NEAR_THE_BEAM = 1.5 * TILE;  // nearer tiles may hold the beam or a radius of 0 [px]

struct BinnedSample {
  std::int32_t bin;
  Sample sample;
};

// The windows of radius and the eta bins over a turn.
class Windows {
 public:
  Windows(const std::vector<RingGroup>& groups, std::int64_t n_eta)
      : groups_(groups),
        n_eta_(n_eta),
        step_(2.0 * PI / static_cast<double>(n_eta)),
        per_step_(1.0 / step_),
        table_(static_cast<std::size_t>(groups.back().high) + 2, -1) {
    for (std::size_t g = 0; g < groups.size(); ++g) {
      const auto from = static_cast<std::size_t>(std::floor(groups[g].low));
      for (std::size_t r = from; r <= static_cast<std::size_t>(groups[g].high); ++r) {
        if (table_[r] < 0) table_[r] = static_cast<std::int32_t>(g);
      }
    }
    below_.push_back(0);
    for (const std::int32_t g : table_) below_.push_back(below_.back() + (g >= 0 ? 1 : 0));
  }

  double last() const { return groups_.back().high; }

  // Whether a window may reach into this range of radius.
  bool any(double low, double high) const {
    if (!(low < last())) return false;
    const auto from = static_cast<std::size_t>(std::max(0.0, low));
    const auto to = std::min(table_.size(), static_cast<std::size_t>(std::max(0.0, high)) + 1);
    return from < to && below_[to] > below_[from];
  }

  // The window that holds this radius, 0 <= radius < last(), or -1.
  std::int32_t find(double radius) const {
    std::int32_t g = table_[static_cast<std::size_t>(radius)];
    if (g < 0) return -1;
    if (radius >= groups_[static_cast<std::size_t>(g)].high && static_cast<std::size_t>(g) + 1 < groups_.size())
      ++g;  // two windows meet in this pixel
    const RingGroup& group = groups_[static_cast<std::size_t>(g)];
    return radius < group.low || radius >= group.high ? -1 : g;
  }

  BinnedSample sample(std::int32_t g, double radius, double eta, float value) const {
    const RingGroup& group = groups_[static_cast<std::size_t>(g)];
    const auto e = std::clamp<std::int64_t>(static_cast<std::int64_t>((eta + PI) * per_step_), 0, n_eta_ - 1);
    const double middle = -PI + (static_cast<double>(e) + 0.5) * step_;
    return {static_cast<std::int32_t>(g * n_eta_ + e),
            {static_cast<float>(radius - 0.5 * (group.low + group.high)), static_cast<float>(eta - middle), value}};
  }

 private:
  const std::vector<RingGroup>& groups_;
  std::int64_t n_eta_;
  double step_, per_step_;           // of the eta bins [rad, 1 / rad]
  std::vector<std::int32_t> table_;  // the group each whole pixel of radius may belong to, -1 none
  std::vector<std::int32_t> below_;  // how many of the table's entries before this one have a group
};

struct Plane {
  double u, v;  // R sin eta, R cos eta [px]
};

Plane plane_of(const Projection& projection, double y, double z) {
  const Polar p = projection.to_polar(y, z);
  const double radius = p.radius / projection.geometry().pixel_size;
  return {radius * std::sin(p.eta), radius * std::cos(p.eta)};
}

// Lagrange's weights of the three nodes.
std::array<double, 3> node_weights(double t) {
  const double a = NODES[0], b = NODES[1], c = NODES[2];
  return {(t - b) * (t - c) / ((a - b) * (a - c)), (t - a) * (t - c) / ((b - a) * (b - c)),
          (t - a) * (t - b) / ((c - a) * (c - b))};
}

// A pixel counts over its area: its mean radius exceeds its centre's by 1 / (24 R), the curvature of the arc through
// it (second-order Taylor over the unit square).
constexpr double CURVATURE = 1.0 / 24.0;  // [px^2]

struct TileOrigin {
  std::int64_t y, z;  // first pixel
};

// The parabolas of one tile.
class TileMap {
 public:
  // False where they do not hold.
  bool make(const Projection& projection, const TileOrigin& origin) {
    const double y0 = static_cast<double>(origin.y), z0 = static_cast<double>(origin.z);
    const std::int32_t panel = projection.panel_at(y0, z0);
    lowest = 1e300;
    highest = -1e300;
    for (std::size_t j = 0; j < 3; ++j) {
      for (std::size_t i = 0; i < 3; ++i) {
        if (projection.panel_at(y0 + NODES[i], z0 + NODES[j]) != panel) return false;
        const Polar polar = projection.to_polar(y0 + NODES[i], z0 + NODES[j]);
        const double radius = polar.radius / projection.geometry().pixel_size;
        if (!(radius > NEAR_THE_BEAM)) return false;  // also behind the sample, and where a distortion turns it over
        const Plane p{radius * std::sin(polar.eta), radius * std::cos(polar.eta)};
        lowest = std::min(lowest, radius);
        highest = std::max(highest, radius);
        u_[j][i] = p.u;
        v_[j][i] = p.v;
      }
    }
    for (const double t : CHECKS) {
      const Plane exact = plane_of(projection, y0 + t, z0 + t), found = at(t, t);
      if (!(std::abs(exact.u - found.u) + std::abs(exact.v - found.v) < LARGEST_ERROR)) return false;
    }
    return true;
  }

  // The positions of one row of the tile's pixels, z from its first.
  void row(double z, std::array<double, TILE>& u, std::array<double, TILE>& v) const {
    const auto wz = node_weights(z);
    double a[3], b[3];
    for (std::size_t i = 0; i < 3; ++i) {
      a[i] = wz[0] * u_[0][i] + wz[1] * u_[1][i] + wz[2] * u_[2][i];
      b[i] = wz[0] * v_[0][i] + wz[1] * v_[1][i] + wz[2] * v_[2][i];
    }
    constexpr double H = NODES[1];
    const double a1 = (4.0 * a[1] - 3.0 * a[0] - a[2]) / (2.0 * H), a2 = (a[0] - 2.0 * a[1] + a[2]) / (2.0 * H * H);
    const double b1 = (4.0 * b[1] - 3.0 * b[0] - b[2]) / (2.0 * H), b2 = (b[0] - 2.0 * b[1] + b[2]) / (2.0 * H * H);
    for (std::size_t i = 0; i < TILE; ++i) {
      const double t = static_cast<double>(i);
      u[i] = a[0] + t * (a1 + t * a2);
      v[i] = b[0] + t * (b1 + t * b2);
    }
  }

  double lowest = 0.0, highest = 0.0;  // radius at the nodes [px]

 private:
  Plane at(double y, double z) const {
    const auto wy = node_weights(y), wz = node_weights(z);
    Plane p{0.0, 0.0};
    for (std::size_t j = 0; j < 3; ++j)
      for (std::size_t i = 0; i < 3; ++i) {
        p.u += wz[j] * wy[i] * u_[j][i];
        p.v += wz[j] * wy[i] * v_[j][i];
      }
    return p;
  }

  double u_[3][3]{}, v_[3][3]{};
};

bool usable(const Frame& frame, std::int64_t i) {
  return (frame.mask == nullptr || frame.mask[i] == 0) && std::isfinite(frame.image[i]);
}

void collect_mapped(const Frame& frame, const Windows& windows, const TileMap& map, const TileOrigin& origin,
                    std::vector<BinnedSample>& out) {
  const double margin = 0.5 * (map.highest - map.lowest) + 1.0;  // between the nodes
  if (!windows.any(map.lowest - margin, map.highest + margin)) return;
  std::array<double, TILE> u, v, radius;
  std::array<BinnedSample, TILE> row;
  const auto n_y = static_cast<std::size_t>(std::min(TILE, frame.n_y - origin.y));
  const double last = windows.last();
  for (std::int64_t z = origin.z; z < std::min(origin.z + TILE, frame.n_z); ++z) {
    map.row(static_cast<double>(z - origin.z), u, v);
#pragma omp simd
    for (std::size_t i = 0; i < TILE; ++i) {
      const double r = std::sqrt(u[i] * u[i] + v[i] * v[i]);
      radius[i] = r + CURVATURE / r;
    }
    const std::int64_t first = z * frame.n_y + origin.y;
    std::size_t n = 0;
    for (std::size_t i = 0; i < n_y; ++i) {
      if (!(radius[i] < last)) continue;
      const std::int32_t g = windows.find(radius[i]);
      const std::int64_t k = first + static_cast<std::int64_t>(i);
      if (g < 0 || !usable(frame, k)) continue;
      row[n++] = windows.sample(g, radius[i], fast_atan2(u[i], v[i]), frame.image[k]);
    }
    out.insert(out.end(), row.begin(), row.begin() + static_cast<std::ptrdiff_t>(n));
  }
}

void collect_exactly(const Frame& frame, const Windows& windows, const TileOrigin& origin,
                     std::vector<BinnedSample>& out) {
  const Projection& projection = frame.projection;
  for (std::int64_t z = origin.z; z < std::min(origin.z + TILE, frame.n_z); ++z) {
    for (std::int64_t y = origin.y; y < std::min(origin.y + TILE, frame.n_y); ++y) {
      const std::int64_t k = z * frame.n_y + y;
      if (!usable(frame, k)) continue;
      const double py = static_cast<double>(y), pz = static_cast<double>(z);
      const double center = projection.radius(py, pz) / projection.geometry().pixel_size;
      const double r = center + CURVATURE / std::max(center, 1.0);
      // Negative behind the sample, and where a wild distortion turns the radius over.
      if (!(r >= 0.0 && r < windows.last())) continue;
      const std::int32_t g = windows.find(r);
      if (g < 0) continue;
      const double eta = projection.to_polar(py, pz).eta;
      if (std::isfinite(eta)) out.push_back(windows.sample(g, r, eta, frame.image[k]));
    }
  }
}

void collect_rows(const Frame& frame, const Windows& windows, std::int64_t z_begin, std::int64_t z_end,
                  std::vector<BinnedSample>& out) {
  TileMap map;
  for (std::int64_t z = z_begin; z < z_end; z += TILE) {
    for (std::int64_t y = 0; y < frame.n_y; y += TILE) {
      const TileOrigin origin{y, z};
      if (map.make(frame.projection, origin)) {
        collect_mapped(frame, windows, map, origin, out);
      } else {
        collect_exactly(frame, windows, origin, out);
      }
    }
  }
}

}  // namespace

double fast_atan2(double y, double x) {
  const double ax = std::abs(x), ay = std::abs(y), larger = std::max(ax, ay);
  if (larger == 0.0) return 0.0;
  const double t = std::min(ax, ay) / larger, t2 = t * t;
  const double series =
      t * (1.0 + t2 * (-0.3333314528 +
                       t2 * (0.1999355085 +
                             t2 * (-0.1420889944 +
                                   t2 * (0.1065626393 +
                                         t2 * (-0.0752896400 +
                                               t2 * (0.0429096138 + t2 * (-0.0161657367 + t2 * 0.0028662257))))))));
  double angle = ay > ax ? 0.5 * PI - series : series;
  if (x < 0.0) angle = PI - angle;
  return y < 0.0 ? -angle : angle;
}

BinnedPixels bin_pixels(const Frame& frame, const std::vector<RingGroup>& groups, std::int64_t n_eta, int threads) {
  const std::int64_t n_blocks = (frame.n_z + ROWS_PER_BLOCK - 1) / ROWS_PER_BLOCK;
  const auto n_bins = static_cast<std::int64_t>(groups.size()) * n_eta;
  const Windows windows(groups, n_eta);
  std::vector<std::vector<BinnedSample>> blocks(static_cast<std::size_t>(n_blocks));
  parallel_for(n_blocks, threads, [&](std::int64_t b) {
    collect_rows(frame, windows, b * ROWS_PER_BLOCK, std::min(frame.n_z, (b + 1) * ROWS_PER_BLOCK),
                 blocks[static_cast<std::size_t>(b)]);
  });
  BinnedPixels pixels;
  pixels.first.assign(static_cast<std::size_t>(n_bins) + 1, 0);
  for (const auto& block : blocks)
    for (const BinnedSample& s : block) ++pixels.first[static_cast<std::size_t>(s.bin) + 1];
  for (std::size_t b = 1; b < pixels.first.size(); ++b) pixels.first[b] += pixels.first[b - 1];
  pixels.samples.resize(static_cast<std::size_t>(pixels.first.back()));
  std::vector<std::int64_t> next(pixels.first.begin(), pixels.first.end() - 1);
  for (auto& block : blocks) {
    for (const BinnedSample& s : block)
      pixels.samples[static_cast<std::size_t>(next[static_cast<std::size_t>(s.bin)]++)] = s.sample;
    std::vector<BinnedSample>().swap(block);
  }
  return pixels;
}

}  // namespace midas
