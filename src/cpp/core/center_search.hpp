// Where the centre of a pattern of powder rings is: proposed from ridge points of an image, whatever diffracts.
//
// Votes. A pixel p on a ring, with the unit normal n and tangent t of the ring there, sees the sample at r = q + L u: q
// = p - beam centre on the detector, L the distance, u the direction of the beam in the detector's frame. The ring is a
// section of a cone around u, so u has no component along the tangent of the cone's circle: u . (t - r (r . t) / r^2)
// = 0. With q = alpha t + beta n, tau = u . t and nu = u . n this is
//
//     alpha (L (1 - tau^2) + beta nu) = beta tau (beta + L nu)
//
// a curve on which the beam centre lies: the normal itself where the detector is not tilted. L = infinity is the limit
// of small rings (concentric ellipses).
#ifndef MIDAS_CENTER_SEARCH_HPP
#define MIDAS_CENTER_SEARCH_HPP

#include <array>
#include <cstdint>
#include <vector>

#include "geometry.hpp"

namespace midas {

// Points on rings, n each; coordinates [px].
struct RidgeView {
  const double* y;
  const double* z;
  const double* normal_y;  // unit vector across the ring
  const double* normal_z;
  const double* weight;
  std::int64_t n;
};

struct CenterVote {
  double y = 0.0, z = 0.0;  // where most curves meet [px]
  double votes = 0.0;
};

struct TiltGuess {
  double u_y, u_z;          // the beam's direction on the detector plane, along columns and rows
  double inverse_distance;  // [1/px], 0 for the limit of small rings
  double low_y, low_z;      // first corner of the grid on which its votes are counted [px]
};

struct VoteGrid {
  std::int64_t n_y, n_z;
  double cell;  // [px]
};

// For each guess of the tilt the cell of its grid in which most of the points' curves meet.
std::vector<CenterVote> vote_centers(const RidgeView& points, const std::vector<TiltGuess>& guesses,
                                     const VoteGrid& grid, int n_threads);

// Each geometry moved to where the points' normals are best across its rings: the beam, and with `tilts` also tilt_y,
// tilt_z and the distance, which is known from perspective as far as there is any.
std::vector<Geometry> aim_beams(const std::vector<Geometry>& geometries, const RidgeView& points, bool tilts,
                                int n_threads);

// How sharply the distances of the points from each center (y, z) pile up: sum over bins of (n - m)^2 / (m + 1), m the
// mean over the bins around. Needs no normals, knows no tilt.
std::vector<double> center_sharpness(const RidgeView& points, const std::vector<std::array<double, 2>>& centers,
                                     double bin, int n_threads);

}  // namespace midas

#endif
