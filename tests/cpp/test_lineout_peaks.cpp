// Peaks of lineouts: the profile over bins, analytic derivatives, what is recovered, and what has no answer.
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "check.hpp"
#include "error.hpp"
#include "lineout_model.hpp"
#include "lineout_peaks.hpp"
#include "lineout_search.hpp"
#include "lineout_sharing.hpp"

namespace {

using midas_test::check;
using midas_test::check_close;
using midas_test::throws;

constexpr double PI = 3.14159265358979323846;
constexpr double NOTHING = std::numeric_limits<double>::quiet_NaN();

double integral(double x, double center, double fwhm, double mixing) {
  const double u = 2.0 * (x - center) / fwhm;
  return mixing * std::atan(u) / PI + (1.0 - mixing) * 0.5 * std::erf(std::sqrt(midas::LN2) * u);
}

std::vector<double> edges_of(int n, double first, double step) {
  std::vector<double> edges;
  for (int i = 0; i <= n; ++i) edges.push_back(first + step * i);
  return edges;
}

void profiles_are_means_over_bins() {
  const auto edges = edges_of(80, -20.0, 0.5);
  midas::BinnedProfile profile;
  profile.resize(80);
  for (const double fwhm : {0.01, 0.6, 3.0, 40.0})
    for (const double mixing : {0.0, 0.4, 1.0}) {
      profile.evaluate(edges.data(), 80, 0.13, fwhm, mixing);
      for (std::size_t i = 0; i < 80; ++i)
        check_close(profile.value[i],
                    2.0 * (integral(edges[i + 1], 0.13, fwhm, mixing) - integral(edges[i], 0.13, fwhm, mixing)), 1e-13,
                    "difference of the integrals");
    }
}

// Hand-computed: a pure Gaussian and a pure Lorentzian, and the sum of the polynomials' coefficients at g = l = 1.
void widths_of_thompson_cox_hastings() {
  const auto gauss = midas::thompson_cox_hastings(2.0, 0.0), lorentz = midas::thompson_cox_hastings(0.0, 3.0);
  check_close(gauss.fwhm, 2.0, 1e-14, "Gaussian width");
  check_close(gauss.mixing, 0.0, 1e-14, "Gaussian mixing");
  check_close(lorentz.fwhm, 3.0, 1e-14, "Lorentzian width");
  check_close(lorentz.mixing, 1.0, 1e-14, "Lorentzian mixing");
  const auto both = midas::thompson_cox_hastings(1.0, 1.0);
  check_close(both.fwhm, std::pow(11.67117, 0.2), 1e-14, "both widths 1");
  constexpr double STEP = 1e-6;
  for (const double g : {0.3, 1.0, 2.5})
    for (const double l : {0.2, 1.0, 2.0}) {
      const auto at = midas::thompson_cox_hastings(g, l);
      const auto g1 = midas::thompson_cox_hastings(g + STEP, l), g0 = midas::thompson_cox_hastings(g - STEP, l);
      const auto l1 = midas::thompson_cox_hastings(g, l + STEP), l0 = midas::thompson_cox_hastings(g, l - STEP);
      check_close(at.fwhm_gauss, (g1.fwhm - g0.fwhm) / (2.0 * STEP), 1e-8, "d fwhm / d gauss");
      check_close(at.fwhm_lorentz, (l1.fwhm - l0.fwhm) / (2.0 * STEP), 1e-8, "d fwhm / d lorentz");
      check_close(at.mixing_gauss, (g1.mixing - g0.mixing) / (2.0 * STEP), 1e-8, "d mixing / d gauss");
      check_close(at.mixing_lorentz, (l1.mixing - l0.mixing) / (2.0 * STEP), 1e-8, "d mixing / d lorentz");
    }
}

// The gradient J^T r that the model gives is half that of its cost.
void analytic_derivatives_are_numeric_ones() {
  const auto edges = edges_of(40, -10.0, 0.5);
  midas::LineoutWindow window;
  window.edges = edges.data();
  for (std::size_t i = 0; i < 40; ++i) {
    const double root = i == 7 ? 0.0 : 0.1 + 0.01 * static_cast<double>(i);
    window.value.push_back(20.0 + static_cast<double>(i * i % 11));
    window.root_weight.push_back(root);
    window.offset.push_back(root * 0.5 * (edges[i] + edges[i + 1]));
  }
  midas::LineoutBuffers buffers;
  const midas::LineoutModel<midas::HeapStorage> model(window, 2, buffers);
  std::vector<double> p = {12.0, -0.3, 50.0, -1.0, 1.5, 1.2, 30.0, 2.5, 2.0, 0.7};
  std::vector<double> normal(100), gradient(10);
  model.normal_equations(p.data(), normal, gradient.data());
  for (std::size_t k = 0; k < p.size(); ++k) {
    constexpr double STEP = 1e-5;
    const double at = p[k];
    p[k] = at + STEP;
    const double up = model.cost(p.data());
    p[k] = at - STEP;
    const double down = model.cost(p.data());
    p[k] = at;
    check_close(gradient[k], 0.5 * (up - down) / (2.0 * STEP), 1e-5 * (1.0 + std::abs(gradient[k])), "gradient");
  }
}

struct Drawn {
  std::vector<double> edges = edges_of(120, 500.0, 1.0), intensity, sigma;
  std::int64_t n_eta;
  explicit Drawn(std::int64_t n)
      : intensity(static_cast<std::size_t>(120 * n)), sigma(intensity.size(), 1.0), n_eta(n) {}
  void add(std::int64_t eta, double area, double center, double gauss, double lorentz) {
    const auto w = midas::thompson_cox_hastings(gauss, lorentz);
    for (std::size_t r = 0; r < 120; ++r)
      at(r, eta) +=
          area * (integral(edges[r + 1], center, w.fwhm, w.mixing) - integral(edges[r], center, w.fwhm, w.mixing));
  }
  double& at(std::size_t r, std::int64_t eta) {
    return intensity[r * static_cast<std::size_t>(n_eta) + static_cast<std::size_t>(eta)];
  }
  void fill(std::int64_t eta, double value) {
    for (std::size_t r = 0; r < 120; ++r) at(r, eta) = value;
  }
  midas::LineoutView view() const { return {intensity.data(), sigma.data(), edges.data(), 1, 120, n_eta}; }
};

void noise_free_peaks_are_recovered() {
  Drawn d(1);
  d.fill(0, 40.0);
  d.add(0, 5e4, 530.3, 2.5, 1.7);
  d.add(0, 3e4, 535.1, 2.2, 1.1);
  d.add(0, 1e4, 540.8, 2.4, 1.9);
  midas::LineoutOptions options;
  options.positions = {530.0, 535.0, 541.0};
  for (const bool given : {true, false}) {
    if (!given) options.positions.clear();
    const auto peaks = midas::fit_lineouts(d.view(), options);
    check(peaks.size() == 3, "three peaks");
    if (peaks.size() != 3) continue;
    const double area[3] = {5e4, 3e4, 1e4}, center[3] = {530.3, 535.1, 540.8}, gam[3] = {1.7, 1.1, 1.9};
    for (std::size_t k = 0; k < 3; ++k) {
      check(peaks[k].outcome == midas::PeakOutcome::CONVERGED && peaks[k].group == 0, "fitted together");
      check_close(peaks[k].value.area / area[k], 1.0, 1e-8, "area");
      check_close(peaks[k].value.center, center[k], 1e-8, "centre");
      check_close(peaks[k].value.gam, gam[k], 1e-7, "gam");
    }
  }
}

void lineouts_without_answer_say_why() {
  Drawn d(4);
  d.fill(0, NOTHING);
  d.fill(1, 0.0);
  d.fill(2, 3.0);
  d.fill(3, NOTHING);
  for (std::size_t r = 28; r < 32; ++r) d.at(r, 3) = 5.0 - static_cast<double>(r % 2);
  midas::LineoutOptions options;
  options.positions = {530.0};
  const auto peaks = midas::fit_lineouts(d.view(), options);
  check(peaks.size() == 4, "a row a lineout");
  const midas::PeakOutcome expected[4] = {midas::PeakOutcome::NO_BINS, midas::PeakOutcome::NO_PEAK,
                                          midas::PeakOutcome::NO_PEAK, midas::PeakOutcome::TOO_FEW_BINS};
  for (std::size_t k = 0; k < 4; ++k) {
    check(peaks[k].outcome == expected[k], "why");
    check(std::isnan(peaks[k].value.area) && std::isnan(peaks[k].sigma.center), "NaN");
  }
  options.positions.clear();
  check(midas::fit_lineouts(d.view(), options).empty(), "nothing to find");
}

// Savitzky and Golay's table for five points: (-3 12 17 12 -3) / 35.
void smoothing_is_that_of_savitzky_and_golay() {
  midas::Lineout lineout;
  for (std::size_t i = 0; i < 9; ++i) {
    lineout.bin.push_back(i);
    lineout.radius.push_back(static_cast<double>(i));
    lineout.value.push_back(i == 4 ? 35.0 : 0.0);
    lineout.sigma.push_back(1.0);
  }
  midas::smooth(5, lineout);
  const double expected[9] = {0.0, 0.0, -3.0, 12.0, 17.0, 12.0, -3.0, 0.0, 0.0};
  for (std::size_t i = 0; i < 9; ++i) check_close(lineout.smooth[i], expected[i], 1e-12, "smoothed");
  check_close(lineout.noise[4], std::sqrt(17.0 / 35.0), 1e-12, "noise of the smoothed");
  lineout.bin[8] = 12;  // a gap: its neighbours stay as they are
  midas::smooth(5, lineout);
  check_close(lineout.smooth[6], 0.0, 1e-12, "beside a gap");
}

// Along an axis a pixel is a box of width 1: for bins of h >= 1 C_ii = h - 1/3 and C_i,i+1 = 1/6; for h = 1/2 the three
// are 5/24, 1/8 and 1/48.
void bins_share_what_their_borders_cut() {
  midas::BinCorrelation found;
  const midas::SharedPixels box(1e5, -0.005, 0.005), diagonal(1e3, 0.25 * PI - 0.01, 0.25 * PI + 0.01);
  const double expected[3][3] = {{0.5, 0.6, 0.1}, {1.0, 0.25, 0.0}, {2.0, 0.1, 0.0}};
  for (const auto& [step, first, second] : expected) {
    box.correlation(edges_of(6, 500.0, step).data(), 6, found);
    for (std::size_t i = 0; i < 6; ++i) check_close(found.band[i], 1.0, 0.0, "of a bin with itself");
    for (std::size_t i = 0; i < 5; ++i) check_close(found.band[6 + i], first, 2e-3, "next bins");
    if (found.n_bands > 2) check_close(found.band[12], second, 2e-3, "bins after the next");
  }
  check(found.n_bands == 2, "bins of 2 px share with the next alone");
  const std::vector<double> v = {1.0, 2.0, 0.0, 0.0, 0.0, 3.0};
  std::vector<double> product(6);
  found.multiply(v.data(), product.data());
  const double rho = found.band[6], times[6] = {1.0 + 2.0 * rho, 2.0 + rho, 2.0 * rho, 0.0, 3.0 * rho, 3.0};
  for (std::size_t i = 0; i < 6; ++i) check_close(product[i], times[i], 1e-15, "R v");
  diagonal.correlation(edges_of(6, 500.0, 1.0).data(), 6, found);
  check(found.n_bands == 3, "a pixel's diagonal reaches into three bins");
}

void any_number_of_threads_gives_the_same_bytes() {
  Drawn d(40);
  for (std::int64_t eta = 0; eta < 40; ++eta) {
    d.fill(eta, 10.0);
    for (std::size_t r = 0; r < 120; ++r)
      d.at(r, eta) += static_cast<double>((r * 7919 + static_cast<std::size_t>(eta) * 104729) % 13);
    d.add(eta, 3e3 + 10.0 * static_cast<double>(eta), 540.0 + 0.1 * static_cast<double>(eta), 2.0, 1.0);
  }
  midas::LineoutOptions options;
  options.n_threads = 1;
  const auto one = midas::fit_lineouts(d.view(), options);
  check(!one.empty(), "peaks found");
  for (const int n : {2, 7}) {
    options.n_threads = n;
    const auto many = midas::fit_lineouts(d.view(), options);
    check(many.size() == one.size(), "as many");
    for (std::size_t k = 0; k < std::min(one.size(), many.size()); ++k)
      check(std::memcmp(&one[k].value, &many[k].value, sizeof one[k].value) == 0 &&
                std::memcmp(&one[k].sigma, &many[k].sigma, sizeof one[k].sigma) == 0,
            "the same bytes");
  }
}

void bad_input_is_refused() {
  Drawn d(1);
  midas::LineoutOptions options;
  options.positions = {530.0, 520.0};
  check(throws<midas::InputError>([&] { midas::fit_lineouts(d.view(), options); }), "positions ascend");
  options.positions.clear();
  options.smoothing = 4;
  check(throws<midas::InputError>([&] { midas::fit_lineouts(d.view(), options); }), "an odd number of bins");
  options.smoothing = 0;
  options.window = 0.0;
  check(throws<midas::InputError>([&] { midas::fit_lineouts(d.view(), options); }), "a window");
  d.edges[5] = d.edges[4];
  check(throws<midas::InputError>([&] { midas::fit_lineouts(d.view(), {}); }), "edges ascend");
}

}  // namespace

int main() {
  profiles_are_means_over_bins();
  widths_of_thompson_cox_hastings();
  analytic_derivatives_are_numeric_ones();
  noise_free_peaks_are_recovered();
  lineouts_without_answer_say_why();
  smoothing_is_that_of_savitzky_and_golay();
  bins_share_what_their_borders_cut();
  any_number_of_threads_gives_the_same_bytes();
  bad_input_is_refused();
  return midas_test::failures() == 0 ? 0 : 1;
}
