// "Allocate an easy amount first and parcel it out" (domain.md 12.2, P-POOL-8): a driver's arena in one page.
//
// One page is what a kernel can nearly always give. A driver that needs many small things for one request of its own
// asks for that page once, where failing is easy, and cuts it up without asking anybody again:
//
//   base          next                       end
//   | piece | piece | ................ free |     next only ever moves up, so pieces are disjoint and inside
//
// Pieces are not given back one by one: they vanish with the page. Not for several contexts at a time; whoever shares
// an arena locks it.
#pragma once

#include <cstdint>

#include "allocator/subject/pages.h"

namespace memtorture::examples {

class Parcel {
 public:
  Parcel(subject::Pages& pages, std::uint64_t page_bytes) : pages_(pages), page_bytes_(page_bytes) {}
  ~Parcel() { close(); }
  Parcel(const Parcel&) = delete;
  Parcel& operator=(const Parcel&) = delete;

  bool open(subject::gfp_t gfp);  // false: no page. An arena that is open is left as it is.
  // 0: no room, or not open. align: a power of two, at most a page.
  std::uint64_t carve(std::uint64_t bytes, std::uint64_t align);
  void close();  // every piece is gone
  std::uint64_t base() const { return base_; }

 private:
  subject::Pages& pages_;
  std::uint64_t page_bytes_;
  std::uint64_t base_ = 0, next_ = 0;
};

}  // namespace memtorture::examples
