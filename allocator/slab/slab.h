// Façade of allocator/slab: the slab allocator of K26 and kmalloc on top of it (domain.md 10, 11), on one machine.
//
//   cache.h         the structures in simulated memory    geometry.h, size_classes.h   sizes and layouts
//   alloc.cpp       an object: array, lists, other nodes   free.cpp     the way back, aliens, flush
//   grow.cpp        slabs: pages, descriptor, constructor  create.cpp   create, destroy, shrink
//   arrays.cpp      a cache's arrays and node structures   reap.cpp     the periodic reaper, draining
//   kmalloc.cpp     general caches                         boot.cpp     bootstrap
//   quick.h         kmalloc and kfree with nothing in the way; for whoever calls them from outside
//   debug*.cpp      what checked caches do besides         access.cpp, leak_scan.cpp    the debug facet
//
// Locks, outermost first: chain mutex > array or alien lock of one cache > list_lock > the page layer's. The mutex is
// taken by sleepable process context only; the others with interrupts off, and none is held over a call that may sleep,
// over a call of the page layer, over a constructor or over a call of this layer for another cache. Slabs to be given
// back are collected under the locks (Doomed) and freed after the last one is released.
//
// Context of every function: any but NMI, unless its flags or its comment say that it may sleep. From NMI it reports
// and does nothing. A caller that may not sleep and says that it may is reported once, and then served like one that
// said so.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "allocator/boot/bank.h"
#include "allocator/debug/debug.h"
#include "allocator/fault/injector.h"
#include "allocator/machine/machine.h"
#include "allocator/page/page_alloc.h"
#include "allocator/slab/cache.h"
#include "allocator/slab/size_classes.h"
#include "allocator/subject/debug.h"

namespace memtorture::slab {

using machine::Held;
using machine::Masked;

class SlabAllocator {
 public:
  SlabAllocator(machine::Machine& machine, fault::Injector& faults, page::PageAllocator& pages)
      : machine_(machine), faults_(faults), pages_(pages) {}

  // A new run, outside of any strand: there are no caches. Every request is refused until boot().
  void reset();
  // kmem_cache_init: the cache of caches and the general caches. Alone on the machine, after the page layer's boot.
  // False: not enough memory; all pages are back.
  bool boot(boot::Bank& bank);

  // --- the objects facet (contracts: subject/objects.h) ------------------------------------------------------------
  CacheHandle kmem_cache_create(const subject::CacheSpec& spec);
  int kmem_cache_destroy(CacheHandle handle);
  int kmem_cache_shrink(CacheHandle handle);
  std::uint64_t kmem_cache_size(CacheHandle handle);
  Address kmem_cache_alloc(CacheHandle handle, gfp_t gfp, int nid = -1);
  void kmem_cache_free(CacheHandle handle, Address object);
  Address kmalloc(std::uint64_t bytes, gfp_t gfp, int nid = -1);
  Address kmalloc_array(std::uint64_t n, std::uint64_t bytes, gfp_t gfp);
  Address krealloc(Address object, std::uint64_t bytes, gfp_t gfp);
  std::uint64_t ksize(Address object);
  void kfree(Address object);
  // The same where nothing is in the way (quick.h). 0, false: something is, and nothing was done.
  Address kmalloc_quick(std::uint64_t bytes, gfp_t gfp);
  bool kfree_quick(Address object);
  void kzfree(Address object);

  // --- the debug facet (contracts: subject/debug.h) ----------------------------------------------------------------
  bool check_access(Address address, std::uint64_t bytes, subject::Access kind);
  std::uint32_t scan_leaks(std::span<const Address> roots);
  std::uint64_t quarantined_bytes() { return books_.quarantine.bytes(); }

  // --- giving memory back ------------------------------------------------------------------------------------------
  // One pass of the periodic reaper (cache_reap) on behalf of `cpu`. Does nothing when the chain mutex is taken.
  void reap(unsigned cpu);
  // What arrays of a CPU that has gone hold goes to its slabs; the CPU does not come meanwhile. Sleepable process
  // context.
  void cpu_dead(unsigned cpu);
  // From now on every CPU has a worker that does so about every two seconds. Outside of runs, after boot().
  void start_cpu_timers();
  // For memory pressure: empty slabs are given back, and arrays emptied to make more, until so many pages are free or
  // nothing is left to give. Neither sleeps nor waits for the chain mutex: nothing happens when it is taken.
  void shrink(std::uint32_t pages_wanted, gfp_t gfp);
  // The same without an end; returns pages freed.
  std::uint64_t shrink_all();

