// The fit of one group of peaks of a lineout, over one background. Equations and sources: lineout_peaks.hpp.
#ifndef MIDAS_LINEOUT_GROUP_HPP
#define MIDAS_LINEOUT_GROUP_HPP

#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "levmar.hpp"
#include "lineout_model.hpp"
#include "lineout_neighbors.hpp"
#include "lineout_peaks.hpp"
#include "lineout_search.hpp"
#include "lineout_sharing.hpp"

namespace midas {

constexpr double NOT_KNOWN = std::numeric_limits<double>::quiet_NaN();
constexpr PeakValues NOTHING{NOT_KNOWN, NOT_KNOWN, NOT_KNOWN, NOT_KNOWN, NOT_KNOWN, NOT_KNOWN, NOT_KNOWN};
constexpr double UNIT_AREA = 1.3;  // of a peak of width and height 1, half Gaussian, half Lorentzian

// A lineout and the peaks that are fitted to it.
struct FittedLineout {
  Lineout bins;
  std::vector<PeakStart> starts;    // by radius
  std::vector<LineoutPeak> fitted;  // of each start
};

// Neighbouring peaks that are fitted together.
struct PeakGroup {
  std::size_t first, end;  // of the starts
};

// Fits groups of a lineout's peaks. Kept from lineout to lineout for its memory.
class GroupFitter {
 public:
  GroupFitter(const LineoutView& view, const LineoutOptions& options, FittedLineout& lineout)
      : view_(view), options_(options), lineout_(lineout), bin_(mean_bin(view)), shift_(max_shift(view, options)) {}

  // Values alone, for others' tails and to see where a fit goes: without uncertainties, in few steps.
  void fit_roughly(const PeakGroup& group, bool again) { fit(group, again, true); }
  // Again: from where an earlier fit ended, and with the tails of other groups' peaks taken off.
  void fit(const PeakGroup& group, bool again) { fit(group, again, false); }
  // What stands out most of the residuals of the last fit; significance 0 where that had nothing to fit.
  Neighbor strongest_neighbor(const PeakGroup& group) const;

 private:
  void fit(const PeakGroup& group, bool again, bool is_rough);
  void give_up(const PeakGroup& group, PeakOutcome outcome);
  void set_window(const PeakGroup& group);
  void set_bounds(const PeakGroup& group);
  void set_start(const PeakGroup& group);
  void subtract_tails(const PeakGroup& group);
  void set_correlation(const PeakGroup& group);
  template <class Storage>
  void solve(const PeakGroup& group, std::size_t n_used);
  template <class Storage>
  double set_covariance(LineoutModel<Storage>& model);
  template <class Storage>
  void finish(const PeakGroup& group, const LevmarResult& result, LineoutModel<Storage>& model, std::size_t n_used);
  void finish_peak(std::size_t k, std::size_t at, bool is_regular);
  double covariance(std::size_t i, std::size_t j) const { return covariance_[i * p_.size() + j]; }
  void hold_width(std::size_t l, double step);
  // One on which the model depends: its diagonal of the normal matrix is above 0.
  bool is_zero_width(std::size_t parameter, double diagonal) const {
    return parameter >= N_BACKGROUND && (parameter - N_BACKGROUND) % N_OF_PEAK >= 2 && p_[parameter] <= 0.0 &&
           diagonal > 0.0;
  }
  bool is_fixed(std::size_t parameter) const {
    return p_[parameter] <= bounds_.lower[parameter] || p_[parameter] >= bounds_.upper[parameter];
  }

  struct Bounds {
    std::vector<double> lower, upper;
  };

  const LineoutView& view_;
  const LineoutOptions& options_;
  FittedLineout& lineout_;
  double bin_, shift_;  // [px]
  LineoutWindow window_;
  LineoutBuffers buffers_;
  BinnedProfile tail_;
  Bounds bounds_;
  BinCorrelation correlation_;
  std::vector<double> edges_;                     // of the window, from its middle [px]
  std::vector<double> p_, covariance_, inverse_;  // inverse_: of the normal matrix
  bool is_rough_ = false;                         // the present fit
  bool has_ended_ = false;                        // the last fit, at residuals
};

}  // namespace midas

#endif
