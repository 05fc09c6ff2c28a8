// kmalloc of the 1990s: the figures and layouts of domain.md 11.5 and 22.8, zones and contexts. What it says and to
// whom: k12_reports_test.cpp; several contexts at once: k12_concurrency_test.cpp.
#include <gtest/gtest.h>

#include <limits>

#include "allocator/kernel/buckets_rig.h"
#include "allocator/kernel/strands_rig.h"

namespace memtorture::kernel {
namespace {

using machine::ReportKind;
using machine::Shape;
using machine::StopReason;
using machine::ZoneKind;
using namespace subject;  // GFP names

constexpr std::uint32_t usable_4k[] = {24, 56, 120, 244, 500, 1012, 2032, 4072, 8168, 16360, 32744, 65512, 131048};
constexpr std::uint32_t blocks_4k[] = {127, 63, 31, 16, 8, 4, 2, 1, 1, 1, 1, 1, 1};
constexpr std::uint32_t usable_8k[] = {24,   56,   120,   244,   500,   1012,   2036,
                                       4080, 8168, 16360, 32744, 65512, 131048, 262120};

TEST(K12, ServesEverySizeFromTheSmallestClass) {  // the maxima of 11.5; P-KMALLOC-1, P-KMALLOC-2
  const auto serve = [](std::string_view shape, std::span<const std::uint32_t> usable) {
    BucketsRig rig(shape);
    ASSERT_EQ(rig.kernel.buckets(), usable.size());
    rig.alone([&] {
      auto& k = rig.kernel;
      for (std::size_t i = 0; i != usable.size(); ++i) {
        const std::uint64_t smallest = i == 0 ? 0 : usable[i - 1] + 1;
        for (const std::uint64_t bytes : {smallest, smallest + 1, usable[i] - 1ul, usable[i] + 0ul}) {
          const std::uint64_t block = k.kmalloc(bytes, GFP_KERNEL);
          ASSERT_NE(block, 0u) << bytes;
          EXPECT_EQ(k.ksize(block), usable[i]) << bytes;
          EXPECT_EQ(block % 4, 0u);
          std::memset(rig.bytes(block), 0x77, usable[i]);
          rig.check({{block, bytes}});
          k.kfree(block);
          rig.check({});
        }
      }
      EXPECT_TRUE(rig.said.reports.empty());
      EXPECT_EQ(k.kmalloc(usable.back() + 1ul, GFP_KERNEL), 0u);
      EXPECT_EQ(k.kmalloc(std::numeric_limits<std::uint64_t>::max(), GFP_KERNEL), 0u);
      EXPECT_EQ(k.kmalloc(std::numeric_limits<std::uint64_t>::max() - 7, GFP_KERNEL), 0u);
      EXPECT_EQ(rig.said.count(ReportKind::k12_too_large), 3u);
      EXPECT_EQ(rig.said.reports.size(), 3u);
      EXPECT_EQ(rig.said.reclaims.size(), 0u);  // P-KMALLOC-7
    });
  };
  serve("x86-32", usable_4k);
  serve("tiny-32", usable_4k);
  serve("alpha", usable_8k);
}

TEST(K12, CutsAnAreaIntoAsManyBlocksAsTheReferenceSays) {
  BucketsRig rig("x86-32");
  rig.alone([&] {
    auto& k = rig.kernel;
    const std::uint64_t pages = k.nr_free_pages();
    for (std::size_t i = 0; i != std::size(blocks_4k); ++i) {
      rig.said.requests.clear(), rig.said.releases.clear();
      LiveBlocks live;
      for (std::uint32_t n = 0; n != blocks_4k[i]; ++n) live.emplace(k.kmalloc(usable_4k[i], GFP_KERNEL), usable_4k[i]);
      EXPECT_EQ(live.size(), blocks_4k[i]);
      ASSERT_EQ(rig.said.requests.size(), 1u) << "one area holds them";
      EXPECT_EQ(rig.said.requests[0].order, i < 8 ? 0 : i - 7);
      rig.check(live);
      std::uint64_t expected = rig.ram().address_of(rig.said.requests[0].granted) + 16 + 8;
      for (const auto& [block, bytes] : live) {
        EXPECT_EQ(block, expected);
        expected += usable_4k[i] + 8;
      }
      live.emplace(k.kmalloc(usable_4k[i], GFP_KERNEL), usable_4k[i]);
      EXPECT_EQ(rig.said.requests.size(), 2u) << "the next one needs another";
      rig.check(live);
      for (const auto& [block, bytes] : live) k.kfree(block);
      EXPECT_EQ(rig.said.releases.size(), 2u);
    }
    k.drain_all_pages();
    EXPECT_EQ(k.nr_free_pages(), pages);  // P-KMALLOC-6
  });
  EXPECT_TRUE(rig.said.reports.empty());
}

TEST(K12, WorkedExample) {  // domain.md 22.8
  BucketsRig rig("toy");
  rig.alone([&] {
    auto& k = rig.kernel;
    const std::pair<std::uint64_t, std::uint64_t> examples[] = {
        {24, 32 - 8}, {25, 64 - 8}, {4072, 4080 - 8}, {4073, 8176 - 8}, {131048, 131056 - 8}};
    for (const auto& [bytes, usable] : examples) {
      const std::uint64_t block = k.kmalloc(bytes, GFP_KERNEL);
      EXPECT_EQ(k.ksize(block), usable);
      k.kfree(block);
    }
    EXPECT_EQ(k.kmalloc(131049, GFP_KERNEL), 0u);
    EXPECT_EQ(rig.said.count(ReportKind::k12_too_large), 1u);
    rig.said.releases.clear();
    std::vector<std::uint64_t> blocks;
    for (unsigned i = 0; i != 127; ++i) blocks.push_back(k.kmalloc(24, GFP_KERNEL));
    for (const std::uint64_t block : blocks) {
      EXPECT_TRUE(rig.said.releases.empty());
      k.kfree(block);
    }
    EXPECT_EQ(rig.said.releases.size(), 1u) << "the last of 127 blocks returns the page";
  });
  EXPECT_EQ(rig.said.reports.size(), 1u);
}

TEST(K12, LayoutIsThatOfA32BitKernel) {
  BucketsRig rig("toy");
  rig.alone([&] {
    auto& k = rig.kernel;
    const std::uint64_t a = k.kmalloc(100, GFP_KERNEL), b = k.kmalloc(101, GFP_KERNEL);
    const std::uint64_t area = a - 24;
    EXPECT_EQ(area % 4096, 0u);
    EXPECT_EQ(b, a + 128);
    EXPECT_EQ(rig.word(area), machine::no_pfn);    // next
    EXPECT_EQ(rig.word(area + 4), 16u + 2 * 128);  // firstfree
    EXPECT_EQ(rig.word(area + 8), 2u);             // order: the class
    EXPECT_EQ(rig.word(area + 12), 29u);           // nfree
    EXPECT_EQ(rig.word(a - 8), 0xffaa0055u);
    EXPECT_EQ(rig.word(a - 4), 100u);
    EXPECT_EQ(rig.word(b - 4), 101u);
    k.kfree(a);
    EXPECT_EQ(rig.word(a - 8), 0x0055ffaau);
    EXPECT_EQ(rig.word(a - 4), 16u + 2 * 128) << "links to what was free before";
    EXPECT_EQ(rig.word(area + 4), 16u);
    EXPECT_EQ(k.kmalloc(24, GFP_KERNEL) & 0xfff, 24u);
    EXPECT_EQ(k.kmalloc(120, GFP_KERNEL), a) << "last in, first out";
  });
}

TEST(K12, FullAreasLeaveTheListAndComeBackInFront) {
  BucketsRig rig("toy");
  rig.alone([&] {
    auto& k = rig.kernel;
    LiveBlocks live;
    std::vector<std::uint64_t> blocks;
    for (unsigned i = 0; i != 4 * 3; ++i) {
      blocks.push_back(k.kmalloc(1012, GFP_KERNEL));
      live.emplace(blocks.back(), 1012);
      rig.check(live);
    }
    const auto free = [&](std::size_t i) {
      k.kfree(blocks[i]);
      live.erase(blocks[i]);
      rig.check(live);
    };
    free(1), free(5), free(9);  // three areas on the list: third, second, first
    EXPECT_EQ(k.kmalloc(1000, GFP_KERNEL), blocks[9]);
    EXPECT_EQ(k.kmalloc(1000, GFP_KERNEL), blocks[5]);
    live.emplace(blocks[5], 1000), live.emplace(blocks[9], 1000);
    rig.check(live);
    free(5), free(9);
    free(4), free(6), free(7);  // the second area, in the middle of the list, goes back
    EXPECT_EQ(rig.said.releases.size(), 1u);
    free(0), free(2), free(3);  // the last of the list
    free(8), free(10), free(11);
    EXPECT_EQ(rig.said.releases.size(), 3u);
  });
  EXPECT_TRUE(rig.said.reports.empty());
}

TEST(K12, NullAndZero) {  // P-KMALLOC-4 as far as K12 has it
  BucketsRig rig("toy");
  rig.alone([&] {
    auto& k = rig.kernel;
    k.kfree(0), k.kfree_s(0, 5), k.kzfree(0), k.kfree(zero_size_ptr), k.kfree_s(zero_size_ptr, 1);
    EXPECT_EQ(k.ksize(zero_size_ptr), 0u);
    const std::uint64_t block = k.kmalloc(0, GFP_KERNEL);
    EXPECT_GT(block, zero_size_ptr);
    EXPECT_EQ(k.ksize(block), 24u);
    EXPECT_NE(k.kmalloc(0, GFP_KERNEL), block);
    k.kfree_s(block, 0);
    EXPECT_EQ(k.kmalloc(24, GFP_KERNEL), block);
    EXPECT_TRUE(rig.said.reports.empty());
    EXPECT_EQ(k.ksize(0), 0u);
    EXPECT_EQ(rig.said.count(ReportKind::k12_bad_free), 1u);
  });
}

TEST(K12, ArraysAndZeroing) {  // P-KMALLOC-3
  BucketsRig rig("toy");
  rig.alone([&] {
    auto& k = rig.kernel;
    k.kmalloc(500, GFP_KERNEL);
    for (const std::uint64_t bytes : {24, 500, 5000}) {
      const std::uint64_t dirty = k.kmalloc(bytes, GFP_KERNEL);
      std::memset(rig.bytes(dirty), 0xff, k.ksize(dirty));
      k.kfree(dirty);
      const std::uint64_t clean = k.kzalloc(bytes, GFP_KERNEL);
      EXPECT_TRUE(rig.all_bytes(clean, bytes, std::byte{0}));
    }
    const std::uint64_t secret = k.kmalloc(400, GFP_KERNEL);
    std::memset(rig.bytes(secret), 0xff, 500);
    k.kzfree(secret);
    EXPECT_TRUE(rig.all_bytes(secret, 500, std::byte{0}));
    EXPECT_EQ(k.kmalloc(500, GFP_KERNEL), secret);
    EXPECT_TRUE(rig.all_bytes(k.kcalloc(10, 100, GFP_KERNEL), 1000, std::byte{0}));
    constexpr std::uint64_t max = std::numeric_limits<std::uint64_t>::max();
    EXPECT_EQ(k.kcalloc(max / 2 + 1, 2, GFP_KERNEL), 0u);
    EXPECT_EQ(k.kmalloc_array(2, max, GFP_KERNEL), 0u);
    EXPECT_NE(k.kmalloc_node(10, GFP_KERNEL, 0), 0u);
  });
  EXPECT_TRUE(rig.said.reports.empty());
}

TEST(K12, Krealloc) {  // 11.4, P-KMALLOC-5
  BucketsRig rig("toy", {{.site = "slab.alloc", .interval = 3, .times = 1}});
  rig.alone([&] {
    auto& k = rig.kernel;
    const std::uint64_t first = k.krealloc(0, 40, GFP_KERNEL);
    for (unsigned i = 0; i != 56; ++i) rig.bytes(first)[i] = static_cast<std::byte>(i);
    EXPECT_EQ(k.krealloc(first, 56, GFP_KERNEL), first);
    rig.check({{first, 56}});
    k.kfree_s(first, 40);
    EXPECT_EQ(rig.said.count(ReportKind::k12_wrong_size), 1u) << "it has another size now";
    EXPECT_EQ(k.krealloc(first, 3, GFP_KERNEL), first);
    rig.check({{first, 3}});
    const std::uint64_t moved = k.krealloc(first, 57, GFP_KERNEL);
    EXPECT_EQ(k.ksize(moved), 120u);
    for (unsigned i = 0; i != 56; ++i) EXPECT_EQ(rig.bytes(moved)[i], static_cast<std::byte>(i));
    rig.check({{moved, 57}});
    EXPECT_EQ(k.krealloc(moved, 500, GFP_KERNEL), 0u) << "injected";
    EXPECT_EQ(rig.said.faults.size(), 1u);
    for (unsigned i = 0; i != 56; ++i) EXPECT_EQ(rig.bytes(moved)[i], static_cast<std::byte>(i));
    rig.check({{moved, 57}});
    EXPECT_EQ(k.krealloc(moved, 200'000, GFP_KERNEL), 0u);
    rig.check({{moved, 57}});
    EXPECT_EQ(k.krealloc(moved, 0, GFP_KERNEL), zero_size_ptr);
    rig.check({});
    EXPECT_EQ(k.krealloc(moved, 5, GFP_KERNEL), 0u);
    EXPECT_EQ(rig.said.count(ReportKind::k12_bad_free), 1u);
    EXPECT_EQ(rig.said.reports.size(), 3u);
  });
}

// --- zones and contexts ---------------------------------------------------------------------------------------------

TEST(K12, DmaHasListsOfItsOwn) {
  BucketsRig rig("tiny-32");
  rig.alone([&] {
    auto& k = rig.kernel;
    LiveBlocks live;
    const auto get = [&](std::uint64_t bytes, gfp_t gfp) {
      const std::uint64_t block = k.kmalloc(bytes, gfp);
      live.emplace(block, bytes);
      rig.check(live);
      return block;
    };
    const std::uint64_t plain = get(2000, GFP_KERNEL);
    const std::uint64_t dma = get(2000, GFP_DMA);  // also alone (7.4)
    EXPECT_EQ(rig.kind_of(rig.ram().pfn_of(plain)), ZoneKind::normal);
    EXPECT_EQ(rig.kind_of(rig.ram().pfn_of(dma)), ZoneKind::dma);
    EXPECT_EQ(rig.word(plain - 8), 0xffaa0055u);
    EXPECT_EQ(rig.word(dma - 8), 0xff00aa55u);
    EXPECT_EQ(get(2000, GFP_ATOMIC), plain + 2040);
    EXPECT_EQ(get(2000, GFP_KERNEL | GFP_DMA), dma + 2040);
    const std::uint64_t more = get(2000, GFP_KERNEL);
    for (const std::uint64_t block : {dma, dma + 2040, plain, more}) {
      k.kfree(block);
      live.erase(block);
      rig.check(live);
    }
    EXPECT_EQ(get(2032, GFP_DMA) / 4096 * 4096 + 24, dma) << "its page was given back, and is the first of the zone";
    EXPECT_EQ(get(2032, GFP_KERNEL), plain);
    const std::uint64_t large = get(60'000, GFP_DMA | GFP_ATOMIC);
    EXPECT_EQ(rig.kind_of(rig.ram().pfn_of(large + 60'000 - 1)), ZoneKind::dma);
  });
  EXPECT_TRUE(rig.said.reports.empty());
}

TEST(K12, HighMemoryAndUnknownFlagsAreMasked) {
  BucketsRig rig("tiny-32");
  rig.alone([&] {
    const std::uint64_t block = rig.kernel.kmalloc(100, GFP_KERNEL | gfp_highmem);
    EXPECT_NE(rig.kind_of(rig.ram().pfn_of(block)), ZoneKind::highmem);
  });
  EXPECT_EQ(rig.said.count(ReportKind::slab_gfp), 1u);
  EXPECT_EQ(rig.said.reports.size(), 1u);
}

TEST(K12, InterruptsAreForcedToBeAtomicAndToldFourTimes) {  // 7.4, 11.5
  BucketsRig rig("toy");
  Cast cast;
  cast.add(machine::ContextKind::hardirq, 0, [&] {
    auto& k = rig.kernel;
    for (unsigned i = 0; i != 6; ++i) {
      EXPECT_NE(k.kmalloc(5000, i % 2 == 0 ? GFP_KERNEL : GFP_NOIO | GFP_DMA), 0u);
      EXPECT_EQ(rig.said.count(ReportKind::k12_nonatomic), std::min(i + 1, 4u));
      const gfp_t zone = i % 2 == 0 ? 0 : GFP_DMA;
      EXPECT_EQ(rig.said.requests.back().gfp, GFP_ATOMIC | zone | gfp_noretry | gfp_nowarn);
    }
    EXPECT_NE(k.kmalloc(5000, GFP_ATOMIC), 0u);
  });
  EXPECT_EQ(cast.run(rig.kernel), StopReason::finished);
  EXPECT_EQ(rig.said.reports.size(), 4u);
  EXPECT_EQ(rig.said.sleeps, 0u);
}

TEST(K12, AtomicProcessContextIsToldThatItSleeps) {  // P-KMALLOC-11
  BucketsRig rig("toy");
  rig.alone([&] {
    const machine::IrqFlag before = machine::local_irq_save();
    EXPECT_NE(rig.kernel.kmalloc(100, GFP_KERNEL), 0u);
    EXPECT_EQ(rig.said.count(ReportKind::sleeping), 1u);
    EXPECT_EQ(rig.said.requests.back().gfp & gfp_wait, 0u);
    EXPECT_NE(rig.kernel.kmalloc(100, GFP_ATOMIC), 0u);
    EXPECT_TRUE(machine::irqs_disabled());
    machine::local_irq_restore(before);
  });
  EXPECT_EQ(rig.said.reports.size(), 1u);
}

TEST(K12, NothingWorksFromNmi) {  // P-CTX-6
  BucketsRig rig("toy");
  std::uint64_t block = 0;
  rig.alone([&] { block = rig.kernel.kmalloc(100, GFP_KERNEL); });
  Cast cast;
  cast.add(machine::ContextKind::nmi, 0, [&] {
    auto& k = rig.kernel;
    EXPECT_EQ(k.kmalloc(100, GFP_ATOMIC), 0u);
    EXPECT_EQ(k.kcalloc(1, 100, GFP_ATOMIC), 0u);
    EXPECT_EQ(k.krealloc(block, 500, GFP_ATOMIC), 0u);
    EXPECT_EQ(k.ksize(block), 0u);
    k.kfree(block), k.kfree_s(block, 100), k.kzfree(block);
  });
  EXPECT_EQ(cast.run(rig.kernel), StopReason::finished);
  EXPECT_EQ(rig.said.count(ReportKind::nmi_entry), 7u);
  EXPECT_EQ(rig.said.reports.size(), 7u);
  rig.check({{block, 100}});
}

// --- the machine around it ------------------------------------------------------------------------------------------

TEST(K12, HasNoCachesAndNoPools) {
  BucketsRig rig("toy");
  rig.alone([&] {
    auto& k = rig.kernel;
    EXPECT_EQ(k.kmem_cache_create({.name = "c", .size = 64}), no_cache);
    EXPECT_EQ(k.kmem_cache_alloc(5, GFP_KERNEL), 0u);
    k.kmem_cache_free(5, 5);
    EXPECT_EQ(k.kmem_cache_destroy(5), -einval);
    EXPECT_EQ(rig.said.count(ReportKind::bad_cache), 4u);
    EXPECT_EQ(k.mempool_create({.min_nr = 1, .backend = kmalloc_backend(8)}), no_pool);
    EXPECT_EQ(rig.said.count(ReportKind::bad_pool), 1u);
    EXPECT_EQ(rig.said.reports.size(), 5u);
  });
  EXPECT_TRUE(rig.said.requests.empty());
}

TEST(K12, OrdersThatTheMachineLacksAreNoClasses) {
  BucketsRig rig("buddy16");  // orders 0..4
  EXPECT_EQ(rig.kernel.buckets(), 12u);
  rig.alone([&] {
    EXPECT_NE(rig.kernel.kmalloc(65512, GFP_ATOMIC), 0u) << "all of the machine";
    EXPECT_EQ(rig.kernel.kmalloc(65513, GFP_ATOMIC), 0u);
    EXPECT_EQ(rig.kernel.kmalloc(1, GFP_ATOMIC), 0u);
  });
  EXPECT_EQ(rig.said.count(ReportKind::k12_too_large), 1u);
  EXPECT_EQ(rig.said.count(ReportKind::k12_no_page), 1u);
}

TEST(K12, ForgetsTheLastRun) {
  BucketsRig rig("toy");
  rig.alone([&] { rig.kernel.kmalloc(10, GFP_KERNEL); });
  rig.said = {};
  rig.kernel.boot(BucketsRig::k12("alpha"), {}, rig.said, rig.said);
  rig.alone([&] {
    EXPECT_EQ(rig.kernel.kmalloc(10, GFP_KERNEL), 0u) << "no objects yet";
    ASSERT_TRUE(rig.kernel.boot_objects());
    rig.check({});
    const std::uint64_t block = rig.kernel.kmalloc(10, GFP_KERNEL);
    rig.check({{block, 10}});
  });
  rig.kernel.boot(machine::shape_named("toy").value(), {}, rig.said, rig.said);
  ASSERT_TRUE(rig.kernel.boot_objects());
  EXPECT_EQ(rig.kernel.buckets(), 0u);
  rig.alone([&] {
    const std::uint64_t object = rig.kernel.kmalloc(10, GFP_KERNEL);
    EXPECT_EQ(rig.kernel.ksize(object), 32u);
    rig.kernel.kfree_s(object, 999);  // kfree: the slab layer has no record of sizes
    EXPECT_EQ(rig.kernel.kmalloc(10, GFP_KERNEL), object);
  });
  EXPECT_TRUE(rig.said.reports.empty());
}

}  // namespace
}  // namespace memtorture::kernel
