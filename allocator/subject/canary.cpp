#include "allocator/subject/canary.h"

#include <utility>

namespace memtorture::subject {
namespace {

constexpr unsigned arming_order = 1, granted_order = 2;
constexpr gfp_t unusual = gfp_zone_mask | gfp_zero | gfp_comp | gfp_thisnode;

class CanaryPages final : public Pages {
 public:
  explicit CanaryPages(Planted bug) : bug_(bug) {}

  void reset(Pages& sound) {
    sound_ = &sound;
    armed_ = false;
    first_ = no_pfn;
  }

  Pfn alloc_pages(gfp_t gfp, unsigned order) override {
    return again(gfp, order, [&] { return sound_->alloc_pages(gfp, order); });
  }
  Pfn alloc_pages_node(int nid, gfp_t gfp, unsigned order) override {
    return again(gfp, order, [&] { return sound_->alloc_pages_node(nid, gfp, order); });
  }
  std::uint64_t get_zeroed_page(gfp_t gfp) override {
    if (bug_ == Planted::stale_zero && std::exchange(armed_, false)) return sound_->get_free_pages(gfp, 0);
    return sound_->get_zeroed_page(gfp);
  }
  void free_pages_of(Pfn page, unsigned order) override {
    freed(page, order);
    sound_->free_pages_of(page, order);
  }
  void put_page(Pfn page) override {
    freed(page, 0);
    sound_->put_page(page);
  }

  std::uint64_t get_free_pages(gfp_t gfp, unsigned order) override { return sound_->get_free_pages(gfp, order); }
  std::uint64_t get_dma_pages(gfp_t gfp, unsigned order) override { return sound_->get_dma_pages(gfp, order); }
  std::uint64_t alloc_pages_exact(std::uint64_t bytes, gfp_t gfp) override {
    return sound_->alloc_pages_exact(bytes, gfp);
  }
  void free_pages_exact(std::uint64_t address, std::uint64_t bytes) override {
    sound_->free_pages_exact(address, bytes);
  }
  void free_pages(std::uint64_t address, unsigned order) override {
    if (order == arming_order) armed_ = true;
    if (order == granted_order) first_ = no_pfn;  // it may be the block: addresses are not looked into
    sound_->free_pages(address, order);
  }
  void get_page(Pfn page) override { sound_->get_page(page); }
  void split_page(Pfn page, unsigned order) override {
    if (page == first_) first_ = no_pfn;
    sound_->split_page(page, order);
  }
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
  // The planted double grant: only where the first block would do, so that nothing but the ownership is wrong.
  template <class Allocate>
  Pfn again(gfp_t gfp, unsigned order, Allocate&& allocate) {
    const bool plain = bug_ == Planted::double_grant && order == granted_order && (gfp & unusual) == 0;
    if (plain && armed_ && first_ != no_pfn) return first_;
    const Pfn page = allocate();
    if (plain && armed_) first_ = page;
    return page;
  }

  void freed(Pfn page, unsigned order) {
    if (order == arming_order) armed_ = true;
    if (page == first_) first_ = no_pfn;
  }

  Planted bug_;
  Pages* sound_ = nullptr;  // set at boot
  bool armed_ = false;
  Pfn first_ = no_pfn;  // the first block of order 2 since it was armed, while it is owned
};

class Canary final : public Subject {
 public:
  Canary(Planted bug, std::unique_ptr<Subject> sound) : sound_(std::move(sound)), pages_(bug) {}

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
  CanaryPages pages_;
};

}  // namespace

std::unique_ptr<Subject> make_canary(Planted bug, std::unique_ptr<Subject> sound) {
  return std::make_unique<Canary>(bug, std::move(sound));
}

}  // namespace memtorture::subject
