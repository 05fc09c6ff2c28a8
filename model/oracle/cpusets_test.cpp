// Cpusets, by hand: who may be served by which node, be refused, reclaim, wake and wait.
#include "model/oracle/driver_test.h"

namespace memtorture::oracle::test {
namespace {

using program::AllocPages;
using program::SetMemsAllowed;
using subject::GFP_ATOMIC;
using subject::gfp_hardwall;
using subject::GFP_KERNEL;
using subject::GFP_NOFS;
using subject::gfp_nomemalloc;
using subject::gfp_noretry;
using subject::gfp_thisnode;
using subject::GFP_USER;

constexpr std::uint8_t home = 2;
constexpr machine::Pfn home_start = 64;

machine::Shape two_nodes() {
  machine::Shape shape;
  shape.base = 6;
  shape.ram_bytes = 512 << 10;
  shape.zone_end_bytes = {0, 0, machine::zone_end_none};
  shape.nodes = 2;
  shape.min_free_kbytes = 128;
  return shape;
}

// Two nodes of 64 pages with marks 16/20/24; the task's CPU is on node 0, its cpuset is node 1.
class Confined : public Driver {
 public:
  explicit Confined(machine::Shape shape = two_nodes()) : Driver(shape) {}

  Ruling confine(std::uint8_t nodes, bool done = true) {
    EXPECT_EQ(call(SetMemsAllowed{{nodes}}), Ruling::fine) << why();
    return returned(done ? 1 : 0);
  }
  Ruling wake(unsigned node) {
    const Ruling ruling = told(EventKind::kswapd_woken, node);
    hungry = false;  // here each says what it wakes
    return ruling;
  }
  Ruling ask(std::uint32_t gfp, std::uint8_t order = 0) { return call(AllocPages{Out{1}, {gfp}, {order}}); }
  // Home has 16 pages left: MIN.
  void use_up_home() {
    EXPECT_EQ(confine(home), Ruling::fine);
    fill(home_start, 44, GFP_USER);
    for (machine::Pfn frame = home_start + 44; frame != home_start + 48; ++frame) {
      EXPECT_EQ(ask(GFP_USER), Ruling::fine);
      EXPECT_EQ(wake(1), Ruling::fine);
      EXPECT_EQ(granted(frame), Ruling::fine) << why();
    }
  }
  Ruling refused_after_a_round(std::uint32_t gfp) {
    EXPECT_EQ(told(EventKind::reclaim_began, 0, 0, no_pfn, gfp), Ruling::fine) << why();
    EXPECT_EQ(told(EventKind::reclaim_ended, 0), Ruling::fine) << why();
    return refused_and_told();
  }
  Ruling refused_and_told() {
    EXPECT_EQ(report(ReportKind::allocation_failure), Ruling::fine) << why();
    return refused();
  }
};

TEST(Cpusets, TheFirstPassStaysAtHome) {
  for (const std::uint32_t gfp : {GFP_KERNEL, GFP_USER, GFP_ATOMIC}) {
    Confined d;
    EXPECT_EQ(d.confine(home), Ruling::fine);
    d.alloc(1, home_start, gfp);
    EXPECT_EQ(d.ask(gfp), Ruling::fine);
    d.breaks(d.granted(0), "gfp.cpuset");
  }
}

TEST(Cpusets, InterruptsAndThisnodeAreNotBound) {
  {
    Confined d;
    EXPECT_EQ(d.confine(home), Ruling::fine);
    d.preempt_count = machine::softirq_offset;
    d.alloc(1, 0, GFP_ATOMIC);
    EXPECT_EQ(d.ask(GFP_ATOMIC), Ruling::fine);
    d.breaks(d.granted(home_start), "zone.preference");
  }
  Confined d;
  EXPECT_EQ(d.confine(home), Ruling::fine);
  d.alloc(1, 0, GFP_USER | gfp_thisnode);
  EXPECT_EQ(d.ask(GFP_USER | gfp_thisnode), Ruling::fine);
  d.breaks(d.granted(home_start), "zone.node");
}

TEST(Cpusets, WhoMayGoElsewhereWhenHomeIsShort) {
  struct Row {
    std::uint32_t gfp, task;
    bool may;
  };
  const Row rows[] = {{GFP_KERNEL, 0, true},
                      {GFP_NOFS, 0, true},
                      {GFP_USER, 0, false},
                      {GFP_NOFS | gfp_hardwall, 0, false},
                      {GFP_ATOMIC, 0, true},
                      {GFP_ATOMIC | gfp_hardwall, 0, true},
                      {GFP_USER | gfp_nomemalloc, machine::pf_memalloc, false},
                      {GFP_USER | gfp_nomemalloc, machine::tif_memdie, true},
                      {GFP_USER | gfp_thisnode, 0, true}};
  for (const Row& row : rows) {
    Confined d;
    d.use_up_home();
    d.set_task_flags(row.task);
    EXPECT_EQ(d.ask(row.gfp), Ruling::fine);
    EXPECT_EQ(d.wake(1), Ruling::fine);
    if (row.may) {
      EXPECT_EQ(d.granted(0), Ruling::fine) << std::hex << row.gfp << " " << d.why();
    } else {
      d.breaks(d.granted(0), "gfp.cpuset");
    }
  }
}

// Home has marks to pass in the slow pass, too, and only then the pass without marks goes anywhere.
TEST(Cpusets, AReclaimerLooksAtHomeFirst) {
  Confined d;
  d.use_up_home();
  d.set_task_flags(machine::pf_memalloc);
  EXPECT_EQ(d.ask(GFP_USER), Ruling::fine);
  EXPECT_EQ(d.wake(1), Ruling::fine);
  EXPECT_EQ(d.granted(0), Ruling::fine) << d.why();
  Confined early;
  EXPECT_EQ(early.confine(home), Ruling::fine);
  early.set_task_flags(machine::pf_memalloc);
  EXPECT_EQ(early.ask(GFP_USER), Ruling::fine);
  early.breaks(early.granted(0), "gfp.cpuset");
}

TEST(Cpusets, WhoMayBeRefusedBesideFreeMemory) {
  struct Row {
    std::string_view rule;
    std::uint32_t gfp;
    std::uint8_t order;
  };
  const Row rows[] = {{"", GFP_USER, 4},
                      {"", GFP_USER | gfp_noretry, 0},
                      {"page.fail.small", GFP_USER, 3},
                      {"page.fail.spurious", GFP_KERNEL, 4},
                      {"page.fail.spurious", GFP_KERNEL | gfp_noretry, 0},
                      {"page.fail.spurious", GFP_KERNEL | gfp_noretry | gfp_thisnode, 0}};
  for (const Row& row : rows) {
    Confined d;
    d.use_up_home();
    EXPECT_EQ(d.ask(row.gfp, row.order), Ruling::fine);
    EXPECT_EQ(d.wake(1), Ruling::fine);
    const Ruling ruling = d.refused_after_a_round(row.gfp);
    if (row.rule.empty()) {
      EXPECT_EQ(ruling, Ruling::fine) << d.why();
    } else {
      d.breaks(ruling, row.rule);
    }
  }
  Confined d;
  d.use_up_home();
  EXPECT_EQ(d.ask(GFP_ATOMIC | gfp_hardwall), Ruling::fine);
  EXPECT_EQ(d.wake(1), Ruling::fine);
  d.breaks(d.refused_and_told(), "page.fail.spurious");
}

TEST(Cpusets, KswapdIsWokenAtHomeOnly) {
  {
    Confined d;
    d.use_up_home();
    EXPECT_EQ(d.ask(GFP_KERNEL), Ruling::fine);
    d.breaks(d.wake(0), "gfp.cpuset");
  }
  {
    Confined d;
    d.use_up_home();
    EXPECT_EQ(d.ask(GFP_KERNEL), Ruling::fine);
    d.breaks(d.granted(0), "wmark.kswapd");
  }
  Confined d;
  d.use_up_home();
  d.preempt_count = machine::softirq_offset;
  EXPECT_EQ(d.ask(GFP_ATOMIC), Ruling::fine);
  EXPECT_EQ(d.wake(0), Ruling::fine) << d.why();
}

TEST(Cpusets, ReclaimTakesPagesAtHome) {
  struct Row {
    std::uint32_t gfp, task;
    machine::Pfn frame;
    bool may;
  };
  const Row rows[] = {{GFP_USER, 0, home_start, true},
                      {GFP_USER, 0, 0, false},
                      {GFP_KERNEL, 0, 0, false},
                      {GFP_KERNEL | gfp_thisnode, 0, 0, false}};
  for (const Row& row : rows) {
    Confined d;
    for (const machine::Pfn frame : {machine::Pfn{0}, home_start}) {
      EXPECT_EQ(d.confine(frame == 0 ? 1 : home), Ruling::fine);
      EXPECT_EQ(d.call(program::ClientAdd{{subject::ClientKind::clean}, {1}, {GFP_USER}}), Ruling::fine);
      EXPECT_EQ(d.told(EventKind::client_granted, 0, 0, frame), Ruling::fine) << d.why();
      EXPECT_EQ(d.returned(1), Ruling::fine);
    }
    EXPECT_EQ(d.ask(row.gfp, 4), Ruling::fine);
    EXPECT_EQ(d.told(EventKind::reclaim_began, 0, 0, no_pfn, row.gfp), Ruling::fine) << d.why();
    const Ruling ruling = d.told(EventKind::client_released, 0, 0, row.frame);
    if (row.may) {
      EXPECT_EQ(ruling, Ruling::fine) << d.why();
    } else {
      d.breaks(ruling, "gfp.cpuset");
    }
  }
}

TEST(Cpusets, WhatIsAccepted) {
  struct Row {
    std::uint8_t nodes;
    bool right;
  };
  for (const Row& row : {Row{0, false}, Row{1, true}, Row{2, true}, Row{3, true}, Row{0xfc, false}, Row{0x81, true}}) {
    Confined right;
    EXPECT_EQ(right.confine(row.nodes, row.right), Ruling::fine);
    Confined wrong;
    wrong.breaks(wrong.confine(row.nodes, !row.right), "gfp.cpuset");
  }
  Confined d;
  EXPECT_EQ(d.confine(home), Ruling::fine);
  EXPECT_EQ(d.confine(0xf0, false), Ruling::fine);
  EXPECT_EQ(d.ask(GFP_KERNEL), Ruling::fine);
  d.breaks(d.granted(0), "gfp.cpuset");
}

TEST(Cpusets, EachTaskHasItsOwnAndEachRunBeginsWithAll) {
  Confined d;
  EXPECT_EQ(d.confine(home), Ruling::fine);
  EXPECT_EQ(d.oracle.begin(d.the_case, d.zones, d.promises), Ruling::fine);
  d.alloc(1, 0);
  EXPECT_EQ(d.ask(GFP_KERNEL), Ruling::fine);
  d.breaks(d.granted(home_start), "zone.preference");
}

TEST(Cpusets, WithoutAnyOfTheZones) {
  machine::Shape shape = toy();
  shape.nodes = 2;  // all DMA memory is on node 0
  {
    Confined d(shape);
    EXPECT_EQ(d.confine(home), Ruling::fine);
    EXPECT_EQ(d.ask(GFP_USER | subject::gfp_dma), Ruling::fine);
    EXPECT_EQ(d.refused(), Ruling::fine) << d.why();
  }
  {
    Confined d(shape);
    EXPECT_EQ(d.confine(home), Ruling::fine);
    EXPECT_EQ(d.ask(GFP_USER | subject::gfp_dma), Ruling::fine);
    d.breaks(d.granted(0), "gfp.cpuset");
  }
  Confined d(shape);
  EXPECT_EQ(d.confine(home), Ruling::fine);
  EXPECT_EQ(d.ask(GFP_KERNEL | subject::gfp_dma), Ruling::fine);
  d.breaks(d.refused(), "page.fail.spurious");
}

TEST(Cpusets, WhoMayWaitForEver) {
  const auto waits = [](std::uint32_t gfp) {
    Confined d;
    d.use_up_home();
    EXPECT_EQ(d.ask(gfp), Ruling::fine);
    return d.oracle.may_wait_forever(0);
  };
  EXPECT_TRUE(waits(GFP_NOFS | gfp_hardwall));
  EXPECT_FALSE(waits(GFP_NOFS));
  EXPECT_FALSE(waits(GFP_USER)) << "somebody may be killed";
}

}  // namespace
}  // namespace memtorture::oracle::test
