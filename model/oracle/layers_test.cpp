// Requests of a layer in the middle of another operation: judged as a program's, owned by nobody else.
#include "model/oracle/driver_test.h"

namespace memtorture::oracle::test {
namespace {

using subject::GFP_KERNEL;

// kmalloc of 0 bytes stands for an operation that may make a layer ask for pages: its own result is always the same.
class Layer : public Driver {
 public:
  explicit Layer(machine::Shape shape = toy(), std::size_t programs = 1, std::uint32_t preempt = 0)
      : Driver(shape, programs) {
    preempt_count = preempt;
    begin();
  }
  void begin() { EXPECT_EQ(call(program::Kmalloc{Out{60}, {0}, {GFP_KERNEL}}), Ruling::fine); }
  void end() { EXPECT_EQ(returned(subject::zero_size_ptr), Ruling::fine) << oracle.finding().detail; }
  Ruling requests(unsigned order = 0, std::uint8_t left = 0) {
    Event e = event(EventKind::layer_requests);
    e.detail = left;
    e.gfp = GFP_KERNEL;
    e.order = static_cast<std::uint8_t>(order);
    e.value = ~std::uint64_t{0};  // the local node
    e.value2 = task_flags;
    return oracle.on(e);
  }
  Ruling gets(machine::Pfn pfn, std::uint8_t left = 0) {
    Event e = event(EventKind::layer_granted);
    e.detail = left;
    e.pfn = pfn;
    e.value2 = ~std::uint64_t{0};
    return oracle.on(e);
  }
  Ruling releases(machine::Pfn pfn, unsigned order = 0) {
    Event e = event(EventKind::layer_releases);
    e.pfn = pfn;
    e.order = static_cast<std::uint8_t>(order);
    return oracle.on(e);
  }
  Ruling released() { return oracle.on(event(EventKind::layer_released)); }
  void take(machine::Pfn pfn, unsigned order = 0) {
    EXPECT_EQ(requests(order), Ruling::fine);
    EXPECT_EQ(gets(pfn), Ruling::fine) << oracle.finding().rule << ": " << oracle.finding().detail;
  }
};

TEST(Layers, ABlockComesAndGoes) {
  Layer d;
  d.take(1024, 2);
  EXPECT_EQ(d.releases(1024, 2), Ruling::fine);
  EXPECT_EQ(d.released(), Ruling::fine);
  d.end();
  d.alloc(0, 1024, GFP_KERNEL, 2);
}

TEST(Layers, TheOuterOperationIsJudgedAsItBegan) {
  Layer d;
  d.take(1024);
  d.preempt_count = machine::preempt_offset;
  EXPECT_EQ(d.returned(subject::zero_size_ptr), Ruling::broken);
  EXPECT_EQ(d.rule(), "ctx.balance");
}

TEST(Layers, AsksOnlyWhereSomethingIsNeeded) {
  Layer d;
  d.end();
  EXPECT_EQ(d.call(program::Ksize{In{60}}), Ruling::fine);
  EXPECT_EQ(d.requests(), Ruling::broken);
  EXPECT_EQ(d.rule(), "layer.gfp");
}

TEST(Layers, AsksWithNoMoreRightsThanItsCaller) {
  Layer d;
  d.end();
  EXPECT_EQ(d.call(program::Kmalloc{Out{60}, {0}, {subject::GFP_NOFS}}), Ruling::fine);
  EXPECT_EQ(d.requests(), Ruling::broken);
  EXPECT_EQ(d.rule(), "layer.gfp");
}

TEST(Layers, ItsZoneIsJudged) {
  Layer d;
  EXPECT_EQ(d.requests(), Ruling::fine);
  EXPECT_EQ(d.gets(0), Ruling::broken);
  EXPECT_EQ(d.rule(), "zone.preference");
}

TEST(Layers, ItsRefusalIsJudged) {
  Layer d;
  EXPECT_EQ(d.requests(), Ruling::fine);
  EXPECT_EQ(d.gets(no_pfn), Ruling::broken);
  EXPECT_EQ(d.rule(), "page.fail.spurious");
}

TEST(Layers, WhatAProgramHasIsNotGivenToALayer) {
  Layer d;
  d.end();
  d.alloc(0, 1024);
  d.begin();
  EXPECT_EQ(d.requests(), Ruling::fine);
  EXPECT_EQ(d.gets(1024), Ruling::broken);
  EXPECT_EQ(d.rule(), "page.overlap");
}

TEST(Layers, GivesBackOnlyWhatItHolds) {
  constexpr std::pair<machine::Pfn, unsigned> rows[] = {{1028, 2}, {1024, 1}, {1025, 0}, {5000, 0}};
  for (const auto& [pfn, order] : rows) {
    Layer d;
    d.take(1024, 2);
    EXPECT_EQ(d.releases(pfn, order), Ruling::broken) << pfn;
    EXPECT_EQ(d.rule(), "layer.pages");
  }
}

TEST(Layers, WhatAProgramHasIsNotALayersToGiveBack) {
  Layer d;
  d.end();
  d.alloc(0, 1024);
  EXPECT_EQ(d.releases(1024), Ruling::broken);
  EXPECT_EQ(d.rule(), "layer.pages");
}

TEST(Layers, NothingIsReleasedTwice) {
  Layer d;
  d.take(1024);
  EXPECT_EQ(d.releases(1024), Ruling::fine);
  EXPECT_EQ(d.released(), Ruling::fine);
  EXPECT_EQ(d.releases(1024), Ruling::broken);
  EXPECT_EQ(d.rule(), "layer.pages");
}

TEST(Layers, HoldingSomeAtTheEndIsNoLeak) {
  Layer d;
  d.take(1024);
  d.end();
  EXPECT_EQ(d.oracle.end(), Ruling::fine) << d.crime();
}

TEST(Layers, ACacheGrowsWhenItHasNothingLeft) {
  Layer d;
  EXPECT_EQ(d.requests(0, 0), Ruling::fine);
  EXPECT_EQ(d.gets(1024), Ruling::fine);
  EXPECT_EQ(d.requests(0, 1), Ruling::broken);
  EXPECT_EQ(d.rule(), "slab.grow");
}

TEST(Layers, WhereOthersUseObjectsACacheMayGrowBesideFreeOnes) {
  Layer before(toy(), 2);  // somebody is in the middle of something
  before.who = 1;
  before.begin();
  before.who = 0;
  before.end();
  before.begin();
  EXPECT_EQ(before.requests(0, 9), Ruling::fine);

  Layer meanwhile(toy(), 2);
  meanwhile.who = 1;
  meanwhile.begin();
  meanwhile.end();
  meanwhile.who = 0;
  EXPECT_EQ(meanwhile.requests(0, 9), Ruling::fine);
}

// Who may sleep may have been moved from one node to another since it looked.
TEST(Layers, OnSeveralNodesOnlyWhoStaysIsHeldToIt) {
  machine::Shape shape = toy();
  shape.nodes = shape.cpus = 2;
  Layer moves(shape);
  EXPECT_EQ(moves.requests(0, 1), Ruling::fine);
  Layer stays(shape, 1, 1);
  EXPECT_EQ(stays.requests(0, 1), Ruling::broken);
  EXPECT_EQ(stays.rule(), "slab.grow");
}

// The request for pages was refused, and meanwhile others gave objects back: it looks once more.
TEST(Layers, NoObjectIsRefusedBesideFreeOnes) {
  for (const bool later : {false, true}) {  // somebody comes and takes it before the refused one looks
    Layer d(toy(), 2);
    d.end();
    EXPECT_EQ(d.call(program::Kmalloc{Out{1}, {64}, {GFP_KERNEL}}), Ruling::fine);
    EXPECT_EQ(d.requests(), Ruling::fine);
    EXPECT_EQ(d.told(EventKind::faulted, 0, machine::Site("page.alloc").index()), Ruling::fine);
    EXPECT_EQ(d.gets(machine::no_pfn, 3), Ruling::fine) << d.oracle.finding().detail;
    if (later) {
      d.who = 1;
      d.begin();
      d.end();
      d.who = 0;
    }
    EXPECT_EQ(d.returned(0), later ? Ruling::fine : Ruling::broken) << d.oracle.finding().detail;
    if (!later) {
      EXPECT_EQ(d.rule(), "object.fail");
    }
  }
}

TEST(Layers, ToFreeALayersPageIsACrime) {
  Layer d;
  d.end();
  d.alloc(0, 1024);
  d.free(0);
  d.begin();
  d.take(1024);
  d.end();
  EXPECT_EQ(d.call(program::FreePagesOf{In{0}, {0}}), Ruling::fatal);
  EXPECT_EQ(d.crime(), "foreign-free");
}

}  // namespace
}  // namespace memtorture::oracle::test
