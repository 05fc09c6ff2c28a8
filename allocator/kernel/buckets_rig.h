// For tests of K12's kmalloc: a kernel whose objects are buckets, and a checker that recomputes the invariants of
// slab/k12.h from the white-box view and from what the test says is live.
//
// Areas without free blocks are on no list, so they are found through the live blocks; together with the lists they
// must be as many as the class has, and as many pages as the page layer has given away.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <set>
#include <vector>

#include "allocator/kernel/test_rig.h"

namespace memtorture::kernel {

using LiveBlocks = std::map<std::uint64_t, std::uint64_t>;  // address -> bytes asked for

// What buckets and live blocks say together; `blocks_out`: of any order, that the layer got and did not give back.
inline void check_buckets(Kernel& kernel, const LiveBlocks& live, int blocks_out) {
  machine::Ram& ram = kernel.machine().ram();
  const auto word = [&](std::uint64_t address) {
    std::uint32_t value;
    std::memcpy(&value, ram.at(address), sizeof value);
    return value;
  };
  std::map<Pfn, std::set<std::uint64_t>> live_in;  // by area: a header lies in its area's first page
  for (const auto& [block, bytes] : live) live_in[ram.pfn_of(block)].insert(block);
  std::set<Pfn> known;
  std::uint64_t areas_total = 0;
  for (unsigned bucket = 0; bucket != kernel.buckets(); ++bucket) {
    const subject::BucketInfo info = kernel.bucket(bucket);
    SCOPED_TRACE(testing::Message() << "class " << info.block_bytes);
    areas_total += info.areas;
    std::uint64_t areas = 0;
    for (const auto list : {subject::BucketList::plain, subject::BucketList::dma}) {
      std::vector<subject::AreaInfo> listed;
      kernel.for_each_area(
          bucket, list,
          [](void* arg, const subject::AreaInfo& area) {
            static_cast<std::vector<subject::AreaInfo>*>(arg)->push_back(area);
          },
          &listed);
      for (const subject::AreaInfo& area : listed) {
        ++areas;
        EXPECT_TRUE(known.insert(area.first).second) << "an area is on two lists, or twice on one";
        EXPECT_EQ(area.bucket, bucket);
        EXPECT_EQ(area.first % (1u << info.order), 0u);
        std::vector<std::uint64_t> chain;
        kernel.for_each_free_block(
            area.first,
            [](void* arg, std::uint64_t block) { static_cast<std::vector<std::uint64_t>*>(arg)->push_back(block); },
            &chain);
        EXPECT_EQ(chain.size(), area.nfree);
        EXPECT_EQ(std::set(chain.begin(), chain.end()).size(), chain.size()) << "the free chain has a loop";
        EXPECT_GT(area.nfree, 0u);
        EXPECT_LT(area.nfree, info.blocks) << "an area with nothing but free blocks goes back";
        EXPECT_EQ(chain.size() + live_in[area.first].size(), info.blocks);
        for (const std::uint64_t block : chain) {
          EXPECT_EQ(word(block - 8), 0x0055ffaau);
          EXPECT_FALSE(live.contains(block)) << "a live block is on a free chain";
        }
        for (const std::uint64_t block : live_in[area.first])
          EXPECT_EQ(word(block - 8), list == subject::BucketList::dma ? 0xff00aa55u : 0xffaa0055u);
        if (list == subject::BucketList::dma)
          EXPECT_EQ(kernel.allocator().zone_of(area.first).kind, kernel.allocator().zones()[0].kind);
      }
    }
    for (const auto& [area, blocks] : live_in) {
      if (blocks.empty() || word(ram.address_of(area) + 8) != bucket) continue;
      if (known.insert(area).second) {
        ++areas;
        EXPECT_EQ(word(ram.address_of(area) + 12), 0u) << "an area with free blocks is on no list";
        EXPECT_EQ(word(ram.address_of(area)), machine::no_pfn) << "it is on no list, and links to none";
        EXPECT_EQ(blocks.size(), info.blocks);
      }
      for (const std::uint64_t block : blocks) {
        const std::uint64_t offset = block - 8 - ram.address_of(area);
        EXPECT_EQ((offset - 16) % info.block_bytes, 0u);
        EXPECT_LT((offset - 16) / info.block_bytes, info.blocks);
        EXPECT_EQ(word(block - 4), live.at(block)) << "bh_length";
        EXPECT_LE(live.at(block) + 8, info.block_bytes);
      }
      EXPECT_EQ(kernel.page_count(area), 1);
    }
    EXPECT_EQ(areas, info.areas);
  }
  EXPECT_EQ(known.size(), areas_total) << "a live block lies in an area of no class";
  EXPECT_EQ(areas_total, static_cast<std::uint64_t>(blocks_out));
}

class BucketsRig : public Rig {
 public:
  explicit BucketsRig(std::string_view shape, std::vector<fault::Rule> rules = {}) : BucketsRig(k12(shape), rules) {}
  explicit BucketsRig(const machine::Shape& shape, std::vector<fault::Rule> rules = {}) : Rig(shape, std::move(rules)) {
    EXPECT_TRUE(kernel.boot_objects());
    EXPECT_TRUE(said.requests.empty()) << "boot takes no page";
  }

  static machine::Shape k12(std::string_view name) {
    machine::Shape shape = machine::shape_named(name).value();
    shape.objects = machine::ObjectLayer::k12;
    return shape;
  }
  machine::Ram& ram() { return kernel.machine().ram(); }
  std::byte* bytes(std::uint64_t address) { return ram().at(address); }
  bool all_bytes(std::uint64_t address, std::uint64_t n, std::byte value) {
    return std::all_of(bytes(address), bytes(address) + n, [&](std::byte b) { return b == value; });
  }
  std::uint32_t word(std::uint64_t address) {
    std::uint32_t value;
    std::memcpy(&value, bytes(address), sizeof value);
    return value;
  }
  void set_word(std::uint64_t address, std::uint32_t value) { std::memcpy(bytes(address), &value, sizeof value); }
  int blocks_out() const {
    const auto granted =
        std::ranges::count_if(said.requests, [](const auto& r) { return r.granted != machine::no_pfn; });
    return static_cast<int>(granted) - static_cast<int>(said.releases.size());
  }
  void check(const LiveBlocks& live) { check_buckets(kernel, live, blocks_out()); }
};

}  // namespace memtorture::kernel
