// Robust statistics of bins: cases by hand, a sorted reference, the same for every instruction set and thread count.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "check.hpp"
#include "error.hpp"
#include "robust.hpp"
#include "robust_bin.hpp"

using midas::BinResult;
using midas::BinStatistics;
using midas::CakeInput;
using midas::CakeMap;
using midas::ClipSigma;
using midas::InstructionSet;
using midas::RobustMethod;
using midas::RobustOptions;
using midas_test::check;
using midas_test::check_close;

namespace {

RobustOptions of(RobustMethod method) {
  RobustOptions options;
  options.method = method;
  return options;
}

template <class Real>
BinResult statistic(const RobustOptions& options, const std::vector<double>& v, const std::vector<double>& w,
                    InstructionSet set = InstructionSet::BASELINE, double count = 0.0) {
  BinStatistics<Real> bin(options, set, true);
  const auto n = static_cast<std::int64_t>(v.size());
  bin.values().reserve(n);
  for (std::size_t i = 0; i < v.size(); ++i) {
    bin.values().v[i] = static_cast<Real>(v[i]);
    bin.values().w[i] = static_cast<Real>(w[i]);
  }
  bin.values().n = n;
  return bin.find({1.0, 0.0, count});
}

template <class Real>
void test_by_hand() {
  const RobustOptions median = of(RobustMethod::MEDIAN);
  check_close(statistic<Real>(median, {7, 1, 90}, {1, 1, 1}).intensity, 7.0, 0.0, "the middle of three");
  check_close(statistic<Real>(median, {7, 1, 90, 8}, {1, 1, 1, 1}).intensity, 7.5, 0.0, "two share the half");
  check_close(statistic<Real>(median, {7, 1, 90}, {1, 0.5, 2}).intensity, 90.0, 0.0, "by weight");
  // Four equal pixels: h = 1/2, the quantiles are 1 and 90, sigma = 89 / (4 * 1/2 * 2); and the rounding of counts.
  check_close(statistic<Real>(median, {7, 1, 90, 8}, {1, 1, 1, 1}).variance, 22.25 * 22.25, 1e-3, "its variance");
  check_close(statistic<Real>(median, {5, 5, 5, 5}, {1, 1, 1, 1}, InstructionSet::BASELINE, 1.0).variance, 1.0 / 12.0,
              1e-12, "whole counts are rounded");

  RobustOptions trimmed = of(RobustMethod::TRIMMED_MEAN);
  trimmed.trim_low = trimmed.trim_high = 0.25;
  // Of 0, 2, 4, 600 a quarter each way: 2 and 4 are left. Winsorised 2, 2, 4, 4: mean square 1; h = 2, n S / (h (h -
  // 1)).
  const BinResult mean = statistic<Real>(trimmed, {4, 600, 0, 2}, {1, 1, 1, 1});
  check_close(mean.intensity, 3.0, 1e-6, "the mean of the middle half");
  check_close(mean.area, 2.0, 1e-6, "half of the area is used");
  trimmed.trim_low = 0.0;
  trimmed.trim_high = 0.375;
  // 2.5 of 4 are left: 0, 2 and half of 4.
  check_close(statistic<Real>(trimmed, {4, 600, 0, 2}, {1, 1, 1, 1}).intensity, 4.0 / 2.5, 1e-6, "weights are cut");

  RobustOptions clip = of(RobustMethod::SIGMA_CLIP);
  clip.threshold = 2.0;
  // Median 10, sigma 36.7: 100 goes; then mean 10 and sigma sqrt(2 / 4).
  const BinResult clipped = statistic<Real>(clip, {9, 10, 10, 10, 11, 100}, {1, 1, 1, 1, 1, 1});
  check_close(clipped.intensity, 10.0, 1e-6, "the outlier is clipped");
  check_close(clipped.variance, 0.5 / 5.0, 1e-6, "the variance of the mean of five");
  check(clipped.n == 5, "five pixels are used");
  clip.sigma = ClipSigma::POISSON;
  const BinResult counts = statistic<Real>(clip, {9, 10, 10, 10, 11, 100}, {1, 1, 1, 1, 1, 1});
  check_close(counts.variance, 2.0, 1e-6, "the Poisson variance of the mean of five");
  check(statistic<Real>(clip, {1, 0, 0, 0, 0, 0, 0, 0}, {1, 1, 1, 1, 1, 1, 1, 1}).n == 8, "one count is no outlier");
  clip.threshold = 0.01;
  check(statistic<Real>(clip, {0, 1000}, {1, 1}).n == 1, "something is always kept");
  const BinResult empty = statistic<Real>(clip, {}, {});
  check(std::isnan(empty.intensity) && std::isnan(empty.variance) && empty.area == 0.0 && empty.n == 0, "an empty bin");
}

// Long lists, many ties, heavy tails: the median is that of the sorted list.
void test_against_sorting() {
  std::mt19937 random(5);
  for (const int n : {1, 2, 24, 25, 100, 999, 20000}) {
    for (const double spread : {0.5, 5.0, 1e4}) {
      std::normal_distribution<double> normal(0.0, spread);
      std::uniform_real_distribution<double> uniform(0.05, 1.0);
      std::vector<double> v, w;
      double total = 0.0;
      for (int i = 0; i < n; ++i) {
        v.push_back(std::round(i % 50 == 3 ? 1e6 : normal(random)));
        w.push_back(static_cast<double>(static_cast<float>(uniform(random))));
        total += w.back();
      }
      std::vector<std::size_t> order(v.size());
      for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
      std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return v[a] < v[b]; });
      const auto at = [&](double weight) {
        double sum = 0.0;
        for (const std::size_t i : order) {
          sum += w[i];
          if (sum >= weight) return v[i];
        }
        return v[order.back()];
      };
      const double low = at((0.5 - 2e-6) * total), high = at((0.5 + 2e-6) * total);
      for (const double found : {statistic<float>(of(RobustMethod::MEDIAN), v, w).intensity,
                                 statistic<double>(of(RobustMethod::MEDIAN), v, w).intensity})
        check(found >= low && found <= high, "the selected median is the sorted one");
      for (const RobustMethod method : {RobustMethod::MEDIAN, RobustMethod::TRIMMED_MEAN, RobustMethod::SIGMA_CLIP}) {
        const BinResult one = statistic<float>(of(method), v, w),
                        other = statistic<float>(of(method), v, w, midas::best_instruction_set());
        check(std::memcmp(&one, &other, sizeof(one)) == 0, "the same bytes with every instruction set");
      }
    }
  }
}

