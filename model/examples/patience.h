// "schedule() and then try again" (domain.md 12.2, P-POOL-9): a request that would rather not wait inside the allocator
// waits outside, where it holds nothing, until another task gives memory back.
//
// Between two attempts others must be able to run: sleepable process context, no locks held. Bounded, because nobody
// may ever give anything back, and then the caller's caller must hear of it.
#pragma once

#include <cstdint>

#include "allocator/subject/objects.h"

namespace memtorture::examples {

// give_way() lets others run: machine::schedule. 0: `attempts` times there was nothing.
template <class GiveWay>
std::uint64_t kmalloc_patiently(subject::Objects& objects, std::uint64_t bytes, unsigned attempts, GiveWay give_way) {
  for (unsigned i = 0; i != attempts; ++i) {
    if (i != 0) give_way();
    const std::uint64_t object = objects.kmalloc(bytes, subject::GFP_NOWAIT | subject::gfp_nowarn);
    if (object != 0) return object;
  }
  return 0;
}

}  // namespace memtorture::examples
