// Powder images. Equations and units: simulate.hpp.
#include "simulate.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "error.hpp"
#include "parallel.hpp"

namespace midas {

namespace {

constexpr double FOUR_LN2 = 2.772588722239781;  // 4 ln 2
constexpr double NODES_PER_WIDTH = 16.0;        // Hermite error of the integral: below 3e-6 of a peak's area
constexpr std::int64_t LARGEST_TABLE = std::int64_t{1} << 26;
constexpr double TEXTURE_REACH = 20.0;  // widths from its centre to which a peak follows its texture
constexpr double NEAR_BEAM = 8.0;       // px: closer in, the pixel is sampled point by point
constexpr double FAR_FROM_BEAM = 64.0;  // px: farther out, positions are interpolated between tile ends
constexpr int TILE = 8;                 // px
constexpr double FARTHEST = 0.5 * PI;   // a flat detector sees no farther

struct Node {
  double x, weight;
};
// Gauss-Legendre on [-1/2, 1/2] (Abramowitz and Stegun, table 25.4).
constexpr std::array<Node, 4> GAUSS_4 = {{{-0.4305681557970263, 0.1739274225687269},
                                          {-0.1699905217924281, 0.3260725774312731},
                                          {0.1699905217924281, 0.3260725774312731},
                                          {0.4305681557970263, 0.1739274225687269}}};

double shape(double x, double mixing) {
  const double lorentz = 2.0 / PI / (1.0 + 4.0 * x * x);
  const double gauss = x * x > 25.0 ? 0.0 : std::sqrt(FOUR_LN2 / PI) * std::exp(-FOUR_LN2 * x * x);
  return mixing * lorentz + (1.0 - mixing) * gauss;
}

// The integral of `shape` from minus infinity.
double cumulative_shape(double x, double mixing) {
  const double lorentz = 0.5 + std::atan(2.0 * x) / PI;
  const double gauss = x < -5.0 ? 0.0 : x > 5.0 ? 1.0 : 0.5 * std::erfc(-x * std::sqrt(FOUR_LN2));
  return mixing * lorentz + (1.0 - mixing) * gauss;
}

void check_peaks(const std::vector<Peak>& peaks) {
  for (std::size_t k = 0; k < peaks.size(); ++k) {
    const Peak& p = peaks[k];
    const bool finite = std::isfinite(p.center) && std::isfinite(p.area) && std::isfinite(p.fwhm);
    if (!finite || !(p.fwhm > 0.0) || !(p.mixing >= 0.0 && p.mixing <= 1.0)) {
      throw InputError("peak " + std::to_string(k) + " has center " + std::to_string(p.center) + ", width " +
                       std::to_string(p.fwhm) + ", mixing " + std::to_string(p.mixing) +
                       "; expected finite numbers, a width above 0 and a mixing from 0 to 1");
    }
  }
}

// The part of each peak that follows a texture: the peak, tapered to zero at TEXTURE_REACH widths.
struct TexturedPeaks {
  std::vector<PatternTable> tables;
  std::vector<std::int32_t> first, last;  // the peaks that reach each cell of the main table: first <= k < last
};

PatternTable tapered(const Peak& peak) {
  const double reach = TEXTURE_REACH * peak.fwhm, start = peak.center - reach;
  const auto cells = static_cast<std::int64_t>(2.0 * TEXTURE_REACH * NODES_PER_WIDTH);
  PatternTable table(start, 2.0 * reach / static_cast<double>(cells), cells + 1);
  const auto density = [&](double t) {
    const double x = (t - peak.center) / peak.fwhm, taper = 1.0 - x * x / (TEXTURE_REACH * TEXTURE_REACH);
    return taper <= 0.0 ? 0.0 : peak.area / peak.fwhm * shape(x, peak.mixing) * taper * taper;
  };
  double sum = 0.0;
  for (std::int64_t i = 0; i <= cells; ++i) {
    const double t = table.node(i);
    table.values()[2 * i] = sum;
    table.values()[2 * i + 1] = density(t) * table.step();
    sum += table.step() / 6.0 * (density(t) + 4.0 * density(t + 0.5 * table.step()) + density(t + table.step()));
  }
  return table;
}

TexturedPeaks textured_peaks(const Scene& scene, const PatternTable& table) {
  TexturedPeaks out;
  const auto n_cells = static_cast<std::size_t>(table.size());
  const auto n_peaks = static_cast<std::int32_t>(scene.peaks.size());
  out.first.assign(n_cells, n_peaks);
  out.last.assign(n_cells, 0);
  for (std::int32_t k = 0; k < n_peaks; ++k) {
    const Peak& peak = scene.peaks[static_cast<std::size_t>(k)];
    out.tables.push_back(tapered(peak));
    const double reach = TEXTURE_REACH * peak.fwhm, size = static_cast<double>(n_cells);
    const double low = std::floor((peak.center - reach - table.start()) / table.step());
    const double high = std::ceil((peak.center + reach - table.start()) / table.step());
    const auto begin = static_cast<std::size_t>(std::clamp(low, 0.0, size));
    const auto end = static_cast<std::size_t>(std::clamp(high + 1.0, 0.0, size));
    for (std::size_t i = begin; i < end; ++i) {
      out.first[i] = std::min(out.first[i], k);
      out.last[i] = std::max(out.last[i], k + 1);
    }
  }
  return out;
}

// Where one pixel looks: its centre, and how radius and 2theta change with (y, z).
struct View {
  double radius, two_theta, eta;  // [um], [rad], [rad]
  double radius_y, radius_z;      // [um / px]
};

View exact_view(const Projection& projection, double y, double z) {
  PixelGradient gradient;
  const Polar p = projection.to_polar(y, z, gradient);
  return {p.radius, p.two_theta, p.eta, gradient.radius_y, gradient.radius_z};
}

// A Projection and its gradient at both ends of a tile of TILE pixels in a row, and cubic Hermite interpolation
// between. The error of the radius is TILE^4 / 384 times its fourth derivative, 3 / R^3 at most: 1e-4 px at R =
// FAR_FROM_BEAM.
struct TileEnd {
  std::int32_t panel;
  Polar polar;
  PixelGradient gradient;
};

struct Cubic {
  double f0, d0, c2, c3;
  Cubic(double from, double to, double slope_from, double slope_to)
      : f0(from),
        d0(slope_from),
        c2(3.0 * (to - from) - 2.0 * slope_from - slope_to),
        c3(slope_from + slope_to - 2.0 * (to - from)) {}
  double value(double x) const { return f0 + x * (d0 + x * (c2 + x * c3)); }
  double slope(double x) const { return d0 + x * (2.0 * c2 + x * 3.0 * c3); }
};

class Tile {
 public:
  Tile(const Projection& projection, const TileEnd& from, const TileEnd& to)
      : radius_(from.polar.radius, to.polar.radius, TILE * from.gradient.radius_y, TILE * to.gradient.radius_y),
        two_theta_(from.polar.two_theta, to.polar.two_theta, TILE * slope(projection, from),
                   TILE * slope(projection, to)),
        eta_(from.polar.eta, unwrapped(from.polar.eta, to.polar.eta), TILE * from.gradient.eta_y,
             TILE * to.gradient.eta_y),
        radius_z_(from.gradient.radius_z),
        radius_z_rise_(to.gradient.radius_z - from.gradient.radius_z) {}

