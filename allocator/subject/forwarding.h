// A subject around another one. A facet derives from ForwardingPages (Objects, ...) and says only what it does
// differently; wrapped<> makes a subject of it: canaries, subjects with a known defect, observers.
//
// The facet is made anew at every boot, so what it remembers is of one run and cannot leak into the next. Machine,
// white-box view, trace and promises are the inner subject's: audits look past the wrapper, which is why a defect of a
// facet shows in answers and never as a broken structure that nobody broke.
#pragma once

#include <concepts>
#include <memory>
#include <optional>
#include <utility>

#include "allocator/subject/subject.h"

namespace memtorture::subject {

class ForwardingPages : public Pages {
 public:
  explicit ForwardingPages(Pages& inner) : inner_(inner) {}

  Pfn alloc_pages(gfp_t gfp, unsigned order) override { return inner_.alloc_pages(gfp, order); }
  Pfn alloc_pages_node(int nid, gfp_t gfp, unsigned order) override { return inner_.alloc_pages_node(nid, gfp, order); }
  std::uint64_t get_free_pages(gfp_t gfp, unsigned order) override { return inner_.get_free_pages(gfp, order); }
  std::uint64_t get_zeroed_page(gfp_t gfp) override { return inner_.get_zeroed_page(gfp); }
  std::uint64_t get_dma_pages(gfp_t gfp, unsigned order) override { return inner_.get_dma_pages(gfp, order); }
  std::uint64_t alloc_pages_exact(std::uint64_t bytes, gfp_t gfp) override {
    return inner_.alloc_pages_exact(bytes, gfp);
  }
  void free_pages_exact(std::uint64_t address, std::uint64_t bytes) override {
    inner_.free_pages_exact(address, bytes);
  }
  void free_pages_of(Pfn page, unsigned order) override { inner_.free_pages_of(page, order); }
  void free_pages(std::uint64_t address, unsigned order) override { inner_.free_pages(address, order); }
  void get_page(Pfn page) override { inner_.get_page(page); }
  void put_page(Pfn page) override { inner_.put_page(page); }
  void split_page(Pfn page, unsigned order) override { inner_.split_page(page, order); }
  int page_count(Pfn page) override { return inner_.page_count(page); }
  std::uint64_t page_address(Pfn page) override { return inner_.page_address(page); }
  void drain_local_pages() override { inner_.drain_local_pages(); }
  void drain_all_pages() override { inner_.drain_all_pages(); }
  std::uint64_t nr_free_pages() override { return inner_.nr_free_pages(); }
  void set_min_free_kbytes(std::uint32_t kbytes) override { inner_.set_min_free_kbytes(kbytes); }
  bool set_mems_allowed(machine::NodeSet nodes) override { return inner_.set_mems_allowed(nodes); }
  std::uint32_t client_add(ClientKind kind, std::uint32_t pages, gfp_t gfp) override {
    return inner_.client_add(kind, pages, gfp);
  }
  std::uint32_t client_drop(ClientKind kind, std::uint32_t pages) override { return inner_.client_drop(kind, pages); }
  std::uint32_t client_touch(ClientKind kind, std::uint32_t pages) override { return inner_.client_touch(kind, pages); }
  bool set_process(std::uint32_t process, ProcessTrait trait, std::int64_t value) override {
    return inner_.set_process(process, trait, value);
  }
  void blemish(Pfn page, Blemish kind) override { inner_.blemish(page, kind); }
  bool register_shrinker(Shrinker& shrinker) override { return inner_.register_shrinker(shrinker); }
  bool unregister_shrinker(Shrinker& shrinker) override { return inner_.unregister_shrinker(shrinker); }

 protected:
  Pages& inner_;
};

class ForwardingObjects : public Objects {
 public:
  explicit ForwardingObjects(Objects& inner) : inner_(inner) {}

