// mem_map: the array of page descriptors, made valid lazily.
//
// A descriptor whose generation is not this run's counts as fresh: all zero, that is, the inside of a free block that
// nobody has touched (or PG_reserved, by its number alone). operator[] writes that down at first touch. So boot and
// reset cost nothing per frame, and a machine of 1 TiB boots like one of 1 MiB.
//
// On the thread engine a first touch would be a write that several CPUs make without a common lock; there all
// descriptors are made valid at boot, and operator[] only ever reads the generation.
#pragma once

#include <cstdint>

#include "allocator/boot/bank.h"
#include "allocator/boot/memory_map.h"
#include "allocator/page/page.h"

namespace memtorture::page {

class MemMap {
 public:
  static constexpr std::size_t bytes_max = (machine::ram_bytes_max >> 12) * sizeof(Page);

  enum class Validity : std::uint8_t { lazy, eager };
  void boot(boot::Bank& bank, const boot::MemoryMap& memory, Validity validity);

  Page& operator[](Pfn pfn) {
    Page& page = pages_[pfn];
    if (page.generation != generation_) [[unlikely]]
      first_touch(pfn);
    return page;
  }
  // The first touch of all, at boot. Written without looking first: that would cost fresh host memory a second page
  // fault.
  void open(Pfn pfn);
  bool is_touched(Pfn pfn) const { return pages_[pfn].generation == generation_; }
  // For a page that this run has touched: whatever is on a list.
  Page& touched(Pfn pfn) { return pages_[pfn]; }
  const boot::MemoryMap& memory() const { return memory_; }

 private:
  [[clang::preserve_most, gnu::noinline]] void first_touch(Pfn pfn);

  Page* pages_ = nullptr;
  std::uint32_t generation_ = 0;  // never 0 while booted: fresh host memory is of no run
  std::uint64_t resident_ = 0;    // descriptors that host memory backs
  boot::MemoryMap memory_;
};

// A list threaded through the descriptors. Protected by whatever lock protects its owner.
struct PfnList {
  Pfn first = no_pfn, last = no_pfn;

  bool empty() const { return first == no_pfn; }
  void push_front(MemMap& map, Pfn pfn) {
    Page& page = map[pfn];
    page.prev = no_pfn;
    page.next = first;
    (first == no_pfn ? last : map[first].prev) = pfn;
    first = pfn;
  }
  void push_back(MemMap& map, Pfn pfn) {
    Page& page = map[pfn];
    page.next = no_pfn;
    page.prev = last;
    (last == no_pfn ? first : map[last].next) = pfn;
    last = pfn;
  }
  void remove(MemMap& map, Pfn pfn) {
    Page& page = map[pfn];
    (page.prev == no_pfn ? first : map[page.prev].next) = page.next;
    (page.next == no_pfn ? last : map[page.next].prev) = page.prev;
    page.next = page.prev = 0;
  }
};

}  // namespace memtorture::page