  // --- white box ---------------------------------------------------------------------------------------------------
  const Platform& platform() const { return platform_; }
  bool is_up() const { return up_; }            // booted, from any strand
  CacheHandle chain() const { return chain_; }  // newest cache first, linked by KmemCache::next
  std::byte* at(Address address) const {
    if (address >= image_base) [[unlikely]]
      return image_ + (address - image_base);
    return reinterpret_cast<std::byte*>(address + linear_to_host_);
  }
  KmemCache& cache_at(CacheHandle handle) { return *reinterpret_cast<KmemCache*>(at(handle)); }
  ArrayCache& array_at(Address address) { return *reinterpret_cast<ArrayCache*>(at(address)); }
  List3& list3(KmemCache& cache, unsigned node) { return *reinterpret_cast<List3*>(at(cache.nodelists[node])); }
  Slab& slab_at(Pfn first) { return *reinterpret_cast<Slab*>(at(pages_.map()[first].slab_descriptor())); }
  std::uint32_t* bufctl(Slab& slab) {
    return reinterpret_cast<std::uint32_t*>(reinterpret_cast<std::byte*>(&slab) + platform_.descriptor_bytes);
  }
  std::uint64_t slab_pages(subject::SlabPages kind) const {
    return slab_pages_[static_cast<unsigned>(kind)].load(std::memory_order_relaxed);
  }
  debug::Record* record_at(Address object);  // null: not the start of an object of a checked cache
  const debug::Shadow& shadow() const { return books_.shadow; }

 private:
  class ChainLock;
  class NewArrays;
  struct Doomed {  // slabs on no list, linked by Slab::next
    Pfn first = no_pfn;
  };
  struct Shrunk {
    bool busy;
    std::uint64_t pages;
  };

  // The fast paths: this CPU's array without its lock. With one host thread nobody else runs until the next point, and
  // there is none in here before the end: that the lock is free now is as good as holding it.
  [[gnu::always_inline]] Address take_fast(KmemCache& cache) {
    if (concurrent_) return 0;
    Masked masked;
    ArrayCache& array = cpu_array(cache, masked.cpu());
    if (array.avail == 0 || array.lock.is_locked()) [[unlikely]]
      return 0;
    return array.pop();
  }
  [[gnu::always_inline]] bool put_fast(KmemCache& cache, Address buffer) {
    if (concurrent_) return false;
    Masked masked;
    const unsigned cpu = masked.cpu();
    ArrayCache& array = cpu_array(cache, cpu);
    if (array.avail == array.limit || array.lock.is_locked()) [[unlikely]]
      return false;
    if (nodes_ > 1 && node_of(buffer) != cpu_node_[cpu]) [[unlikely]]
      return false;
    array.push(buffer);
    return true;
  }
  [[gnu::always_inline]] void free(KmemCache& cache, Address buffer) {
    if (!put_fast(cache, buffer)) [[unlikely]]
      free_slow(cache, buffer);
  }

  [[gnu::always_inline]] void free_object(KmemCache& cache, Address object) {
    if (cache.checks != 0) [[unlikely]]
      return give_back(cache, object, Route::quarantine);
    free(cache, object - cache.object_offset);
  }

  // alloc.cpp
  Address alloc(KmemCache& cache, gfp_t gfp, int nid, std::uint64_t bytes);  // bytes: as requested, for the checks
  [[gnu::always_inline]] Address finish(KmemCache& cache, Address buffer, gfp_t gfp, std::uint64_t bytes) {
    if (cache.checks != 0) [[unlikely]]
      return hand_out(cache, buffer, bytes, gfp);
    const Address object = buffer + cache.object_offset;
    if ((gfp & subject::gfp_zero) != 0) return zero(cache, object);
    return object;
  }
  // With no call in its middle alloc() saves no registers: what is rare is the end of it, or keeps registers itself.
  [[gnu::noinline]] Address alloc_late(KmemCache& cache, gfp_t gfp, int nid, std::uint64_t bytes);
  [[gnu::noinline]] Address zero(KmemCache& cache, Address object);
  [[clang::preserve_most, gnu::noinline]] gfp_t fix_flags(const KmemCache& cache, gfp_t gfp);
  Address take_from_any_node(KmemCache& cache);
  Address alloc_slow(KmemCache& cache, gfp_t gfp, int nid);
  Address alloc_somewhere(KmemCache& cache, gfp_t gfp, int nid);
  Address alloc_local(KmemCache& cache, gfp_t gfp, int nid);
  Address alloc_on_node(KmemCache& cache, gfp_t gfp, unsigned node);
  Address alloc_on_any_node(KmemCache& cache, gfp_t gfp);
  Address look_again(KmemCache& cache, int nid);
  Address take_local(KmemCache& cache, int nid);  // nid >= 0: only if that is this CPU's node
  Address take_from_node(KmemCache& cache, unsigned node);
  void refill(KmemCache& cache, ArrayCache& array, const Masked& masked);
  std::uint32_t take_from_slabs(KmemCache& cache, List3& l3, Address* buffers, std::uint32_t wanted, const Held&);
  Address take_from_slab(KmemCache& cache, Slab& slab);

