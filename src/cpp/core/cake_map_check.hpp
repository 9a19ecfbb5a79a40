// A CakeMap that comes from outside, from a file: is it one that build_cake_map could have made?
//
// The kernels trust a map: a number out of range there would be read or written out of bounds. Everything that an index
// is made of is compared with what it must be; of the areas, that they are finite and not negative, and that their sums
// are those of the bins.
#ifndef MIDAS_CAKE_MAP_CHECK_HPP
#define MIDAS_CAKE_MAP_CHECK_HPP

#include "cake_map.hpp"

namespace midas {

// f(name, array) for every array of a map, in one order: what a file holds of it beside its four sizes.
template <class Map, class F>
void for_each_array(Map& map, const F& f) {
  f("first_run", map.first_run);
  f("first_entry", map.first_entry);
  f("run_bin", map.run_bin);
  f("run_groups", map.run_groups);
  f("pixel", map.pixel);
  f("area", map.area);
  f("run_slot", map.run_slot);
  f("first_slot", map.first_slot);
  f("bin_area", map.bin_area);
  f("bin_pixels", map.bin_pixels);
  f("eta_overlap", map.eta_overlap);
}

// Throws InputError, naming what is wrong, unless the map may be used.
void check_cake_map(const CakeMap& map, int n_threads);

}  // namespace midas

#endif
