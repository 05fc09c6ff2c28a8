// White box of the kmalloc of the 1990s (domain.md 11.5), for audits: its size classes, the areas that have free
// blocks, and what stands in an area. An area whose blocks are all in use is on no list, as in the original; the count
// of a class has it, and who knows where it is can look at it.
//
// Quiescent use only; callbacks must not call the subject.
#pragma once

#include <cstdint>
#include <string_view>

#include "allocator/subject/pages.h"

namespace memtorture::subject {

struct BucketInfo {
  std::uint32_t block_bytes;  // 8 bytes of header included
  std::uint32_t blocks;       // in an area
  std::uint32_t order;        // of an area
  std::uint64_t areas;        // those without free blocks included
};

enum class BucketList : std::uint8_t { plain, dma };
inline constexpr std::string_view bucket_list_names[] = {"plain", "dma"};

struct AreaInfo {
  Pfn first;
  std::uint32_t bucket;  // class index, as the descriptor says
  std::uint32_t nfree;
};

// What a block's header says of it; none: nothing that a header can say.
enum class BlockMark : std::uint8_t { used, dma, free_, none };
inline constexpr std::string_view block_mark_names[] = {"in use", "in use for DMA", "free", "nothing"};

struct BlockInfo {
  std::uint64_t address;  // as kmalloc returns it
  BlockMark mark;
  std::uint32_t length;  // in use: the bytes that were asked for
};

class BucketsView {
 public:
  virtual ~BucketsView() = default;
  virtual unsigned buckets() = 0;  // how many classes; 0: another object layer serves
  virtual BucketInfo bucket(unsigned index) = 0;
  // The areas on a list, in its order. Ends after as many steps as there are areas even when the list does not.
  using EachArea = void (*)(void* arg, const AreaInfo& area);
  virtual void for_each_area(unsigned bucket, BucketList list, EachArea f, void* arg) = 0;
  // The free chain of an area: each block's address as kmalloc would return it. Ends where it leads out of the area.
  using EachBlock = void (*)(void* arg, std::uint64_t block);
  virtual void for_each_free_block(Pfn area, EachBlock f, void* arg) = 0;
  // A frame of low memory that the layer holds, read as the first one of an area.
  virtual AreaInfo area(Pfn first) = 0;
  // Every block of an area, ascending; none where the descriptor names no class.
  using EachHeader = void (*)(void* arg, const BlockInfo& block);
  virtual void for_each_block(Pfn area, EachHeader f, void* arg) = 0;
};

}  // namespace memtorture::subject
