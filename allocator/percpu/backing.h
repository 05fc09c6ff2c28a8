// Where the memory of chunks is: now a block of contiguous pages each, which lies in the linear map.
//
// A class of its own, because chunks that are mapped page by page differ from these in nothing else: there back() gets
// a page and maps it, and unback() undoes that. Here all pages are there from the beginning, so both only keep the
// state; but that a page can be had is asked all the same (percpu.populate), for each CPU, so that what populating has
// to undo is undone here, too.
//
// Context: create, destroy and back as their flags say; no lock of the layer is held but the mutex.
#pragma once

#include "allocator/fault/injector.h"
#include "allocator/machine/machine.h"
#include "allocator/page/page_alloc.h"
#include "allocator/percpu/chunk.h"
#include "allocator/percpu/layout.h"

namespace memtorture::percpu {

class Backing {
 public:
  Backing(machine::Machine& machine, fault::Injector& faults, page::PageAllocator& pages)
      : machine_(machine), faults_(faults), pages_(pages) {}

  void reset(const Layout& layout) { layout_ = layout; }

  bool create(Chunk& chunk, subject::gfp_t gfp);  // false: refused, nothing is kept
  void destroy(Chunk& chunk);
  bool back(Chunk& chunk, unsigned cpu, unsigned page, subject::gfp_t gfp);  // false: none can be had
  void unback(Chunk& chunk, unsigned cpu, unsigned page);

  Address address(const Chunk& chunk, unsigned cpu, std::uint64_t offset) const {
    return machine_.ram().address_of(chunk.first) + cpu * std::uint64_t{layout_.unit_bytes} + offset;
  }

 private:
  machine::Machine& machine_;
  fault::Injector& faults_;
  page::PageAllocator& pages_;
  Layout layout_;
};

}  // namespace memtorture::percpu
