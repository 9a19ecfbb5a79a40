// Frames into cakes: sums of counts over the bins of a CakeMap.
//
//   intensity = sum(area s (raw - dark)) / sum(area)           over the valid pixels of the bin
//   variance  = sum(area^2 s^2 max(raw, 0)) / sum(area)^2      Poisson: the variance of a count is the count
//
// s is a correction per pixel (1 without). Without `normalize` both sums stand undivided. A pixel is valid unless it is
// masked, not finite, negative (detectors mark gaps and bad pixels with -1 and -2), at the largest value of an unsigned
// type, at or above `saturation`, or one of `bad_values`. Source: docs/physics/areas.md.
//
// Areas are single precision, and so are the sums within a tile, 8 x 32 pixels, unless counts reach 2^24 or are double;
// tiles are added up in double where a bin has more than a few. A pixel that is no count in some frame alone is mended
// afterwards: its area and dark are taken away from the bin's for that frame. Every bin is summed in the order of its
// tiles by one thread: the same bytes for any number of threads, and for a frame alone or among others.
#ifndef MIDAS_CAKE_HPP
#define MIDAS_CAKE_HPP

#include <cstdint>
#include <memory>
#include <vector>

#include "cake_workspace.hpp"
#include "missing_counts.hpp"
#include "packed_strips.hpp"
#include "prepared_cake.hpp"

namespace midas {

// Where the cakes of some frames go: n_bins elements a frame, one frame after another. A bin without a valid pixel is
// NaN.
template <class Out>
struct CakeOutput {
  Out* intensity = nullptr;
  float* variance = nullptr;  // or null; in single precision, which is all that its sums have
};

// A map and all that its frames are combined with. Immutable from outside; safe to use from several threads.
class Integrator {
 public:
  Integrator(std::shared_ptr<const CakeMap> map, const CakeInput& input, InstructionSet set = best_instruction_set(),
             int n_threads = 0);

  const CakeMap& map() const { return *cake_.map; }
  // Without the pixels of the mask.
  const std::vector<double>& bin_area() const { return cake_.bin_area; }  // [px^2]
  const std::vector<std::int32_t>& bin_pixels() const { return cake_.bin_pixels; }

  // Returns the bins whose valid pixels are not those above, by frame and bin.
  // T: std::uint8_t, uint16_t, uint32_t, int16_t, int32_t, float, double; Out: float or double.
  template <class T, class Out>
  std::vector<OwnBin> apply(const T* const* frames, std::int64_t n_frames, const CakeOutput<Out>& output,
                            int n_threads) const;
  // The same of frames that come packed. Each thread unpacks a strip of its frames and sums it before the next, so that
  // they never lie in memory whole, unless they are too few to be summed side by side.
  template <class T, class Out>
  std::vector<OwnBin> apply(const PackedFrames& frames, const CakeOutput<Out>& output, int n_threads) const;

 private:
  template <class T, class Real, class Sum, class Out>
  std::uint32_t batch(Strips<T>& frames, std::uint32_t wanted, std::int64_t first, std::int64_t n,
                      const CakeOutput<Out>& output, std::vector<OwnBin>& own) const;
  template <class T, class Real, class Out>
  bool single(const T* frame, std::int64_t number, const CakeOutput<Out>& output, int n_threads,
              std::vector<OwnBin>& own) const;
  template <class T, class Out>
  void batch_as(Strips<T>& frames, std::int64_t first, std::int64_t n, const CakeOutput<Out>& output,
                std::vector<OwnBin>& own) const;
  template <class T, class Out>
  void single_as(const T* frame, std::int64_t number, const CakeOutput<Out>& output, int n_threads,
                 std::vector<OwnBin>& own) const;
  bool side_by_side(std::int64_t n_frames, int n_threads) const;

  PreparedCake cake_;
  mutable WorkspacePool pool_;
};

}  // namespace midas

#endif
