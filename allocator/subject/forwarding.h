// A subject around another one. A facet derives from ForwardingPages and says only what it does differently; wrapped<>
// makes a subject of it: canaries, subjects with a known defect, observers.
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
  std::uint32_t client_add(ClientKind kind, std::uint32_t pages, gfp_t gfp) override {
    return inner_.client_add(kind, pages, gfp);
  }
  std::uint32_t client_drop(ClientKind kind, std::uint32_t pages) override { return inner_.client_drop(kind, pages); }
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

// Facet, of pages or of objects, is constructed from the inner facet and `argument`.
template <class Facet, class Argument>
class Wrapper final : public Subject {
 public:
  Wrapper(std::unique_ptr<Subject> inner, Argument argument) : inner_(std::move(inner)), argument_(argument) {}

  void boot(const machine::Shape& shape, std::span<const fault::Rule> faults, PagesTrace& trace,
            machine::Witness& witness) override {
    inner_->boot(shape, faults, trace, witness);
    if constexpr (of_pages) facet_.emplace(inner_->pages(), argument_);
  }
  machine::Machine& machine() override { return inner_->machine(); }
  Pages& pages() override {
    if constexpr (of_pages) return *facet_;
    return inner_->pages();
  }
  PagesView* pages_view() override { return inner_->pages_view(); }
  Objects* boot_objects() override {
    Objects* const objects = inner_->boot_objects();
    if constexpr (of_pages) {
      return objects;
    } else {
      return objects != nullptr ? &facet_.emplace(*objects, argument_) : nullptr;
    }
  }
  ObjectDebug* object_debug() override { return inner_->object_debug(); }
  ObjectsView* objects_view() override { return inner_->objects_view(); }
  BucketsView* buckets_view() override { return inner_->buckets_view(); }
  Mempools* mempools() override { return inner_->mempools(); }
  MempoolsView* mempools_view() override { return inner_->mempools_view(); }
  Kstacks* boot_stacks(std::span<const machine::Strand> strands) override { return inner_->boot_stacks(strands); }
  KstacksView* kstacks_view() override { return inner_->kstacks_view(); }
  Percpu* boot_percpu() override { return inner_->boot_percpu(); }
  PercpuView* percpu_view() override { return inner_->percpu_view(); }
  Promises promises() const override { return inner_->promises(); }

 private:
  static constexpr bool of_pages = std::derived_from<Facet, Pages>;

  std::unique_ptr<Subject> inner_;
  Argument argument_;
  std::optional<Facet> facet_;  // from boot to boot
};

template <class Facet, class Argument>
std::unique_ptr<Subject> wrapped(std::unique_ptr<Subject> inner, Argument argument) {
  return std::make_unique<Wrapper<Facet, Argument>>(std::move(inner), argument);
}

}  // namespace memtorture::subject
