// A powder image from its physics: the mean counts of every pixel, noise-free.
//
//   counts(pixel) = background(R) + cos^3(2theta) (1 - f sin^2(2theta) sin^2(eta)) <p(2theta')>
//   p(t)          = sum_k area_k phi((t - center_k) / fwhm_k) / fwhm_k            [counts rad / rad of 2theta]
//   phi(x)        = m 2/pi / (1 + 4 x^2) + (1 - m) sqrt(4 ln2 / pi) exp(-4 ln2 x^2)     pseudo-Voigt, area and width 1
//   sin(theta')   = (1 + strain cos(2 eta)) sin(theta)                            a lattice stretched along eta = 0
//   background(R) = constant + falloff / (1 + (R / falloff_radius)^2)
//
// < > is the mean over the pixel's area; cos^3 is the solid angle of a flat pixel, 1 - f ... the polarization (both in
// docs/physics/areas.md), taken at the pixel's centre. The mean of p is exact along the axis where 2theta changes
// fastest (p is tabulated with its integral) and a Gauss-Legendre sum along the other, with the gradient of 2theta from
// the Projection and the curvature of a circle.
#ifndef MIDAS_SIMULATE_HPP
#define MIDAS_SIMULATE_HPP

#include <cstdint>
#include <vector>

#include "geometry.hpp"

namespace midas {

// One powder line.
struct Peak {
  double center;  // [rad of 2theta]
  double fwhm;    // [rad]
  double mixing;  // Lorentzian share, 0 to 1
  double area;    // [counts rad]
};

// A function of 2theta and its integral on a uniform grid, read by cubic Hermite interpolation.
class PatternTable {
 public:
  PatternTable(double start, double step, std::int64_t size);

  // The integral of p from `start` to t: 0 before the table, the total after it.
  double integral(double t) const;
  // p(t), the derivative of `integral`: 0 outside the table.
  double density(double t) const;

  double start() const { return start_; }
  double step() const { return step_; }
  std::int64_t size() const { return size_; }
  double node(std::int64_t i) const { return start_ + static_cast<double>(i) * step_; }
  double* values() { return values_.data(); }  // (integral, p * step) of each node

 private:
  double start_, step_, inverse_step_;
  std::int64_t size_;
  std::vector<double> values_;
};

// The sum of peaks on a grid from 0 to `end` in steps of at most 1/16 of the narrowest width. Throws InputError on a
// peak that is not finite, a width or an `end` that is not positive, or a table of more than 2^26 nodes.
PatternTable tabulate(const std::vector<Peak>& peaks, double end, int n_threads);

// How the azimuthal density of each peak departs from uniform: factors (n_peaks, n_eta), on bins that start at eta =
// -pi.
struct Texture {
  const float* factors = nullptr;  // null: none
  std::int64_t n_eta = 0;
};

struct Scene {
  std::vector<Peak> peaks;
  Texture texture;
  double polarization = 0.0;    // f
  double strain = 0.0;          // amplitude of cos(2 eta)
  double background = 0.0;      // [counts]
  double falloff = 0.0;         // more background at the beam [counts]
  double falloff_radius = 1.0;  // [px]
};

// Mean counts of n_z x n_y pixels, row-major, to `image`. A pixel behind the sample has 0.
// Throws InputError on a bad scene (see tabulate) or an empty image.
void render(const Projection& projection, const Scene& scene, std::int64_t n_z, std::int64_t n_y, float* image,
            int n_threads);

}  // namespace midas

#endif
