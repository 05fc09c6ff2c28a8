// What the oracle is told. A run is a sequence of events; the oracle is a fold over them, so the same code judges
// inline on fibers, after the join on threads, and offline on a saved history.
//
// Timing is the contract (design.md 1.3): a block is the caller's from the event `result` of its allocation (recorded
// after the function returned) until the event `call` of its release (recorded before the function is called).
#pragma once

#include <cstdint>

#include "allocator/machine/machine.h"
#include "allocator/subject/pages.h"

namespace memtorture::oracle {

using machine::ContextId;
using machine::Pfn;

enum class EventKind : std::uint8_t {
  // operation `op` of context `who`; detail = IrqFlag, value = preempt_count, value2 = TaskFlag bits, at that instant
  call,    // about to be executed; for content-carrying releases it comes after `contents`
  result,  // returned. Allocations: pfn (no_pfn: refused; the first frame), value = simulated address for address
           //   forms, value2 = offset of the first non-zero byte where zeroing was asked, else -1 (as uint64)
           //   Others: value = what the function returned (count, address, pages added ...). detail/preempt as in call
           //   are repeated in cpu/irq/count fields so that balance can be judged.
  //   Objects and caches: value = address or handle (0: refused), value2 = offset of the first byte that is not
  //   zero, or not constructed, where it had to be; pfn = the frame that the address lies in
  //   Per-CPU memory: value = cookie, address of a copy, CPU or total. Additions: order = CPU whose copy it was; those
  //   that load and store: value = what was loaded, detail = 1: it was not there any more when the sum was stored.
  //   Requests that were refused: detail = 1: the white box shows a place that was to be had without waiting
  skipped,   // not executed: an input slot was never filled, or nothing to undo
  contents,  // pfn = first frame of the block looked at; value = offset of the first byte that is not what its owner
             //   wrote, -1: all as written (before every release of a live block, and for `check`). detail = 1: an
  //   object, value2 = its address. detail = 2: a per-CPU area, value2 = its cookie, order = CPU, value = the
  //   counter of that CPU's copy, gfp = 1 + offset of the first byte behind it that is not as written; 0: none
  // the subject and the machine speak, in the context `who`, during operation `op`
  reported,  // detail = ReportKind, order, pfn, gfp, value = BadPageReason, value2 = address (reports on objects)
  slept,     // gave up the CPU inside a function that may sleep
  faulted,   // detail = Site index: an injected failure
  parked,
  refilled,
  drained,          // pfn, cpu (the list's): placement, see PagesTrace
  client_granted,   // detail = ClientKind, pfn, value = process
  client_released,  // detail = ClientKind, pfn
  client_writing,
  client_written,  // pfn
  // another layer of the subject deals with the page layer, in the middle of its own caller's operation
  // detail: free objects of the cache that is to grow which the request could have got instead, as the white box tells
  //   at that instant; 255: that many or more; 0 where nobody looks
  layer_requests,  // order, gfp, value = node (-1: the local one), value2 as in call, detail
  layer_granted,   // pfn, or no_pfn: refused, and then detail once more
  layer_releases,  // pfn, order; value2 as in call
  layer_released,
  percpu_place,  // of a per-CPU area that was just granted: order = CPU, value = where its copy is, value2 = offset of
                 // its first byte that is not 0, else -1; detail = 1: the white box shows that not all of it is
                 // populated. One for each CPU, before the result
  work_began,    // the worker of per-CPU memory has something to do; value2 as in call
  work_ended,
  shrink_began,  // gfp: by reclaim; 0: by the clock. value2 as in call
  shrink_ended,  // value = pages that the context gave back meanwhile
  reclaim_began,
  reclaim_ended,  // gfp / value = pages freed
  kswapd_woken,   // value = node
  io_started,
  fs_called,
  oom_chose,
  oom_exited,  // value = process
  oom_killed,  // value = pages that the victim has given up so far
  zone_shown,  // detail = zone, value = free pages, pfn, gfp, value2 = marks: min, low, high
  panicked,    // detail = PanicKind; the last event of the run
  locked,  // detail = LockClass that is about to be taken, or is kept; value = classes under it, value2 = LockUse: only
           // what this run (on threads: this CPU) has not seen yet
  entered,  // context `who` begins; value = the context that it interrupted, no_context: none; value2 = its stack
            //   pointer. Only where programs have stacks
  left,     // context `who` has ended; preempt_count etc. as in call
  quiet,    // every program has left and every daemon found nothing more to do; nothing has been cleaned up yet
};

// What a call of the harness's clean-up gives back (detail), named by pfn, or in value by address or handle.
inline constexpr std::uint8_t clean_up_object = 1, clean_up_cache = 2, clean_up_leak_scan = 3, clean_up_pool = 4,
                              clean_up_task = 5, clean_up_stacks = 6, clean_up_percpu = 7;

struct Event {
  EventKind kind{};
  std::uint8_t cpu = 0;
  std::uint8_t detail = 0;
  std::uint8_t order = 0;
  ContextId who = machine::no_context;
  machine::IrqFlag irqs = machine::IrqFlag::on;
  std::uint32_t op = 0;
  Pfn pfn = machine::no_pfn;
  std::uint32_t gfp = 0;
  std::uint32_t preempt_count = 0;
  std::uint64_t value = 0;
  std::uint64_t value2 = 0;
  machine::LockSet held = 0;  // by the context, at that instant
  friend bool operator==(const Event&, const Event&) = default;
};

}  // namespace memtorture::oracle
