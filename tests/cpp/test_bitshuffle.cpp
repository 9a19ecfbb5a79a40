// Bitshuffled chunks: bits by hand, blocks and what is left over, damage refused. LZ4 is stood in for by a copy.
#include <cstring>
#include <vector>

#include "bit_unshuffle.hpp"
#include "bitshuffle.hpp"
#include "check.hpp"
#include "error.hpp"

using midas_test::check;

namespace {

int copied(const char* from, char* to, int size, int capacity) {
  if (size > capacity) return -1;
  std::memcpy(to, from, static_cast<std::size_t>(size));
  return size;
}

// The definition: row 8 k + b holds bit b of byte k of each element.
template <class T>
std::vector<std::uint8_t> shuffled(const std::vector<T>& values) {
  const std::size_t row = values.size() / 8;
  std::vector<std::uint8_t> out(8 * sizeof(T) * row, 0);
  for (std::size_t i = 0; i < values.size(); ++i)
    for (std::size_t bit = 0; bit < 8 * sizeof(T); ++bit)
      if ((static_cast<std::uint64_t>(values[i]) >> bit & 1u) != 0)
        out[bit * row + i / 8] = static_cast<std::uint8_t>(out[bit * row + i / 8] | 1u << (i % 8));
  return out;
}

void test_by_hand() {
  // Eight bytes, the i-th 2^i: bit b is set in element b alone, so row b is 2^b.
  const std::vector<std::uint8_t> rows = {1, 2, 4, 8, 16, 32, 64, 128};
  std::vector<std::uint8_t> out(8);
  midas::bit_unshuffle(rows.data(), 8, 1, out.data());
  check(out == rows, "the unit matrix is its own transpose");
  // The element 1 alone has bit 9: row 9 is 2.
  std::vector<std::uint8_t> wide(16, 0);
  wide[9] = 2;
  std::vector<std::uint16_t> found(8);
  midas::bit_unshuffle(wide.data(), 8, 2, reinterpret_cast<std::uint8_t*>(found.data()));
  check(found == std::vector<std::uint16_t>({0, 512, 0, 0, 0, 0, 0, 0}), "row 9 is bit 1 of the second byte");
}

template <class T>
std::vector<T> values(std::size_t n) {
  std::vector<T> out;
  for (std::size_t i = 0; i < n; ++i) out.push_back(static_cast<T>((i + 1) * 0x9E3779B97F4A7C15ull));
  return out;
}

// Every set of instructions that this processor has.
std::vector<midas::InstructionSet> instruction_sets() {
  std::vector<midas::InstructionSet> sets;
  for (const auto set : {midas::InstructionSet::BASELINE, midas::InstructionSet::V3, midas::InstructionSet::V4})
    if (set <= midas::best_instruction_set()) sets.push_back(set);
  return sets;
}

// Blocks of any size, of counts that leave any number of their upper bytes 0, next to bytes that nobody may touch.
template <class T>
void test_blocks() {
  constexpr std::size_t MARGIN = 64;
  for (const std::size_t n : {8u, 24u, 128u, 136u, 256u, 504u, 512u, 520u, 1000u, 1536u, 4096u, 4104u}) {
    for (std::size_t used = 1; used <= sizeof(T); ++used) {
      auto expected = values<T>(n);
      for (T& v : expected) v = static_cast<T>(static_cast<std::uint64_t>(v) & (~std::uint64_t{0} >> (64 - 8 * used)));
      const auto rows = shuffled(expected);
      const auto size = static_cast<std::int64_t>(n);
      std::vector<T> out(n);
      midas::bit_unshuffle_by_words(rows.data(), size, sizeof(T), reinterpret_cast<std::uint8_t*>(out.data()));
      check(out == expected, "a block of any size, word by word");
      for (const auto set : instruction_sets()) {
        std::vector<std::uint8_t> bytes(n * sizeof(T) + 2 * MARGIN, 0xA5);
        midas::bit_unshuffle(rows.data(), size, sizeof(T), bytes.data() + MARGIN, set);
        check(std::memcmp(bytes.data() + MARGIN, expected.data(), n * sizeof(T)) == 0, "a block of any size");
        for (std::size_t i = 0; i < MARGIN; ++i)
          check(bytes[i] == 0xA5 && bytes[bytes.size() - 1 - i] == 0xA5, "nothing beside the block is written");
      }
    }
  }
}

void put(std::vector<std::uint8_t>& to, std::uint64_t value, int bytes) {
  for (int i = bytes - 1; i >= 0; --i) to.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
}

// 21 elements in blocks of 16: one whole, none of the 5 that are left (less than 8).
std::vector<std::uint8_t> chunk(const std::vector<std::uint16_t>& all) {
  std::vector<std::uint8_t> out;
  put(out, all.size() * 2, 8);
  put(out, 32, 4);
  const auto block = shuffled(std::vector<std::uint16_t>(all.begin(), all.begin() + 16));
  put(out, block.size(), 4);
  out.insert(out.end(), block.begin(), block.end());
  const auto* rest = reinterpret_cast<const std::uint8_t*>(all.data() + 16);
  out.insert(out.end(), rest, rest + 10);
  return out;
}

void test_chunks() {
  const auto all = values<std::uint16_t>(21);
  const auto packed = chunk(all);
  const std::vector<midas::PackedChunk> chunks(5, {packed.data(), static_cast<std::int64_t>(packed.size())});
  for (const int n_threads : {1, 2, 7}) {
    std::vector<std::uint16_t> out(5 * 21);
    midas::unpack_bitshuffle_lz4(chunks.data(), 5, 21, 2, copied, reinterpret_cast<std::uint8_t*>(out.data()),
                                 n_threads);
    for (std::size_t i = 0; i < out.size(); ++i) check(out[i] == all[i % 21], "every element of every chunk");
  }
  std::vector<std::uint16_t> out(21);
  for (std::size_t size = 0; size < packed.size(); ++size) {
    const midas::PackedChunk cut{packed.data(), static_cast<std::int64_t>(size)};
    check(midas_test::throws<midas::FormatError>([&] {
            midas::unpack_bitshuffle_lz4(&cut, 1, 21, 2, copied, reinterpret_cast<std::uint8_t*>(out.data()), 1);
          }),
          "a chunk cut short is refused");
  }
  check(midas_test::throws<midas::InputError>([&] {
          midas::unpack_bitshuffle_lz4(chunks.data(), 1, 21, 3, copied, reinterpret_cast<std::uint8_t*>(out.data()), 1);
        }),
        "elements of 3 bytes are refused");
}

}  // namespace

int main() {
  test_by_hand();
  test_blocks<std::uint8_t>();
  test_blocks<std::uint16_t>();
  test_blocks<std::uint32_t>();
  test_blocks<std::uint64_t>();
  test_chunks();
  return midas_test::failures();
}
