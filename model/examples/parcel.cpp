#include "model/examples/parcel.h"

#include <utility>

namespace memtorture::examples {

bool Parcel::open(subject::gfp_t gfp) {
  if (base_ == 0) next_ = base_ = pages_.get_free_pages(gfp, 0);
  return base_ != 0;
}

// In differences from the base, which cannot overflow whatever is asked for.
std::uint64_t Parcel::carve(std::uint64_t bytes, std::uint64_t align) {
  const std::uint64_t start = (next_ - base_ + align - 1) & ~(align - 1);
  if (base_ == 0 || bytes == 0 || start > page_bytes_ || bytes > page_bytes_ - start) return 0;
  next_ = base_ + start + bytes;
  return base_ + start;
}

void Parcel::close() {
  if (base_ != 0) pages_.free_pages(std::exchange(base_, 0), 0);
  next_ = 0;
}

}  // namespace memtorture::examples
