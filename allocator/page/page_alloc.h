// Façade of allocator/page: the zoned page allocator of K26 (domain.md sections 2-9), on one simulated machine.
//
//   alloc.cpp      entry checks, cpusets, the pass over a zonelist, preparing a block
//   slow_path.cpp  what happens when the first pass finds nothing: kswapd, reserves, reclaim, retry, OOM
//   free.cpp       references, freeing, bad pages            pcp.cpp      per-CPU lists
//   address.cpp    forms that deal in addresses, exact sizes  reclaim.cpp  direct reclaim, kswapd
//   clients.cpp    who holds reclaimable pages                lru.cpp      the lists that they are on
//   oom.cpp        the OOM killer                             setup.cpp    boot, watermarks
//   slab_mark.cpp  pages of a slab
//
// Locks, outermost first: Pcp::lock > Zone::lock; Clients::lock alone. All are taken with interrupts off, none is held
// over a call that may sleep. Every structure is empty or consistent while no lock is held, so an interrupt that
// allocates may land anywhere (P-CTX-10).
//
// Context of every function: any but NMI, unless its flags say that it may sleep. From NMI it reports and does nothing.
// No function here trusts the engine: what it needs off, it takes as a proof (Masked, Held).
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "allocator/boot/bank.h"
#include "allocator/fault/injector.h"
#include "allocator/machine/machine.h"
#include "allocator/machine/rw_semaphore.h"
#include "allocator/page/buddy.h"
#include "allocator/page/clients.h"
#include "allocator/page/watermark.h"
#include "allocator/page/zonelist.h"

namespace memtorture::page {

inline constexpr unsigned costly_order = 3;         // PAGE_ALLOC_COSTLY_ORDER: orders above may be given up
inline constexpr std::uint32_t reclaim_batch = 32;  // SWAP_CLUSTER_MAX
inline constexpr std::byte poison_byte{0xaa};       // domain.md 20.4

// One allocation on its way through the passes.
struct Request {
  gfp_t gfp;    // scope masks applied (domain.md 7.5)
  gfp_t given;  // as the caller wrote it: what reports show
  unsigned order;
  ZoneKind classzone;        // kind of the preferred zone: whose lowmem_reserve counts
  const Zonelist* zonelist;  // not empty
  const Zonelist* home;      // those of its zones that the task's cpuset has; may be empty
  // What __GFP_HARDWALL leaves of the zonelist: __GFP_THISNODE says where without regard to cpusets.
  const Zonelist& hardwall() const { return (gfp & subject::gfp_thisnode) != 0 ? *zonelist : *home; }
};

class PageAllocator {
 public:
  PageAllocator() : clients_(*this) {}

  // Outside of any strand, no lock held. Everything of an earlier run is forgotten.
  void boot(machine::Machine& machine, boot::Bank& bank, fault::Injector& faults, subject::PagesTrace& trace);

  // --- the pages facet (contracts: subject/pages.h) -----------------------------------------------------------------
  Pfn alloc_pages(gfp_t gfp, unsigned order);
  Pfn alloc_pages_node(int nid, gfp_t gfp, unsigned order);
  std::uint64_t get_free_pages(gfp_t gfp, unsigned order);
  std::uint64_t get_zeroed_page(gfp_t gfp) { return get_free_pages(gfp | subject::gfp_zero, 0); }
  std::uint64_t get_dma_pages(gfp_t gfp, unsigned order) { return get_free_pages(gfp | subject::gfp_dma, order); }
  std::uint64_t alloc_pages_exact(std::uint64_t bytes, gfp_t gfp);
  void free_pages_exact(std::uint64_t address, std::uint64_t bytes);
  void free_pages_of(Pfn pfn, unsigned order);
  void free_pages(std::uint64_t address, unsigned order);
  void get_page(Pfn pfn);
  void put_page(Pfn pfn);
  void split_page(Pfn pfn, unsigned order);
  int page_count(Pfn pfn);
  std::uint64_t page_address(Pfn pfn);
  void drain_local_pages();
  void drain_all_pages();
  void cpu_dead(unsigned cpu);  // its lists go back to the buddy lists; the CPU has gone, and does not come meanwhile
  std::uint64_t nr_free_pages() const;
  void set_min_free_kbytes(std::uint32_t kbytes);
  bool set_mems_allowed(machine::NodeSet nodes);
  void blemish(Pfn pfn, subject::Blemish kind);
  // The owner of an allocated block tells whom it belongs to (both are simulated addresses), and takes that back before
  // it frees the block.
  void mark_slab(Pfn pfn, unsigned order, std::uint64_t cache, std::uint64_t descriptor);
  void clear_slab(Pfn pfn, unsigned order);
  Clients& clients() { return clients_; }

  // --- white box ----------------------------------------------------------------------------------------------------
  std::span<Zone> zones() { return {zones_, zone_count_}; }
  std::span<const Zone> zones() const { return {zones_, zone_count_}; }
  MemMap& map() { return map_; }
  Zone& zone_of(Pfn pfn) {
    unsigned zone = 0;
    while (pfn >= zones_[zone].span.end) ++zone;
    return zones_[zone];
  }
  bool exists(Pfn pfn) const { return map_.memory().exists(pfn); }
  std::uint64_t min_free_kbytes() const { return min_free_kbytes_.get(); }

