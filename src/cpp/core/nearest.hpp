// For each cell of an image the nearest usable one: what masked cells are filled from.
//
// Exact Euclidean feature transform in two passes, linear in the cells: first the nearest usable row in each column,
// then along each row the lower envelope of the parabolas (x - i)^2 + g_i^2 (Felzenszwalb and Huttenlocher, Theory of
// Computing 8 (2012) 415, section 2). Of cells equally near, the smallest column wins, in it the smaller row.
#ifndef MIDAS_NEAREST_HPP
#define MIDAS_NEAREST_HPP

#include <cstdint>

namespace midas {

// mask (non-zero: not usable) and nearest (index z * n_y + y of a usable cell) hold n_z rows of n_y cells.
// Throws InputError where no cell is usable.
void nearest_usable(const std::uint8_t* mask, std::int64_t n_z, std::int64_t n_y, std::int64_t* nearest, int n_threads);

}  // namespace midas

#endif
