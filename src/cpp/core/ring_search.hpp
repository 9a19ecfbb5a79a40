// Where a pattern of a calibrant's powder rings comes from: geometries scored and polished on ridge points of an image.
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

#include "center_search.hpp"
#include "geometry.hpp"

namespace midas {

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
