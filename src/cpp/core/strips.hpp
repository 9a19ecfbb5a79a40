// Where caking takes its frames from: rows of LANES frames side by side, a few at a time from the first to the last.
#ifndef MIDAS_STRIPS_HPP
#define MIDAS_STRIPS_HPP

#include <algorithm>
#include <array>
#include <cstdint>

#include "cake_kernels.hpp"

namespace midas {

template <class T>
class Strips {
 public:
  // Where the first row asked for begins in each frame; the others follow without gaps. Where there are fewer than
  // LANES frames, the last one stands for those that are missing.
  using Rows = std::array<const T*, LANES>;
  virtual ~Strips() = default;
  // The rows from `first` to `end`, neither less than in the call before.
  virtual Rows rows(std::int64_t first, std::int64_t end) = 0;
  // From the first row again.
  virtual void restart() = 0;
  // After the last rows that are wanted: throws where what is left is damaged.
  virtual void finish() {}
  // True where all rows lie in memory and may be asked for ahead of their turn.
  virtual bool in_memory() const { return false; }
};

// Frames that lie in memory.
template <class T>
class ArrayStrips final : public Strips<T> {
 public:
  using Rows = typename Strips<T>::Rows;
  ArrayStrips(const T* const* frames, std::int64_t n, std::int64_t n_columns) : n_columns_(n_columns) {
    for (std::int64_t f = 0; f < LANES; ++f) frames_[static_cast<std::size_t>(f)] = frames[std::min(f, n - 1)];
  }
  Rows rows(std::int64_t first, std::int64_t /*end*/) override {
    Rows rows = frames_;
    for (const T*& row : rows) row += first * n_columns_;
    return rows;
  }
  void restart() override {}
  bool in_memory() const override { return true; }

 private:
  Rows frames_{};
  std::int64_t n_columns_;
};

}  // namespace midas

#endif
