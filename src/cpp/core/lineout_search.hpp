// Where the peaks of a lineout begin: at given positions, or found by their prominence.
#ifndef MIDAS_LINEOUT_SEARCH_HPP
#define MIDAS_LINEOUT_SEARCH_HPP

#include <cstddef>
#include <cstdint>
#include <vector>

#include "lineout_peaks.hpp"

namespace midas {

// The bins of one lineout that have a value.
struct Lineout {
  std::vector<std::size_t> bin;
  std::vector<double> radius, value, sigma;
  std::vector<double> smooth, noise;  // what is searched, and its standard deviation

  void load(const LineoutView& view, std::int64_t sum, std::int64_t eta_bin);
  std::size_t size() const { return bin.size(); }
};

constexpr std::int64_t NEIGHBOR = -1;

// Start values of one peak.
struct PeakStart {
  std::int64_t peak = 0;                          // its number; NEIGHBOR: one that nobody asked for
  double center = 0.0, height = 0.0, fwhm = 0.0;  // fwhm 0: not seen
  double prominence = 0.0;                        // in standard deviations
  bool is_hidden = false;                         // seen in the residuals alone
  PeakOutcome outcome = PeakOutcome::CONVERGED;   // else why there is nothing to fit
};

double max_shift(const LineoutView& view, const LineoutOptions& options);
double mean_bin(const LineoutView& view);

// One start a position, at the nearest peak in reach, and one for each other peak of the lineout; by radius.
void starts_at(const LineoutView& view, const LineoutOptions& options, Lineout& lineout,
               std::vector<PeakStart>& starts);

// The peaks whose prominence is enough, by radius: the height over the higher one of the lowest points between the peak
// and, on either side, the nearest higher bin. Those beyond the n_peaks most prominent ones are neighbours.
void find_peaks(const LineoutOptions& options, Lineout& lineout, std::vector<PeakStart>& starts);

// The quadratic Savitzky-Golay filter over n_bins (odd) of the values, where that many neighbours lie side by side; the
// values themselves elsewhere (Savitzky & Golay, Anal. Chem. 36 (1964) 1627).
void smooth(std::int64_t n_bins, Lineout& lineout);

}  // namespace midas

#endif
