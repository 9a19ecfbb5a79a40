// core/distortion: the polynomial by hand, and its derivatives against difference quotients.
#include <cmath>
#include <random>

#include "check.hpp"
#include "distortion.hpp"

using midas_test::check;
using midas_test::check_close;

namespace {

void test_each_term_by_hand() {
  const double rho = 0.7, angle = 0.4;
  struct Case {
    const char* name;
    double expected;
  };
  const Case cases[] = {{"p2", std::pow(rho, 2)},
                        {"p5", std::pow(rho, 4)},
                        {"p4", std::pow(rho, 6)},
                        {"p7", std::pow(rho, 4) * std::cos(angle)},
                        {"p8", std::pow(rho, 4) * std::sin(angle)},
                        {"p0", std::pow(rho, 2) * std::cos(2 * angle)},
                        {"p6", std::pow(rho, 2) * std::sin(2 * angle)},
                        {"p9", std::pow(rho, 3) * std::cos(3 * angle)},
                        {"p10", std::pow(rho, 3) * std::sin(3 * angle)},
                        {"p1", std::pow(rho, 4) * std::cos(4 * angle)},
                        {"p3", std::pow(rho, 4) * std::sin(4 * angle)},
                        {"p11", std::pow(rho, 5) * std::cos(5 * angle)},
                        {"p12", std::pow(rho, 5) * std::sin(5 * angle)},
                        {"p13", std::pow(rho, 6) * std::cos(6 * angle)},
                        {"p14", std::pow(rho, 6) * std::sin(6 * angle)}};
  for (const Case& c : cases) {
    midas::Distortion coefficients{};
    coefficients[midas::place_of(c.name)] = 0.25;
    const midas::DistortionFactor d = midas::distortion_factor(coefficients, rho, std::cos(angle), std::sin(angle));
    check_close(d.value, 1.0 + 0.25 * c.expected, 1e-15, c.name);
  }
}

void test_derivatives() {
  std::mt19937 generator(7);
  std::uniform_real_distribution<double> uniform(-1.0, 1.0);
  for (int trial = 0; trial < 200; ++trial) {
    midas::Distortion coefficients;
    for (double& c : coefficients) c = 0.01 * uniform(generator);
    const double rho = 0.6 + 0.5 * uniform(generator), angle = 3.0 * uniform(generator), step = 1e-6;
    const midas::DistortionFactor d = midas::distortion_factor(coefficients, rho, std::cos(angle), std::sin(angle));
    const auto value = [&](double r, double a) {
      return midas::distortion_value(coefficients, r, std::cos(a), std::sin(a));
    };
    check_close(d.by_rho, (value(rho + step, angle) - value(rho - step, angle)) / (2 * step), 1e-8, "by rho");
    check_close(d.by_angle, (value(rho, angle + step) - value(rho, angle - step)) / (2 * step), 1e-8, "by angle");
  }
}

void test_none() {
  const midas::Distortion none{};
  check(midas::is_zero(none), "no coefficient is zero distortion");
  const midas::DistortionFactor d = midas::distortion_factor(none, 0.9, 1.0, 0.0);
  check(d.value == 1.0 && d.by_rho == 0.0 && d.by_angle == 0.0, "the factor of no distortion is exactly one");
}

}  // namespace

int main() {
  test_each_term_by_hand();
  test_derivatives();
  test_none();
  return midas_test::failures();
}
