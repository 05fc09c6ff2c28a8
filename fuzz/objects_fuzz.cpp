// objects_fuzz: sequences of operations on objects and caches, with pages beside them; faults, interrupts,
// preemption and migration at sync points. What an execution is stands in case_target.h.
#include "fuzz/entry.h"

namespace memtorture::fuzz {

std::unique_ptr<Entry> make_entry(std::span<std::uint8_t> features) {
  return std::make_unique<Entry>("objects_fuzz", run::make_kernel(), features);
}

}  // namespace memtorture::fuzz
