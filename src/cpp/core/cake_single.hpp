// One frame alone, summed by several threads: the sums are those of a batch, to the byte.
#ifndef MIDAS_CAKE_SINGLE_HPP
#define MIDAS_CAKE_SINGLE_HPP

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "cake_kernels.hpp"
#include "cake_workspace.hpp"
#include "missing_counts.hpp"
#include "parallel.hpp"
#include "prepared_cake.hpp"
#include "tile_reader.hpp"

namespace midas {

// Collects what each bin lacks in one tile of one frame, summed as batches sum; absent_dark may be null. `sums` has
// room for two numbers a run.
inline void add_missing(const CakeKernels<double>& kernels, const TileRuns& runs, const double* absent,
                        const double* absent_dark, double* sums, std::vector<Missing>& missing) {
  double *const areas = sums, *const darks = sums + runs.n;
  kernels.run_sums(runs, absent, absent, areas, nullptr);
  if (absent_dark != nullptr) kernels.run_sums(runs, absent_dark, absent_dark, darks, nullptr);
  const std::uint8_t* pixel = runs.pixel;
  const float* area = runs.area;
  for (std::int64_t r = 0; r < runs.n; ++r) {
    std::int32_t n = 0;
    for (std::int64_t e = 0; e < runs.groups[r] * GROUP; ++e)
      if (area[e] > 0.0f && absent[pixel[e]] != 0.0) ++n;
    if (n > 0) missing.push_back({runs.bin[r], n, areas[r], absent_dark == nullptr ? 0.0 : darks[r]});
    pixel += runs.groups[r] * GROUP;
    area += runs.groups[r] * GROUP;
  }
}

template <class T, class Real>
class CakeSingle {
 public:
  CakeSingle(const PreparedCake& cake, WorkspacePool& pool, bool with_variance, int n_threads)
      : cake_(cake),
        map_(*cake.map),
        pool_(pool),
        n_threads_(n_threads),
        work_(pool.take()),
        sums_(work_->run_sums.get<Real>(map_.run_bin.size())),
        squares_(with_variance ? work_->run_squares.get<Real>(map_.run_bin.size()) : nullptr) {}

  // False where Real would round counts.
  bool add(const T* frame) {
    const auto n_tiles = static_cast<std::int64_t>(map_.first_run.size()) - 1;
    const std::int64_t n_tasks = (n_tiles + TILES_A_TASK - 1) / TILES_A_TASK;
    missing_of_task_.resize(static_cast<std::size_t>(n_tasks));
    parallel_for(n_tasks, n_threads_, [&](std::int64_t task) {
      const auto own = pool_.take();
      TileReader<T, Real> tiles(cake_, *own, 1);
      const std::int64_t end = std::min(n_tiles, (task + 1) * TILES_A_TASK);
      for (std::int64_t t = task * TILES_A_TASK; t < end && !wide_.load(std::memory_order_relaxed); ++t) {
        const auto k = static_cast<std::size_t>(t);
        if (map_.first_run[k] == map_.first_run[k + 1]) continue;
        if (t + AHEAD < n_tiles) tiles.fetch(frame, t + AHEAD);
        if (tiles.read(&frame, t, squares_ != nullptr) != 0) {
          wide_ = true;
          return;
        }
        add_tile(*own, tiles, map_.first_run[k], missing_of_task_[static_cast<std::size_t>(task)]);
      }
    });
    return !wide_;
  }

  // The cake of the frame, which is number `number` of all; `variance` is null without.
  template <class Out>
  void write(std::int64_t number, Out* intensity, float* variance, std::vector<OwnBin>& own) {
    parallel_for((map_.n_bins() + BINS_A_TASK - 1) / BINS_A_TASK, n_threads_, [&](std::int64_t task) {
      const std::int64_t end = std::min(map_.n_bins(), (task + 1) * BINS_A_TASK);
      for (auto b = static_cast<std::size_t>(task * BINS_A_TASK); b < static_cast<std::size_t>(end); ++b) {
        const double factor = cake_.factor[b];
        intensity[b] = static_cast<Out>((total(sums_, b) - cake_.dark_sum[b]) * factor);
        if (squares_ != nullptr) variance[b] = static_cast<float>(total(squares_, b) * (factor * factor));
      }
    });
    std::vector<Missing> missing;
    for (const auto& of_task : missing_of_task_) missing.insert(missing.end(), of_task.begin(), of_task.end());
    mend(
        cake_, number, missing, [this](std::size_t b) { return total(sums_, b); },
        [this](std::size_t b) { return total(squares_, b); }, intensity, squares_ == nullptr ? nullptr : variance, own);
  }

 private:
  static constexpr std::int64_t TILES_A_TASK = 128;
  static constexpr std::int64_t BINS_A_TASK = 4096;
  static constexpr std::int64_t AHEAD = 8;  // tiles between asking for counts and reading them

  void add_tile(CakeWorkspace& work, const TileReader<T, Real>& tiles, std::int64_t run,
                std::vector<Missing>& missing) {
    const TileRuns runs = tiles.runs(1);
    cake_kernels<Real>(cake_.set).run_sums(runs, tiles.tile(), tiles.variance(), sums_ + run,
                                           squares_ == nullptr ? nullptr : squares_ + run);
    if (!tiles.any_absent()) return;
    add_missing(cake_kernels<double>(cake_.set), runs, tiles.absent(),
                cake_.dark.empty() ? nullptr : tiles.absent_dark(),
                work.missing.get(2 * static_cast<std::size_t>(cake_.most_runs)), missing);
  }

  // The sum over a bin's runs, in the precision that batches add them up in.
  double total(const Real* sums, std::size_t b) const {
    const std::int32_t* const runs = cake_.runs_of_bins.data() + map_.first_slot[b];
    const std::int64_t n = map_.first_slot[b + 1] - map_.first_slot[b];
    if (cake_.many_tiles_a_bin || std::is_same_v<Real, double>) {
      double sum = 0.0;
      for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(sums[runs[i]]);
      return sum;
    }
    Real sum{0};
    for (std::int64_t i = 0; i < n; ++i) sum += sums[runs[i]];
    return static_cast<double>(sum);
  }

  const PreparedCake& cake_;
  const CakeMap& map_;
  WorkspacePool& pool_;
  int n_threads_;
  WorkspacePool::Loan work_;
  Real *sums_, *squares_;
  std::vector<std::vector<Missing>> missing_of_task_;
  std::atomic<bool> wide_{false};
};

}  // namespace midas

#endif
