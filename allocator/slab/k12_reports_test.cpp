// What K12's kmalloc says, and what a wrong caller cannot destroy: the messages of domain.md 11.5 (P-KMALLOC-9), one by
// one, and the state behind each of them.
#include <gtest/gtest.h>

#include "allocator/kernel/buckets_rig.h"
#include "allocator/kernel/strands_rig.h"

namespace memtorture::kernel {
namespace {

using machine::ReportKind;
using machine::Shape;
using machine::StopReason;
using machine::ZoneKind;
using namespace subject;  // GFP names

TEST(K12, KfreeSChecksTheSize) {  // P-KMALLOC-9
  BucketsRig rig("toy");
  rig.alone([&] {
    auto& k = rig.kernel;
    const std::uint64_t block = k.kmalloc(100, GFP_KERNEL);
    for (const std::uint64_t wrong : {99ull, 101ull, 120ull, 128ull, (1ull << 32) + 100}) k.kfree_s(block, wrong);
    EXPECT_EQ(rig.said.count(ReportKind::k12_wrong_size), 5u);
    EXPECT_EQ(rig.said.reports.size(), 5u);
    EXPECT_EQ(rig.said.reports[0].pfn, rig.ram().pfn_of(block));
    rig.check({{block, 100}});
    k.kfree_s(block, 100);
    EXPECT_EQ(rig.said.reports.size(), 5u);
    rig.check({});
    k.kfree_s(block, 100);
    EXPECT_EQ(rig.said.count(ReportKind::k12_bad_free), 1u) << "the header comes before the size";
  });
}

TEST(K12, WhatIsNoBlockIsNotFreed) {  // P-KMALLOC-9, P-KMALLOC-10
  BucketsRig rig("tiny-32");
  rig.alone([&] {
    auto& k = rig.kernel;
    const std::uint64_t block = k.kmalloc(100, GFP_KERNEL), twice = k.kmalloc(100, GFP_KERNEL);
    const std::uint64_t large = k.kmalloc(20'000, GFP_KERNEL), gone = k.kmalloc(5000, GFP_KERNEL);
    const LiveBlocks live{{block, 100}, {large, 20'000}};
    std::memset(rig.bytes(large), 0, 20'000);
    std::memset(rig.bytes(block), 0, 100);
    rig.set_word(block + 4, 0xffaa0055);                   // what looks like headers: in a block's data,
    rig.set_word(block - 24 + 16 + 31 * 128, 0xffaa0055);  // ... behind the last block of the area,
    rig.set_word(large + 4, 0xff00aa55);                   // ... and in a block of its own area
    k.kfree(twice);
    k.kfree(gone);  // with its page
    const Pfn plain = k.alloc_pages(GFP_KERNEL, 0), high = k.alloc_pages(GFP_HIGHUSER, 0);
    ASSERT_EQ(rig.kind_of(high), ZoneKind::highmem);
    const machine::Pfn frames = k.machine().shape().frames();
    const std::uint64_t wrong[] = {1,
                                   17,
                                   twice,
                                   gone,
                                   block + 4,
                                   block + 12,
                                   block + 31 * 128,
                                   large + 12,
                                   block - 8,
                                   block - 24,
                                   block + 30 * 128,
                                   large + 4096,
                                   large + 4,
                                   rig.ram().address_of(plain) + 24,
                                   rig.ram().address_of(high) + 24,
                                   rig.ram().address_of(0) - 8,
                                   rig.ram().address_of(frames - 1) + 24,
                                   rig.ram().address_of(frames) + 24,
                                   ~0ull};
    for (const std::uint64_t address : wrong) {
      rig.said.reports.clear();
      k.kfree(address), k.kfree_s(address, 100), k.kzfree(address);
      EXPECT_EQ(k.ksize(address), 0u);
      EXPECT_EQ(k.krealloc(address, 10, GFP_KERNEL), 0u);
      EXPECT_EQ(rig.said.count(ReportKind::k12_bad_free), 5u) << std::hex << address;
      EXPECT_EQ(rig.said.reports.size(), 5u);
      rig.check(live);
    }
  });
}

// The header, and every word of the descriptor: whatever a caller's overrun does to them, kfree tells and stays away.
TEST(K12, CorruptionIsReportedAndLeftAlone) {
  for (const std::uint32_t offset : {0u, 8u, 12u, 16u, 20u}) {
    for (const std::uint32_t garbage : {0u, 0xdeadbeefu, 0x7fffffffu}) {
      SCOPED_TRACE(testing::Message() << "word " << offset << " is " << std::hex << garbage);
      BucketsRig rig("toy");
      rig.alone([&] {
        auto& k = rig.kernel;
        const std::uint64_t block = k.kmalloc(100, GFP_KERNEL);
        const std::uint64_t area = block - 24;
        const std::uint32_t before = rig.word(area + offset);
        rig.set_word(area + offset, garbage);
        const bool harmless = (offset == 0 && garbage == 0) || (offset == 12 && garbage == 0);  // a frame; a full area
        if (offset == 20) {
          k.kfree_s(block, 100);
          EXPECT_EQ(rig.said.count(ReportKind::k12_wrong_size), 1u);
        } else if (!harmless && !(offset == 8 && garbage == 0)) {
          k.kfree(block);
          EXPECT_EQ(rig.said.count(ReportKind::k12_bad_free), 1u);
        } else {
          return;
        }
        EXPECT_EQ(rig.said.reports.size(), 1u);
        EXPECT_EQ(rig.word(area + offset), garbage) << "nothing was written";
        rig.set_word(area + offset, before);
        rig.check({{block, 100}});
        k.kfree_s(block, 100);
        rig.check({});
        EXPECT_EQ(rig.said.reports.size(), 1u);
      });
    }
  }
}

TEST(K12, ABlockOnTheFreeListThatIsNotFree) {
  struct Damage {
    std::uint32_t offset, value;
  };
  // The free block's header; the descriptor's next, firstfree (out of the area, between blocks), order and nfree.
  for (const Damage damage : {Damage{16 + 128, 0xffaa0055}, Damage{0, 0x7fffffff}, Damage{4, 4096}, Damage{4, 20},
                              Damage{4, 0}, Damage{8, 3}, Damage{12, 0}, Damage{12, 99}}) {
    SCOPED_TRACE(testing::Message() << "word " << damage.offset << " is " << damage.value);
    BucketsRig rig("toy");
    rig.alone([&] {
      auto& k = rig.kernel;
      const std::uint64_t block = k.kmalloc(100, GFP_KERNEL);
      const std::uint64_t area = block - 24;
      const std::uint32_t before = rig.word(area + damage.offset);
      rig.set_word(area + damage.offset, damage.value);
      EXPECT_EQ(k.kmalloc(100, GFP_KERNEL), 0u);
      EXPECT_EQ(k.kzalloc(100, GFP_ATOMIC), 0u) << "as long as it is in front";
      EXPECT_EQ(rig.said.count(ReportKind::k12_freelist), 2u);
      EXPECT_EQ(rig.said.reports.size(), 2u);
      EXPECT_EQ(rig.said.reports[0].pfn, rig.ram().pfn_of(area));
      const std::uint64_t other = k.kmalloc(50, GFP_KERNEL);
      EXPECT_NE(other, 0u) << "other classes are not concerned";
      rig.set_word(area + damage.offset, before);
      rig.check({{block, 100}, {other, 50}});
    });
  }
}

// An area that should be on the list and is not cannot be taken off it.
TEST(K12, AnAreaThatItsListDoesNotHaveStays) {
  BucketsRig rig("toy");
  rig.alone([&] {
    auto& k = rig.kernel;
    std::vector<std::uint64_t> blocks;
    for (unsigned i = 0; i != 9; ++i) blocks.push_back(k.kmalloc(1012, GFP_KERNEL));  // areas of 4
    k.kfree(blocks[0]), k.kfree(blocks[4]);                                           // list: second, first, third
    k.kfree(blocks[1]), k.kfree(blocks[2]);
    const std::uint64_t second = blocks[4] - 24;
    const std::uint32_t before = rig.word(second);
    rig.set_word(second, machine::no_pfn);  // the rest of the list is lost
    k.kfree(blocks[3]);
    EXPECT_EQ(rig.said.count(ReportKind::k12_freelist), 1u);
    EXPECT_EQ(rig.said.reports.size(), 1u);
    EXPECT_TRUE(rig.said.releases.empty());
    rig.set_word(second, before);
    k.kfree(blocks[3]);
    EXPECT_EQ(rig.said.reports.size(), 1u);
    EXPECT_EQ(rig.said.releases.size(), 1u);
    LiveBlocks live;
    for (const std::size_t i : {5, 6, 7, 8}) live.emplace(blocks[i], 1012);
    rig.check(live);
  });
}

TEST(K12, NoPageIsSaidOnceInTenSeconds) {
  BucketsRig rig("toy", {{.site = "page.alloc", .task = 0}});
  Cast cast;
  cast.task(0, [&] {
    auto& k = rig.kernel;
    const std::uint64_t hz = k.machine().shape().hz;
    const auto complaints = [&] { return rig.said.count(ReportKind::k12_no_page); };
    EXPECT_EQ(k.kmalloc(10, GFP_KERNEL | gfp_nowarn), 0u);
    EXPECT_EQ(complaints(), 0u);  // P-GFP-4
    for (unsigned i = 0; i != 3; ++i) EXPECT_EQ(k.kmalloc(10, GFP_KERNEL), 0u);
    EXPECT_EQ(complaints(), 1u);
    const machine::Jiffies said_at = machine::jiffies_now();
    while (machine::jiffies_now() < said_at + 10 * hz - 1)
      machine::sleep_jiffies(said_at + 10 * hz - 1 - machine::jiffies_now());
    if (!machine::Machine::concurrent()) {  // there time also advances while we ask
      EXPECT_EQ(k.kmalloc(5000, GFP_ATOMIC), 0u);
      EXPECT_EQ(complaints(), 1u);
    }
    machine::sleep_jiffies(2);
    for (unsigned i = 0; i != 3; ++i) EXPECT_EQ(k.kmalloc(5000, GFP_ATOMIC), 0u);
    EXPECT_EQ(complaints(), 2u);
  });
  EXPECT_EQ(cast.run(rig.kernel), StopReason::finished);
  EXPECT_EQ(rig.said.reports.size(), 2u) << "and the page layer says nothing";
}

TEST(K12, FailsRatherThanRetryOrKill) {  // 7.4: no retry rule, no OOM
  BucketsRig rig("toy");
  Cast cast;
  cast.task(0, [&] {
    auto& k = rig.kernel;
    EXPECT_GT(k.client_add(ClientKind::process, 4000, GFP_KERNEL | gfp_noretry | gfp_nowarn), 3000u);
    while (k.alloc_pages(GFP_ATOMIC | gfp_nowarn, 0) != machine::no_pfn) {
    }
    EXPECT_EQ(k.kmalloc(10, GFP_KERNEL | gfp_nofail), 0u);
    EXPECT_EQ(rig.said.killed, 0u);
    EXPECT_EQ(rig.said.requests.back().gfp, GFP_KERNEL | gfp_noretry | gfp_nowarn);
    EXPECT_EQ(rig.said.count(ReportKind::k12_no_page), 1u);
    EXPECT_EQ(rig.said.reports.size(), 1u);
  });
  EXPECT_EQ(cast.run(rig.kernel), StopReason::finished);
}

TEST(K12, InjectedFailuresChangeNothing) {  // P-FAULT-6
  BucketsRig rig("toy", {{.site = "slab.alloc"}});
  rig.alone([&] {
    EXPECT_EQ(rig.kernel.kmalloc(10, GFP_KERNEL), 0u);
    EXPECT_EQ(rig.said.faults.size(), 1u);
    EXPECT_TRUE(rig.said.requests.empty());
    EXPECT_EQ(rig.kernel.kmalloc(1'000'000, GFP_KERNEL), 0u);
    EXPECT_EQ(rig.said.faults.size(), 1u);
  });
  EXPECT_EQ(rig.said.count(ReportKind::k12_too_large), 1u);
  EXPECT_EQ(rig.said.reports.size(), 1u);
}

}  // namespace
}  // namespace memtorture::kernel