  // --- for reclaim --------------------------------------------------------------------------------------------------
  bool register_shrinker(subject::Shrinker& shrinker);  // as subject::Pages says
  bool unregister_shrinker(subject::Shrinker& shrinker);
  subject::PagesTrace& trace() { return *trace_; }

 private:
  friend class Clients;
  struct Node {
    PageAllocator* allocator;
    std::uint8_t nid;
    std::atomic<std::uint8_t> kswapd_order;  // largest order that somebody woke kswapd for
  };

  // alloc.cpp
  bool admit(Request& request, int nid);
  [[gnu::cold, gnu::noinline]] Pfn alloc_confined(Request& request);
  Pfn get_page_from_freelist(const Request& request, const Zonelist& zonelist, Mark mark, unsigned alloc_flags);
  Pfn rmqueue(const Request& request, Zone& zone);
  Pfn rmqueue_single(Zone& zone, gfp_t gfp, const machine::Masked& masked);
  void zone_statistics(const Request& request, Zone& zone, const machine::Masked& masked);
  bool prep_new_block(Pfn pfn, unsigned order, gfp_t gfp);
  bool check_new_block(Pfn pfn, unsigned order);
  void remove_bad(Pfn pfn, unsigned order);
  void check_poison(Pfn pfn, unsigned order);
  void prep_compound_page(Pfn head, unsigned order);

  // slow_path.cpp
  Pfn alloc_pages_slowpath(const Request& request);
  enum class Verdict : std::uint8_t { retry, restart, nopage };
  Verdict after_reclaim(const Request& request, std::uint32_t freed, std::uint64_t reclaimed_total, Pfn& pfn);
  Verdict may_oom(const Request& request, Pfn& pfn);
  Pfn nopage(const Request& request);
  void show_zones();

  // reclaim.cpp
  std::uint32_t try_to_free_pages(const Request& request);
  std::uint32_t shrink_zones(std::span<const std::uint8_t> zones, gfp_t gfp, unsigned priority, std::uint32_t target);
  std::uint32_t shrink_zone(Zone& zone, gfp_t gfp, unsigned priority, std::uint32_t target);
  bool is_writing(std::span<const std::uint8_t> zones) const;
  machine::Jiffies congestion_jiffies() const { return machine_->shape().hz / 10; }
  std::uint32_t shrink_slab(gfp_t gfp, std::uint32_t target);
  void unlist(subject::Shrinker& shrinker);
  void wake_all_kswapd(const Request& request);
  void wakeup_kswapd(unsigned nid, unsigned order);
  static void kswapd(void* node);
  void balance(Node& node);

  // oom.cpp
  void out_of_memory(const Request& request);

  // free.cpp
  bool put_page_testzero(Pfn pfn, unsigned order);
  void free_block(Pfn pfn, unsigned order);
  bool free_block_check(Pfn pfn, unsigned order);
  bool free_inside_check(Pfn pfn, unsigned order);
  bool dissolve_compound(Pfn head, unsigned order);
  void free_to_buddy(Zone& zone, Pfn pfn, unsigned order, const machine::Masked& masked);
  void leak(Pfn pfn, unsigned order, machine::BadPageReason why);
  Pfn compound_head(Pfn pfn);
  unsigned compound_order(Pfn head) { return map_[head + 1].prev; }
  void poison(Pfn pfn, unsigned order);

  // pcp.cpp
  Pfn pcp_alloc(Zone& zone, gfp_t gfp, const machine::Masked& masked);
  void pcp_free(Zone& zone, Pfn pfn, const machine::Masked& masked);
  void pcp_refill(Zone& zone, Pcp& pcp, const machine::Masked& masked);
  void pcp_drain(Zone& zone, unsigned cpu, std::uint32_t pages, const machine::Masked& masked);
  void drain_cpu(Zone& zone, unsigned cpu, const machine::Masked& masked);
  void drain_every_cpu();

  // setup.cpp
  void setup_zone(Zone& zone, const boot::ZonePlace& place, boot::Bank& bank);
  void setup_marks(Zone& zone);

  unsigned numa_node_id() const { return cpu_node_[machine::raw_smp_processor_id()]; }
  bool reject_nmi(gfp_t gfp, unsigned order, Pfn pfn) {
    if (!machine::in_nmi()) [[likely]]
      return false;
    report_nmi(gfp, order, pfn);
    return true;
  }
  static void report_nmi(gfp_t gfp, unsigned order, Pfn pfn);

  Zone* zones_ = nullptr;
  unsigned zone_count_ = 0;
  unsigned nodes_ = 1;
  unsigned orders_ = orders_max;
  ZoneTable zone_table_;
  std::uint8_t cpu_node_[machine::cpus_max] = {};
  bool shared_ = false;  // several host threads: counts need atomic read-modify-write
  bool poisons_ = false;
  Counter min_free_kbytes_;
  MemMap map_;
  Zonelists zonelists_;
  Node node_[machine::nodes_max] = {};
  std::atomic<bool> oom_busy_{false};
  subject::Shrinker* shrinkers_ = nullptr;
  machine::RwSemaphore shrinker_rwsem_{machine::LockClass("shrinker_rwsem")};  // the list of them
  machine::Machine* machine_ = nullptr;
  fault::Injector* faults_ = nullptr;
  subject::PagesTrace* trace_ = nullptr;
  Clients clients_;
};

}  // namespace memtorture::page
