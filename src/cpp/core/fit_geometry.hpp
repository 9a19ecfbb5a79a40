// The geometry that puts measured ring positions on their Bragg angles: robust least squares on the pseudo-strain.
//
//   r_i = w_i [ R(y_i, z_i; parameters) / (L tan 2theta_i) - 1 ]     (minus the pseudo-strain)
//
// Points may come from several images of one detector and lie on several panels. Refined are the parameters of the
// geometry, the wavelength (as its ratio to the one that gave tan 2theta: sin theta scales with it), for each image an
// offset of distance and beam centre from the geometry's, and for each panel how it stands off its place (panels.hpp).
// An image at a known distance has a fixed offset: the geometry's own distance is then what is common to all.
//
// Minimised by Levenberg-Marquardt with the analytic Jacobian of core/geometry.cpp. With `robust` c > 0 the loss of
// each point is Cauchy's, c^2 log(1 + r^2 / c^2), by iteratively reweighted normal equations (Huber & Ronchetti, Robust
// Statistics, 2nd ed., section 7.8); the covariance is that of the weighted normal equations. A parameter with a finite
// sigma has a Gaussian prior about its start value (a panel's about 0), one more residual (p - p_0) / sigma.
//
// What all panels do together is not theirs: a common shift is the beam centre's, a common rotation tilt_x (which rings
// do not see), a common expansion the distance's. `gauge` holds the curl and the divergence of the displacement, over
// the pixels of the free panels, and the means of panel distance and p2 at zero, and keeps the displacement orthogonal,
// in the metric of the points, to what the beam centre does. So the beam centre is that of the fit without panels, to
// first order, and as certain: with the plain mean held at zero instead, it would carry the displacement of outer
// panels along the rings, which no ring shows.
#ifndef MIDAS_FIT_GEOMETRY_HPP
#define MIDAS_FIT_GEOMETRY_HPP

#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "geometry.hpp"
#include "levmar.hpp"

namespace midas {

// n points: position on the detector [px], tan of the Bragg 2theta, weight = 1 / esd of the strain.
struct StrainPoints {
  const double* y;
  const double* z;
  const double* tan_two_theta;
  const double* weight;
  std::int64_t n;
  const std::int64_t* image = nullptr;  // index of each point's image; null: all of image 0
  const std::int64_t* panel = nullptr;  // each point's panel; null: that of its position
};

// How an image's detector position differs from the geometry: distance [um], beam centre y, z [px].
enum ImageParameter : int { IMAGE_DISTANCE = 0, IMAGE_BEAM_Y, IMAGE_BEAM_Z, N_IMAGE_PARAMETERS };
using ImageOffset = std::array<double, N_IMAGE_PARAMETERS>;

// Where each parameter of a joint fit has its place in one list.
struct ParameterSpace {
  int n_images = 1;
  int n_panels = 0;
  static constexpr int wavelength() { return N_GEOMETRY_PARAMETERS; }
  static constexpr int image(int m, int k) { return wavelength() + 1 + m * N_IMAGE_PARAMETERS + k; }
  int panel(int m, int k) const { return image(n_images, 0) + m * N_PANEL_PARAMETERS + k; }
  int size() const { return panel(n_panels, 0); }
};

constexpr double NO_PRIOR = std::numeric_limits<double>::infinity();

// What is done with one parameter. Bounds and sigma are in its own units.
struct Freedom {
  bool free = false;
  double lower = -std::numeric_limits<double>::infinity(), upper = std::numeric_limits<double>::infinity();
  double sigma = NO_PRIOR;
};

struct FitGeometryOptions {
  std::vector<Freedom> parameters;                 // ParameterSpace::size() of them
  std::vector<ImageOffset> images{ImageOffset{}};  // start values
  bool gauge = false;
  double robust = 0.0;  // c of the Cauchy loss in units of the weighted residual; 0 is plain least squares
  int max_iterations = 200;
};

struct FitGeometryResult {
  Geometry geometry;
  double wavelength_ratio = 1.0;
  std::vector<ImageOffset> images;
  std::vector<int> parameters;  // places (ParameterSpace) of the free ones
  std::vector<double>
      covariance;              // n_free x n_free, for unit weighted variance; NaN where the normal matrix is singular
  std::vector<double> strain;  // 1 - R / R_ideal of each point at the end
  LevmarResult fit;
};

// Throws InputError where nothing is free, an option has the wrong size or an index is out of range, and FitError where
// there are fewer points than parameters without a prior.
FitGeometryResult fit_geometry(const Geometry& start, const StrainPoints& points, const FitGeometryOptions& options);

// Pseudo-strain 1 - R / (L tan 2theta) of each point; strain has points.n elements. weight may be null, image is not
// looked at.
void pseudo_strain(const Projection& projection, const StrainPoints& points, double* strain);

}  // namespace midas

#endif
