// midas._core.find_ridges, vote_centers, center_sharpness and aim_beams: core/ridges.hpp and core/center_search.hpp.
// Geometries are rows (distance [px], beam_y, beam_z [px], tilt_y, tilt_z [deg]); everything is in cells of the image.
#include "center_search.hpp"
#include "module.hpp"
#include "ridges.hpp"
#include "rows.hpp"

namespace midas_bindings {

namespace {

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

Array<double> center_sharpness(const Array<double>& points, const Array<double>& centers, double bin, int n_threads) {
  const midas::RidgeView view = ridge_view(points);
  require_columns(centers, 1, 2, "centers (y, z)");
  std::vector<std::array<double, 2>> list;
  for (py::ssize_t i = 0; i < centers.shape(0); ++i) list.push_back({centers.at(i, 0), centers.at(i, 1)});
  std::vector<double> found;
  {
    py::gil_scoped_release release;
    found = midas::center_sharpness(view, list, bin, n_threads);
  }
  return Array<double>(static_cast<py::ssize_t>(found.size()), found.data());
}

Array<double> aim_beams(const Array<double>& geometries, const Array<double>& points, bool tilts, int n_threads) {
  const auto list = geometries_of(geometries);
  const midas::RidgeView view = ridge_view(points);
  std::vector<midas::Geometry> found;
  {
    py::gil_scoped_release release;
    found = midas::aim_beams(list, view, tilts, n_threads);
  }
  return rows_of(found);
}

}  // namespace

void bind_center_search(py::module_& m) {
  m.def("find_ridges", &find_ridges, py::arg("image").noconvert(), py::arg("blocked").noconvert(), py::kw_only(),
        py::arg("scale"), py::arg("orientation"), py::arg("threshold"), py::arg("coherence"), py::arg("n_threads") = 0);
  m.def("vote_centers", &vote_centers, py::arg("points").noconvert(), py::arg("guesses").noconvert(), py::kw_only(),
        py::arg("shape"), py::arg("cell"), py::arg("n_threads") = 0);
  m.def("center_sharpness", &center_sharpness, py::arg("points").noconvert(), py::arg("centers").noconvert(),
        py::kw_only(), py::arg("bin"), py::arg("n_threads") = 0);
  m.def("aim_beams", &aim_beams, py::arg("geometries").noconvert(), py::arg("points").noconvert(), py::kw_only(),
        py::arg("tilts"), py::arg("n_threads") = 0);
}

}  // namespace midas_bindings
