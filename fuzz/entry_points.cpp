// What libFuzzer calls, for every target whose input is a case: the names are its own, and it finds them by name. A
// target adds make_entry() (entry.h).
//
// Beside code coverage libFuzzer gets behaviour features (operation x outcome x state of memory, counted by the run):
// allocator code is small and soon covered, and what matters is in which state it was covered.
#include "fuzz/entry.h"
#include "fuzz/mutator.h"

// libFuzzer finds its extra counters by the name of their section; so this cannot be anything but a global.
__attribute__((used, section("__libfuzzer_extra_counters"))) static std::uint8_t features[1 << 14];

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t size_max);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto entry = memtorture::fuzz::make_entry(features);
  entry->one_input({data, size});
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t size_max,
                                               unsigned seed) {
  return memtorture::fuzz::mutate_in_place(data, size, size_max, seed, LLVMFuzzerMutate);
}

extern "C" std::size_t LLVMFuzzerCustomCrossOver(const std::uint8_t* a, std::size_t a_size, const std::uint8_t* b,
                                                 std::size_t b_size, std::uint8_t* out, std::size_t out_size_max,
                                                 unsigned seed) {
  return memtorture::fuzz::cross_into({a, a_size}, {b, b_size}, {out, out_size_max}, seed);
}
