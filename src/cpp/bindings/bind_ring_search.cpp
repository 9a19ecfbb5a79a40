// midas._core.score_geometries, score_distances and polish_geometries: core/ring_search.hpp. Geometries are rows
// (distance [px], beam_y, beam_z [px], tilt_y, tilt_z [deg]); everything is in cells of the image.
#include "arrays.hpp"
#include "module.hpp"
#include "ring_search.hpp"
#include "rows.hpp"

namespace midas_bindings {

namespace {

constexpr py::ssize_t AREA_COLUMNS = 3;

midas::AreaView area_view(const Array<double>& area) {
  require_columns(area, 0, AREA_COLUMNS, "area (y, z, weight)");
  const double* p = area.data();
  const std::int64_t n = area.shape(1);
  return {p, p + n, p + 2 * n, n};
}

midas::RingPattern pattern_of(const Array<double>& tangent, const Array<double>& brightness,
                              const std::vector<double>& faintest) {
  require_same_size(tangent, brightness, "tangent and brightness");
  return {{tangent.data(), tangent.data() + tangent.size()},
          {brightness.data(), brightness.data() + brightness.size()},
          faintest};
}

Array<double> as_rows(const std::vector<midas::RingScore>& scores) {
  Array<double> out({static_cast<py::ssize_t>(scores.size()), py::ssize_t{3}});
  double* p = out.mutable_data();
  for (const auto& s : scores) {
    *p++ = s.radial;
    *p++ = s.angular;
    *p++ = s.share;
  }
  return out;
}

Array<double> score_geometries(const Array<double>& geometries, const Array<double>& points, const Array<double>& area,
                               const Array<double>& tangent, const Array<double>& brightness,
                               const std::vector<double>& faintest, double sigma, int n_threads) {
  const auto list = geometries_of(geometries);
  const midas::RidgeView view = ridge_view(points);
  const midas::AreaView cells = area_view(area);
  const midas::RingPattern rings = pattern_of(tangent, brightness, faintest);
  std::vector<midas::RingScore> found;
  {
    py::gil_scoped_release release;
    found = midas::score_geometries(list, view, cells, rings, sigma, n_threads);
  }
  return as_rows(found);
}

Array<double> score_distances(const Array<double>& geometry, const std::vector<double>& distances,
                              const Array<double>& points, const Array<double>& area, const Array<double>& tangent,
                              const Array<double>& brightness, const std::vector<double>& faintest, double sigma,
                              int n_threads) {
  const auto list = geometries_of(geometry);
  if (list.size() != 1) throw midas::InputError("one geometry is expected, as an array of shape (1, 5)");
  const midas::RidgeView view = ridge_view(points);
  const midas::AreaView cells = area_view(area);
  const midas::RingPattern rings = pattern_of(tangent, brightness, faintest);
  std::vector<midas::RingScore> found;
  {
    py::gil_scoped_release release;
    found = midas::score_distances(list[0], distances, view, cells, rings, sigma, n_threads);
  }
  return as_rows(found);
}

Array<double> polish_geometries(const Array<double>& geometries, const Array<double>& points, const Array<double>& area,
                                const Array<double>& tangent, const Array<double>& brightness,
                                const std::vector<double>& faintest, std::array<double, 2> sigma, int rings_first,
                                int n_threads) {
  const auto list = geometries_of(geometries);
  const midas::RidgeView view = ridge_view(points);
  const midas::AreaView cells = area_view(area);
  const midas::RingPattern rings = pattern_of(tangent, brightness, faintest);
  midas::PolishOptions options;
  options.sigma_first = sigma[0];
  options.sigma_last = sigma[1];
  options.rings_first = rings_first;
  std::vector<midas::Geometry> found;
  {
    py::gil_scoped_release release;
    found = midas::polish_geometries(list, view, cells, rings, options, n_threads);
  }
  return rows_of(found);
}

}  // namespace

void bind_ring_search(py::module_& m) {
  m.def("score_geometries", &score_geometries, py::arg("geometries").noconvert(), py::arg("points").noconvert(),
        py::arg("area").noconvert(), py::arg("tangent").noconvert(), py::arg("brightness").noconvert(), py::kw_only(),
        py::arg("faintest"), py::arg("sigma"), py::arg("n_threads") = 0);
  m.def("score_distances", &score_distances, py::arg("geometry").noconvert(), py::arg("distances"),
        py::arg("points").noconvert(), py::arg("area").noconvert(), py::arg("tangent").noconvert(),
        py::arg("brightness").noconvert(), py::kw_only(), py::arg("faintest"), py::arg("sigma"),
        py::arg("n_threads") = 0);
  m.def("polish_geometries", &polish_geometries, py::arg("geometries").noconvert(), py::arg("points").noconvert(),
        py::arg("area").noconvert(), py::arg("tangent").noconvert(), py::arg("brightness").noconvert(), py::kw_only(),
        py::arg("faintest"), py::arg("sigma"), py::arg("rings_first"), py::arg("n_threads") = 0);
}

}  // namespace midas_bindings
