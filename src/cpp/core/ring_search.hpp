// Where a pattern of powder rings comes from: geometries proposed, scored and polished on ridge points of an image.
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
//
// Score. Ridge points i with radii R_i on the untilted plane and angles delta_i between their normals and the ring's;
// rings k at R_k = L tan(2theta_k) that show with probability f_k per length; usable area A, A'(R) of it per radius. On
// the hypothesis a point is on a ring with probability s, with density f_k N(R - R_k; sigma) / Z per area, Z = sum_k
// f_k A'(R_k), and elsewhere with density 1/A. Against points strewn over the area:
//
//     radial = sum_i w_i log(s A / Z sum_k f_k N(R_i - R_k) + 1 - s)        angular = sum_i w_i log(u pi V(delta_i) + 1
//     - u)
//
// A crowded pattern gains nothing (the sum tends to Z/A), a predicted ring that is not there takes its share from those
// that are, and points that no ring explains cost log(1 - s). s and u maximise them.
#ifndef MIDAS_RING_SEARCH_HPP
#define MIDAS_RING_SEARCH_HPP

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

// Samples of the detector's usable area, n each.
struct AreaView {
  const double* y;
  const double* z;
  const double* weight;  // area each stands for, in the measure of the points' weights
  std::int64_t n;
};

// The rings of a calibrant, two_theta ascending.
struct RingPattern {
  std::vector<double> tangent;            // tan(two_theta)
  std::vector<double> brightness;         // per pixel, in any unit
  std::vector<double> faintest = {0.03};  // f_k = b / (b + faintest * b of the brightest ring on the detector)
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

// Each geometry with its beam moved to where the points' normals meet best, tilt and distance as they are.
std::vector<Geometry> aim_beams(const std::vector<Geometry>& geometries, const RidgeView& points, int n_threads);

struct RingScore {
  double radial = 0.0, angular = 0.0;  // log-likelihood ratios, see above
  double share = 0.0;                  // s: share of the points that lie on rings
};

// The score of each geometry. sigma: standard deviation of a point's radius [px]. Geometries in px: pixel_size 1.
std::vector<RingScore> score_geometries(const std::vector<Geometry>& geometries, const RidgeView& points,
                                        const AreaView& area, const RingPattern& rings, double sigma, int n_threads);

// The scores of one geometry at each of several ascending distances. Distances less than 5 % apart share the usable
// area by radius and the normals' score, which vary slowly.
std::vector<RingScore> score_distances(const Geometry& geometry, const std::vector<double>& distances,
                                       const RidgeView& points, const AreaView& area, const RingPattern& rings,
                                       double sigma, int n_threads);

struct PolishOptions {
  double sigma_first = 3.0;  // [px] standard deviation of a point's radius, from the first stage
  double sigma_last = 1.0;   // to the last
  double tilt_prior = 0.35;  // [rad] standard deviation of a tilt before anything is known
  double growth = 1.35;      // of the radius within which points are used, from stage to stage
  int rings_first = 4;       // rings within the first radius
  int iterations = 2;        // a stage
};

// Each geometry moved to where the points lie best on the rings, from the inner rings outward: distance, beam centre,
// tilt_y and tilt_z by least squares with the points' probabilities of being on a ring as weights.
std::vector<Geometry> polish_geometries(const std::vector<Geometry>& geometries, const RidgeView& points,
                                        const AreaView& area, const RingPattern& rings, const PolishOptions& options,
                                        int n_threads);

}  // namespace midas

#endif
