// Clients: who holds pages the way a running system does, so that reclaim has something to reclaim (domain.md 9.3).
//
//   clean, dirty, anon   one LRU per zone and kind (Zone::client), oldest at the back
//   process              not reclaimable; each client_add(process) is one process until there are processes_max,
//                        then the smallest grows. The OOM killer ends the largest.
//
// A client's page is an ordinary allocation with pg_lru set while it is on a list. One lock protects all lists; pages
// are taken off under it and freed after it is released, so nothing is taken inside.
#pragma once

#include <cstdint>

#include "allocator/machine/lock.h"
#include "allocator/page/zone.h"

namespace memtorture::page {

class PageAllocator;

inline constexpr machine::LockClass lru_lock_class{"lru"};

class Clients {
 public:
  static constexpr unsigned processes_max = 8;

  explicit Clients(PageAllocator& pages) : pages_(pages) {}
  void boot();

  // Allocates one page at a time; stops at the first refusal. Returns pages added. Context: by gfp.
  std::uint32_t add(subject::ClientKind kind, std::uint32_t pages, gfp_t gfp);
  std::uint32_t drop(subject::ClientKind kind, std::uint32_t pages);
  std::uint64_t pages(subject::ClientKind kind) const { return held_[static_cast<unsigned>(kind)].get(); }

  // Frees up to `target` pages of one kind in one zone; returns how many.
  std::uint32_t shrink(Zone& zone, subject::ClientKind kind, std::uint32_t target);
  // Ends the process with most pages; returns its pages, 0 when there is none.
  std::uint32_t kill_largest();

 private:
  struct Process {
    PfnList list;
    Counter pages;
  };

  void link(subject::ClientKind kind, Process* process, Pfn pfn);
  Pfn isolate(subject::ClientKind kind, PfnList& list, Process* process);
  void release(subject::ClientKind kind, Pfn pfn);
  Process& process_to_grow();
  Process* largest();

  PageAllocator& pages_;
  machine::SpinLock lock_{lru_lock_class};
  Process process_[processes_max];
  Counter held_[subject::client_kinds];
};

}  // namespace memtorture::page
