// The pages facet: what a subject offers whose business is page frames, as the harness sees it.
//
// Kernel signatures, with frames named by number. Contexts are those of domain.md section 8: "flags" = may sleep if the
// flags allow blocking, else any context but NMI. Nothing here says how; the promises say what the oracle may demand.
#pragma once

#include <cstdint>
#include <span>

#include "allocator/machine/machine.h"
#include "allocator/subject/gfp.h"

namespace memtorture::subject {

using machine::ContextId;
using machine::no_pfn;
using machine::Pfn;
using machine::ZoneKind;

// Test hooks: the owner of a page misuses its descriptor (domain.md 2.6, P-PAGE-7/8).
enum class Blemish : std::uint8_t { locked, lru, slab, mapping, mapcount };
inline constexpr std::string_view blemish_names[] = {"locked", "lru", "slab", "mapping", "mapcount"};

// Reclaimable clients of the machine (design.md section 3) and what reclaim needs to free their pages (domain.md 9.3).
enum class ClientKind : std::uint8_t {
  clean,    // clean page cache: any reclaim
  dirty,    // dirty file pages: __GFP_FS
  anon,     // anonymous memory: __GFP_IO (swap)
  process,  // a process's memory, not swappable: only the OOM killer frees it
};
inline constexpr std::string_view client_names[] = {"clean", "dirty", "anon", "process"};
inline constexpr unsigned client_kinds = std::size(client_names);

// Processes are numbered; each has the memory that it was given, and what the OOM killer asks about it (domain.md 9.5).
inline constexpr unsigned processes_max = 8;
enum class ProcessTrait : std::uint8_t {
  oom_adj,      // -17 (never a victim) to 15
  nice,         // -20 to 19
  cpu_seconds,  // of CPU time used, at least 0
  run_seconds,  // since it was started, at least 0
  caps,         // 1: may administer; 2: may do raw I/O; 3: both
  parent,       // number of the process that started it, or -1; its own: -1
};
inline constexpr std::string_view trait_names[] = {"oom_adj", "nice", "cpu_seconds", "run_seconds", "caps", "parent"};
inline constexpr unsigned process_traits = std::size(trait_names);
struct ProcessTraits {
  std::int32_t value[process_traits] = {0, 0, 0, 0, 0, -1};
  std::int32_t operator[](ProcessTrait trait) const { return value[static_cast<unsigned>(trait)]; }
};
constexpr bool is_trait_value(ProcessTrait trait, std::int64_t value) {
  switch (trait) {
    case ProcessTrait::oom_adj: return value >= -17 && value <= 15;
    case ProcessTrait::nice: return value >= -20 && value <= 19;
    case ProcessTrait::caps: return value >= 0 && value <= 3;
    case ProcessTrait::parent: return value >= -1 && value < static_cast<int>(processes_max);
    default: return value >= 0 && value <= 0x7fffffff;
  }
}

// What can give memory back when it is short (K26: struct shrinker, domain.md 9.3). It is called by direct reclaim and
// by kswapd, in process context, under no lock but that of the list (for reading), with PF_MEMALLOC set and with the
// flags of the request that is served. With __GFP_FS it may wait for locks of its owner's; without, whoever waits for
// memory may hold them. It must not ask for memory. Pages may come from any zone, and more of them than were wanted.
//
// How many came back is not what the shrinker says but what its context counted while it ran
// (Context::reclaimed_slab): what another context gives back meanwhile is not this round's progress, and what follows
// from giving one slab back (its descriptor may have been the last object of another) is.
//
// Not modelled: the arithmetic of shrink_slab, which asks caches of objects for a share by age.
struct Shrinker {
  using Shrink = void (*)(void* owner, std::uint32_t pages_wanted, gfp_t gfp);
  Shrink shrink = nullptr;
  void* owner = nullptr;
  Shrinker* next = nullptr;  // the subject's: registered before it
};

class Pages {
 public:
  virtual ~Pages() = default;
  // nid < 0: the local node. no_pfn: refused. Context: flags.
  virtual Pfn alloc_pages(gfp_t gfp, unsigned order) = 0;
  virtual Pfn alloc_pages_node(int nid, gfp_t gfp, unsigned order) = 0;
  // Address forms: a simulated linear address, 0: refused. HIGHMEM is reported and masked.
  virtual std::uint64_t get_free_pages(gfp_t gfp, unsigned order) = 0;
  virtual std::uint64_t get_zeroed_page(gfp_t gfp) = 0;
  virtual std::uint64_t get_dma_pages(gfp_t gfp, unsigned order) = 0;
  virtual std::uint64_t alloc_pages_exact(std::uint64_t bytes, gfp_t gfp) = 0;
  // Context of all the rest: any but NMI, unless said.
  virtual void free_pages_exact(std::uint64_t address, std::uint64_t bytes) = 0;
  virtual void free_pages_of(Pfn page, unsigned order) = 0;            // __free_pages
  virtual void free_pages(std::uint64_t address, unsigned order) = 0;  // address 0: no-op
  virtual void get_page(Pfn page) = 0;
  virtual void put_page(Pfn page) = 0;
  virtual void split_page(Pfn page, unsigned order) = 0;
  virtual int page_count(Pfn page) = 0;
  virtual std::uint64_t page_address(Pfn page) = 0;  // 0: high memory without a mapping
  virtual void drain_local_pages() = 0;
  virtual void drain_all_pages() = 0;  // sleepable process context
  virtual std::uint64_t nr_free_pages() = 0;
  virtual void set_min_free_kbytes(std::uint32_t kbytes) = 0;
  // The nodes of the current task's cpuset, until it ends (domain.md 3.5); all at first. False, and nothing has
  // changed: there is none of these nodes. Any context; requests of interrupts are not bound by it.
  virtual bool set_mems_allowed(machine::NodeSet nodes) = 0;
  // Clients: allocate one page at a time with gfp and hold it as `kind`; returns pages really added.
  virtual std::uint32_t client_add(ClientKind kind, std::uint32_t pages, gfp_t gfp) = 0;
  virtual std::uint32_t client_drop(ClientKind kind, std::uint32_t pages) = 0;
  // Clients use so many of their pages of a kind, those first that they have not used for longest: reclaim shall rather
  // take others. Returns pages used; of processes none.
  virtual std::uint32_t client_touch(ClientKind kind, std::uint32_t pages) = 0;
  // False: there is no such process or value, nothing has changed. Traits survive the end of a process: they are the
  // number's.
  virtual bool set_process(std::uint32_t process, ProcessTrait trait, std::int64_t value) = 0;
  virtual void blemish(Pfn page, Blemish kind) = 0;
  // Sleepable process context, not from within a shrinker. The record is the subject's until it is unregistered, or the
  // next boot. False: the caller may not sleep, and would have to; nothing has changed. Registered twice, or not at
  // all: nothing happens.
  virtual bool register_shrinker(Shrinker& shrinker) = 0;
  virtual bool unregister_shrinker(Shrinker& shrinker) = 0;
};

// A zone as the subject publishes it (/proc/zoneinfo), and its structures for white-box audits. Quiescent use only.
struct ZoneInfo {
  std::uint8_t node;
  ZoneKind kind;
  Pfn start;  // zone_start_pfn
  std::uint64_t spanned, present, managed;
  std::uint64_t mark_min, mark_low, mark_high;
  std::uint64_t lowmem_reserve[machine::zone_kinds];
  std::uint64_t nr_free_pages;  // NR_FREE_PAGES: without per-CPU lists
  std::uint64_t nr_free[machine::orders_max];
  std::uint32_t pcp_high, pcp_batch;  // effective
};

struct PageInfo {
  int count;            // reference count field as stored
  int mapcount;         // 0 = not mapped
  std::uint32_t flags;  // PageFlag bits
  std::uint32_t private_;
  bool mapping;  // non-NULL
};

// Flag bits a subject's page descriptors have, in the harness's terms.
enum PageFlag : std::uint32_t {
  pg_locked = 1,
  pg_lru = 2,
  pg_slab = 4,
  pg_reserved = 8,
  pg_head = 16,
  pg_tail = 32,
  pg_buddy = 64,
  pg_bad = 128,
};

// White-box view. Iteration order is the structure's own; callbacks must not call the subject.
class PagesView {
 public:
  virtual ~PagesView() = default;
  virtual std::span<const ZoneInfo> zones() = 0;  // all populated zones, ascending by start; a fresh snapshot
  // Every block on a free list of zones()[zone] at `order`. Blocks that were never touched may be given as one run of
  // `blocks` neighbours (a 1 TiB machine has 262144 of them).
  using FreeBlocks = void (*)(void* arg, Pfn first, std::uint64_t blocks);
  virtual void for_each_free(unsigned zone, unsigned order, FreeBlocks f, void* arg) = 0;
  virtual std::uint32_t pcp_count(unsigned zone, unsigned cpu) = 0;  // the counter
  using PcpPage = void (*)(void* arg, Pfn page);
  virtual void for_each_pcp(unsigned zone, unsigned cpu, PcpPage f, void* arg) = 0;  // the list itself
  virtual PageInfo page(Pfn page) = 0;
  virtual std::uint64_t client_pages(ClientKind kind) = 0;
};

// What the subject tells as it happens (the kernel's tracepoints). Called in the acting context, with whatever locks it
// holds, at the instant that the change is made; implementations record and return.
class PagesTrace {
 public:
  virtual ~PagesTrace() = default;
  virtual void parked(Pfn page, unsigned cpu) = 0;    // a freed page went on cpu's list instead of the buddy lists
  virtual void refilled(Pfn page, unsigned cpu) = 0;  // buddy lists -> cpu's list
  virtual void drained(Pfn page, unsigned cpu) = 0;   // cpu's list -> buddy lists
  // After alloc_pages returned it to the client. process: whose it is, if it is a process's; else 0.
  virtual void client_granted(ClientKind kind, Pfn page, unsigned process) = 0;
  // A device begins to write a dirty or anonymous page, and is not done at once; it is done: the page is clean from now
  // on. In between it stays its client's.
  virtual void client_writing(Pfn page) { (void)page; }
  virtual void client_written(Pfn page) { (void)page; }
  virtual void client_released(ClientKind kind,
                               Pfn page) = 0;  // before the client's page is freed (drop, reclaim, kill)
  virtual void reclaim_began(gfp_t gfp) = 0;   // direct reclaim by the current context, scope-masked flags
  virtual void reclaim_ended(std::uint32_t freed) = 0;
  virtual void kswapd_woken(unsigned node) = 0;
  virtual void io_started() = 0;  // a write to swap by the current context
  virtual void fs_called() = 0;   // a call into a filesystem by the current context
  virtual void fault_fired(machine::Site site) = 0;
  virtual void oom_chose(unsigned process) { (void)process; }   // a victim, which gives up its pages from here on
  virtual void oom_exited(unsigned process) { (void)process; }  // ... and has given up the last
  virtual void oom_killed(std::uint32_t pages) = 0;  // the kill is done: the victim has given up so many so far
  // A report of a failed allocation shows each zone: free pages and marks.
  virtual void zone_shown(unsigned zone, std::uint64_t free, std::uint64_t min, std::uint64_t low, std::uint64_t high) {
    (void)zone, (void)free, (void)min, (void)low, (void)high;
  }
  // Another layer of the subject asks the page layer for a block, in the middle of its own caller's operation: around
  // the call, and around giving the block back. cache: the handle of the cache that is to grow; 0: none.
  virtual void layer_requests(gfp_t gfp, unsigned order, int nid, std::uint64_t cache) {
    (void)gfp, (void)order, (void)nid, (void)cache;
  }
  virtual void layer_granted(Pfn first) { (void)first; }  // no_pfn: refused
  virtual void layer_releases(Pfn first, unsigned order) { (void)first, (void)order; }
  virtual void layer_released() {}
  // Another layer looks for pages that it can give back: asked by reclaim, with these flags, or by the clock (gfp 0).
  virtual void shrink_began(gfp_t gfp) { (void)gfp; }
  virtual void shrink_ended(std::uint32_t freed) { (void)freed; }
  // A work item of per-CPU memory runs, in the context of its worker: around it.
  virtual void work_began() {}
  virtual void work_ended() {}
};

struct Promises {
  bool traces_placement = true;  // parked/refilled/drained are complete: NR_FREE is known exactly
  bool strict = true;            // domain.md 9.4: small blocking requests never fail
  bool reports = true;           // crimes that the kernel's debug build reports are reported
};

}  // namespace memtorture::subject
