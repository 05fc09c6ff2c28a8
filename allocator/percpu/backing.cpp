#include "allocator/percpu/backing.h"

#include "allocator/slab/layer_pages.h"

namespace memtorture::percpu {

bool Backing::create(Chunk& chunk, subject::gfp_t gfp) {
  const std::uint64_t pages = std::uint64_t{1} << layout_.order;
  if (faults_.should_fail("percpu.chunk", pages, gfp, layout_.order)) return false;
  chunk.first = slab::request_pages(pages_, machine_.ram(), gfp, layout_.order);
  chunk.order = layout_.order;
  return chunk.first != machine::no_pfn;
}

void Backing::destroy(Chunk& chunk) { slab::release_pages(pages_, chunk.first, chunk.order); }

bool Backing::back(Chunk& chunk, unsigned cpu, unsigned page, subject::gfp_t gfp) {
  if (faults_.should_fail("percpu.populate", 1, gfp, 0)) return false;
  chunk.backed()[cpu] = static_cast<std::uint16_t>(chunk.backed()[cpu] | 1u << page);
  return true;
}

void Backing::unback(Chunk& chunk, unsigned cpu, unsigned page) {
  chunk.backed()[cpu] = static_cast<std::uint16_t>(chunk.backed()[cpu] & ~(1u << page));
}

}  // namespace memtorture::percpu
