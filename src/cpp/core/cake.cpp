// Sums frames over the bins of a map: many side by side, or one by several threads. Equations and source: cake.hpp.
#include "cake.hpp"

#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>

#include "cake_batch.hpp"
#include "cake_single.hpp"
#include "parallel.hpp"

namespace midas {

namespace {

// How much longer one frame alone takes than one of LANES side by side, in one thread.
constexpr double ALONE = 4.0;

}  // namespace

Integrator::Integrator(std::shared_ptr<const CakeMap> map, const CakeInput& input, InstructionSet set, int n_threads)
    : cake_(std::move(map), input, set, n_threads) {}

// Writes the wanted frames, a bit for each, but for those that Real would round, and returns these.
template <class T, class Real, class Sum, class Out>
std::uint32_t Integrator::batch(Strips<T>& frames, std::uint32_t wanted, std::int64_t first, std::int64_t n,
                                const CakeOutput<Out>& output, std::vector<OwnBin>& own) const {
  const auto work = pool_.take();
  CakeBatch<T, Real, Sum> sums(cake_, *work, n, output.variance != nullptr);
  const std::uint32_t wide = sums.add(frames) & wanted;
  if (wide == wanted) return wide;
  std::array<Out*, LANES> intensity{};
  std::array<float*, LANES> variance{};
  for (std::int64_t f = 0; f < n; ++f) {
    const std::int64_t at = (first + f) * map().n_bins();
    intensity[static_cast<std::size_t>(f)] = output.intensity + at;
    if (output.variance != nullptr) variance[static_cast<std::size_t>(f)] = output.variance + at;
  }
  sums.write(wanted & ~wide, first, intensity, variance, own);
  return wide;
}

template <class T, class Real, class Out>
bool Integrator::single(const T* frame, std::int64_t number, const CakeOutput<Out>& output, int n_threads,
                        std::vector<OwnBin>& own) const {
  CakeSingle<T, Real> sums(cake_, pool_, output.variance != nullptr, n_threads);
  if (!sums.add(frame)) return false;
  const std::int64_t at = number * map().n_bins();
  sums.write(number, output.intensity + at, output.variance == nullptr ? nullptr : output.variance + at, own);
  return true;
}

template <class T, class Out>
void Integrator::batch_as(Strips<T>& frames, std::int64_t first, std::int64_t n, const CakeOutput<Out>& output,
                          std::vector<OwnBin>& own) const {
  std::uint32_t wanted = all_frames(n);
  if constexpr (!std::is_same_v<T, double>) {
    wanted = cake_.many_tiles_a_bin ? batch<T, float, double, Out>(frames, wanted, first, n, output, own)
                                    : batch<T, float, float, Out>(frames, wanted, first, n, output, own);
    if (wanted == 0) return;
    frames.restart();
  }
  batch<T, double, double, Out>(frames, wanted, first, n, output, own);
  std::stable_sort(own.begin(), own.end(), [](const OwnBin& a, const OwnBin& b) { return a.frame < b.frame; });
}

template <class T, class Out>
void Integrator::single_as(const T* frame, std::int64_t number, const CakeOutput<Out>& output, int n_threads,
                           std::vector<OwnBin>& own) const {
  if constexpr (!std::is_same_v<T, double>) {
    if (single<T, float, Out>(frame, number, output, n_threads, own)) return;
  }
  single<T, double, Out>(frame, number, output, n_threads, own);
}

// Batches are cheaper a frame, but each keeps one thread only.
bool Integrator::side_by_side(std::int64_t n_frames, int n_threads) const {
  const std::int64_t n_batches = (n_frames + LANES - 1) / LANES;
  const std::int64_t rounds = (n_batches + n_threads - 1) / n_threads;
  return static_cast<double>(rounds * LANES * n_threads) < ALONE * static_cast<double>(n_frames);
}

namespace {

// Calls batch(first, n, own) for every LANES frames, in parallel.
template <class Batch>
std::vector<OwnBin> by_batches(std::int64_t n_frames, int n_threads, const Batch& batch) {
  const std::int64_t n_batches = (n_frames + LANES - 1) / LANES;
  std::vector<std::vector<OwnBin>> own(static_cast<std::size_t>(n_batches));
  parallel_for(n_batches, n_threads, [&](std::int64_t i) {
    batch(i * LANES, std::min(LANES, n_frames - i * LANES), own[static_cast<std::size_t>(i)]);
  });
  std::vector<OwnBin> all;
  for (const auto& of_batch : own) all.insert(all.end(), of_batch.begin(), of_batch.end());
  return all;
}

}  // namespace

template <class T, class Out>
std::vector<OwnBin> Integrator::apply(const T* const* frames, std::int64_t n_frames, const CakeOutput<Out>& output,
                                      int n_threads) const {
  const int threads = resolve_threads(n_threads);
  if (!side_by_side(n_frames, threads)) {
    std::vector<OwnBin> own;
    for (std::int64_t f = 0; f < n_frames; ++f) single_as(frames[f], f, output, threads, own);
    return own;
  }
  return by_batches(n_frames, threads, [&](std::int64_t first, std::int64_t n, std::vector<OwnBin>& own) {
    ArrayStrips<T> strips(frames + first, n, map().n_columns);
    batch_as(strips, first, n, output, own);
  });
}

template <class T, class Out>
std::vector<OwnBin> Integrator::apply(const PackedFrames& frames, const CakeOutput<Out>& output, int n_threads) const {
  const int threads = resolve_threads(n_threads);
  if (!side_by_side(frames.n, threads)) {
    std::vector<OwnBin> own;
    const std::int64_t n_pixels = map().n_pixels(), at_once = std::min<std::int64_t>(threads, frames.n);
    std::vector<T> unpacked(static_cast<std::size_t>(at_once * n_pixels));
    for (std::int64_t first = 0; first < frames.n; first += at_once) {
      const std::int64_t n = std::min(at_once, frames.n - first);
      unpack_bitshuffle_lz4(frames.chunks + first, n, n_pixels, sizeof(T), frames.decompress,
                            reinterpret_cast<std::uint8_t*>(unpacked.data()), threads, first);
      for (std::int64_t f = 0; f < n; ++f) single_as(unpacked.data() + f * n_pixels, first + f, output, threads, own);
    }
    return own;
  }
  return by_batches(frames.n, threads, [&](std::int64_t first, std::int64_t n, std::vector<OwnBin>& own) {
    PackedStrips<T> strips(frames, first, n, map().n_rows, map().n_columns);
    batch_as(strips, first, n, output, own);
  });
}

template std::vector<OwnBin> Integrator::apply(const std::uint8_t* const*, std::int64_t, const CakeOutput<float>&,
                                               int) const;
template std::vector<OwnBin> Integrator::apply(const std::uint8_t* const*, std::int64_t, const CakeOutput<double>&,
                                               int) const;
template std::vector<OwnBin> Integrator::apply(const std::uint16_t* const*, std::int64_t, const CakeOutput<float>&,
                                               int) const;
template std::vector<OwnBin> Integrator::apply(const std::uint16_t* const*, std::int64_t, const CakeOutput<double>&,
                                               int) const;
template std::vector<OwnBin> Integrator::apply(const std::uint32_t* const*, std::int64_t, const CakeOutput<float>&,
                                               int) const;
template std::vector<OwnBin> Integrator::apply(const std::uint32_t* const*, std::int64_t, const CakeOutput<double>&,
                                               int) const;
template std::vector<OwnBin> Integrator::apply(const std::int16_t* const*, std::int64_t, const CakeOutput<float>&,
                                               int) const;
template std::vector<OwnBin> Integrator::apply(const std::int16_t* const*, std::int64_t, const CakeOutput<double>&,
                                               int) const;
template std::vector<OwnBin> Integrator::apply(const std::int32_t* const*, std::int64_t, const CakeOutput<float>&,
                                               int) const;
template std::vector<OwnBin> Integrator::apply(const std::int32_t* const*, std::int64_t, const CakeOutput<double>&,
                                               int) const;
template std::vector<OwnBin> Integrator::apply(const float* const*, std::int64_t, const CakeOutput<float>&, int) const;
template std::vector<OwnBin> Integrator::apply(const float* const*, std::int64_t, const CakeOutput<double>&, int) const;
template std::vector<OwnBin> Integrator::apply(const double* const*, std::int64_t, const CakeOutput<float>&, int) const;
template std::vector<OwnBin> Integrator::apply(const double* const*, std::int64_t, const CakeOutput<double>&,
                                               int) const;
template std::vector<OwnBin> Integrator::apply<std::uint8_t>(const PackedFrames&, const CakeOutput<float>&, int) const;
template std::vector<OwnBin> Integrator::apply<std::uint8_t>(const PackedFrames&, const CakeOutput<double>&, int) const;
template std::vector<OwnBin> Integrator::apply<std::uint16_t>(const PackedFrames&, const CakeOutput<float>&, int) const;
template std::vector<OwnBin> Integrator::apply<std::uint16_t>(const PackedFrames&, const CakeOutput<double>&,
                                                              int) const;
template std::vector<OwnBin> Integrator::apply<std::uint32_t>(const PackedFrames&, const CakeOutput<float>&, int) const;
template std::vector<OwnBin> Integrator::apply<std::uint32_t>(const PackedFrames&, const CakeOutput<double>&,
                                                              int) const;
template std::vector<OwnBin> Integrator::apply<std::int16_t>(const PackedFrames&, const CakeOutput<float>&, int) const;
template std::vector<OwnBin> Integrator::apply<std::int16_t>(const PackedFrames&, const CakeOutput<double>&, int) const;
template std::vector<OwnBin> Integrator::apply<std::int32_t>(const PackedFrames&, const CakeOutput<float>&, int) const;
template std::vector<OwnBin> Integrator::apply<std::int32_t>(const PackedFrames&, const CakeOutput<double>&, int) const;
template std::vector<OwnBin> Integrator::apply<float>(const PackedFrames&, const CakeOutput<float>&, int) const;
template std::vector<OwnBin> Integrator::apply<float>(const PackedFrames&, const CakeOutput<double>&, int) const;
template std::vector<OwnBin> Integrator::apply<double>(const PackedFrames&, const CakeOutput<float>&, int) const;
template std::vector<OwnBin> Integrator::apply<double>(const PackedFrames&, const CakeOutput<double>&, int) const;

}  // namespace midas
