// Kernels compiled for several instruction sets, of which one is chosen when the program runs
// (docs/decisions/instruction-sets.md).
//
// A kernel is a type with an inlined `template <int BYTES> static Result run(Args...)`, BYTES being the width of a
// vector. Everything it calls is inlined into it, since a function shared between instruction sets would be compiled
// for one of them. Of a table
//
//   template <class Set> constexpr Table TABLE = {Set::template run<Kernel, Result>, ...};
//
// one is chosen by `choose(set, TABLE<Baseline>, TABLE<V3>, TABLE<V4>)`.
#ifndef MIDAS_INSTRUCTION_SET_HPP
#define MIDAS_INSTRUCTION_SET_HPP

namespace midas {

// x86-64-v4 has AVX-512, v3 AVX2 and fused multiply-add; the baseline is what every processor of the family has.
enum class InstructionSet { BASELINE, V3, V4 };
InstructionSet best_instruction_set();

struct Baseline {
  template <class Kernel, class Result, class... Args>
  static Result run(Args... args) {
    return Kernel::template run<16>(args...);
  }
};

#if defined(__x86_64__)
struct V3 {
  template <class Kernel, class Result, class... Args>
  [[gnu::target("avx2,fma,bmi2")]] static Result run(Args... args) {
    return Kernel::template run<32>(args...);
  }
};

// V3 without fused multiply-add, where all sets shall give the same bytes.
struct Avx2 {
  template <class Kernel, class Result, class... Args>
  [[gnu::target("avx2")]] static Result run(Args... args) {
    return Kernel::template run<32>(args...);
  }
};

struct V4 {
  template <class Kernel, class Result, class... Args>
  [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]] static Result run(Args... args) {
    return Kernel::template run<64>(args...);
  }
};
#else
using V3 = Baseline;
using Avx2 = Baseline;
using V4 = Baseline;
#endif

template <class Table>
const Table& choose(InstructionSet set, const Table& baseline, const Table& v3, const Table& v4) {
  if (set == InstructionSet::V4) return v4;
  return set == InstructionSet::V3 ? v3 : baseline;
}

}  // namespace midas

#endif
