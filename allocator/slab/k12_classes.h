// The size classes of the kmalloc of the 1990s (domain.md 11.5): blocks cut from an area of 2^order pages that begins
// with a descriptor; each block begins with a header.
//
//   area:  | descriptor 16 | header 8, data ... | header 8, data ... | ...
//                            block 0              block 1
//
// One page holds the classes of 32, 64 and 128 bytes, as many blocks as fit; and the classes above, which are what is
// left of the page divided by 16, 8, 4, 2 and 1 (of a page of 4 KiB; of 8 KiB by 32 and so on), rounded down to words.
// Above a page an area is one block, of order 1 to 5. So the table depends on the page size only, and on how large a
// block the page layer has. It proves itself for both page sizes: against the figures of the reference, and that blocks
// lie inside their area, in words, with no room for another one.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

namespace memtorture::slab {

inline constexpr std::uint32_t bucket_descriptor_bytes = 16, bucket_header_bytes = 8, bucket_word_bytes = 4;
inline constexpr unsigned bucket_orders_max = 6;  // K12's page layer has orders 0..5
inline constexpr unsigned bucket_classes_max = 14;

struct BucketClass {
  std::uint32_t block_bytes = 0;  // header included
  std::uint16_t blocks = 0;       // in an area
  std::uint8_t order = 0;         // of the area

  constexpr std::uint32_t usable_bytes() const { return block_bytes - bucket_header_bytes; }
  // Bytes from the area's start to the header of block i, i < blocks.
  constexpr std::uint32_t offset_of(std::uint32_t i) const { return bucket_descriptor_bytes + i * block_bytes; }
  constexpr bool is_header(std::uint64_t offset) const {
    return offset >= bucket_descriptor_bytes && (offset - bucket_descriptor_bytes) % block_bytes == 0 &&
           (offset - bucket_descriptor_bytes) / block_bytes < blocks;
  }
};

class BucketTable {
 public:
  constexpr BucketTable() = default;
  constexpr BucketTable(std::uint32_t page_bytes, unsigned orders) {
    for (std::uint32_t nominal = 32; nominal <= page_bytes; nominal *= 2)
      classes_[count_++] = in_a_page(page_bytes, nominal);
    for (unsigned order = 1; order < std::min(orders, bucket_orders_max); ++order) {
      const std::uint32_t block_bytes = (page_bytes << order) - bucket_descriptor_bytes;
      classes_[count_++] = {.block_bytes = block_bytes, .blocks = 1, .order = static_cast<std::uint8_t>(order)};
    }
  }
  constexpr std::span<const BucketClass> all() const { return {classes_.data(), count_}; }
  constexpr unsigned count() const { return count_; }
  constexpr const BucketClass& operator[](unsigned index) const { return classes_[index]; }
  // Index of the smallest class that holds `bytes`; count(): none does.
  constexpr unsigned class_of(std::uint64_t bytes) const {
    unsigned i = 0;
    while (i != count_ && classes_[i].usable_bytes() < bytes) ++i;
    return i;
  }

 private:
  static constexpr BucketClass in_a_page(std::uint32_t page_bytes, std::uint32_t nominal) {
    constexpr std::uint32_t nominal_exact_max = 128;
    const std::uint32_t room = page_bytes - bucket_descriptor_bytes;
    if (nominal <= nominal_exact_max)
      return {.block_bytes = nominal, .blocks = static_cast<std::uint16_t>(room / nominal)};
    const std::uint32_t blocks = page_bytes / nominal;
    return {.block_bytes = room / blocks / bucket_word_bytes * bucket_word_bytes,
            .blocks = static_cast<std::uint16_t>(blocks)};
  }

  std::array<BucketClass, bucket_classes_max> classes_{};
  unsigned count_ = 0;
};

namespace proof {

struct BucketFigure {
  std::uint32_t block_bytes, usable_bytes, blocks, order;
};
template <std::size_t n>
constexpr bool table_is(std::uint32_t page_bytes, const BucketFigure (&figures)[n]) {
  const BucketTable table(page_bytes, bucket_orders_max);
  return std::ranges::equal(table.all(), figures, [](const BucketClass& c, const BucketFigure& f) {
    return c.block_bytes == f.block_bytes && c.usable_bytes() == f.usable_bytes && c.blocks == f.blocks &&
           c.order == f.order;
  });
}
static_assert(table_is(4096, {{32, 24, 127, 0},
                              {64, 56, 63, 0},
                              {128, 120, 31, 0},
                              {252, 244, 16, 0},
                              {508, 500, 8, 0},
                              {1020, 1012, 4, 0},
                              {2040, 2032, 2, 0},
                              {4080, 4072, 1, 0},
                              {8176, 8168, 1, 1},
                              {16368, 16360, 1, 2},
                              {32752, 32744, 1, 3},
                              {65520, 65512, 1, 4},
                              {131056, 131048, 1, 5}}));
static_assert(table_is(8192, {{32, 24, 255, 0},
                              {64, 56, 127, 0},
                              {128, 120, 63, 0},
                              {252, 244, 32, 0},
                              {508, 500, 16, 0},
                              {1020, 1012, 8, 0},
                              {2044, 2036, 4, 0},
                              {4088, 4080, 2, 0},
                              {8176, 8168, 1, 0},
                              {16368, 16360, 1, 1},
                              {32752, 32744, 1, 2},
                              {65520, 65512, 1, 3},
                              {131056, 131048, 1, 4},
                              {262128, 262120, 1, 5}}));

constexpr bool blocks_fill_their_area(std::uint32_t page_bytes) {
  const BucketTable table(page_bytes, bucket_orders_max);
  std::uint32_t before = 0;
  for (const BucketClass& c : table.all()) {
    const std::uint32_t area_bytes = page_bytes << c.order;
    if (c.block_bytes <= before || c.block_bytes % bucket_word_bytes != 0) return false;
    if (c.offset_of(c.blocks) > area_bytes || c.offset_of(c.blocks) + c.block_bytes <= area_bytes) return false;
    if (c.order != 0 && c.blocks != 1) return false;  // every header lies in its area's first page
    if (table.class_of(c.usable_bytes()) != table.class_of(before == 0 ? 0 : before - bucket_header_bytes + 1))
      return false;
    before = c.block_bytes;
  }
  return table.class_of(std::uint64_t{before} - bucket_header_bytes + 1) == table.count();
}
static_assert(blocks_fill_their_area(4096) && blocks_fill_their_area(8192));

}  // namespace proof

}  // namespace memtorture::slab
