// canary_fuzz: pages_fuzz on a subject with a planted bug (allocator/subject/canary.h). It must end as a shrunk case in
// found/, by a rule of the oracle; a fuzz job whose canary lives through it proves nothing about what it did not find.
// A bug that the subject has without the planted one does not count: that is for pages_fuzz to find.
#include <span>

#include "allocator/subject/canary.h"
#include "fuzz/entry.h"
#include "fuzz/mutator.h"

// libFuzzer finds its extra counters by the name of their section; so this cannot be anything but a global.
__attribute__((used, section("__libfuzzer_extra_counters"))) static std::uint8_t features[1 << 14];

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t size_max);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace memtorture;
  static fuzz::Entry entry("canary_fuzz", subject::make_canary(subject::Planted::double_grant, run::make_kernel()),
                           features, run::make_kernel());
  entry.one_input({data, size});
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
