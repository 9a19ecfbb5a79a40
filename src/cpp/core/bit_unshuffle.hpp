// Bits back to elements: what undoes the shuffle of a bitshuffled block. Format: bitshuffle.hpp.
#ifndef MIDAS_BIT_UNSHUFFLE_HPP
#define MIDAS_BIT_UNSHUFFLE_HPP

#include <cstdint>

#include "instruction_set.hpp"

namespace midas {

// One block of n elements, a multiple of 8, of 1, 2, 4 or 8 bytes. The same bytes for every instruction set.
void bit_unshuffle(const std::uint8_t* from, std::int64_t n, std::int64_t element_size, std::uint8_t* to,
                   InstructionSet set = best_instruction_set());

// The same one word after another: slow, the reference of the tests and for what vectors leave over.
void bit_unshuffle_by_words(const std::uint8_t* from, std::int64_t n, std::int64_t element_size, std::uint8_t* to);

}  // namespace midas

#endif