  CacheHandle kmem_cache_create(const CacheSpec& spec) override { return inner_.kmem_cache_create(spec); }
  int kmem_cache_destroy(CacheHandle cache) override { return inner_.kmem_cache_destroy(cache); }
  int kmem_cache_shrink(CacheHandle cache) override { return inner_.kmem_cache_shrink(cache); }
  std::uint64_t kmem_cache_size(CacheHandle cache) override { return inner_.kmem_cache_size(cache); }
  std::uint64_t kmem_cache_alloc(CacheHandle cache, gfp_t gfp) override { return inner_.kmem_cache_alloc(cache, gfp); }
  std::uint64_t kmem_cache_alloc_node(CacheHandle cache, gfp_t gfp, int nid) override {
    return inner_.kmem_cache_alloc_node(cache, gfp, nid);
  }
  std::uint64_t kmem_cache_zalloc(CacheHandle cache, gfp_t gfp) override {
    return inner_.kmem_cache_zalloc(cache, gfp);
  }
  void kmem_cache_free(CacheHandle cache, std::uint64_t object) override { inner_.kmem_cache_free(cache, object); }
  std::uint64_t kmalloc(std::uint64_t bytes, gfp_t gfp) override { return inner_.kmalloc(bytes, gfp); }
  std::uint64_t kzalloc(std::uint64_t bytes, gfp_t gfp) override { return inner_.kzalloc(bytes, gfp); }
  std::uint64_t kmalloc_node(std::uint64_t bytes, gfp_t gfp, int nid) override {
    return inner_.kmalloc_node(bytes, gfp, nid);
  }
  std::uint64_t kmalloc_array(std::uint64_t n, std::uint64_t bytes, gfp_t gfp) override {
    return inner_.kmalloc_array(n, bytes, gfp);
  }
  std::uint64_t kcalloc(std::uint64_t n, std::uint64_t bytes, gfp_t gfp) override {
    return inner_.kcalloc(n, bytes, gfp);
  }
  std::uint64_t krealloc(std::uint64_t object, std::uint64_t bytes, gfp_t gfp) override {
    return inner_.krealloc(object, bytes, gfp);
  }
  std::uint64_t ksize(std::uint64_t object) override { return inner_.ksize(object); }
  void kfree(std::uint64_t object) override { inner_.kfree(object); }
  void kfree_s(std::uint64_t object, std::uint64_t bytes) override { inner_.kfree_s(object, bytes); }
  void kzfree(std::uint64_t object) override { inner_.kzfree(object); }

 protected:
  Objects& inner_;
};

class ForwardingPercpu : public Percpu {
 public:
  explicit ForwardingPercpu(Percpu& inner) : inner_(inner) {}

  PercpuLayout percpu_layout() override { return inner_.percpu_layout(); }
  PercpuPtr alloc_percpu(std::uint64_t bytes, std::uint64_t align) override {
    return inner_.alloc_percpu(bytes, align);
  }
  PercpuPtr alloc_percpu_gfp(std::uint64_t bytes, std::uint64_t align, gfp_t gfp) override {
    return inner_.alloc_percpu_gfp(bytes, align, gfp);
  }
  PercpuPtr alloc_reserved_percpu(std::uint64_t bytes, std::uint64_t align) override {
    return inner_.alloc_reserved_percpu(bytes, align);
  }
  void free_percpu(PercpuPtr area) override { inner_.free_percpu(area); }
  std::uint64_t per_cpu_ptr(PercpuPtr area, unsigned cpu) override { return inner_.per_cpu_ptr(area, cpu); }
  std::uint64_t this_cpu_ptr(PercpuPtr area) override { return inner_.this_cpu_ptr(area); }
  std::uint64_t get_cpu_ptr(PercpuPtr area) override { return inner_.get_cpu_ptr(area); }
  void put_cpu_ptr(PercpuPtr area) override { inner_.put_cpu_ptr(area); }
  unsigned this_cpu_add(PercpuPtr area, std::uint64_t value, unsigned width) override {
    return inner_.this_cpu_add(area, value, width);
  }
  unsigned static_variables() override { return inner_.static_variables(); }
  StaticVariable static_variable(unsigned index) override { return inner_.static_variable(index); }

 protected:
  Percpu& inner_;
};

class ForwardingKstacks : public Kstacks {
 public:
  explicit ForwardingKstacks(Kstacks& inner) : inner_(inner) {}