  View at(double pixel) const {
    const double x = pixel / TILE;
    return {radius_.value(x), two_theta_.value(x), eta_.value(x), radius_.slope(x) / TILE,
            radius_z_ + x * radius_z_rise_};
  }

 private:
  static double slope(const Projection& projection, const TileEnd& end) {
    const double length = projection.geometry().distance;
    return length / (length * length + end.polar.radius * end.polar.radius) * end.gradient.radius_y;
  }
  static double unwrapped(double from, double to) { return to - 2.0 * PI * std::round((to - from) / (2.0 * PI)); }

  Cubic radius_, two_theta_, eta_;
  double radius_z_, radius_z_rise_;
};

// How 2theta [rad] runs over one pixel, in pixel steps along the axis of its steepest change and along the other:
// t(u, v) = center + steep u + flat v + bend_flat v^2 / 2, the bend along u folded into `center` as its mean.
struct Slope {
  double center, steep, flat, bend_flat;
};

Slope slope_over_pixel(double length, const View& view) {
  const double reach = length * length + view.radius * view.radius;
  const double by_radius = length / reach;                            // d 2theta / d R
  const double bend_radius = -2.0 * view.radius / reach * by_radius;  // d^2 2theta / d R^2
  const bool y_is_steep = std::abs(view.radius_y) >= std::abs(view.radius_z);
  const double steep = y_is_steep ? view.radius_y : view.radius_z;
  const double flat = y_is_steep ? view.radius_z : view.radius_y;
  // The Hessian of the distance to a point: along each axis, the other axis' gradient squared over the distance.
  const double bend_steep = by_radius * flat * flat / view.radius + bend_radius * steep * steep;
  const double bend_flat = by_radius * steep * steep / view.radius + bend_radius * flat * flat;
  return {view.two_theta + bend_steep / 24.0, by_radius * steep, by_radius * flat, bend_flat};
}

// The mean of a tabulated function over a pixel.
double mean_over_pixel(const PatternTable& table, const Slope& s) {
  const double half = 0.5 * std::abs(s.steep);
  double sum = 0.0;
  for (const Node& node : GAUSS_4) {
    const double t = s.center + s.flat * node.x + 0.5 * s.bend_flat * node.x * node.x;
    sum += node.weight * (table.integral(t + half) - table.integral(t - half));
  }
  return sum / (2.0 * half);
}

double stretched(double two_theta, double strain) {
  if (strain == 0.0) return two_theta;
  return 2.0 * std::asin(std::min(1.0, (1.0 + strain) * std::sin(0.5 * two_theta)));
}

class Renderer {
 public:
  Renderer(const Projection& projection, const Scene& scene, const PatternTable& table, const TexturedPeaks& textured)
      : projection_(projection), scene_(scene), table_(table), textured_(textured) {}

