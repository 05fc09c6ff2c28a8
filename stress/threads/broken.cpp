#include "stress/threads/broken.h"

#include <atomic>
#include <vector>

#include "allocator/machine/lock.h"
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
    if (defect_ == Defect::interruptible_lock || defect_ == Defect::irqsave_lock) count_locked();
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
  // Nothing is asked for under the lock: what is wrong with it is how it is taken.
  void count_locked() {
    if (defect_ == Defect::irqsave_lock) {
      const machine::IrqFlag before = lock_.lock_irqsave("slab.lock");
      ++counter_;
      lock_.unlock_irqrestore(before, "slab.unlock");
    } else {
      lock_.lock("slab.lock");
      ++counter_;
      lock_.unlock("slab.unlock");
    }
  }

  const Defect defect_;
  std::uint64_t counter_ = 0;
  machine::SpinLock lock_{machine::LockClass("test.a")};
};

// How many there are of something, kept by whoever makes and gives up one.
class Count {
 public:
  explicit Count(bool is_plain) : is_plain_(is_plain) {}
  void add(std::uint64_t change) {
    if (is_plain_) {
      count_ += change;
    } else {
      std::atomic_ref(count_).fetch_add(change, std::memory_order_relaxed);
    }
  }

 private:
  const bool is_plain_;
  std::uint64_t count_ = 0;
};
constexpr std::uint64_t one_more = 1, one_less = -one_more;

// Both count before anything else, as above.
class BrokenAreas final : public ForwardingPercpu {
 public:
  BrokenAreas(Percpu& sound, Defect defect) : ForwardingPercpu(sound), areas_(defect == Defect::unlocked_areas) {}

  PercpuPtr alloc_percpu(std::uint64_t bytes, std::uint64_t align) override {
    areas_.add(one_more);
    return inner_.alloc_percpu(bytes, align);
  }
  void free_percpu(PercpuPtr area) override {
    areas_.add(one_less);
    inner_.free_percpu(area);
  }

 private:
  Count areas_;
};

class BrokenStacks final : public ForwardingKstacks {
 public:
  BrokenStacks(Kstacks& sound, Defect defect) : ForwardingKstacks(sound), tasks_(defect == Defect::unlocked_stacks) {}

  TaskHandle fork() override {
    tasks_.add(one_more);
    return inner_.fork();
  }
  void exit_task(TaskHandle task) override {
    tasks_.add(one_less);
    inner_.exit_task(task);
  }

 private:
  Count tasks_;
};

}  // namespace

std::unique_ptr<Subject> make_broken(Defect defect) {
  if (defect >= Defect::unlocked_stacks) return wrapped<BrokenStacks>(run::make_kernel(), defect);
  if (defect >= Defect::unlocked_areas) return wrapped<BrokenAreas>(run::make_kernel(), defect);
  if (defect >= Defect::unlocked_object_counter) return wrapped<BrokenObjects>(run::make_kernel(), defect);
  return wrapped<BrokenPages>(run::make_kernel(), defect);
}

}  // namespace memtorture::threads