  TaskHandle fork() override { return inner_.fork(); }
  void exit_task(TaskHandle task) override { inner_.exit_task(task); }
  void enter() override { inner_.enter(); }
  void leave() override { inner_.leave(); }
  std::uint64_t push(std::uint64_t bytes, std::uint64_t return_address) override {
    return inner_.push(bytes, return_address);
  }
  std::uint64_t alloca_bytes(std::uint64_t bytes, std::uint64_t pattern) override {
    return inner_.alloca_bytes(bytes, pattern);
  }
  Returned pop() override { return inner_.pop(); }
  Recursed recurse(std::uint32_t depth, std::uint64_t bytes, std::uint64_t return_address) override {
    return inner_.recurse(depth, bytes, return_address);
  }
  std::uint64_t stack_pointer() override { return inner_.stack_pointer(); }
  std::uint64_t stack_not_used() override { return inner_.stack_not_used(); }
  void shut_down() override { inner_.shut_down(); }

 protected:
  Kstacks& inner_;
};

class ForwardingCpus : public Cpus {
 public:
  explicit ForwardingCpus(Cpus& inner) : inner_(inner) {}

  bool cpu_down(unsigned cpu) override { return inner_.cpu_down(cpu); }
  bool cpu_up(unsigned cpu) override { return inner_.cpu_up(cpu); }

 protected:
  Cpus& inner_;
};

// Facet, of any of these kinds, is constructed from the inner facet and `argument`.
template <class Facet, class Argument>
class Wrapper final : public Subject {
 public:
  Wrapper(std::unique_ptr<Subject> inner, Argument argument) : inner_(std::move(inner)), argument_(argument) {}

  void boot(const machine::Shape& shape, std::span<const fault::Rule> faults, PagesTrace& trace,
            machine::Witness& witness) override {
    inner_->boot(shape, faults, trace, witness);
    if constexpr (of_pages) facet_.emplace(inner_->pages(), argument_);
    cpus_ = around<Cpus>(inner_->cpus());
  }
  machine::Machine& machine() override { return inner_->machine(); }
  Pages& pages() override {
    if constexpr (of_pages) return *facet_;
    return inner_->pages();
  }
  PagesView* pages_view() override { return inner_->pages_view(); }
  Objects* boot_objects() override { return around<Objects>(inner_->boot_objects()); }
  ObjectDebug* object_debug() override { return inner_->object_debug(); }
  ObjectsView* objects_view() override { return inner_->objects_view(); }
  BucketsView* buckets_view() override { return inner_->buckets_view(); }
  Mempools* mempools() override { return inner_->mempools(); }
  MempoolsView* mempools_view() override { return inner_->mempools_view(); }
  Kstacks* boot_stacks(std::span<const machine::Strand> strands) override {
    return around<Kstacks>(inner_->boot_stacks(strands));
  }
  KstacksView* kstacks_view() override { return inner_->kstacks_view(); }
  Percpu* boot_percpu() override { return around<Percpu>(inner_->boot_percpu()); }
  PercpuView* percpu_view() override { return inner_->percpu_view(); }
  Cpus* cpus() override { return cpus_; }
  Promises promises() const override { return inner_->promises(); }

 private:
  static constexpr bool of_pages = std::derived_from<Facet, Pages>;

  // The facet around it, if it is of that kind; null stays null.
  template <class Kind>
  Kind* around(Kind* inner) {
    if constexpr (std::derived_from<Facet, Kind>)
      return inner != nullptr ? &facet_.emplace(*inner, argument_) : nullptr;
    return inner;
  }

  std::unique_ptr<Subject> inner_;
  Argument argument_;
  std::optional<Facet> facet_;  // from boot to boot
  Cpus* cpus_ = nullptr;        // the same
};

template <class Facet, class Argument>
std::unique_ptr<Subject> wrapped(std::unique_ptr<Subject> inner, Argument argument) {
  return std::make_unique<Wrapper<Facet, Argument>>(std::move(inner), argument);
}

}  // namespace memtorture::subject
