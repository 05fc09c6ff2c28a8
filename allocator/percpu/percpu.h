// Façade of allocator/percpu: per-CPU memory as K26 has it (domain.md 16), on one machine.
//
//   layout.h     how large units are           chunk.h      a chunk in simulated memory; slots
//   area_map.h   areas of a unit               backing.h    where a chunk's pages come from
//   static.h     DEFINE_PER_CPU and relations  boot.cpp     the first chunk
//   alloc.cpp    an area's way out and back    balance.cpp  the work item: chunks, maps, the reserve of empty pages
//
// Why it is right. A map says which bytes of a unit are whose; it is read and written under lock_ alone, so an area has
// one owner. What an owner gets has to be backed for every CPU: who may sleep sees to that himself, after the map says
// that the area is his and before he has it, with the mutex held, so that nobody else populates or destroys meanwhile;
// who may not takes only what is populated. A chunk is destroyed by the work item only, with the mutex held, once it is
// on no list and all of it is free: nobody holds a pointer to it across a moment without lock and mutex.
//
// Locks, outermost first: mutex_ > lock_. The mutex is taken by whoever may sleep, lock_ with interrupts off; nothing
// is called under lock_ but the maps. kmalloc and the page layer are called with the mutex only.
//
// Context of every function: any but NMI, unless its flags or its comment say that it may sleep. From NMI it reports
// and does nothing. A caller that may not sleep and says that it may is reported once, and then served like one that
// said so. Addresses (per_cpu_ptr and relations) and this_cpu_add: any context.
//
// Not here: pages that are given back one by one. A chunk keeps what is populated until it goes.
#pragma once

#include <atomic>
#include <cstring>

#include "allocator/percpu/area_map.h"
#include "allocator/percpu/backing.h"
#include "allocator/percpu/static.h"
#include "allocator/slab/slab.h"

namespace memtorture::percpu {

using machine::Held;
using subject::gfp_t;
using subject::PercpuPtr;

inline constexpr machine::LockClass percpu_lock_class{"pcpu_lock"};
inline constexpr std::uint32_t empty_pages_low = 2, empty_pages_high = 4;  // of the reserve for atomic requests
inline constexpr std::uint32_t failures_told_max = 10;

class PercpuAllocator {
 public:
  PercpuAllocator(machine::Machine& machine, fault::Injector& faults, page::PageAllocator& pages,
                  slab::SlabAllocator& slab)
      : machine_(machine), pages_(pages), slab_(slab), faults_(faults), backing_(machine, faults, pages) {}

  void reset();  // a new run: there is none, every request is refused until boot()
  // The first chunk, with the static variables of `image` as they begin. Alone on the machine, after the slab layer's
  // boot. False: not enough memory, or no block can hold it; everything is as it was.
  template <class Section>
  bool boot(const Section& image) {
    static_assert(std::is_trivially_copyable_v<Section> && alignof(Section) <= 4096);
    return boot({reinterpret_cast<const std::byte*>(&image), sizeof image});
  }

  // --- the facet (contracts: subject/percpu.h) ---------------------------------------------------------------------
  PercpuPtr alloc(std::uint64_t bytes, std::uint64_t align, gfp_t gfp);
  PercpuPtr alloc_reserved(std::uint64_t bytes, std::uint64_t align);
  void free(PercpuPtr area);

  Address per_cpu_ptr(PercpuPtr area, unsigned cpu) const {
    return area - static_cookie + first_base_ + cpu * std::uint64_t{layout_.unit_bytes};
  }
  Address this_cpu_ptr(PercpuPtr area) const { return per_cpu_ptr(area, machine::smp_processor_id()); }
  Address get_cpu_ptr(PercpuPtr area) const { return per_cpu_ptr(area, get_cpu()); }
  void put_cpu_ptr(PercpuPtr) const { put_cpu(); }
  unsigned this_cpu_add(PercpuPtr area, std::uint64_t value, unsigned width) const;

  // --- static variables; the macros of static.h --------------------------------------------------------------------
  template <class T>
  PerCpu<const PercpuAllocator, T> variable(StaticPercpu<T> v) const {
    return {*this, static_cookie + v.offset};
  }
  template <class T>
  T* get_cpu_variable(StaticPercpu<T> v) const {
    return &variable(v).on(get_cpu());
  }
  template <class T>
  void put_cpu_variable(StaticPercpu<T>) const {
    put_cpu();
  }
  template <class T>
  T* this_cpu_variable(StaticPercpu<T> v) const {
    return &variable(v).on(machine::smp_processor_id());
  }
  std::byte* at(Address address) const { return machine_.ram().at(address); }  // of a copy

  // --- the work item -----------------------------------------------------------------------------------------------
  // What it has to do now: chunks without areas go but for one, full maps grow, the reserve is filled up. Sleepable
  // process context.
  void balance();

