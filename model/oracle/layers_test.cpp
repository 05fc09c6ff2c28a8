// Requests of a layer in the middle of another operation: judged as a program's, owned by nobody else.
#include "model/oracle/driver_test.h"

namespace memtorture::oracle::test {
namespace {

using subject::GFP_KERNEL;

// kmalloc of 0 bytes stands for an operation that may make a layer ask for pages: its own result is always the same.
class Layer : public Driver {
 public:
  Layer() { begin(); }
  void begin() { EXPECT_EQ(call(program::Kmalloc{Out{60}, {0}, {GFP_KERNEL}}), Ruling::fine); }
  void end() { EXPECT_EQ(returned(subject::zero_size_ptr), Ruling::fine) << oracle.finding().detail; }
  Ruling requests(unsigned order = 0) {
    Event e = event(EventKind::layer_requests);
    e.gfp = GFP_KERNEL;
    e.order = static_cast<std::uint8_t>(order);
    e.value = ~std::uint64_t{0};  // the local node
    e.value2 = task_flags;
    return oracle.on(e);
  }
  Ruling gets(machine::Pfn pfn) {
    Event e = event(EventKind::layer_granted);
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
