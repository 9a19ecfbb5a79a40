// midas._core.fit_lineouts, binned_profile and bin_correlation: core/lineout_peaks.hpp, pseudo_voigt.hpp,
// lineout_sharing.hpp.
#include <algorithm>
#include <functional>
#include <optional>

#include "arrays.hpp"
#include "lineout_peaks.hpp"
#include "lineout_sharing.hpp"
#include "module.hpp"
#include "pseudo_voigt.hpp"

namespace midas_bindings {

namespace {

template <class T, class Get>
Array<T> column(const std::vector<midas::LineoutPeak>& peaks, Get get) {
  Array<T> out(static_cast<py::ssize_t>(peaks.size()));
  T* data = out.mutable_data();
  for (const auto& peak : peaks) *data++ = static_cast<T>(get(peak));
  return out;
}

py::dict columns_of(const std::vector<midas::LineoutPeak>& peaks) {
  using midas::LineoutPeak;
  using midas::PeakValues;
  py::dict out;
  const auto integers = [&](const char* name, auto get) { out[name] = column<std::int64_t>(peaks, get); };
  const auto numbers = [&](const char* name, auto get) { out[name] = column<double>(peaks, get); };
  integers("sum", [](const LineoutPeak& p) { return p.sum; });
  integers("eta_bin", [](const LineoutPeak& p) { return p.eta_bin; });
  integers("peak", [](const LineoutPeak& p) { return p.peak; });
  integers("group", [](const LineoutPeak& p) { return p.group; });
  integers("n_bins", [](const LineoutPeak& p) { return p.n_bins; });
  integers("outcome", [](const LineoutPeak& p) { return static_cast<std::int64_t>(p.outcome); });
  const std::pair<const char*, double PeakValues::*> fields[] = {{"area", &PeakValues::area},
                                                                 {"center", &PeakValues::center},
                                                                 {"sig", &PeakValues::sig},
                                                                 {"gam", &PeakValues::gam},
                                                                 {"fwhm", &PeakValues::fwhm},
                                                                 {"mixing", &PeakValues::mixing},
                                                                 {"background", &PeakValues::background}};
  for (const auto& [name, field] : fields) {
    numbers(name, [field = field](const LineoutPeak& p) { return p.value.*field; });
    const std::string with_suffix = std::string(name) + "_sigma";
    numbers(with_suffix.c_str(), [field = field](const LineoutPeak& p) { return p.sigma.*field; });
  }
  numbers("background_slope", [](const LineoutPeak& p) { return p.slope; });
  numbers("chi2", [](const LineoutPeak& p) { return p.chi2; });
  return out;
}

py::dict fit_lineouts(const Array<double>& intensity, const Array<double>& sigma, const Array<double>& edges,
                      const std::vector<double>& positions, std::optional<Array<double>> eta_edges, double fwhm,
                      double window, double max_shift, double min_prominence, std::int64_t smoothing,
                      std::int64_t n_peaks, int n_threads) {
  if (intensity.ndim() != 3 || edges.size() != intensity.shape(1) + 1)
    throw midas::InputError("intensity must have the shape (n_sums, n_radius, n_eta), edges n_radius + 1 values");
  require_same_size(intensity, sigma, "intensity and sigma");
  std::vector<double> etas;
  if (eta_edges) {
    if (eta_edges->size() != intensity.shape(2) + 1) throw midas::InputError("eta_edges must have n_eta + 1 values");
    etas.assign(eta_edges->data(), eta_edges->data() + eta_edges->size());
    for (double& eta : etas) eta *= RAD_PER_DEG;
  }
  const midas::LineoutView view{intensity.data(),
                                sigma.data(),
                                edges.data(),
                                intensity.shape(0),
                                intensity.shape(1),
                                intensity.shape(2),
                                etas.empty() ? nullptr : etas.data()};
  midas::LineoutOptions options;
  options.positions = positions;
  options.fwhm = fwhm;
  options.window = window;
  options.max_shift = max_shift;
  options.min_prominence = min_prominence;
  options.smoothing = smoothing;
  options.n_peaks = n_peaks;
  options.n_threads = n_threads;
  std::vector<midas::LineoutPeak> peaks;
  {
    py::gil_scoped_release release;
    peaks = midas::fit_lineouts(view, options);
  }
  return columns_of(peaks);
}

// Means of one profile of area 1 over the bins between the edges.
Array<double> binned_profile(const Array<double>& edges, double center, double fwhm, double mixing) {
  if (edges.size() < 2 || !(fwhm > 0.0)) throw midas::InputError("expected two edges or more, and a width above 0");
  midas::BinnedProfile profile;
  const auto n = static_cast<std::size_t>(edges.size() - 1);
  profile.resize(n);
  profile.evaluate(edges.data(), n, center, fwhm, mixing);
  return Array<double>(edges.size() - 1, profile.value.data());
}

// Shape (n_bands, n): entry [k, i] is the correlation of the bins i and i + k, in which pixels have parts.
Array<double> bin_correlation(const Array<double>& edges, double radius, double eta_low, double eta_high) {
  const double* end = edges.data() + edges.size();
  const auto ascends = [](double low, double high) { return low < high; };  // not from or to NaN
  const bool is_ordered = std::adjacent_find(edges.data(), end, std::not_fn(ascends)) == end;
  if (edges.ndim() != 1 || edges.size() < 2 || !is_ordered || !(eta_high > eta_low) || !(radius >= 0.0))
    throw midas::InputError("expected edges and azimuths that ascend, and a radius of 0 or more");
  const auto n = static_cast<std::size_t>(edges.size() - 1);
  midas::BinCorrelation found;
  {
    const double* data = edges.data();
    py::gil_scoped_release release;
    midas::SharedPixels(radius, eta_low * RAD_PER_DEG, eta_high * RAD_PER_DEG).correlation(data, n, found);
  }
  return Array<double>({static_cast<py::ssize_t>(found.n_bands), edges.size() - 1}, found.band.data());
}

}  // namespace

void bind_lineout_peaks(py::module_& m) {
  m.def("fit_lineouts", &fit_lineouts, py::arg("intensity").noconvert(), py::arg("sigma").noconvert(),
        py::arg("edges").noconvert(), py::kw_only(), py::arg("positions") = std::vector<double>(),
        py::arg("eta_edges").noconvert() = py::none(), py::arg("fwhm") = 0.0, py::arg("window") = 4.0,
        py::arg("max_shift") = 0.0, py::arg("min_prominence") = 6.0, py::arg("smoothing") = 0, py::arg("n_peaks") = 0,
        py::arg("n_threads") = 0);
  m.def("binned_profile", &binned_profile, py::arg("edges").noconvert(), py::kw_only(), py::arg("center"),
        py::arg("fwhm"), py::arg("mixing"));
  m.def("bin_correlation", &bin_correlation, py::arg("edges").noconvert(), py::kw_only(), py::arg("radius"),
        py::arg("eta_low"), py::arg("eta_high"));
}

}  // namespace midas_bindings
