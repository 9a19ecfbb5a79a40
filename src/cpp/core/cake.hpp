// Frames into cakes: sums of counts over the bins of a CakeMap.
//
//   intensity = sum(area s (raw - dark)) / sum(area)           over the valid pixels of the bin
//   variance  = sum(area^2 s^2 max(raw, 0)) / sum(area)^2      Poisson: the variance of a count is the count, without a
//   floor
//
// s is a correction per pixel (1 without). Without `normalize` both sums stand undivided. A pixel is valid unless it is
// masked, not finite, negative (detectors mark gaps and bad pixels with -1 and -2), at the largest value of an unsigned
// type, at or above `saturation`, or one of `bad_values`. Source: SPEC sections 4 and 5.
//
// Areas are single precision, and so are the sums within a tile, 8 x 32 pixels, unless counts reach 2^24 or are double;
// tiles are added up in double where a bin has more than a few. A pixel that is no count in some frame alone is mended
// afterwards: its area and dark are taken away from the bin's for that frame. Every bin is summed in the order of its
// tiles by one thread: the same bytes for any number of threads, and for a frame alone or among others.
#ifndef MIDAS_CAKE_HPP
#define MIDAS_CAKE_HPP

#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <vector>

#include "cake_kernels.hpp"
#include "cake_map.hpp"
#include "packed_strips.hpp"

namespace midas {

// What frames are combined with; arrays are laid out as the stored frame, or null.
struct CakeInput {
  const double* dark = nullptr;        // counts, finite
  const double* scale = nullptr;       // s, finite
  const std::uint8_t* mask = nullptr;  // non-zero leaves the pixel out
  std::vector<double> bad_values;      // values that mark a pixel without counts
  double saturation = std::numeric_limits<double>::infinity();
  bool negative_counts = false;  // negative values are counts (frames whose dark is subtracted), not marks
  bool normalize = true;
};

// Where the cakes of some frames go: n_bins elements a frame, one frame after another. A bin without a valid pixel is
// NaN.
template <class Out>
struct CakeOutput {
  Out* intensity = nullptr;
  Out* variance = nullptr;          // or null
  double* area = nullptr;           // of the valid pixels [px^2]; only of frames that differ, see below
  std::int32_t* pixels = nullptr;   // how many those are, likewise
  std::uint8_t* differs = nullptr;  // of each frame: 1 where some of its pixels are no counts; else area and pixels are
                                    // not written, being the integrator's own
};

// A map and all that its frames are combined with. Immutable from outside; safe to use from several threads.
class Integrator {
 public:
  Integrator(std::shared_ptr<const CakeMap> map, const CakeInput& input, InstructionSet set = best_instruction_set());
  ~Integrator();

  const CakeMap& map() const { return *map_; }
  // Without the pixels of the mask.
  const std::vector<double>& bin_area() const { return bin_area_; }  // [px^2]
  const std::vector<std::int32_t>& bin_pixels() const { return bin_pixels_; }

  // T: std::uint8_t, uint16_t, uint32_t, int16_t, int32_t, float, double; Out: float or double.
  template <class T, class Out>
  void apply(const T* const* frames, std::int64_t n_frames, const CakeOutput<Out>& output, int n_threads) const;
  // The same of frames that come packed. Each thread unpacks a strip of its frames and sums it before the next, so that
  // they never lie in memory whole, unless they are too few to be summed side by side.
  template <class T, class Out>
  void apply(const PackedFrames& frames, const CakeOutput<Out>& output, int n_threads) const;

 private:
  struct Workspace;
  template <class T, class Real>
  class Tiles;
  template <class T, class Real, class Sum>
  class Batch;
  template <class T, class Real, class Sum, class Out>
  bool batch(Strips<T>& frames, std::int64_t n, const CakeOutput<Out>& output) const;
  template <class T, class Real, class Out>
  bool single(const T* frame, const CakeOutput<Out>& output, int n_threads) const;
  template <class T, class Out>
  void batch_as(Strips<T>& frames, std::int64_t n, const CakeOutput<Out>& output) const;
  template <class T, class Out>
  void single_as(const T* frame, const CakeOutput<Out>& output, int n_threads) const;
  template <class Out>
  CakeOutput<Out> of_frame(const CakeOutput<Out>& output, std::int64_t frame) const;

  double corrected_dark(std::size_t element) const {
    return dark_[element] * (scale_.empty() ? 1.0 : static_cast<double>(scale_[element]));
  }
  bool side_by_side(std::int64_t n_frames, int n_threads) const;
  std::unique_ptr<Workspace> take() const;
  void give_back(std::unique_ptr<Workspace> workspace) const;

  std::shared_ptr<const CakeMap> map_;
  InstructionSet set_;
  double saturation_;
  bool negative_counts_, normalize_;
  std::vector<double> bad_values_;
  std::vector<double> dark_;               // of each element of the stored image, or empty
  std::vector<float> scale_;               // likewise
  std::vector<std::uint8_t> masked_tile_;  // whether a tile has pixels that the mask leaves out
  std::vector<std::uint32_t> used_;        // of each tile's row: a bit for each column whose pixel is in a bin
  std::vector<double> bin_area_;
  std::vector<std::int32_t> bin_pixels_;
  std::vector<double> dark_sum_, factor_;  // of each bin: what its sum is lessened and then multiplied by
  bool many_tiles_a_bin_;                  // so many that their sum wants double
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Workspace>> idle_;
};

}  // namespace midas

#endif
