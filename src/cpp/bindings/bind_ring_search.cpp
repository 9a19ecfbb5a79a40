// midas._core.find_ridges, vote_centers, aim_beams, score_geometries, score_distances and polish_geometries:
// core/ridges.hpp and core/ring_search.hpp.
// Geometries are rows (distance [px], beam_y, beam_z [px], tilt_y, tilt_z [deg]); everything is in cells of the image.
#include "arrays.hpp"
#include "module.hpp"
#include "ridges.hpp"
#include "ring_search.hpp"

namespace midas_bindings {

namespace {

constexpr py::ssize_t POINT_COLUMNS = 5, AREA_COLUMNS = 3, GEOMETRY_COLUMNS = 5;

void require_columns(const Array<double>& array, py::ssize_t axis, py::ssize_t n, const char* what) {
  if (array.ndim() != 2 || array.shape(axis) != n) {
    throw midas::InputError(std::string(what) + " must have two dimensions and " + std::to_string(n) + " entries each");
  }
}

// Rows of a (5, n) or (3, n) array.
midas::RidgeView ridge_view(const Array<double>& points) {
  require_columns(points, 0, POINT_COLUMNS, "points (y, z, normal_y, normal_z, weight)");
  const double* p = points.data();
  const std::int64_t n = points.shape(1);
  return {p, p + n, p + 2 * n, p + 3 * n, p + 4 * n, n};
}

midas::AreaView area_view(const Array<double>& area) {
  require_columns(area, 0, AREA_COLUMNS, "area (y, z, weight)");
  const double* p = area.data();
  const std::int64_t n = area.shape(1);
  return {p, p + n, p + 2 * n, n};
}

std::vector<midas::Geometry> geometries_of(const Array<double>& rows) {
  require_columns(rows, 1, GEOMETRY_COLUMNS, "geometries (distance, beam_y, beam_z, tilt_y, tilt_z)");
  std::vector<midas::Geometry> out(static_cast<std::size_t>(rows.shape(0)));
  const double* p = rows.data();
  for (auto& g : out) {
    g.distance = p[0];
    g.beam_y = p[1];
    g.beam_z = p[2];
    g.tilt_y = p[3] * RAD_PER_DEG;
    g.tilt_z = p[4] * RAD_PER_DEG;
    g.pixel_size = 1.0;
    p += GEOMETRY_COLUMNS;
  }
  return out;
}

Array<double> as_rows(const std::vector<midas::Geometry>& geometries) {
  Array<double> out({static_cast<py::ssize_t>(geometries.size()), GEOMETRY_COLUMNS});
  double* p = out.mutable_data();
  for (const auto& g : geometries) {
    *p++ = g.distance;
    *p++ = g.beam_y;
    *p++ = g.beam_z;
    *p++ = g.tilt_y / RAD_PER_DEG;
    *p++ = g.tilt_z / RAD_PER_DEG;
  }
  return out;
}

midas::RingPattern pattern_of(const Array<double>& tangent, const Array<double>& brightness,
                              const std::vector<double>& faintest) {
  require_same_size(tangent, brightness, "tangent and brightness");
  return {{tangent.data(), tangent.data() + tangent.size()},
          {brightness.data(), brightness.data() + brightness.size()},
          faintest};
}

Array<double> find_ridges(const Array<float>& image, const Array<std::uint8_t>& blocked, double scale,
                          double orientation, double threshold, double coherence, int n_threads) {
  if (image.ndim() != 2) throw midas::InputError("image must have two dimensions");
  require_same_size(image, blocked, "image and blocked");
  midas::RidgeOptions options;
  options.scale = scale;
  options.orientation = orientation;
  options.threshold = threshold;
  options.coherence = coherence;
  options.n_threads = n_threads;
  const float* values = image.data();
  const std::uint8_t* none = blocked.data();
  const std::int64_t n_z = image.shape(0), n_y = image.shape(1);
  std::vector<midas::RidgePoint> found;
  {
    py::gil_scoped_release release;
    found = midas::find_ridges(values, none, n_z, n_y, options);
  }
  const std::size_t n = found.size();
  Array<double> out({POINT_COLUMNS, static_cast<py::ssize_t>(n)});
  double* p = out.mutable_data();
  for (std::size_t i = 0; i < n; ++i) {
    p[i] = found[i].y;
    p[n + i] = found[i].z;
    p[2 * n + i] = found[i].normal_y;
    p[3 * n + i] = found[i].normal_z;
    p[4 * n + i] = found[i].strength;
  }
  return out;
}

Array<double> vote_centers(const Array<double>& points, const Array<double>& guesses, std::array<std::int64_t, 2> shape,
                           double cell, int n_threads) {
  const midas::RidgeView view = ridge_view(points);
  require_columns(guesses, 1, 5, "guesses (u_y, u_z, inverse_distance, low_y, low_z)");
  std::vector<midas::TiltGuess> list;
  for (py::ssize_t i = 0; i < guesses.shape(0); ++i)
    list.push_back({guesses.at(i, 0), guesses.at(i, 1), guesses.at(i, 2), guesses.at(i, 3), guesses.at(i, 4)});
  const midas::VoteGrid grid{shape[1], shape[0], cell};
  std::vector<midas::CenterVote> found;
  {
    py::gil_scoped_release release;
    found = midas::vote_centers(view, list, grid, n_threads);
  }
  Array<double> out({static_cast<py::ssize_t>(found.size()), py::ssize_t{3}});
  double* p = out.mutable_data();
  for (const auto& v : found) {
    *p++ = v.y;
    *p++ = v.z;
    *p++ = v.votes;
  }
  return out;
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
  return as_rows(found);
}

Array<double> aim_beams(const Array<double>& geometries, const Array<double>& points, int n_threads) {
  const auto list = geometries_of(geometries);
  const midas::RidgeView view = ridge_view(points);
  std::vector<midas::Geometry> found;
  {
    py::gil_scoped_release release;
    found = midas::aim_beams(list, view, n_threads);
  }
  return as_rows(found);
}

}  // namespace

void bind_ring_search(py::module_& m) {
  m.def("find_ridges", &find_ridges, py::arg("image").noconvert(), py::arg("blocked").noconvert(), py::kw_only(),
        py::arg("scale"), py::arg("orientation"), py::arg("threshold"), py::arg("coherence"), py::arg("n_threads") = 0);
  m.def("vote_centers", &vote_centers, py::arg("points").noconvert(), py::arg("guesses").noconvert(), py::kw_only(),
        py::arg("shape"), py::arg("cell"), py::arg("n_threads") = 0);
  m.def("aim_beams", &aim_beams, py::arg("geometries").noconvert(), py::arg("points").noconvert(), py::kw_only(),
        py::arg("n_threads") = 0);
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