  void row(std::int64_t z, std::int64_t n_y, float* pixels) const {
    TileEnd from = end_of_tile(0, z);
    for (std::int64_t first = 0; first < n_y; first += TILE) {
      const TileEnd to = end_of_tile(first + TILE, z);
      const std::int64_t count = std::min<std::int64_t>(TILE, n_y - first);
      // A tile that two panels share cannot be interpolated.
      if (from.panel == to.panel && is_far(from) && is_far(to)) {
        const Tile tile(projection_, from, to);
        for (std::int64_t i = 0; i < count; ++i)
          pixels[first + i] = static_cast<float>(counts(tile.at(static_cast<double>(i)), first + i, z));
      } else {
        for (std::int64_t i = 0; i < count; ++i) {
          const View view = exact_view(projection_, static_cast<double>(first + i), static_cast<double>(z));
          pixels[first + i] = static_cast<float>(counts(view, first + i, z));
        }
      }
      from = to;
    }
  }

 private:
  // False behind the sample, where there is nothing to interpolate to.
  bool is_far(const TileEnd& end) const {
    return std::isfinite(end.polar.radius) && end.polar.radius > FAR_FROM_BEAM * projection_.geometry().pixel_size;
  }

  TileEnd end_of_tile(std::int64_t y, std::int64_t z) const {
    TileEnd end;
    end.panel = projection_.panel_at(static_cast<double>(y), static_cast<double>(z));
    end.polar = projection_.to_polar(static_cast<double>(y), static_cast<double>(z), end.panel, end.gradient);
    return end;
  }