  // --- white box ---------------------------------------------------------------------------------------------------
  const Layout& layout() const { return layout_; }
  bool is_up() const { return up_; }
  Address first_base() const { return first_base_; }
  std::uint32_t empty_pages() const { return empty_pages_; }
  std::uint32_t failures_told() const { return failures_told_; }
  bool work_pending() const { return work_pending_.load(std::memory_order_relaxed); }
  Chunk& chunk_at(Address address) const { return *reinterpret_cast<Chunk*>(slab_.at(address)); }
  AreaMap map_of(Chunk& chunk) const {
    return AreaMap(reinterpret_cast<std::int32_t*>(slab_.at(chunk.map)), chunk.map_used);
  }
  Address base_of(const Chunk& chunk) const { return backing_.address(chunk, 0, 0); }
  // f(chunk) in the order in which an allocation tries them, then the reserved one. Nothing may run.
  template <class F>
  void for_each_chunk(F&& f) {
    for (const SlotList& list : slots_)
      for (Address i = list.first; i != 0; i = chunk_at(i).next) f(chunk_at(i));
    if (reserved_ != 0) f(chunk_at(reserved_));
  }

  // No address at all on any machine: what is forgotten to be translated faults.
  static constexpr PercpuPtr static_cookie = 0x0001'0000'0000'0000;

 private:
  enum class Area : std::uint8_t { dynamic, reserved };
  struct Want {
    std::uint32_t bytes, align;
    gfp_t gfp;
    Area area;
    bool atomic() const { return (gfp & subject::gfp_wait) == 0; }
  };
  struct Place {
    Chunk* chunk = nullptr;
    std::uint32_t offset = 0;
  };
  enum class Found : std::uint8_t { yes, map_full, no };
  struct SlotList {
    Address first = 0, last = 0;
  };

  // boot.cpp
  bool boot(std::span<const std::byte> image);
  bool make_first_chunk(std::span<const std::byte> image);
  void init_copies(std::span<const std::byte> image);

  // alloc.cpp
  PercpuPtr alloc(const Want& want);
  bool admissible(std::uint64_t bytes, std::uint64_t align) const;
  PercpuPtr request(std::uint64_t bytes, std::uint64_t align, gfp_t gfp, Area area);
  Place take_atomic(const Want& want);
  Place take_patiently(const Want& want);
  Place fail(const Want& want, machine::PercpuFailure why);
  Found take(const Want& want, Place& place, const Held&);
  Found take_from(Chunk& chunk, const Want& want, Place& place, const Held&);
  bool populate(const Place& place, const Want& want);
  bool populate_page(Chunk& chunk, unsigned page, gfp_t gfp);
  PercpuPtr hand_out(const Place& place, const Want& want);
  Chunk* chunk_of(Address address, std::uint32_t& offset, const Held&);
  bool release(Chunk& chunk, std::uint32_t offset, const Held&);
  void relocate(Chunk& chunk, const Held&);
  void recount_empty(Chunk& chunk, const Held&);
  void link(Chunk& chunk, unsigned slot, bool last);
  void unlink(Chunk& chunk);
  unsigned slot_for(const Chunk& chunk) const;
  bool is_whole(const Chunk& chunk) const { return chunk.free_bytes == layout_.unit_bytes; }
  Places places(std::uint32_t populated) const { return {populated, machine_.shape().page_shift}; }

  // balance.cpp
  Chunk* create_chunk(gfp_t gfp);
  void destroy_chunk(Chunk& chunk);
  Chunk* new_descriptor(std::uint32_t map_words, gfp_t gfp);
  void free_descriptor(Chunk& chunk);
  bool extend_map(Chunk& chunk, gfp_t gfp);
  void add_chunk(Chunk& chunk);
  void schedule_work();
  static void worker(void* allocator);
  void release_chunks();
  bool has_reserve();
  bool has_surplus(const Held&) const;
  Chunk* unlink_surplus(const Held&);
  void extend_maps();
  void refill_reserve(std::uint32_t wanted);
  bool populate_one_more();

  machine::Machine& machine_;
  page::PageAllocator& pages_;
  slab::SlabAllocator& slab_;
  fault::Injector& faults_;
  Backing backing_;
  Layout layout_;
  bool up_ = false;
  Address first_base_ = 0;  // of the first chunk's first unit
  machine::Mutex mutex_{machine::LockClass("pcpu_alloc_mutex")};
  machine::SpinLock lock_{percpu_lock_class};  // all below
  SlotList slots_[slots_max];                  // but for the reserved chunk's
  Address reserved_ = 0;
  std::uint32_t empty_pages_ = 0;        // of the chunks in slots_
  std::uint32_t unpopulated_pages_ = 0;  // the same
  std::uint32_t failures_told_ = 0;
  bool atomic_failed_ = false;  // since the work item last ran
  std::atomic<bool> work_pending_{false};
};

}  // namespace memtorture::percpu
