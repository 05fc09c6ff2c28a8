// The whole simulated kernel: a machine, its fault injector, its page layer and its slab layer. What a program of
// operations runs against.
//
// One Kernel serves many runs: boot() forgets the last one at a cost that depends on what it touched, not on how much
// memory the machine has. Host memory is taken in the constructor only.
//
// Objects need pages of their own, so they are a second step, boot_objects(), for machines that want them; without it
// every request for an object is refused.
//
// Context: boot(), boot_objects() and the views outside of any strand; the functions of the facets on the machine (a
// strand or run_alone).
#pragma once

#include <span>

#include "allocator/boot/bank.h"
#include "allocator/fault/injector.h"
#include "allocator/kstack/kstack.h"
#include "allocator/machine/machine.h"
#include "allocator/page/page_alloc.h"
#include "allocator/percpu/percpu.h"
#include "allocator/slab/k12.h"
#include "allocator/slab/mempool.h"
#include "allocator/slab/quick.h"
#include "allocator/slab/slab.h"
#include "allocator/subject/buckets.h"
#include "allocator/subject/cpus.h"
#include "allocator/subject/debug.h"
#include "allocator/subject/kstacks.h"
#include "allocator/subject/mempools.h"
#include "allocator/subject/objects.h"
#include "allocator/subject/pages.h"
#include "allocator/subject/percpu.h"

