// Blocks of pages for a layer above pages: asked for and given back in the middle of its own caller's operation, so
// both are announced before and after (PagesTrace::layer_*), and judged like any other request.
//
// A granted block's bytes may be reached through Ram::at from here on; what they are, nobody knows.
#pragma once

#include "allocator/machine/ram.h"
#include "allocator/page/page_alloc.h"
#include "allocator/subject/objects.h"

namespace memtorture::slab {

inline machine::Pfn request_pages(page::PageAllocator& pages, machine::Ram& ram, subject::gfp_t gfp, unsigned order) {
  constexpr int any_node = -1;
  pages.trace().layer_requests(gfp, order, any_node, subject::no_cache);
  const machine::Pfn first = pages.alloc_pages_node(any_node, gfp, order);
  pages.trace().layer_granted(first);
  if (first == machine::no_pfn) return first;
  for (machine::Pfn i = 0; i != machine::Pfn{1} << order; ++i) ram.frame(first + i);
  return first;
}

inline void release_pages(page::PageAllocator& pages, machine::Pfn first, unsigned order) {
  pages.trace().layer_releases(first, order);
  pages.free_pages_of(first, order);
  pages.trace().layer_released();
}

}  // namespace memtorture::slab