  double counts(const View& view, std::int64_t y, std::int64_t z) const {
    if (!std::isfinite(view.radius)) return 0.0;
    const double radius = view.radius / projection_.geometry().pixel_size;
    const double rings =
        radius > NEAR_BEAM ? over_pixel(view) : near_beam(static_cast<double>(y), static_cast<double>(z));
    const double fall = radius / scene_.falloff_radius;
    // Differences of the integral may be a rounding below zero where there is next to nothing.
    return flat_pixel(view) * std::max(0.0, rings) + scene_.background + scene_.falloff / (1.0 + fall * fall);
  }

  // Solid angle and polarization at the pixel's centre.
  double flat_pixel(const View& view) const {
    const double ratio = view.radius / projection_.geometry().distance;
    const double cos2 = 1.0 / (1.0 + ratio * ratio), e = std::sin(view.eta);
    return cos2 * std::sqrt(cos2) * (1.0 - scene_.polarization * (1.0 - cos2) * e * e);
  }

  double over_pixel(const View& view) const {
    Slope slope = slope_over_pixel(projection_.geometry().distance, view);
    if (scene_.strain != 0.0) slope.center = stretched(slope.center, scene_.strain * std::cos(2.0 * view.eta));
    double value = mean_over_pixel(table_, slope);
    if (scene_.texture.factors == nullptr) return value;
    const double cell = (slope.center - table_.start()) / table_.step();
    if (cell < 0.0 || cell >= static_cast<double>(table_.size())) return value;
    const auto i = static_cast<std::size_t>(cell);
    for (std::int32_t k = textured_.first[i]; k < textured_.last[i]; ++k) {
      value += (texture(k, view.eta) - 1.0) * mean_over_pixel(textured_.tables[static_cast<std::size_t>(k)], slope);
    }
    return value;
  }

  // Where the gradient turns within a pixel: 16 x 16 points, without texture.
  double near_beam(double y, double z) const {
    constexpr int N = 16;
    const std::int32_t panel = projection_.panel_at(y, z);
    double sum = 0.0;
    for (int i = 0; i < N; ++i) {
      for (int j = 0; j < N; ++j) {
        const Polar p = projection_.to_polar(y + (j + 0.5) / N - 0.5, z + (i + 0.5) / N - 0.5, panel);
        sum += table_.density(stretched(p.two_theta, scene_.strain * std::cos(2.0 * p.eta)));
      }
    }
    return sum / (N * N);
  }

  // Linear between the centres of the eta bins, periodic.
  double texture(std::int32_t k, double eta) const {
    const std::int64_t n = scene_.texture.n_eta;
    eta -= 2.0 * PI * std::floor((eta + PI) / (2.0 * PI));  // interpolation may leave [-pi, pi)
    const double position = (eta + PI) / (2.0 * PI) * static_cast<double>(n) - 0.5;
    const double below = std::floor(position), share = position - below;
    const auto i = static_cast<std::int64_t>(below);
    const float* row = scene_.texture.factors + k * n;
    return (1.0 - share) * static_cast<double>(row[(i + n) % n]) + share * static_cast<double>(row[(i + 1) % n]);
  }

