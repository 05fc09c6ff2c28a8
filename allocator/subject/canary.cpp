#include "allocator/subject/canary.h"

#include <utility>

#include "allocator/subject/forwarding.h"

namespace memtorture::subject {
namespace {

constexpr unsigned arming_order = 1, granted_order = 2;
constexpr gfp_t unusual = gfp_zone_mask | gfp_zero | gfp_comp | gfp_thisnode;

class CanaryPages final : public ForwardingPages {
 public:
  CanaryPages(Pages& sound, Planted bug) : ForwardingPages(sound), bug_(bug) {}

  Pfn alloc_pages(gfp_t gfp, unsigned order) override {
    return again(gfp, order, [&] { return inner_.alloc_pages(gfp, order); });
  }
  Pfn alloc_pages_node(int nid, gfp_t gfp, unsigned order) override {
    return again(gfp, order, [&] { return inner_.alloc_pages_node(nid, gfp, order); });
  }
  std::uint64_t get_zeroed_page(gfp_t gfp) override {
    if (bug_ == Planted::stale_zero && std::exchange(armed_, false)) return inner_.get_free_pages(gfp, 0);
    return inner_.get_zeroed_page(gfp);
  }
  void free_pages_of(Pfn page, unsigned order) override {
    freed(page, order);
    inner_.free_pages_of(page, order);
  }
  void put_page(Pfn page) override {
    freed(page, 0);
    inner_.put_page(page);
  }
  void free_pages(std::uint64_t address, unsigned order) override {
    if (order == arming_order) armed_ = true;
    if (order == granted_order) first_ = no_pfn;  // it may be the block: addresses are not looked into
    inner_.free_pages(address, order);
  }
  void split_page(Pfn page, unsigned order) override {
    if (page == first_) first_ = no_pfn;
    inner_.split_page(page, order);
  }

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

  const Planted bug_;
  bool armed_ = false;
  Pfn first_ = no_pfn;  // the first block of order 2 since it was armed, while it is owned
};

}  // namespace

std::unique_ptr<Subject> make_canary(Planted bug, std::unique_ptr<Subject> sound) {
  return wrapped<CanaryPages>(std::move(sound), bug);
}

}  // namespace memtorture::subject