namespace memtorture::kernel {

using machine::Pfn;
using subject::Blemish;
using subject::CacheHandle;
using subject::ClientKind;
using subject::gfp_t;
using subject::PoolHandle;

class Kernel final : public subject::Pages,
                     public subject::PagesView,
                     public subject::Objects,
                     public subject::ObjectsView,
                     public subject::BucketsView,
                     public subject::Mempools,
                     public subject::MempoolsView,
                     public subject::ObjectDebug,
                     public subject::Kstacks,
                     public subject::KstacksView,
                     public subject::Percpu,
                     public subject::PercpuView,
                     public subject::Cpus,
                     private fault::Listener {
 public:
  Kernel();

  // shape must be possible; rules, trace and witness must outlive the run.
  void boot(const machine::Shape& shape, std::span<const fault::Rule> rules, subject::PagesTrace& trace,
            machine::Witness& witness);
  // The object layer: the buckets of the 1990s where the shape says so, else the slab layer, brought up without
  // injected failures. False: not enough memory for the general caches; the machine is as it was.
  bool boot_objects();
  // Kernel stacks for every CPU and for these strands, without injected failures; last of all, on a machine whose shape
  // has stacks. False: not enough memory; the machine is as it was.
  bool boot_stacks(std::span<const machine::Strand> strands);

  // Per-CPU memory, on top of booted objects, brought up without injected failures. False: not enough memory, or no
  // block can hold a chunk; the machine is as it was.
  bool boot_percpu();

  machine::Machine& machine() { return machine_; }
  page::PageAllocator& allocator() { return pages_; }
  slab::SlabAllocator& slab() { return slab_; }
  kstack::StackAllocator& stacks() { return stacks_; }
  percpu::PercpuAllocator& percpu() { return percpu_; }
  subject::Promises promises() const { return {}; }

  // --- subject::Pages -----------------------------------------------------------------------------------------------
  Pfn alloc_pages(gfp_t gfp, unsigned order) override { return pages_.alloc_pages(gfp, order); }
  Pfn alloc_pages_node(int nid, gfp_t gfp, unsigned order) override { return pages_.alloc_pages_node(nid, gfp, order); }
  std::uint64_t get_free_pages(gfp_t gfp, unsigned order) override { return pages_.get_free_pages(gfp, order); }
  std::uint64_t get_zeroed_page(gfp_t gfp) override { return pages_.get_zeroed_page(gfp); }
  std::uint64_t get_dma_pages(gfp_t gfp, unsigned order) override { return pages_.get_dma_pages(gfp, order); }
  std::uint64_t alloc_pages_exact(std::uint64_t bytes, gfp_t gfp) override {
    return pages_.alloc_pages_exact(bytes, gfp);
  }
  void free_pages_exact(std::uint64_t address, std::uint64_t bytes) override {
    pages_.free_pages_exact(address, bytes);
  }
  void free_pages_of(Pfn page, unsigned order) override { pages_.free_pages_of(page, order); }
  void free_pages(std::uint64_t address, unsigned order) override { pages_.free_pages(address, order); }
  void get_page(Pfn page) override { pages_.get_page(page); }
  void put_page(Pfn page) override { pages_.put_page(page); }
  void split_page(Pfn page, unsigned order) override { pages_.split_page(page, order); }
  int page_count(Pfn page) override { return pages_.page_count(page); }
  std::uint64_t page_address(Pfn page) override { return pages_.page_address(page); }
  void drain_local_pages() override { pages_.drain_local_pages(); }
  void drain_all_pages() override { pages_.drain_all_pages(); }
  std::uint64_t nr_free_pages() override { return pages_.nr_free_pages(); }
  void set_min_free_kbytes(std::uint32_t kbytes) override { pages_.set_min_free_kbytes(kbytes); }
  bool set_mems_allowed(machine::NodeSet nodes) override { return pages_.set_mems_allowed(nodes); }
  std::uint32_t client_add(ClientKind kind, std::uint32_t pages, gfp_t gfp) override {
    return pages_.clients().add(kind, pages, gfp);
  }
  std::uint32_t client_drop(ClientKind kind, std::uint32_t pages) override {
    return pages_.clients().drop(kind, pages);
  }
  std::uint32_t client_touch(ClientKind kind, std::uint32_t pages) override {
    return pages_.clients().touch(kind, pages);
  }
  bool set_process(std::uint32_t process, subject::ProcessTrait trait, std::int64_t value) override {
    return pages_.clients().set_process(process, trait, value);
  }
  void blemish(Pfn page, Blemish kind) override { pages_.blemish(page, kind); }
  bool register_shrinker(subject::Shrinker& shrinker) override { return pages_.register_shrinker(shrinker); }
  bool unregister_shrinker(subject::Shrinker& shrinker) override { return pages_.unregister_shrinker(shrinker); }

  // --- subject::PagesView -------------------------------------------------------------------------------------------
  std::span<const subject::ZoneInfo> zones() override;
  void for_each_free(unsigned zone, unsigned order, FreeBlocks f, void* arg) override;
  std::uint32_t pcp_count(unsigned zone, unsigned cpu) override;
  void for_each_pcp(unsigned zone, unsigned cpu, PcpPage f, void* arg) override;
  subject::PageInfo page(Pfn page) override;
  std::uint64_t client_pages(ClientKind kind) override { return pages_.clients().pages(kind); }

  // --- subject::Objects ---------------------------------------------------------------------------------------------
  CacheHandle kmem_cache_create(const subject::CacheSpec& spec) override { return slab_.kmem_cache_create(spec); }
  int kmem_cache_destroy(CacheHandle cache) override { return slab_.kmem_cache_destroy(cache); }
  int kmem_cache_shrink(CacheHandle cache) override { return slab_.kmem_cache_shrink(cache); }
  std::uint64_t kmem_cache_size(CacheHandle cache) override { return slab_.kmem_cache_size(cache); }
  std::uint64_t kmem_cache_alloc(CacheHandle cache, gfp_t gfp) override { return slab_.kmem_cache_alloc(cache, gfp); }
  std::uint64_t kmem_cache_alloc_node(CacheHandle cache, gfp_t gfp, int nid) override {
    return slab_.kmem_cache_alloc(cache, gfp, nid);
  }
  std::uint64_t kmem_cache_zalloc(CacheHandle cache, gfp_t gfp) override {
    return slab_.kmem_cache_alloc(cache, gfp | subject::gfp_zero);
  }
  void kmem_cache_free(CacheHandle cache, std::uint64_t object) override { slab_.kmem_cache_free(cache, object); }
  std::uint64_t kmalloc(std::uint64_t bytes, gfp_t gfp) override {
    const std::uint64_t object = slab_.kmalloc_quick(bytes, gfp);
    if (object == 0) [[unlikely]]
      return kmalloc_late(bytes, gfp);
    return object;
  }
  std::uint64_t kzalloc(std::uint64_t bytes, gfp_t gfp) override {
    if (k12_) [[unlikely]]
      return buckets_.kmalloc(bytes, gfp | subject::gfp_zero);
    return slab_.kmalloc(bytes, gfp | subject::gfp_zero);
  }
  std::uint64_t kmalloc_node(std::uint64_t bytes, gfp_t gfp, int nid) override {
    if (k12_) [[unlikely]]
      return buckets_.kmalloc(bytes, gfp);
    return slab_.kmalloc(bytes, gfp, nid);
  }
  std::uint64_t kmalloc_array(std::uint64_t n, std::uint64_t bytes, gfp_t gfp) override {
    if (k12_) [[unlikely]]
      return buckets_.kmalloc_array(n, bytes, gfp);
    return slab_.kmalloc_array(n, bytes, gfp);
  }
  std::uint64_t kcalloc(std::uint64_t n, std::uint64_t bytes, gfp_t gfp) override {
    if (k12_) [[unlikely]]
      return buckets_.kmalloc_array(n, bytes, gfp | subject::gfp_zero);
    return slab_.kmalloc_array(n, bytes, gfp | subject::gfp_zero);
  }
  std::uint64_t krealloc(std::uint64_t object, std::uint64_t bytes, gfp_t gfp) override {
    if (k12_) [[unlikely]]
      return buckets_.krealloc(object, bytes, gfp);
    return slab_.krealloc(object, bytes, gfp);
  }
  std::uint64_t ksize(std::uint64_t object) override {
    if (k12_) [[unlikely]]
      return buckets_.ksize(object);
    return slab_.ksize(object);
  }
  void kfree(std::uint64_t object) override {
    if (!slab_.kfree_quick(object)) [[unlikely]]
      kfree_late(object);
  }
  void kfree_s(std::uint64_t object, std::uint64_t bytes) override {
    if (k12_) [[unlikely]]
      return buckets_.kfree_s(object, bytes);
    return slab_.kfree(object);
  }
  void kzfree(std::uint64_t object) override {
    if (k12_) [[unlikely]]
      return buckets_.kzfree(object);
    return slab_.kzfree(object);
  }

  // --- subject::ObjectsView -----------------------------------------------------------------------------------------
  void for_each_cache(EachCache f, void* arg) override;
  subject::CacheInfo cache_info(CacheHandle cache) override;
  subject::ArrayInfo cpu_array(CacheHandle cache, unsigned cpu) override;
  subject::ArrayInfo shared_array(CacheHandle cache, unsigned node) override;
  subject::ArrayInfo alien_array(CacheHandle cache, unsigned node, unsigned home) override;
  subject::CacheNodeInfo cache_node(CacheHandle cache, unsigned node) override;
  void for_each_slab(CacheHandle cache, unsigned node, subject::SlabState state, EachSlab f, void* arg) override;
  void for_each_free_index(CacheHandle cache, Pfn slab, EachIndex f, void* arg) override;
  subject::SlabPageInfo slab_page(Pfn page) override;
  std::uint64_t slab_pages(subject::SlabPages kind) override { return slab_.slab_pages(kind); }
  subject::ObjectState object_state(std::uint64_t object) override;
  std::uint64_t object_requested(std::uint64_t object) override;

  // --- subject::ObjectDebug -----------------------------------------------------------------------------------------
  bool check_access(std::uint64_t address, std::uint64_t bytes, subject::Access kind) override {
    return slab_.check_access(address, bytes, kind);
  }
  std::uint32_t scan_leaks(std::span<const std::uint64_t> roots) override { return slab_.scan_leaks(roots); }
  std::uint64_t quarantined_bytes() override { return slab_.quarantined_bytes(); }

  // --- subject::BucketsView -----------------------------------------------------------------------------------------
  unsigned buckets() override { return k12_ ? buckets_.table().count() : 0; }
  subject::BucketInfo bucket(unsigned index) override;
  void for_each_area(unsigned bucket, subject::BucketList list, EachArea f, void* arg) override;
  void for_each_free_block(Pfn area, EachBlock f, void* arg) override;
  subject::AreaInfo area(Pfn first) override;
  void for_each_block(Pfn area, EachHeader f, void* arg) override;

  // --- subject::Mempools, MempoolsView ------------------------------------------------------------------------------
  PoolHandle mempool_create(const subject::PoolSpec& spec) override { return mempools_.mempool_create(spec); }
  std::uint64_t mempool_alloc(PoolHandle pool, gfp_t gfp) override { return mempools_.mempool_alloc(pool, gfp); }
  void mempool_free(std::uint64_t element, PoolHandle pool) override { mempools_.mempool_free(element, pool); }
  int mempool_resize(PoolHandle pool, int new_min_nr, gfp_t gfp) override {
    return mempools_.mempool_resize(pool, new_min_nr, gfp);
  }
  int mempool_destroy(PoolHandle pool) override { return mempools_.mempool_destroy(pool); }
  subject::PoolInfo pool_info(PoolHandle pool) override;
  void for_each_element(PoolHandle pool, EachElement f, void* arg) override;

  // --- subject::Cpus ------------------------------------------------------------------------------------------------
  bool cpu_down(unsigned cpu) override;
  bool cpu_up(unsigned cpu) override;

  // --- subject::Kstacks, KstacksView --------------------------------------------------------------------------------
  subject::TaskHandle fork() override { return stacks_.fork(); }
  void exit_task(subject::TaskHandle task) override { stacks_.exit_task(task); }
  void enter() override { stacks_.enter(); }
  void leave() override { stacks_.leave(); }
  std::uint64_t push(std::uint64_t bytes, std::uint64_t return_address) override {
    return stacks_.push(bytes, return_address);
  }
  std::uint64_t alloca_bytes(std::uint64_t bytes, std::uint64_t pattern) override {
    return stacks_.alloca_bytes(bytes, pattern);
  }
  subject::Returned pop() override { return stacks_.pop(); }
  subject::Recursed recurse(std::uint32_t depth, std::uint64_t bytes, std::uint64_t return_address) override {
    return stacks_.recurse(depth, bytes, return_address);
  }
  std::uint64_t stack_pointer() override { return stacks_.stack_pointer(); }
  std::uint64_t stack_not_used() override { return stacks_.stack_not_used(); }
  void shut_down() override { stacks_.shut_down(); }
  subject::StackInfo stack_info(std::uint64_t base) override;
  void for_each_stack(EachStack f, void* arg) override;
  // --- subject::Percpu, PercpuView ----------------------------------------------------------------------------------
  subject::PercpuLayout percpu_layout() override;
  subject::PercpuPtr alloc_percpu(std::uint64_t bytes, std::uint64_t align) override {
    return percpu_.alloc(bytes, align, subject::GFP_KERNEL);
  }
  subject::PercpuPtr alloc_percpu_gfp(std::uint64_t bytes, std::uint64_t align, gfp_t gfp) override {
    return percpu_.alloc(bytes, align, gfp);
  }
  subject::PercpuPtr alloc_reserved_percpu(std::uint64_t bytes, std::uint64_t align) override {
    return percpu_.alloc_reserved(bytes, align);
  }
  void free_percpu(subject::PercpuPtr area) override { percpu_.free(area); }
  std::uint64_t per_cpu_ptr(subject::PercpuPtr area, unsigned cpu) override { return percpu_.per_cpu_ptr(area, cpu); }
  std::uint64_t this_cpu_ptr(subject::PercpuPtr area) override { return percpu_.this_cpu_ptr(area); }
  std::uint64_t get_cpu_ptr(subject::PercpuPtr area) override { return percpu_.get_cpu_ptr(area); }
  void put_cpu_ptr(subject::PercpuPtr area) override { percpu_.put_cpu_ptr(area); }
  unsigned this_cpu_add(subject::PercpuPtr area, std::uint64_t value, unsigned width) override {
    return percpu_.this_cpu_add(area, value, width);
  }
  unsigned static_variables() override;
  subject::StaticVariable static_variable(unsigned index) override;
  subject::PercpuCounts percpu_counts() override;
  void for_each_percpu_chunk(EachPercpuChunk f, void* arg) override;
  void for_each_percpu_area(std::uint64_t descriptor, EachPercpuArea f, void* arg) override;
  bool populated(std::uint64_t descriptor, unsigned cpu, unsigned page) override;

 private:
  void fired(machine::Site site) override { trace_->fault_fired(site); }

  machine::Machine machine_;
  boot::Bank bank_;
  fault::Injector faults_;
  page::PageAllocator pages_;
  slab::SlabAllocator slab_{machine_, faults_, pages_};
  subject::Shrinker slab_shrinker_{
      [](void* layer, std::uint32_t pages, gfp_t gfp) { static_cast<slab::SlabAllocator*>(layer)->shrink(pages, gfp); },
      &slab_};
  slab::PoolAllocator mempools_{machine_, pages_, slab_};
  slab::BucketAllocator buckets_{machine_, faults_, pages_};
  kstack::StackAllocator stacks_{machine_, faults_, pages_};
  percpu::PercpuAllocator percpu_{machine_, faults_, pages_, slab_};
  [[gnu::noinline]] std::uint64_t kmalloc_late(std::uint64_t bytes, gfp_t gfp);
  [[gnu::noinline]] void kfree_late(std::uint64_t object);

  void let_the_machine_fail();
  template <class Move>
  bool one_at_a_time(unsigned cpu, Move move);

  machine::Mutex hotplug_{machine::LockClass("cpu_hotplug")};
  bool k12_ = false;  // buckets_ serves kmalloc, and there are no caches
  subject::PagesTrace* trace_ = nullptr;
  std::span<const fault::Rule> rules_;
  subject::ZoneInfo zone_info_[page::zones_max] = {};
};

}  // namespace memtorture::kernel