  const Projection& projection_;
  const Scene& scene_;
  const PatternTable& table_;
  const TexturedPeaks& textured_;
};

// The largest 2theta on the image: on its border, unless the image reaches behind the sample.
double largest_two_theta(const Projection& projection, std::int64_t n_z, std::int64_t n_y) {
  double largest = 0.0;
  const auto visit = [&](std::int64_t y, std::int64_t z) {
    const double t = projection.to_polar(static_cast<double>(y), static_cast<double>(z)).two_theta;
    largest = std::max(largest, std::isfinite(t) ? t : FARTHEST);
  };
  for (std::int64_t y = -1; y <= n_y; ++y) {
    visit(y, -1);
    visit(y, n_z);
  }
  for (std::int64_t z = -1; z <= n_z; ++z) {
    visit(-1, z);
    visit(n_y, z);
  }
  return largest;
}

}  // namespace

PatternTable::PatternTable(double start, double step, std::int64_t size)
    : start_(start), step_(step), inverse_step_(1.0 / step), size_(size), values_(static_cast<std::size_t>(2 * size)) {}

double PatternTable::integral(double t) const {
  const double position = (t - start_) * inverse_step_;
  if (!(position > 0.0)) return values_.front();
  const auto i = static_cast<std::int64_t>(position);
  if (i >= size_ - 1) return values_[static_cast<std::size_t>(2 * size_ - 2)];
  const double* v = values_.data() + 2 * i;
  const double x = position - static_cast<double>(i), rise = v[2] - v[0];
  // Hermite: f(x) = f0 + x (d0 + x (3 rise - 2 d0 - d1 + x (d0 + d1 - 2 rise)))
  return v[0] + x * (v[1] + x * (3.0 * rise - 2.0 * v[1] - v[3] + x * (v[1] + v[3] - 2.0 * rise)));
}

double PatternTable::density(double t) const {
  const double position = (t - start_) * inverse_step_;
  if (!(position >= 0.0)) return 0.0;
  const auto i = static_cast<std::int64_t>(position);
  if (i >= size_ - 1) return 0.0;
  const double* v = values_.data() + 2 * i;
  const double x = position - static_cast<double>(i), rise = v[2] - v[0];
  const double slope = v[1] + x * (2.0 * (3.0 * rise - 2.0 * v[1] - v[3]) + 3.0 * x * (v[1] + v[3] - 2.0 * rise));
  return slope * inverse_step_;
}

PatternTable tabulate(const std::vector<Peak>& peaks, double end, int n_threads) {
  check_peaks(peaks);
  if (!(end > 0.0) || !std::isfinite(end))
    throw InputError("the pattern ends at " + std::to_string(end) + " rad; expected above 0");
  double narrowest = end;
  for (const Peak& p : peaks) narrowest = std::min(narrowest, p.fwhm);
  const double cells = std::ceil(end * NODES_PER_WIDTH / narrowest);
  if (cells > static_cast<double>(LARGEST_TABLE)) {
    throw InputError("the narrowest peak is " + std::to_string(narrowest) + " rad wide, too fine for a pattern to " +
                     std::to_string(end) + " rad; make the peaks broader");
  }
  PatternTable table(0.0, end / cells, static_cast<std::int64_t>(cells) + 1);
  const std::int64_t size = table.size();
  double* values = table.values();
  parallel_for_blocks(size, 256, resolve_threads(n_threads), [&](std::int64_t i) {
    double sum = 0.0, density = 0.0;
    for (const Peak& p : peaks) {
      const double x = (table.node(i) - p.center) / p.fwhm;
      sum += p.area * cumulative_shape(x, p.mixing);
      density += p.area / p.fwhm * shape(x, p.mixing);
    }
    values[2 * i] = sum;
    values[2 * i + 1] = density * table.step();
  });
  return table;
}

void render(const Projection& projection, const Scene& scene, std::int64_t n_z, std::int64_t n_y, float* image,
            int n_threads) {
  if (n_z < 1 || n_y < 1) {
    throw InputError("the image has " + std::to_string(n_z) + " rows and " + std::to_string(n_y) +
                     " columns; expected at least 1");
  }
  const double levels = scene.polarization + scene.strain + scene.background + scene.falloff;
  if (!std::isfinite(levels) || !(scene.falloff_radius > 0.0) || !(std::abs(scene.strain) < 0.5)) {
    throw InputError(
        "polarization, strain and background must be finite numbers, the falloff radius above 0 and |strain| below "
        "0.5");
  }
  // Room for a stretched lattice and for the pixel's own reach.
  const double end =
      std::min(2.0 * FARTHEST, largest_two_theta(projection, n_z, n_y) * (1.0 + 2.0 * std::abs(scene.strain)) + 1e-3);
  const PatternTable table = tabulate(scene.peaks, end, n_threads);
  const TexturedPeaks textured = scene.texture.factors == nullptr ? TexturedPeaks() : textured_peaks(scene, table);
  const Renderer renderer(projection, scene, table, textured);
  parallel_for_blocks(n_z, 8, resolve_threads(n_threads),
                      [&](std::int64_t z) { renderer.row(z, n_y, image + z * n_y); });
}

}  // namespace midas
