// The fit of one bin: what a ring is, among the pixels of one window and one eta bin. Equations and sources: peak.hpp.
#ifndef MIDAS_PEAK_FIT_HPP
#define MIDAS_PEAK_FIT_HPP

#include <cstdint>
#include <vector>

#include "peak.hpp"
#include "peak_model.hpp"
#include "peak_pixels.hpp"

namespace midas {

constexpr double NARROWEST = 0.5;  // a width lies between this and half the window, a window is twice as wide [px]

// The pixels of one window and one eta bin.
struct Bin {
  const RingGroup& group;
  const Sample* samples;
  std::int64_t n;
  std::int64_t eta_bin;
  double eta_middle, eta_step;  // [rad]
  RingView view;

  double middle() const { return 0.5 * (group.low + group.high); }
  double half() const { return 0.5 * (group.high - group.low); }
  int n_peaks() const { return static_cast<int>(group.centers.size()); }
};

// Buffers that one thread reuses from bin to bin. The pixels of a bin lie sorted by cells of radius.
struct Workspace {
  std::vector<std::size_t> first;    // of each cell, and the end
  std::vector<float> radius, value;  // of each pixel [px from the middle of the window], [counts]
  std::vector<double> eta_sum;       // of each cell [rad from the middle of the bin]
  std::vector<float> center;         // of each cell, padded to LANES [px]
  std::vector<float> model, ring;    // the model and the rings' part of it at the cells' centres [counts]
  std::vector<float> slope;          // of the model [counts / px]
  std::vector<float> tail, incline;  // what rings of other windows add there, and its slope [counts], [counts / px]
  std::vector<double> root;          // sum over each cell of the square roots of the values
  std::vector<float> pulls;
  Cells cells;
  Shape shape;
  ModelBuffers buffers;
};

// Fits the rings of a bin and appends their points.
void fit_bin(const Projection& projection, const Bin& bin, const KnownRings& known, const PeakOptions& options,
             Workspace& space, std::vector<RingPoint>& points);

}  // namespace midas

#endif
