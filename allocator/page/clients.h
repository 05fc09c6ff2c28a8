// Clients: who holds pages the way a running system does, so that reclaim has something to reclaim (domain.md 9.3).
//
//   clean, dirty, anon   lists per zone and kind (zone.h, Lru). A page comes to the inactive list, an anonymous one to
//                        the active one; reclaim takes from the back of the inactive list and refills it from the
//                        active list. A page that was used since reclaim last looked is spared once (lru.cpp)
//   process              not reclaimable; each client_add(process) is the process that has least, of processes_max. The
//                        OOM killer ends one (oom.cpp)
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
  static constexpr unsigned processes_max = subject::processes_max;
  static constexpr unsigned nobody = processes_max;

  explicit Clients(PageAllocator& pages) : pages_(pages) {}
  void boot();

  // Allocates one page at a time; stops at the first refusal. Returns pages added. Context: by gfp.
  std::uint32_t add(subject::ClientKind kind, std::uint32_t pages, gfp_t gfp);
  std::uint32_t drop(subject::ClientKind kind, std::uint32_t pages);
  std::uint32_t touch(subject::ClientKind kind, std::uint32_t pages);
  bool set_process(std::uint32_t process, subject::ProcessTrait trait, std::int64_t value);
  std::uint64_t pages(subject::ClientKind kind) const { return held_[static_cast<unsigned>(kind)].get(); }

  // --- lru.cpp: what reclaim does to one kind in one zone -----------------------------------------------------------
  // The last look of a round takes what was used, too.
  enum class Spare : bool { nothing, used };
  // Looks at up to `scan` pages of the inactive list and frees those that it may; returns how many.
  std::uint32_t shrink_inactive(Zone& zone, subject::ClientKind kind, std::uint64_t scan, Spare spare);
  // Moves up to `scan` pages from the active to the inactive list.
  void shrink_active(Zone& zone, subject::ClientKind kind, std::uint64_t scan);
  // The device gets up to `scan` pages of the inactive list to write, and is done with them at `done_at`.
  void write_slowly(Zone& zone, subject::ClientKind kind, std::uint64_t scan, machine::Jiffies done_at);
  // What the device is done with by now is clean.
  void end_writeback(Zone& zone);

  // --- oom.cpp ------------------------------------------------------------------------------------------------------
  // Number of the process that shall die, which nobody else will choose any more; nobody: none may. `busy`: one is
  // still on its way.
  unsigned choose_victim(bool& busy);
  void delay_exit(unsigned process, machine::Jiffies until);
  // It gives up its memory and is gone; returns pages.
  std::uint32_t exit_process(unsigned process);
  // The one that dies and could have given its memory back by now; nobody: there is none.
  unsigned due_to_exit();

 private:
  struct Process {
    PfnList list;
    Counter pages;
    subject::ProcessTraits traits;
    bool dying = false;  // K26: TIF_MEMDIE
    machine::Jiffies exits_at = 0;
  };

  static constexpr unsigned index(subject::ClientKind kind) { return static_cast<unsigned>(kind); }
  void link(subject::ClientKind kind, unsigned process, Pfn pfn);
  Pfn take_last(PfnList& list, Counter& count, subject::ClientKind kind);
  Pfn isolate(Lru& lru, subject::ClientKind kind);
  Pfn isolate(Process& process);
  void release(subject::ClientKind kind, Pfn pfn);
  unsigned process_to_grow();
  std::uint64_t badness(unsigned process) const;
  bool is_killable(const Process& process) const;

  PageAllocator& pages_;
  machine::SpinLock lock_{lru_lock_class};
  Process process_[processes_max];
  Counter held_[subject::client_kinds];
};

}  // namespace memtorture::page
