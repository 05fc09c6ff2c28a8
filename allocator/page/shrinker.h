// Another layer that can give pages back when memory is short (K26: struct shrinker, domain.md 9.3).
//
// It is called by direct reclaim and by kswapd, in process context, without locks, with PF_MEMALLOC set and with the
// flags of the request that is served. It must neither sleep nor ask for pages: a lock that somebody holds means that
// it has nothing to give this time. Pages may come from any zone, and more of them than were wanted.
//
// How many came back is not what the shrinker says but what its context counted while it ran
// (Context::reclaimed_slab): what another context gives back meanwhile is not this round's progress, and what follows
// from giving one slab back (its descriptor may have been the last object of another) is.
//
// Not modelled: the arithmetic of shrink_slab, which asks caches of objects for a share by age; there is one shrinker,
// and it is asked for pages.
#pragma once

#include <cstdint>

#include "allocator/subject/gfp.h"

namespace memtorture::page {

struct Shrinker {
  using Shrink = void (*)(void* layer, std::uint32_t pages_wanted, subject::gfp_t gfp);
  Shrink shrink;
  void* layer;
  Shrinker* next = nullptr;  // the page layer's: registered before it
};

}  // namespace memtorture::page
