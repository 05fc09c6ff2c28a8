// pages_fuzz: sequences of page operations with faults, interrupts, preemption and migration at sync points. What an
// execution is stands in case_target.h.
#include "fuzz/entry.h"

namespace memtorture::fuzz {

std::unique_ptr<Entry> make_entry(std::span<std::uint8_t> features) {
  return std::make_unique<Entry>("pages_fuzz", run::make_kernel(), features);
}

}  // namespace memtorture::fuzz