  // free.cpp
  void free_slow(KmemCache& cache, Address buffer);
  void free_alien(KmemCache& cache, Address buffer, unsigned home, Doomed& doomed, const Masked& masked);
  void flush(KmemCache& cache, ArrayCache& array, Doomed& doomed, const Masked& masked);
  void drain_alien(KmemCache& cache, ArrayCache& alien, unsigned home, Doomed& doomed, const Masked& masked);
  void drain_oldest(KmemCache& cache, unsigned node, ArrayCache& array, std::uint32_t n, Doomed& doomed, const Held&);
  void free_to_slab(KmemCache& cache, unsigned node, Address buffer, Doomed& doomed, const Held&);
  [[clang::preserve_most, gnu::noinline]] unsigned node_of(Address buffer);

  // grow.cpp
  bool grow(KmemCache& cache, gfp_t gfp, unsigned node);
  bool add_slab(KmemCache& cache, gfp_t gfp, Pfn first, std::uint32_t offset);
  std::uint32_t next_colour_offset(KmemCache& cache, unsigned node);
  Pfn get_pages(KmemCache& cache, gfp_t gfp, unsigned node);
  void free_pages(KmemCache& cache, Pfn first);
  void init_objects(KmemCache& cache, Slab& slab);
  void destroy_slab(KmemCache& cache, Slab& slab);
  std::uint64_t destroy_slabs(KmemCache& cache, Doomed doomed);  // pages given back
  void push_front(SlabList& list, Slab& slab);
  void push_back(SlabList& list, Slab& slab);
  void remove(SlabList& list, Slab& slab);
  SlabList& list_of(KmemCache& cache, List3& l3, const Slab& slab);

  // create.cpp
  CacheHandle create(const subject::CacheSpec& spec);
  bool admissible(const subject::CacheSpec& spec) const;
  bool name_taken(std::string_view name);
  KmemCache* known(CacheHandle handle);
  KmemCache* may_change(CacheHandle handle);
  void describe(KmemCache& cache, const subject::CacheSpec& spec, const Geometry& geometry, CacheHandle self);
  void link(KmemCache& cache);
  void unlink(KmemCache& cache);
  void release(KmemCache& cache);

  // arrays.cpp
  bool enable_arrays(KmemCache& cache, gfp_t gfp);
  Address new_array(std::uint32_t limit, std::uint32_t batchcount, machine::LockClass lock_class, unsigned node,
                    gfp_t gfp);
  Address new_list3(const KmemCache& cache, unsigned node, gfp_t gfp);
  void free_array(Address array);
  void free_list3(Address address);
  void take_over(KmemCache& cache, NewArrays& fresh);
  std::uint32_t free_limit_for(const KmemCache& cache, unsigned node) const;

  // reap.cpp
  Shrunk shrink(KmemCache& cache);
  void drain_cpu(KmemCache& cache, unsigned cpu, Doomed& doomed);
  void drain_shared(KmemCache& cache, unsigned node, Doomed& doomed);
  std::uint64_t free_empty_slabs(KmemCache& cache, unsigned node, std::uint64_t slabs_max);
  bool has_unused(KmemCache& cache);
  static void cpu_timer(void* allocator);
  void reap_cache(KmemCache& cache, unsigned cpu);
  void reap_array(KmemCache& cache, unsigned node, ArrayCache& array, Doomed& doomed, const Held&);
  void reap_alien(KmemCache& cache, unsigned node, unsigned home, Doomed& doomed);

  // kmalloc.cpp
  KmemCache* cache_of_object(Address object);
  Address odd_size(std::uint64_t bytes, gfp_t gfp);

  // debug.cpp
  static constexpr std::uint8_t strict_checks = machine::debug_sanity | machine::debug_shadow;
  enum class Route : std::uint8_t { quarantine, straight };
  static bool strict(const KmemCache& cache) { return (cache.checks & strict_checks) != 0; }
  void check_cache(KmemCache& cache, const subject::CacheSpec& spec);
  bool checked_anywhere() const { return checks_seen_.load(std::memory_order_relaxed) != 0; }
  debug::Record* record_of(KmemCache& cache, Address object);
  void claim(Address object);
  Address hand_out(KmemCache& cache, Address buffer, std::uint64_t bytes, gfp_t gfp);
  void free_to_cache(KmemCache& cache, Address object);
  void give_back(KmemCache& cache, Address object, Route route);
  bool retire(KmemCache& cache, debug::Record& record, debug::BufferState to);
  void leave_free(KmemCache& cache, const debug::Record& record);
  bool admits(KmemCache& cache, Address object);
  void resize(KmemCache& cache, Address object, std::uint64_t bytes);
  std::uint64_t open_whole(KmemCache& cache, Address object);
  void free_evicted(debug::Record* leaving);
  bool empty_quarantine(KmemCache& cache);