void test_threads_and_refusals() {
  midas::Geometry g;
  g.distance = 2e5;
  g.beam_y = 20.2;
  g.beam_z = 19.7;
  g.pixel_size = 100.0;
  const CakeMap map = midas::build_cake_map(midas::Projection(g), {41, 41, 0, 1, 41}, {2.0, 5.0, 9.0, 14.0, 30.0},
                                            {-3.0, -1.0, 0.5, 3.0}, nullptr, 1);
  std::vector<std::uint16_t> frame(41 * 41);
  std::mt19937 random(9);
  for (auto& value : frame) value = static_cast<std::uint16_t>(random() % 50);
  frame[700] = std::numeric_limits<std::uint16_t>::max();
  const std::uint16_t* const data = frame.data();
  std::vector<std::vector<double>> found;
  for (const int n_threads : {1, 2, 7}) {
    const midas::RobustIntegrator integrator(map, {}, of(RobustMethod::SIGMA_CLIP), n_threads);
    const auto n = static_cast<std::size_t>(map.n_bins());
    std::vector<double> all(3 * n);
    std::vector<std::int32_t> pixels(n);
    integrator.apply(&data, 1, {all.data(), all.data() + n, all.data() + 2 * n, pixels.data()}, n_threads);
    found.push_back(all);
  }
  check(found[0] == found[1] && found[0] == found[2], "the same for any number of threads");
  const auto refused = [&](const RobustOptions& options, const CakeInput& input) {
    return midas_test::throws<midas::InputError>([&] { midas::RobustIntegrator(map, input, options, 1); });
  };
  RobustOptions wrong;
  wrong.trim_low = wrong.trim_high = 0.5;
  check(refused(wrong, {}), "nothing is left of a trimmed mean");
  wrong = {};
  wrong.threshold = std::numeric_limits<double>::quiet_NaN();
  check(refused(wrong, {}), "no threshold");
  wrong = {};
  wrong.max_iterations = 0;
  check(refused(wrong, {}), "no iteration");
  CakeInput sums;
  sums.normalize = false;
  check(refused({}, sums), "sums are no robust statistics");
}

}  // namespace

int main() {
  test_by_hand<float>();
  test_by_hand<double>();
  test_against_sorting();
  test_threads_and_refusals();
  return midas_test::failures();
}
