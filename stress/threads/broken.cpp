#include "stress/threads/broken.h"

#include <atomic>

#include "model/run/run.h"

namespace memtorture::threads {
namespace {

using namespace subject;

class BrokenPages final : public Pages {
 public:
  explicit BrokenPages(Defect defect) : defect_(defect) {}
  void reset(Pages& sound) { sound_ = &sound; }

  Pfn alloc_pages(gfp_t gfp, unsigned order) override {
    // Before anything else: the first allocation of a CPU is then ordered after nothing that another CPU did.
    if (defect_ == Defect::unlocked_counter) ++counter_;
    if (defect_ == Defect::atomic_counter) std::atomic_ref(counter_).fetch_add(1, std::memory_order_relaxed);
    if (defect_ == Defect::forgets_dma) gfp &= ~gfp_dma;
    if (defect_ == Defect::refuses && order == 1) return machine::no_pfn;
    return sound_->alloc_pages(gfp, order);
  }
  void free_pages_of(Pfn page, unsigned order) override {
    if (defect_ == Defect::loses_blocks && order == 1) return;
    sound_->free_pages_of(page, order);
  }

  Pfn alloc_pages_node(int nid, gfp_t gfp, unsigned order) override {
    return sound_->alloc_pages_node(nid, gfp, order);
  }
  std::uint64_t get_free_pages(gfp_t gfp, unsigned order) override { return sound_->get_free_pages(gfp, order); }
  std::uint64_t get_zeroed_page(gfp_t gfp) override { return sound_->get_zeroed_page(gfp); }
  std::uint64_t get_dma_pages(gfp_t gfp, unsigned order) override { return sound_->get_dma_pages(gfp, order); }
  std::uint64_t alloc_pages_exact(std::uint64_t bytes, gfp_t gfp) override {
    return sound_->alloc_pages_exact(bytes, gfp);
  }
  void free_pages_exact(std::uint64_t address, std::uint64_t bytes) override {
    sound_->free_pages_exact(address, bytes);
  }
  void free_pages(std::uint64_t address, unsigned order) override { sound_->free_pages(address, order); }
  void get_page(Pfn page) override { sound_->get_page(page); }
  void put_page(Pfn page) override { sound_->put_page(page); }
  void split_page(Pfn page, unsigned order) override { sound_->split_page(page, order); }
  int page_count(Pfn page) override { return sound_->page_count(page); }
  std::uint64_t page_address(Pfn page) override { return sound_->page_address(page); }
  void drain_local_pages() override { sound_->drain_local_pages(); }
  void drain_all_pages() override { sound_->drain_all_pages(); }
  std::uint64_t nr_free_pages() override { return sound_->nr_free_pages(); }
  void set_min_free_kbytes(std::uint32_t kbytes) override { sound_->set_min_free_kbytes(kbytes); }
  std::uint32_t client_add(ClientKind kind, std::uint32_t pages, gfp_t gfp) override {
    return sound_->client_add(kind, pages, gfp);
  }
  std::uint32_t client_drop(ClientKind kind, std::uint32_t pages) override { return sound_->client_drop(kind, pages); }
  void blemish(Pfn page, Blemish kind) override { sound_->blemish(page, kind); }

 private:
  const Defect defect_;
  Pages* sound_ = nullptr;  // set at boot
  std::uint64_t counter_ = 0;
};

class Broken final : public Subject {
 public:
  explicit Broken(Defect defect) : sound_(run::make_kernel()), pages_(defect) {}

  void boot(const machine::Shape& shape, std::span<const fault::Rule> faults, PagesTrace& trace,
            machine::Witness& witness) override {
    sound_->boot(shape, faults, trace, witness);
    pages_.reset(sound_->pages());
  }
  machine::Machine& machine() override { return sound_->machine(); }
  Pages& pages() override { return pages_; }
  PagesView* pages_view() override { return sound_->pages_view(); }
  Promises promises() const override { return sound_->promises(); }

 private:
  std::unique_ptr<Subject> sound_;
  BrokenPages pages_;
};

}  // namespace

std::unique_ptr<Subject> make_broken(Defect defect) { return std::make_unique<Broken>(defect); }

}  // namespace memtorture::threads