  // debug_memory.cpp
  void set_redzones(KmemCache& cache, Address object, std::uint64_t word);
  bool redzones_inactive(KmemCache& cache, Address object);
  void set_user(KmemCache& cache, Address object);
  void check_redzones(KmemCache& cache, const debug::Record& record);
  void check_poison(KmemCache& cache, const debug::Record& record);
  void check_in(KmemCache& cache, Slab& slab);
  void check_out(KmemCache& cache, Slab& slab);
  bool sound(KmemCache& cache, Slab& slab);

  // debug_report.cpp
  struct Crime {
    machine::ReportKind kind;
    Address address;
    std::uint8_t check;
    std::int64_t offset = 0;
    std::uint8_t found = 0;
    subject::Access access = subject::Access::read;
    std::uint64_t bytes = 0;
  };
  void accuse(const Crime& crime, KmemCache* cache, const debug::Record* record);
  static std::uint8_t strict_check_of(std::uint8_t checks);

  // access.cpp
  bool check_frame(Pfn pfn, Address first, std::uint64_t n, Crime access);
  bool check_shadow(KmemCache& cache, Address first, std::uint64_t n, Crime access);
  bool frame_is_free(Pfn pfn);
  bool in_free_block(Pfn pfn);
  debug::Record& nearest(KmemCache& cache, Address address);

  // leak_scan.cpp
  class LeakScan;

  // boot.cpp
  bool boot_general_cache(unsigned index, slab_flags_t flags, boot::Bank& bank);
  void boot_cache_cache(boot::Bank& bank);
  bool boot_general_caches(boot::Bank& bank);
  void give_boot_arrays(KmemCache& cache, boot::Bank& bank);
  Address image_address(const std::byte* piece) const {
    return image_base + static_cast<std::uint64_t>(piece - image_);
  }
  void abandon_boot();

  machine::Ram& ram() { return machine_.ram(); }
  unsigned numa_node_id() const { return cpu_node_[machine::raw_smp_processor_id()]; }
  // Once booted, arrays are in the linear map.
  ArrayCache& linear_array(KmemCache& cache, unsigned cpu) {
    return *reinterpret_cast<ArrayCache*>(cache.array()[cpu] + linear_to_host_);
  }
  KmemCache* unchecked_cache_of(Pfn pfn);
  ArrayCache& cpu_array(KmemCache& cache, unsigned cpu) { return array_at(cache.array()[cpu]); }
  bool reject_nmi(gfp_t gfp) { return machine::in_nmi() && report_nmi(gfp); }
  [[clang::preserve_most, gnu::cold, gnu::noinline]] static bool report_nmi(gfp_t gfp);  // true
  [[gnu::cold, gnu::noinline]] void bad_object(Address object);

  // Where the statics of the simulated kernel's image live: above the linear map of the largest machine.
  static constexpr Address image_base = 0xffff'ffff'8000'0000;
  static_assert(image_base > machine::Ram::linear_base + machine::ram_bytes_max);

  machine::Machine& machine_;
  fault::Injector& faults_;
  page::PageAllocator& pages_;
  std::uint64_t linear_to_host_ = 0;  // host address of the linear map (Ram::at), less its simulated one
  std::byte* image_ = nullptr;        // the host's view of the statics of the image
  bool up_ = false;
  bool concurrent_ = false;  // several host threads
  unsigned nodes_ = 1, cpus_ = 1;
  gfp_t thisnode_ = 0;                   // GFP_THISNODE where there are nodes
  std::uint64_t kmalloc_max_ = 0;        // 0 until boot
  std::uint64_t kmalloc_quick_max_ = 0;  // ... and for ever where general caches are checked or there are nodes
  Platform platform_;
  KmemCache* cache_cache_ = nullptr;
  KmemCache* general_[2][size_classes_max] = {};  // plain, DMA
  CacheHandle chain_ = 0;
  machine::Mutex chain_mutex_{machine::LockClass("cache_chain")};
  std::uint8_t cpu_node_[machine::cpus_max] = {};
  std::uint8_t reap_node_[machine::cpus_max] = {};  // whose alien array the CPU's reaper empties next
  std::atomic<std::uint64_t> slab_pages_[2] = {};
  struct {
    Address object = 0;
    ArrayCache* array = nullptr;
  } last_;  // what kmalloc_quick handed out, and from where
  debug::Books books_;
  std::uint8_t letters_ = 0;                   // the machine's checks
  std::atomic<std::uint8_t> checks_seen_ = 0;  // ... and those of every cache made since boot
};

}  // namespace memtorture::slab
