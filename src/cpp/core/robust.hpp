// Frames into cakes by statistics that a few wrong pixels cannot move: median, trimmed mean, sigma clipping.
//
// A bin holds the pixels i that Integrator would use (cake.hpp), with the values v = s (raw - dark) and the weights w =
// area of the pixel in the bin; W = sum w and n = W^2 / sum w^2, which is their number where weights are equal. Q(p) is
// the smallest value that, with all below, has at least the weight p W.
//
//   MEDIAN        Q(1/2), or the middle between it and the next value where the two share the half (to 1e-6 W).
//                 variance = ((Q(1/2 + h) - Q(1/2 - h)) / 4)^2 + s^2 / 12,   h = 1 / sqrt(n)
//                 A median of n values has the standard deviation 1 / (2 f sqrt(n)), f the density at the median; the
//                 first term takes 1 / f from the quantiles two standard deviations off (Woodruff, J. Am. Stat. Assoc.
//                 47 (1952) 635; Price and Bonett, J. Stat. Comput. Simul. 68 (2001) 295). The second is the rounding
//                 to whole counts of integer frames (Sheppard's correction).
//   TRIMMED_MEAN  T = integral of Q(p) dp from a to 1 - b, over 1 - a - b: weights are cut just at the quantiles.
//                 variance = n S / (h (h - 1)),   h = (1 - a - b) n,
//                 S = the weighted mean square deviation of the winsorised values, those beyond Q(a) and Q(1 - b) moved
//                 there (Tukey and McLaughlin, Sankhya A 25 (1963) 331; h is the number kept).
//   SIGMA_CLIP    From the median as the first centre m: keep |v - m| <= k sigma, m = the mean of what is kept; again
//                 until an iteration drops no more than `tolerance` of the weight. What is dropped stays so.
//                 SCATTER: sigma^2 = sum w (v - m)^2 / W n / (n - 1), variance = sigma^2 / n of what is kept.
//                 POISSON: sigma^2 = max(P(m), s^2), variance = P(m) / n, with P(m) = max(s m + s^2 d, 0) the Poisson
//                 variance of a pixel of the bin's mean scale s and dark d; one count is the least sigma.
//
// Where n (h of the trimmed mean) is below 2, no scatter can be known, and variance = P / n.
//
// Values are single precision unless counts reach 2^24 or are double. Each bin is found by one thread, whatever the
// number of threads: the same bytes.
#ifndef MIDAS_ROBUST_HPP
#define MIDAS_ROBUST_HPP

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cake.hpp"
#include "cake_map.hpp"

namespace midas {

enum class RobustMethod { MEDIAN, TRIMMED_MEAN, SIGMA_CLIP };
enum class ClipSigma { SCATTER, POISSON };

struct RobustOptions {
  RobustMethod method = RobustMethod::MEDIAN;
  double trim_low = 0.1, trim_high = 0.1;  // a and b
  double threshold = 5.0;                  // k
  std::int64_t max_iterations = 10;
  double tolerance = 0.0;
  ClipSigma sigma = ClipSigma::SCATTER;
};

// Where the cakes go: n_bins elements a frame, one frame after another, in the order of CakeMap. A bin without a valid
// pixel has intensity and variance NaN, area and pixels 0.
struct RobustOutput {
  double* intensity = nullptr;
  double* variance = nullptr;      // square of the standard error, or null
  double* area = nullptr;          // of what is used [px^2]
  std::int32_t* pixels = nullptr;  // that are used; of a trimmed mean all from Q(a) to Q(1 - b)
};

// The pixels of each bin in one list: made once, for frames to come. It takes 8 bytes for each part of a pixel in a
// bin.
class RobustIntegrator {
 public:
  // Throws InputError for options out of range and for input without `normalize`.
  RobustIntegrator(const CakeMap& map, const CakeInput& input, const RobustOptions& options, int n_threads,
                   InstructionSet set = best_instruction_set());

  std::int64_t n_bins() const { return n_radius_ * n_eta_; }
  std::int64_t n_pixels() const { return n_pixels_; }

  // T: std::uint8_t, uint16_t, uint32_t, int16_t, int32_t, float, double.
  template <class T>
  void apply(const T* const* frames, std::int64_t n_frames, const RobustOutput& output, int n_threads) const;

 private:
  template <class T>
  class Task;
  void list_pixels(const CakeMap& map, const std::uint8_t* mask, int n_threads);
  void average_corrections(int n_threads);
  void divide_into_tasks();
  double corrected(double raw, std::size_t element) const {
    const double net = dark_.empty() ? raw : raw - dark_[element];
    return scale_.empty() ? net : net * static_cast<double>(scale_[element]);
  }

  RobustOptions options_;
  InstructionSet set_;
  std::int64_t n_radius_, n_eta_, n_pixels_;
  double saturation_;
  bool negative_counts_;
  std::vector<double> bad_values_;
  std::vector<double> dark_;  // of each element of the stored image, or empty
  std::vector<float> scale_;  // likewise
  // Bins lie here sector by sector, with ascending R: neighbours share pixels, which are then still in the cache.
  std::vector<std::int64_t> first_;             // entry of each bin, and the end
  std::vector<std::int32_t> element_;           // of each entry: of the stored image
  std::vector<float> area_;                     // of each entry [px^2]
  std::vector<double> mean_scale_, mean_dark_;  // of each bin; empty without
  std::vector<std::int64_t> task_;              // first bin of each task, and the end
};

}  // namespace midas

#endif
