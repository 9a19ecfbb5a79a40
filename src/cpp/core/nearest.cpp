// The nearest usable cell; method in nearest.hpp.
#include "nearest.hpp"

#include <algorithm>
#include <vector>

#include "error.hpp"
#include "parallel.hpp"

namespace midas {

namespace {

constexpr std::int64_t NONE = -1;

// The nearest usable row of column y to every row of it, NONE where the column has none.
void nearest_in_column(const std::uint8_t* mask, std::int64_t n_z, std::int64_t n_y, std::int64_t y,
                       std::int64_t* rows) {
  std::int64_t last = NONE;
  for (std::int64_t z = 0; z < n_z; ++z) {
    if (mask[z * n_y + y] == 0) last = z;
    rows[z * n_y + y] = last;
  }
  std::int64_t next = NONE;
  for (std::int64_t z = n_z - 1; z >= 0; --z) {
    if (mask[z * n_y + y] == 0) next = z;
    std::int64_t& row = rows[z * n_y + y];
    if (next != NONE && (row == NONE || next - z < z - row)) row = next;
  }
}

// A usable cell as the row sees it: its column, its squared distance across the row, and the first column at which it
// is nearer than the one before.
struct Parabola {
  std::int64_t column;
  std::int64_t height;
  std::int64_t first;
};

// The first column x at which b is strictly nearer than a, b.column > a.column: where
// (x - b)^2 + hb < (x - a)^2 + ha, that is x > ((b^2 + hb) - (a^2 + ha)) / 2 (b - a).
std::int64_t overtaken(const Parabola& a, const Parabola& b) {
  const std::int64_t numerator = (b.column * b.column + b.height) - (a.column * a.column + a.height);
  const std::int64_t denominator = 2 * (b.column - a.column);
  const std::int64_t floor = numerator / denominator - (numerator % denominator < 0 ? 1 : 0);
  return floor + 1;
}

// Turns one row of nearest-in-column rows into indices of the nearest cells.
void nearest_in_row(std::int64_t n_y, std::int64_t z, std::int64_t* row, std::vector<Parabola>& envelope) {
  envelope.clear();
  for (std::int64_t y = 0; y < n_y; ++y) {
    if (row[y] == NONE) continue;
    Parabola parabola{y, (row[y] - z) * (row[y] - z), 0};
    while (!envelope.empty()) {
      parabola.first = overtaken(envelope.back(), parabola);
      if (parabola.first > envelope.back().first) break;
      envelope.pop_back();
      parabola.first = 0;
    }
    if (parabola.first < n_y) envelope.push_back(parabola);
  }
  std::vector<std::int64_t> source(envelope.size());
  for (std::size_t k = 0; k < envelope.size(); ++k) source[k] = row[envelope[k].column] * n_y + envelope[k].column;
  std::size_t k = envelope.size() - 1;
  for (std::int64_t y = n_y - 1; y >= 0; --y) {
    while (k > 0 && envelope[k].first > y) --k;
    row[y] = source[k];
  }
}

}  // namespace

void nearest_usable(const std::uint8_t* mask, std::int64_t n_z, std::int64_t n_y, std::int64_t* nearest,
                    int n_threads) {
  if (std::all_of(mask, mask + n_z * n_y, [](std::uint8_t m) { return m != 0; })) {
    throw InputError("no cell of the image is usable; expected at least one");
  }
  const int threads = resolve_threads(n_threads);
  constexpr std::int64_t BLOCK = 64;  // columns or rows a thread takes at a time
  parallel_for((n_y + BLOCK - 1) / BLOCK, threads, [&](std::int64_t i) {
    for (std::int64_t y = i * BLOCK; y < std::min((i + 1) * BLOCK, n_y); ++y) {
      nearest_in_column(mask, n_z, n_y, y, nearest);
    }
  });
  parallel_for((n_z + BLOCK - 1) / BLOCK, threads, [&](std::int64_t i) {
    std::vector<Parabola> envelope;
    for (std::int64_t z = i * BLOCK; z < std::min((i + 1) * BLOCK, n_z); ++z) {
      nearest_in_row(n_y, z, nearest + z * n_y, envelope);
    }
  });
}

}  // namespace midas
