// A peak that a fit left out: where the residuals of a window show one most.
//
// A profile of area 1 at a place, over sigma, is v; what the fit's parameters cannot imitate of it is
//
//   u = v - J N^-1 J^T v
//
// with J, N and R of lineout_peaks.hpp. With the residuals r, data less model over sigma, a peak of area u.r / u.u
// stands out by u.r / sqrt(u^T R u) standard deviations: the score test of Rao, Proc. Camb. Phil. Soc. 44 (1948) 50.
#ifndef MIDAS_LINEOUT_NEIGHBORS_HPP
#define MIDAS_LINEOUT_NEIGHBORS_HPP

#include <vector>

#include "lineout_model.hpp"
#include "lineout_sharing.hpp"

namespace midas {

struct Neighbor {
  double center = 0.0, fwhm = 0.0, area = 0.0;  // [px], [counts px]
  double significance = 0.0;                    // in standard deviations
};

// A fit as it ended: the buffers hold the residuals and the derivatives there.
struct EndedFit {
  const LineoutWindow& window;
  const LineoutBuffers& buffers;
  const BinCorrelation& correlation;
  const std::vector<double>& inverse;  // N^-1, 0 for parameters that were held
};

// The one that stands out most, of the given width or half of it, on the middle of a bin.
Neighbor find_neighbor(const EndedFit& fit, double fwhm);

}  // namespace midas

#endif
