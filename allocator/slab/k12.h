// kmalloc of the 1990s: blocks of fixed sizes cut from pages, a free list an area (domain.md 11.5; K12, 1.2 and 2.0).
//
//   area:  | next | firstfree | order | nfree |  header, data | header, data | ...       header: | flags | length |
//            4      4           4       4        8               8                        free:   | flags | link   |
//
// The layout is that of a 32-bit kernel, and its links mean the same in every process: `next` is the first frame of the
// next area of the list, `firstfree` and `link` are bytes from the area's start to a header (0: none). What is free and
// what is not stands in the memory itself: a header is the only witness of its block, which is why a caller who writes
// below or behind a block destroys the allocator's knowledge, and why a second kfree is told from the first by the
// header alone. An area is on the list of its class (plain or DMA) as long as some, but not all of its blocks are free:
// one without free blocks is on no list, one with nothing but free blocks goes back to the page layer.
//
// One lock guards lists and areas, with interrupts off; the page layer is called without it. Everything that is read
// from an area is looked at before anything is changed, so what a wrong caller destroyed is reported and left alone.
//
// Differences from K12: a new area gives its first block to whoever brought it while it goes on its list, so nobody can
// be beaten to it (K12 tries 4 times, and may leave an empty area on the list). A blocking request in atomic process
// context is reported as sleeping. No cache of empty areas (2.0).
//
// Not checked: who owns a page whose contents look like an area's.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "allocator/fault/injector.h"
#include "allocator/machine/machine.h"
#include "allocator/page/page_alloc.h"
#include "allocator/slab/cache.h"
#include "allocator/slab/k12_classes.h"
#include "allocator/subject/buckets.h"

namespace memtorture::slab {

inline constexpr machine::LockClass bucket_lock_class{"k12"};

// What a header says of its block.
inline constexpr std::uint32_t mf_used = 0xffaa0055, mf_dma = 0xff00aa55, mf_free = 0x0055ffaa;

struct BlockHeader {
  std::uint32_t flags;
  std::uint32_t length_or_link;  // bh_length: what was asked for; bh_next while free
};
static_assert(sizeof(BlockHeader) == bucket_header_bytes);

struct AreaDescriptor {
  Pfn next;
  std::uint32_t firstfree;
  std::uint32_t order;  // index of the class
  std::uint32_t nfree;
};
static_assert(sizeof(AreaDescriptor) == bucket_descriptor_bytes);

class BucketAllocator {
 public:
  BucketAllocator(machine::Machine& machine, fault::Injector& faults, page::PageAllocator& pages)
      : machine_(machine), faults_(faults), pages_(pages) {}

  // A new run, outside of any strand. Takes no page.
  void boot();

  // Contracts: subject/objects.h, with a block of 24 bytes for 0 bytes. kfree_s frees only what was asked for with that
  // size; 0: any. Context: any but NMI; from there it reports and does nothing.
  Address kmalloc(std::uint64_t bytes, gfp_t gfp);
  Address kmalloc_array(std::uint64_t n, std::uint64_t bytes, gfp_t gfp);
  Address krealloc(Address object, std::uint64_t bytes, gfp_t gfp);
  std::uint64_t ksize(Address object);
  void kfree(Address object) { kfree_s(object, 0); }
  void kfree_s(Address object, std::uint64_t bytes);
  void kzfree(Address object);

  // White box.
  const BucketTable& table() const { return table_; }
  std::uint64_t areas(unsigned bucket) const { return areas_[bucket]; }
  Pfn list(unsigned bucket, subject::BucketList kind) const { return lists_[bucket][static_cast<unsigned>(kind)]; }
  AreaDescriptor& descriptor(Pfn area);
  BlockHeader& header(Pfn area, std::uint32_t offset);

 private:
  struct Block {  // in use
    Pfn area;
    std::uint32_t offset;  // of its header
  };
  enum class Look : std::uint8_t { found, nothing_free, corrupt };
  struct Taken {
    Look look;
    Address object = 0;
    Pfn area = no_pfn;  // corrupt: where
  };

  gfp_t fix_flags(gfp_t gfp);
  gfp_t fix_context(gfp_t gfp);
  Taken take(unsigned bucket, std::uint32_t bytes, subject::BucketList kind, const machine::Held&);
  Taken grow(unsigned bucket, std::uint32_t bytes, gfp_t gfp);
  void cut(Pfn area, unsigned bucket);
  void complain_no_page(gfp_t gfp);
  std::optional<Block> block_of(Address object, const machine::Held&);
  std::optional<std::uint64_t> usable(Address object);
  bool put(const Block& block, Pfn& empty, const machine::Held&);
  Pfn* link_to(Pfn area, Pfn& first, std::uint64_t areas);
  bool is_area(Pfn pfn, unsigned bucket);
  bool is_link(Pfn pfn) { return pfn == no_pfn || pages_.page_address(pfn) != 0; }
  Pfn& list_of(unsigned bucket, subject::BucketList kind) { return lists_[bucket][static_cast<unsigned>(kind)]; }

  machine::Machine& machine_;
  fault::Injector& faults_;
  page::PageAllocator& pages_;
  BucketTable table_;
  machine::SpinLock lock_{bucket_lock_class};
  Pfn lists_[bucket_classes_max][2] = {};
  std::uint64_t areas_[bucket_classes_max] = {};
  std::atomic<unsigned> nonatomic_{0};  // complaints so far
  std::atomic<machine::Jiffies> complain_from_{0};
};

}  // namespace memtorture::slab
