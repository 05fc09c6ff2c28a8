// Refusals, rounds of reclaim and bounds: each rule with the history that breaks it and the one beside it that does
// not.
#include <utility>

#include "model/oracle/driver_test.h"

namespace memtorture::oracle::test {
namespace {

using program::AllocPages;
using subject::GFP_ATOMIC;
using subject::GFP_KERNEL;
using subject::gfp_nofail;
using subject::gfp_nowarn;
using subject::gfp_repeat;

// Memory down to what GFP_KERNEL may take. Frame 1024 is a clean client's, all others are the program's.
struct Exhausted : Driver {
  Exhausted() {
    call(program::ClientAdd{{subject::ClientKind::clean}, {1}, {GFP_KERNEL}});
    EXPECT_EQ(told(EventKind::client_granted, 0, 0, 1024), Ruling::fine);
    EXPECT_EQ(returned(1), Ruling::fine);
    fill(1025, 2951, kernel_noretry);
    fill(0, 972, kernel_noretry);
    hungry = true;
    fill(3976, 24, kernel_noretry);
    fill(972, 8, kernel_noretry);
  }
  Ruling round(std::uint32_t gfp, unsigned frees, unsigned tells) {
    if (const Ruling ruling = told(EventKind::reclaim_began, 0, 0, no_pfn, gfp); ruling != Ruling::fine) return ruling;
    if (frees != 0) EXPECT_EQ(told(EventKind::client_released, 0, 0, 1024), Ruling::fine);
    return told(EventKind::reclaim_ended, tells);
  }
};

TEST(Refusal, WhatHasToComeBeforeIt) {
  struct Row {
    std::string_view rule;
    std::uint32_t gfp;
    std::uint8_t order;
    std::vector<unsigned> rounds;  // pages freed by each
    bool reported;
  };
  const Row rows[] = {
      {"", kernel_noretry, 0, {0}, true},
      {"page.fail.reclaim", kernel_noretry, 0, {}, true},
      {"page.report.missing", kernel_noretry, 0, {0}, false},
      {"gfp.noretry", kernel_noretry, 0, {0, 0}, true},
      {"", kernel_noretry | gfp_nowarn, 0, {0}, false},
      {"gfp.nowarn", kernel_noretry | gfp_nowarn, 0, {0}, true},
      {"page.fail.small", GFP_KERNEL, 3, {0}, true},
      {"", GFP_KERNEL, 4, {0}, true},
      {"gfp.nofail", GFP_KERNEL | gfp_nofail, 4, {0, 0, 0}, true},
      {"gfp.nofail", kernel_noretry | gfp_nofail, 0, {0, 0}, true},
      {"", GFP_KERNEL, 5, {1}, true},
      {"gfp.repeat", GFP_KERNEL | gfp_repeat, 5, {1}, true},
      {"", GFP_KERNEL | gfp_repeat, 5, {1, 0}, true},
      {"", kernel_noretry | gfp_repeat, 5, {1}, true},
      {"wmark.kswapd", kernel_noretry, 0, {0}, true},  // the last row: kswapd sleeps on
  };
  for (const Row& row : rows) {
    Exhausted d;
    d.hungry = row.rule != "wmark.kswapd";
    EXPECT_EQ(d.call(AllocPages{Out{1}, {row.gfp}, {row.order}}), Ruling::fine);
    Ruling ruling = Ruling::fine;
    for (const unsigned pages : row.rounds) {
      if (ruling == Ruling::fine) ruling = d.round(row.gfp, pages, pages);
    }
    if (ruling == Ruling::fine && row.reported) ruling = d.report(ReportKind::allocation_failure);
    if (ruling == Ruling::fine) ruling = d.refused();
    EXPECT_EQ(ruling, row.rule.empty() ? Ruling::fine : Ruling::broken) << row.rule << d.oracle.finding().detail;
    EXPECT_EQ(d.rule(), row.rule) << d.oracle.finding().detail;
  }
}

TEST(Refusal, ARoundTellsWhatItFreed) {
  for (const unsigned tells : {0u, 1u, 2u}) {
    Exhausted d;
    d.call(AllocPages{Out{1}, {kernel_noretry}, {0}});
    EXPECT_EQ(d.round(kernel_noretry, 1, tells), tells == 1 ? Ruling::fine : Ruling::broken);
    if (tells != 1) EXPECT_EQ(d.rule(), "reclaim.progress");
  }
}

// A reclaimer that asks with __GFP_NOFAIL and without its privilege: the reference lets it be refused and lets it wait.
TEST(Refusal, OrAnEndlessWait) {
  constexpr std::uint32_t insists = subject::GFP_NOIO | gfp_nofail | subject::gfp_nomemalloc;
  for (const std::uint32_t gfp : {insists, insists & ~gfp_nofail}) {
    Exhausted d;
    d.set_task_flags(machine::pf_memalloc);
    d.call(AllocPages{Out{1}, {gfp}, {0}});
    EXPECT_EQ(d.oracle.may_wait_forever(0), gfp == insists);
    d.report(ReportKind::allocation_failure);
    EXPECT_EQ(d.refused(), Ruling::fine) << d.oracle.finding().detail;
  }
}

// A task that may move asks for memory of the node that it is on, and which one that was shows only in the result: with
// node 1 used up it may be waiting there.
TEST(Refusal, OrAnEndlessWaitOnTheNodeOfTheMoment) {
  constexpr std::uint32_t here = subject::GFP_NOIO | subject::gfp_thisnode;
  machine::Shape shape = toy();
  shape.nodes = shape.cpus = 2;
  for (const auto& [node, endless] : {std::pair<std::int8_t, bool>{-1, true}, {0, false}, {1, true}}) {
    Driver d(shape);
    d.set_task_flags(machine::pf_memalloc);
    for (const subject::ZoneInfo& zone : d.zones) {
      if (zone.node != 1) continue;
      for (std::uint64_t i = 0; i != zone.managed; ++i) {
        d.call(program::AllocPagesNode{Out{63}, {1}, {here}, {0}});
        d.told(EventKind::kswapd_woken, 1);
        ASSERT_EQ(d.granted(zone.start + static_cast<machine::Pfn>(i)), Ruling::fine) << d.oracle.finding().detail;
      }
    }
    d.set_task_flags(0);
    d.call(program::AllocPagesNode{Out{0}, {node}, {here}, {0}});
    EXPECT_EQ(d.oracle.may_wait_forever(0), endless) << int{node};
  }
}

TEST(Bounds, AnOrderTooBigIsNeverServed) {
  Driver d;
  d.call(AllocPages{Out{0}, {GFP_KERNEL}, {11}});
  d.report(ReportKind::order_too_big);
  EXPECT_EQ(d.granted(2048), Ruling::broken);
  EXPECT_EQ(d.rule(), "page.order");
}

TEST(Bounds, ZonesThatDoNotCombineServeNothing) {
  for (const bool served : {false, true}) {
    Driver d;
    EXPECT_EQ(d.call(AllocPages{Out{0}, {GFP_KERNEL | subject::gfp_dma | subject::gfp_highmem}, {0}}), Ruling::crime);
    d.report(ReportKind::zone_bits);
    EXPECT_EQ(served ? d.granted(1024) : d.refused(), served ? Ruling::broken : Ruling::fine);
    if (served) EXPECT_EQ(d.rule(), "zone.bits");
  }
}

// 200 single pages above every mark are no block of order 3, whatever their sum.
TEST(Bounds, PagesAboveTheMarkAreNotABlock) {
  for (const std::uint8_t order : {std::uint8_t{0}, std::uint8_t{3}}) {
    Driver d;
    d.take_everything();
    for (std::uint16_t frame = 1024; frame != 1424; frame += 2) d.free(frame);
    d.call(AllocPages{Out{5000}, {GFP_ATOMIC}, {order}});
    EXPECT_EQ(d.granted(1024), order == 0 ? Ruling::fine : Ruling::broken) << d.oracle.finding().detail;
    if (order != 0) EXPECT_EQ(d.rule(), "wmark.order");
  }
}

TEST(Bounds, ABlockLiesInOneZone) {
  machine::Shape shape = toy();
  shape.zone_end_bytes = {std::uint64_t{1028} << 12, std::uint64_t{1028} << 12, machine::zone_end_none};
  for (const machine::Pfn first : {1024u, 1032u}) {
    Driver d(shape);
    d.call(AllocPages{Out{0}, {GFP_KERNEL}, {3}});
    EXPECT_EQ(d.granted(first), first == 1032 ? Ruling::fine : Ruling::broken) << d.oracle.finding().detail;
    if (first == 1024) EXPECT_EQ(d.rule(), "zone.span");
  }
}

TEST(Bounds, ThisNodeIsThisNode) {
  machine::Shape shape = toy();
  shape.nodes = 2;
  const auto zones = publish(shape);
  for (const subject::ZoneInfo& zone : zones) {
    if (zone.kind != machine::ZoneKind::normal) continue;
    Driver d(shape);
    d.call(program::AllocPagesNode{Out{0}, {1}, {kernel_noretry | subject::gfp_thisnode}, {0}});
    EXPECT_EQ(d.granted(zone.start), zone.node == 1 ? Ruling::fine : Ruling::broken) << d.oracle.finding().detail;
    if (zone.node != 1) EXPECT_EQ(d.rule(), "zone.node");
  }
}

TEST(Addresses, AreLinear) {
  for (const std::uint64_t off : {0u, 4096u}) {
    const std::uint64_t right = machine::Ram::linear_base + (std::uint64_t{1024} << 12);
    {
      Driver d;
      d.call(program::GetFreePage{Out{0}, {GFP_KERNEL}});
      Event e = d.event(EventKind::result);
      e.pfn = 1024;
      e.value = right + off;
      e.value2 = ~std::uint64_t{0};
      EXPECT_EQ(d.oracle.on(e), off == 0 ? Ruling::fine : Ruling::broken);
      if (off != 0) EXPECT_EQ(d.rule(), "page.address");
    }
    Driver d;
    d.alloc(0, 1024);
    d.call(program::PageAddress{In{0}});
    EXPECT_EQ(d.returned(right + off), off == 0 ? Ruling::fine : Ruling::broken);
    if (off != 0) EXPECT_EQ(d.rule(), "page.address");
  }
}

// A report of the context's misuse needs a context that misuses it.
TEST(Context, ReportsNeedACrime) {
  struct Row {
    ReportKind kind;
    std::string_view rule;
  };
  for (const Row& row : {Row{ReportKind::sleeping, "ctx.sleeping"}, Row{ReportKind::scheduling, "ctx.scheduling"},
                         Row{ReportKind::processor_id, "ctx.processor-id"}}) {
    for (const bool atomic : {false, true}) {
      Driver d;
      d.preempt_count = atomic ? 1 : 0;
      d.call(program::AllocPage{Out{0}, {GFP_KERNEL}});
      const bool earned = atomic && row.kind != ReportKind::processor_id;
      EXPECT_EQ(d.report(row.kind), earned ? Ruling::fine : Ruling::broken) << row.rule;
      if (!earned) EXPECT_EQ(d.rule(), row.rule);
    }
  }
}

TEST(Context, TheAllocatorLeavesNoTaskFlags) {
  for (const bool scope : {false, true}) {
    Driver d;
    d.alloc(0, 1024);
    if (scope) {
      d.call(program::NoreclaimSave{});
      d.returned();
    }
    d.task_flags = machine::pf_memalloc;
    EXPECT_EQ(d.call(program::AllocPage{Out{1}, {GFP_KERNEL}}), scope ? Ruling::fine : Ruling::broken);
    if (!scope) EXPECT_EQ(d.rule(), "ctx.balance");
  }
}

TEST(Context, LocksAreMisusedByProgramsOnly) {
  for (const bool own_lock : {false, true}) {
    Driver d;
    if (own_lock)
      d.call(program::SpinUnlockOp{{0}});
    else
      d.call(program::AllocPage{Out{0}, {GFP_KERNEL}});
    EXPECT_EQ(d.report(ReportKind::lock_unowned), own_lock ? Ruling::fine : Ruling::broken);
    if (!own_lock) EXPECT_EQ(d.rule(), "lock.misuse");
  }
}

TEST(Context, CrimesByName) {
  struct Row {
    std::string_view crime;
    Op op;
    ReportKind report;
  };
  const Row rows[] = {
      {"preempt-underflow", program::PreemptEnable{}, ReportKind::preempt_underflow},
      {"processor-id-preemptible", program::SmpProcessorId{}, ReportKind::processor_id},
      {"nofail-atomic", AllocPages{Out{0}, {GFP_ATOMIC | gfp_nofail}, {0}}, ReportKind::nofail_atomic},
  };
  for (const Row& row : rows) {
    Driver d;
    EXPECT_EQ(d.call(row.op), Ruling::crime);
    EXPECT_EQ(d.crime(), row.crime);
    EXPECT_EQ(d.report(row.report), Ruling::fine) << row.crime;
  }
  Driver d;
  d.alloc(0, 1024);
  d.free(0);
  EXPECT_EQ(d.call(program::BlemishPage{In{0}, {}}), Ruling::crime);
  EXPECT_EQ(d.crime(), "foreign-blemish");
}

}  // namespace
}  // namespace memtorture::oracle::test
