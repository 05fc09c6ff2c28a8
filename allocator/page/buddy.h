// The binary buddy system of one zone (domain.md section 4).
//
// Invariants while the zone's lock is free:
//   B1  two buddies of an order below the top are never both on the lists (every merge is done at once);
//   B2  nr_free_pages = sum of nr_free[o] << o; orders_free has bit o iff nr_free[o] != 0.
// A block of order o is aligned to 2^o and lies in one zone, so buddies are found by flipping one bit of the number.
// Taking prefers the smallest order that fits (P-BUDDY-8) and keeps the lower half.
//
// Context: the zone's lock is held; `Held` is the proof. Nothing here sleeps or takes a lock.
#pragma once

#include "allocator/page/zone.h"

namespace memtorture::page {

// The first page of a block of 2^order pages, no longer on any list; no_pfn when no block is large enough.
Pfn take_block(MemMap& map, Zone& zone, unsigned order, const machine::Held&);

// Puts a block back, merged with whatever free buddies it has.
void give_block(MemMap& map, Zone& zone, Pfn pfn, unsigned order, const machine::Held&);

// Boot: hands over a run of frames, cut into the largest aligned blocks. Nobody else runs yet.
void give_run(MemMap& map, Zone& zone, Span run);

// Is pfn the head of an implicit block?
bool in_runs(const Zone& zone, Pfn pfn);

}  // namespace memtorture::page
