#include "stress/threads/broken.h"

#include <atomic>
#include <vector>

#include "allocator/subject/forwarding.h"
#include "model/run/run.h"

namespace memtorture::threads {
namespace {

using namespace subject;

class BrokenPages final : public ForwardingPages {
 public:
  BrokenPages(Pages& sound, Defect defect) : ForwardingPages(sound), defect_(defect), more_(frames_counted) {}

  Pfn alloc_pages(gfp_t gfp, unsigned order) override {
    // Before anything else: the first allocation of a CPU is then ordered after nothing that another CPU did.
    if (defect_ == Defect::unlocked_counter) ++counter_;
    if (defect_ == Defect::atomic_counter) std::atomic_ref(counter_).fetch_add(1, std::memory_order_relaxed);
    if (defect_ == Defect::forgets_dma) gfp &= ~gfp_dma;
    if (defect_ == Defect::refuses && order == 1) return no_pfn;
    return inner_.alloc_pages(gfp, order);
  }
  void free_pages_of(Pfn page, unsigned order) override {
    if (defect_ == Defect::loses_blocks && order == 1) return;
    inner_.free_pages_of(page, order);
  }
  void get_page(Pfn page) override {
    if (!counts(page)) return inner_.get_page(page);
    std::atomic_ref(more_[page]).fetch_add(1, std::memory_order_relaxed);
  }
  void put_page(Pfn page) override {
    if (!counts(page) || !drop(more_[page])) inner_.put_page(page);
  }

 private:
  static constexpr std::size_t frames_counted = 1 << 12;

  bool counts(Pfn page) const {
    return page < frames_counted && (defect_ == Defect::unlocked_references || defect_ == Defect::atomic_references);
  }
  // False: there was none beside the inner subject's own.
  bool drop(std::uint32_t& more) {
    if (defect_ == Defect::unlocked_references) return more != 0 && more-- != 0;
    std::atomic_ref count(more);
    std::uint32_t before = count.load(std::memory_order_relaxed);
    while (before != 0 && !count.compare_exchange_weak(before, before - 1, std::memory_order_acq_rel)) {
    }
    return before != 0;
  }

  const Defect defect_;
  std::uint64_t counter_ = 0;
  std::vector<std::uint32_t> more_;  // by frame
};

class BrokenObjects final : public ForwardingObjects {
 public:
  BrokenObjects(Objects& sound, Defect defect) : ForwardingObjects(sound), defect_(defect) {}

  std::uint64_t kmalloc(std::uint64_t bytes, gfp_t gfp) override {
    // Before anything else, as above.
    if (defect_ == Defect::unlocked_object_counter) ++counter_;
    if (defect_ == Defect::atomic_object_counter) std::atomic_ref(counter_).fetch_add(1, std::memory_order_relaxed);
    if (defect_ == Defect::forgets_object_dma) gfp &= ~gfp_dma;
    return inner_.kmalloc(bytes, gfp);
  }
  void kfree(std::uint64_t object) override {
    if (defect_ != Defect::loses_objects) inner_.kfree(object);
  }
  int kmem_cache_destroy(CacheHandle cache) override {
    const int result = inner_.kmem_cache_destroy(cache);
    return defect_ == Defect::destroys_busy ? 0 : result;
  }

 private:
  const Defect defect_;
  std::uint64_t counter_ = 0;
};

}  // namespace

std::unique_ptr<Subject> make_broken(Defect defect) {
  if (defect >= Defect::unlocked_object_counter) return wrapped<BrokenObjects>(run::make_kernel(), defect);
  return wrapped<BrokenPages>(run::make_kernel(), defect);
}

}  // namespace memtorture::threads
