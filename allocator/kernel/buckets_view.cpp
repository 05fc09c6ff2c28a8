// The white-box view of the buckets of K12. Reads without locks: nothing may run.
//
// It believes the memory no more than it must: a link is followed only into low memory and into an area's own blocks.
#include "allocator/kernel/kernel.h"

namespace memtorture::kernel {

subject::BucketInfo Kernel::bucket(unsigned index) {
  const slab::BucketClass& c = buckets_.table()[index];
  return {.block_bytes = c.block_bytes, .blocks = c.blocks, .order = c.order, .areas = buckets_.areas(index)};
}

void Kernel::for_each_area(unsigned bucket, subject::BucketList list, EachArea f, void* arg) {
  Pfn area = buckets_.list(bucket, list);
  for (std::uint64_t left = buckets_.areas(bucket); left != 0 && page_address(area) != 0; --left) {
    const slab::AreaDescriptor& descriptor = buckets_.descriptor(area);
    f(arg, {.first = area, .bucket = descriptor.order, .nfree = descriptor.nfree});
    area = descriptor.next;
  }
}

void Kernel::for_each_free_block(Pfn area, EachBlock f, void* arg) {
  const slab::AreaDescriptor& descriptor = buckets_.descriptor(area);
  if (descriptor.order >= buckets_.table().count()) return;
  const slab::BucketClass& c = buckets_.table()[descriptor.order];
  std::uint32_t offset = descriptor.firstfree;
  for (std::uint32_t left = c.blocks; left != 0 && c.is_header(offset); --left) {
    f(arg, page_address(area) + offset + slab::bucket_header_bytes);
    offset = buckets_.header(area, offset).length_or_link;
  }
}

subject::AreaInfo Kernel::area(Pfn first) {
  const slab::AreaDescriptor& descriptor = buckets_.descriptor(first);
  return {.first = first, .bucket = descriptor.order, .nfree = descriptor.nfree};
}

void Kernel::for_each_block(Pfn area, EachHeader f, void* arg) {
  using subject::BlockMark;
  const auto mark_of = [](std::uint32_t flags) {
    return flags == slab::mf_used   ? BlockMark::used
           : flags == slab::mf_dma  ? BlockMark::dma
           : flags == slab::mf_free ? BlockMark::free_
                                    : BlockMark::none;
  };
  const std::uint32_t bucket = buckets_.descriptor(area).order;
  if (bucket >= buckets_.table().count()) return;
  const slab::BucketClass& c = buckets_.table()[bucket];
  for (std::uint32_t i = 0; i != c.blocks; ++i) {
    const slab::BlockHeader& header = buckets_.header(area, c.offset_of(i));
    f(arg, {.address = page_address(area) + c.offset_of(i) + slab::bucket_header_bytes,
            .mark = mark_of(header.flags),
            .length = header.length_or_link});
  }
}

}  // namespace memtorture::kernel
