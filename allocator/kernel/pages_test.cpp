// The pages facet on a booted kernel: references, bad pages, per-CPU lists, contents, contexts, faults.
#include <gtest/gtest.h>

#include "allocator/kernel/test_rig.h"

namespace memtorture::kernel {
namespace {

using machine::BadPageReason;
using machine::no_pfn;
using machine::ReportKind;
using machine::Shape;
using namespace subject;  // GFP names

Shape shape_of(std::string_view name) { return machine::shape_named(name).value(); }

// --- references (domain.md 2.4, 2.5)

TEST(References, PageIsFreedByTheLastPut) {  // P-PAGE-4
  Rig rig("toy");
  rig.alone([&] {
    auto& k = rig.kernel;
    const std::uint64_t before = k.nr_free_pages();
    const Pfn pfn = k.alloc_pages(GFP_KERNEL, 0);
    EXPECT_EQ(k.page_count(pfn), 1);
    k.get_page(pfn);
    k.get_page(pfn);
    EXPECT_EQ(k.page_count(pfn), 3);
    k.put_page(pfn);
    k.free_pages_of(pfn, 0);
    EXPECT_EQ(k.nr_free_pages(), before - 1);
    k.put_page(pfn);
    EXPECT_EQ(k.nr_free_pages(), before);
    EXPECT_EQ(k.page_count(pfn), 0);
  });
  EXPECT_TRUE(rig.said.reports.empty());
}

TEST(References, TailsOfACompoundPageActOnTheHead) {  // P-PAGE-6
  Rig rig("toy");
  const auto before = rig.free_set();
  rig.alone([&] {
    auto& k = rig.kernel;
    const Pfn head = k.alloc_pages(GFP_KERNEL | gfp_comp, 2);
    EXPECT_EQ(k.page(head).flags, std::uint32_t{pg_head});
    EXPECT_EQ(k.page(head + 3).flags, std::uint32_t{pg_tail});
    k.get_page(head + 3);
    EXPECT_EQ(k.page_count(head), 2);
    EXPECT_EQ(k.page_count(head + 1), 2);
    k.put_page(head + 1);
    k.free_pages_of(head, 2);
    EXPECT_EQ(k.page(head).flags & (pg_head | pg_tail), 0u);
    EXPECT_EQ(k.page(head + 3).flags & (pg_head | pg_tail), 0u);
  });
  EXPECT_EQ(rig.free_set(), before);
  EXPECT_TRUE(rig.said.reports.empty());
}

TEST(References, SplitPagesAreFreedOneByOne) {  // P-PAGE-9
  Rig rig("toy");
  const auto before = rig.free_set();
  rig.alone([&] {
    const Pfn pfn = rig.kernel.alloc_pages(GFP_KERNEL, 3);
    rig.kernel.split_page(pfn, 3);
    for (Pfn i = 0; i != 8; ++i) rig.kernel.free_pages_of(pfn + i * 5 % 8, 0);
  });
  EXPECT_EQ(rig.free_set(), before);
  EXPECT_TRUE(rig.said.reports.empty());
}

TEST(References, SplitOfACompoundOrFreePageIsReported) {
  Rig rig("toy");
  rig.alone([&] {
    const Pfn pfn = rig.kernel.alloc_pages(GFP_KERNEL | gfp_comp, 1);
    rig.kernel.split_page(pfn, 1);
    rig.kernel.free_pages_of(pfn, 1);
    rig.kernel.split_page(pfn, 1);
  });
  EXPECT_EQ(rig.said.count(ReportKind::split_misuse), 2u);
  EXPECT_EQ(rig.said.reports.size(), 2u);
}

// --- misuse (domain.md 2.6)

TEST(BadPages, DoubleFreeIsReportedAndChangesNothing) {  // P-PAGE-11
  Rig rig("toy");
  const auto before = rig.free_set();
  rig.alone([&] {
    const Pfn pfn = rig.kernel.alloc_pages(GFP_KERNEL, 0);
    rig.kernel.free_pages_of(pfn, 0);
    rig.kernel.free_pages_of(pfn, 0);
  });
  ASSERT_EQ(rig.said.reports.size(), 1u);
  EXPECT_EQ(rig.said.reports[0].why, BadPageReason::refcount);
  EXPECT_EQ(rig.free_set(), before);
}

TEST(BadPages, ReservedAndAbsentFramesStayWhatTheyAre) {
  Shape shape = shape_of("toy");
  shape.reserved_pages = 16;
  Rig rig(shape);
  rig.alone([&] {
    rig.kernel.free_pages_of(3, 0);
    rig.kernel.put_page(3);
    rig.kernel.free_pages_of(shape.frames(), 0);
    rig.kernel.free_pages(0x1000, 0);
  });
  ASSERT_EQ(rig.said.reports.size(), 4u);
  EXPECT_EQ(rig.said.reports[0].why, BadPageReason::reserved);
  EXPECT_EQ(rig.said.reports[1].why, BadPageReason::reserved);
  EXPECT_EQ(rig.said.count(ReportKind::bad_address), 2u);
  EXPECT_EQ(rig.kernel.page(3).flags, std::uint32_t{pg_reserved});
  EXPECT_EQ(rig.kernel.nr_free_pages(), 4096u - 16);
}

TEST(BadPages, BlemishedBlockLeaksWhole) {  // P-PAGE-7
  constexpr struct {
    Blemish kind;
    BadPageReason why;
  } rows[] = {{Blemish::locked, BadPageReason::flags},
              {Blemish::lru, BadPageReason::flags},
              {Blemish::slab, BadPageReason::flags},
              {Blemish::mapping, BadPageReason::mapping},
              {Blemish::mapcount, BadPageReason::mapcount}};
  for (const auto& row : rows) {
    for (const Pfn inside : {0u, 3u}) {
      Rig rig("toy");
      rig.alone([&] {
        const Pfn pfn = rig.kernel.alloc_pages(GFP_KERNEL, 2);
        rig.kernel.blemish(pfn + inside, row.kind);
        rig.kernel.free_pages_of(pfn, 2);
        for (Pfn i = 0; i != 4; ++i) EXPECT_NE(rig.kernel.page(pfn + i).flags & pg_bad, 0u);
      });
      ASSERT_EQ(rig.said.reports.size(), 1u);
      EXPECT_EQ(rig.said.reports[0].kind, ReportKind::bad_page);
      EXPECT_EQ(rig.said.reports[0].why, row.why);
      EXPECT_EQ(rig.said.reports[0].order, 2);
      EXPECT_EQ(rig.kernel.nr_free_pages(), 4096u - 4);
    }
  }
}

TEST(BadPages, WrongOrderOfACompoundPageLeaksIt) {
  Rig rig("toy");
  rig.alone([&] {
    const Pfn pfn = rig.kernel.alloc_pages(GFP_KERNEL | gfp_comp, 2);
    rig.kernel.free_pages_of(pfn, 1);
  });
  ASSERT_EQ(rig.said.reports.size(), 1u);
  EXPECT_EQ(rig.said.reports[0].why, BadPageReason::compound);
  EXPECT_EQ(rig.kernel.nr_free_pages(), 4096u - 4);
}

TEST(BadPages, TooLargeAnOrderTouchesNobodyElse) {
  Rig rig("buddy16");
  rig.alone([&] {
    auto& k = rig.kernel;
    const Pfn mine = k.alloc_pages(GFP_KERNEL, 0), other = k.alloc_pages(GFP_KERNEL, 0);
    ASSERT_EQ(other, mine + 1);
    k.free_pages_of(mine, 1);
    EXPECT_EQ(k.page_count(other), 1);
    EXPECT_EQ(rig.said.reports.size(), 1u);
    k.free_pages_of(other, 0);
    EXPECT_EQ(k.nr_free_pages(), 15u);
  });
  EXPECT_EQ(rig.said.reports.size(), 1u);
}

TEST(BadPages, CorruptedFreePageIsSkippedByAllocation) {  // P-PAGE-8
  for (const unsigned order : {0u, 2u}) {
    Rig rig("buddy16");
    rig.kernel.blemish(1, Blemish::mapping);
    rig.alone([&] {
      unsigned pages = 0;
      for (Pfn pfn; (pfn = rig.kernel.alloc_pages(GFP_ATOMIC | gfp_nowarn, order)) != no_pfn; pages += 1u << order) {
        EXPECT_FALSE(pfn <= 1 && 1 < pfn + (1u << order));
      }
      EXPECT_EQ(pages, order == 0 ? 15u : 12u);
      EXPECT_EQ(rig.kernel.nr_free_pages(), order == 0 ? 0u : 3u) << "good neighbours go back";
    });
    ASSERT_EQ(rig.said.reports.size(), 1u);
    EXPECT_EQ(rig.said.reports[0].pfn, 1u);
    EXPECT_EQ(rig.said.reports[0].order, 0);
  }
}

// --- per-CPU lists (domain.md section 6)

Shape with_lists(std::uint16_t high, std::uint16_t batch) {
  Shape shape = shape_of("toy");
  shape.pcp_high = high;
  shape.pcp_batch = batch;
  return shape;
}

TEST(PcpLists, RefillFlushAndDrainByBatch) {  // P-PCP-1, 2, 4
  Rig rig(with_lists(6, 4));
  const auto before = rig.free_set();
  rig.alone([&] {
    auto& k = rig.kernel;
    std::vector<Pfn> live;
    live.push_back(k.alloc_pages(GFP_KERNEL, 0));
    EXPECT_EQ(rig.said.refilled_pages, 4u);
    EXPECT_EQ(k.pcp_count(1, 0), 3u);
    EXPECT_EQ(k.nr_free_pages(), 4092u);
    for (int i = 0; i != 7; ++i) live.push_back(k.alloc_pages(GFP_KERNEL, 0));
    EXPECT_EQ(k.pcp_count(1, 0), 0u);
    for (int i = 0; i != 5; ++i) k.free_pages_of(live[i], 0);
    EXPECT_EQ(k.pcp_count(1, 0), 5u);
    EXPECT_EQ(k.page_count(live[0]), 0);  // P-PCP-7
    k.free_pages_of(live[5], 0);          // count reaches high: a batch goes back
    EXPECT_EQ(k.pcp_count(1, 0), 2u);
    EXPECT_EQ(rig.said.drained_pages, 4u);
    k.free_pages_of(live[6], 0);
    k.free_pages_of(live[7], 0);
    k.drain_all_pages();
    EXPECT_EQ(k.pcp_count(1, 0), 0u);
  });
  EXPECT_EQ(rig.free_set(), before);
  EXPECT_EQ(rig.said.parked_pages + rig.said.refilled_pages - rig.said.drained_pages, 8u);
}

TEST(PcpLists, ColdComesFromTheOtherEnd) {
  Rig rig(with_lists(8, 4));
  rig.alone([&] {
    auto& k = rig.kernel;
    const Pfn a = k.alloc_pages(GFP_KERNEL, 0), b = k.alloc_pages(GFP_KERNEL, 0);
    k.drain_local_pages();
    k.free_pages_of(a, 0);
    k.free_pages_of(b, 0);
    EXPECT_EQ(k.alloc_pages(GFP_KERNEL | gfp_cold, 0), a);
    EXPECT_EQ(k.alloc_pages(GFP_KERNEL, 0), b);
  });
}

TEST(PcpLists, HighOrderFailureDrainsFirst) {  // P-PCP-6
  Shape shape = shape_of("buddy16");
  shape.pcp_high = 32;
  shape.pcp_batch = 1;
  Rig rig(shape);
  rig.alone([&] {
    std::vector<Pfn> live(16);
    for (Pfn& pfn : live) pfn = rig.kernel.alloc_pages(GFP_KERNEL, 0);
    for (const Pfn pfn : live) rig.kernel.free_pages_of(pfn, 0);
    EXPECT_EQ(rig.kernel.alloc_pages(GFP_ATOMIC | gfp_nowarn, 2), no_pfn);
    EXPECT_NE(rig.kernel.alloc_pages(GFP_KERNEL | gfp_noretry, 2), no_pfn);
  });
}

// --- flags, addresses, contents

TEST(Flags, IllegalZoneBitsAreReportedAndRefused) {
  Rig rig("tiny-all");
  rig.alone([&] { EXPECT_EQ(rig.kernel.alloc_pages(GFP_KERNEL | gfp_dma | gfp_highmem, 0), no_pfn); });
  ASSERT_EQ(rig.said.reports.size(), 1u);
  EXPECT_EQ(rig.said.reports[0].kind, ReportKind::zone_bits);
}

TEST(Flags, HighmemIsMaskedForAddresses) {
  Rig rig("tiny-all");
  rig.alone([&] {
    const std::uint64_t address = rig.kernel.get_free_pages(GFP_HIGHUSER, 0);
    ASSERT_NE(address, 0u);
    EXPECT_NE(rig.kind_of(rig.kernel.machine().ram().pfn_of(address)), machine::ZoneKind::highmem);
    const Pfn high = rig.kernel.alloc_pages(GFP_HIGHUSER, 0);
    EXPECT_EQ(rig.kind_of(high), machine::ZoneKind::highmem);
    EXPECT_EQ(rig.kernel.page_address(high), 0u);
  });
  EXPECT_EQ(rig.said.count(ReportKind::highmem_address), 1u);
  EXPECT_EQ(rig.said.reports.size(), 1u);
}

TEST(Flags, CompIsMaskedForExactSizes) {
  Rig rig("tiny-all");
  rig.alone([&] {
    const std::uint64_t pages = rig.kernel.nr_free_pages();
    const std::uint64_t bytes = 3 * rig.kernel.machine().shape().page_bytes();
    const std::uint64_t address = rig.kernel.alloc_pages_exact(bytes, GFP_KERNEL | gfp_comp);
    ASSERT_NE(address, 0u);
    // Three pages of their own, no compound page of four.
    const Pfn first = rig.kernel.machine().ram().pfn_of(address);
    for (Pfn i = 0; i != 3; ++i) EXPECT_EQ(rig.kernel.page(first + i).flags, 0u);
    rig.kernel.free_pages_exact(address, bytes);
    rig.kernel.drain_all_pages();
    EXPECT_EQ(rig.kernel.nr_free_pages(), pages);
  });
  EXPECT_EQ(rig.said.count(ReportKind::compound_exact), 1u);
  EXPECT_EQ(rig.said.reports.size(), 1u);
}

TEST(Flags, NofailThatMayNotSleepAndContradictoryMobilityAreReported) {
  Rig rig("toy");
  rig.alone([&] {
    EXPECT_NE(rig.kernel.alloc_pages(GFP_ATOMIC | gfp_nofail, 0), no_pfn);
    EXPECT_NE(rig.kernel.alloc_pages(GFP_KERNEL | gfp_movable | gfp_reclaimable, 0), no_pfn);
  });
  EXPECT_EQ(rig.said.count(ReportKind::nofail_atomic), 1u);
  EXPECT_EQ(rig.said.count(ReportKind::mobility_bits), 1u);
}

TEST(Contents, ZeroMeansTheWholeBlock) {  // P-GFP-5
  Rig rig("toy");
  rig.alone([&] {
    machine::Ram& ram = rig.kernel.machine().ram();
    const Pfn dirty = rig.kernel.alloc_pages(GFP_KERNEL, 2);
    ram.fill(dirty, 4, std::byte{0x5a});
    rig.kernel.free_pages_of(dirty, 2);
    const Pfn zeroed = rig.kernel.alloc_pages(GFP_KERNEL | gfp_zero, 2);
    ASSERT_EQ(zeroed, dirty);
    EXPECT_EQ(ram.find_not(zeroed, 4, std::byte{0}), -1);
  });
}

TEST(Contents, ExactSizesReturnTheTail) {  // P-BUDDY-11
  Rig rig("toy");
  const auto before = rig.free_set();
  rig.alone([&] {
    const std::uint64_t address = rig.kernel.alloc_pages_exact(5 * 4096 + 1, GFP_KERNEL);
    ASSERT_NE(address, 0u);
    EXPECT_EQ(rig.kernel.nr_free_pages(), 4096u - 6);
    rig.kernel.free_pages_exact(address, 5 * 4096 + 1);
    EXPECT_EQ(rig.kernel.alloc_pages_exact(0, GFP_KERNEL), 0u);
    EXPECT_EQ(rig.kernel.alloc_pages_exact(~std::uint64_t{0}, GFP_KERNEL), 0u);
  });
  EXPECT_EQ(rig.free_set(), before);
  EXPECT_EQ(rig.said.count(ReportKind::order_too_big), 2u);
}

TEST(Contents, PoisonTellsOfWritesAfterFree) {  // domain.md 20.4
  Shape shape = shape_of("buddy16");
  shape.poison = machine::Toggle::on;
  Rig rig(shape);
  rig.alone([&] {
    const Pfn pfn = rig.kernel.alloc_pages(GFP_KERNEL, 1);
    rig.kernel.free_pages_of(pfn, 1);
    EXPECT_EQ(rig.kernel.machine().ram().find_not(pfn, 2, std::byte{0xaa}), -1);
    const Pfn clean = rig.kernel.alloc_pages(GFP_KERNEL, 1);
    ASSERT_EQ(clean, pfn);
    EXPECT_TRUE(rig.said.reports.empty());
    rig.kernel.free_pages_of(clean, 1);
    rig.kernel.machine().ram().frame(pfn + 1)[17] = std::byte{0};
    rig.kernel.alloc_pages(GFP_KERNEL, 1);
  });
  ASSERT_EQ(rig.said.reports.size(), 1u);
  EXPECT_EQ(rig.said.reports[0].kind, ReportKind::poison);
  EXPECT_EQ(rig.said.reports[0].pfn, 1u);
}

// --- contexts and faults

TEST(Contexts, NmiIsRefusedWithoutATrace) {  // P-CTX-6
  Rig rig("toy");
  const auto before = rig.free_set();
  rig.alone([&] {
    const Pfn pfn = rig.kernel.alloc_pages(GFP_ATOMIC, 0);
    machine::current().preempt_count += machine::nmi_offset;
    EXPECT_EQ(rig.kernel.alloc_pages(GFP_ATOMIC, 0), no_pfn);
    EXPECT_EQ(rig.kernel.get_free_pages(GFP_ATOMIC, 0), 0u);
    rig.kernel.free_pages_of(pfn, 0);
    rig.kernel.put_page(pfn);
    EXPECT_EQ(rig.kernel.client_add(ClientKind::clean, 2, GFP_ATOMIC), 0u);
    machine::current().preempt_count -= machine::nmi_offset;
    EXPECT_EQ(rig.kernel.page_count(pfn), 1);
    rig.kernel.free_pages_of(pfn, 0);
  });
  EXPECT_EQ(rig.said.count(ReportKind::nmi_entry), 5u);
  EXPECT_EQ(rig.said.reports.size(), 5u);
  EXPECT_EQ(rig.free_set(), before);
}

TEST(Contexts, SleepingFlagsInAtomicContextAreReportedOnce) {  // P-CTX-1
  Rig rig("toy");
  rig.alone([&] {
    machine::Pinned pinned;
    EXPECT_NE(rig.kernel.alloc_pages(GFP_KERNEL, 0), no_pfn);
    EXPECT_EQ(rig.said.reports.size(), 1u);
    while (rig.kernel.alloc_pages(GFP_ATOMIC | gfp_nowarn, 0) != no_pfn) {
    }
    EXPECT_EQ(rig.kernel.alloc_pages(GFP_KERNEL | gfp_nowarn, 0), no_pfn) << "not even a crime may sleep here";
  });
  EXPECT_EQ(rig.said.count(ReportKind::sleeping), 2u);
  EXPECT_EQ(rig.said.reports.size(), 2u);
  EXPECT_EQ(rig.said.sleeps, 0u);
}

TEST(Faults, InjectedRefusalLeavesNoOtherMark) {  // P-FAULT-6
  Rig rig(shape_of("toy"), {{.site = "page.alloc", .interval = 2}});
  const auto before = rig.free_set();
  rig.alone([&] {
    const Pfn pfn = rig.kernel.alloc_pages(GFP_KERNEL, 0);
    ASSERT_NE(pfn, no_pfn);
    EXPECT_EQ(rig.kernel.alloc_pages(GFP_KERNEL, 0), no_pfn);
    rig.kernel.free_pages_of(pfn, 0);
    const Pfn again = rig.kernel.alloc_pages(GFP_KERNEL | gfp_nofail, 0);
    ASSERT_NE(again, no_pfn);
    rig.kernel.free_pages_of(again, 0);
  });
  EXPECT_EQ(rig.said.faults, (std::vector<machine::Site>{"page.alloc"}));
  EXPECT_TRUE(rig.said.reports.empty());
  EXPECT_TRUE(rig.said.reclaims.empty());
  EXPECT_EQ(rig.said.kswapd_wakes, 0u);
  EXPECT_EQ(rig.free_set(), before);
}

// --- nodes (domain.md 3.5)

TEST(Nodes, PreferenceThisnodeAndStatistics) {  // P-ZONE-5, P-ZONE-9
  Shape shape = shape_of("flat");
  shape.nodes = 2;
  shape.cpus = 2;
  Rig rig(shape);
  rig.alone([&] {
    auto& k = rig.kernel;
    EXPECT_GE(k.alloc_pages_node(1, GFP_KERNEL, 0), 512u);
    EXPECT_LT(k.alloc_pages(GFP_KERNEL, 0), 512u);
    EXPECT_EQ(k.alloc_pages_node(2, GFP_KERNEL, 0), no_pfn);
    while (k.alloc_pages_node(1, GFP_ATOMIC | gfp_thisnode | gfp_nowarn, 0) != no_pfn) {
    }
    EXPECT_GT(k.zones()[0].nr_free_pages, 500u);
    EXPECT_LT(k.alloc_pages_node(1, GFP_KERNEL, 0), 512u);
    const unsigned wakes = rig.said.kswapd_wakes;
    EXPECT_EQ(k.alloc_pages_node(1, GFP_KERNEL | GFP_THISNODE, 0), no_pfn);
    EXPECT_EQ(rig.said.kswapd_wakes, wakes) << "all three THISNODE bits wake nobody";
  });
  std::uint64_t miss = 0, foreign = 0;
  for (const auto& zone : rig.kernel.allocator().zones()) {
    const auto& numa = zone.pcp[0].numa;
    EXPECT_EQ(numa.hit.get() + numa.miss.get(), numa.local.get() + numa.other.get());
    miss += numa.miss.get();
    foreign += numa.foreign.get();
  }
  EXPECT_EQ(miss, 1u);
  EXPECT_EQ(foreign, 1u);
  EXPECT_TRUE(rig.said.reports.empty());
}

}  // namespace
}  // namespace memtorture::kernel
