// What one thread needs to cake, kept from one call to the next.
#ifndef MIDAS_CAKE_WORKSPACE_HPP
#define MIDAS_CAKE_WORKSPACE_HPP

#include <cstddef>
#include <memory>
#include <mutex>
#include <type_traits>
#include <utility>
#include <vector>

#include "buffer.hpp"

namespace midas {

// Numbers of single and of double precision.
struct Numbers {
  Buffer<float> single;
  Buffer<double> full;

  template <class Real>
  Real* get(std::size_t size) {
    if constexpr (std::is_same_v<Real, float>) return single.get(size);
    if constexpr (std::is_same_v<Real, double>) return full.get(size);
  }
};

struct CakeWorkspace {
  Numbers tile, variance;
  Buffer<double> absent, absent_dark;  // of a tile
  Buffer<double> missing;              // of the runs of a tile
  Numbers sums;                        // of bins and frames side by side
  Numbers run_sums, run_squares;       // of the runs of one frame
};

// Workspaces that are lent and come back; safe to use from several threads.
class WorkspacePool {
 public:
  class Loan {
   public:
    Loan(WorkspacePool& pool, std::unique_ptr<CakeWorkspace> workspace)
        : pool_(pool), workspace_(std::move(workspace)) {}
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    ~Loan() {
      const std::lock_guard<std::mutex> lock(pool_.mutex_);
      pool_.idle_.push_back(std::move(workspace_));
    }
    CakeWorkspace& operator*() const { return *workspace_; }
    CakeWorkspace* operator->() const { return workspace_.get(); }

   private:
    WorkspacePool& pool_;
    std::unique_ptr<CakeWorkspace> workspace_;
  };

  Loan take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (idle_.empty()) {
      idle_.reserve(++n_made_);  // so that giving back cannot fail
      return Loan(*this, std::make_unique<CakeWorkspace>());
    }
    auto workspace = std::move(idle_.back());
    idle_.pop_back();
    return Loan(*this, std::move(workspace));
  }

 private:
  std::mutex mutex_;
  std::size_t n_made_ = 0;
  std::vector<std::unique_ptr<CakeWorkspace>> idle_;
};

}  // namespace midas

#endif
