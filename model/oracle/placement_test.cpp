// Per-CPU lists: what goes on them, who takes it off, how many there may be.
#include "model/oracle/driver_test.h"

namespace memtorture::oracle::test {
namespace {

using subject::GFP_KERNEL;

TEST(Placement, AFreedPageBelongsToItsCpu) {
  machine::Shape shape = toy();
  shape.cpus = 2;
  shape.pcp_high = 6;
  shape.pcp_batch = 2;
  for (const unsigned list : {0u, 1u}) {
    Driver d(shape);
    d.preempt_count = 1;
    d.alloc(0, 1024, 0);
    d.call(free_of(0));
    EXPECT_EQ(d.placed(EventKind::parked, 1024), Ruling::fine);
    EXPECT_EQ(d.returned(), Ruling::fine);
    d.cpu = static_cast<std::uint8_t>(list);
    d.call(program::AllocPage{Out{1}, {0}});
    EXPECT_EQ(d.granted(1024), list == 0 ? Ruling::fine : Ruling::broken);
    if (list == 1) EXPECT_EQ(d.rule(), "pcp.remote");
  }
}

// A context that cannot move frees to, refills and drains the list of its own CPU; one that can move may be anywhere.
TEST(Placement, AListIsChangedOnItsOwnCpu) {
  machine::Shape shape = toy();
  shape.cpus = 2;
  shape.pcp_high = 6;
  shape.pcp_batch = 2;
  struct Row {
    const char* what;
    Ruling (*step)(Driver&, std::uint8_t list);
  };
  const Row rows[] = {
      {"free",
       [](Driver& d, std::uint8_t list) {
         d.alloc(0, 1024, 0);
         d.call(free_of(0));
         return d.placed(EventKind::parked, 1024, list);
       }},
      {"refill",
       [](Driver& d, std::uint8_t list) {
         d.call(program::AllocPage{Out{0}, {0}});
         return d.placed(EventKind::refilled, 1024, list);
       }},
      {"drain",
       [](Driver& d, std::uint8_t list) {
         d.cpu = list;
         d.alloc(0, 1024, 0);
         d.call(free_of(0));
         d.placed(EventKind::parked, 1024, list);
         d.returned();
         d.cpu = 0;
         d.call(program::DrainLocalPages{});
         return d.placed(EventKind::drained, 1024, list);
       }},
  };
  for (const Row& row : rows) {
    for (const std::uint8_t list : {std::uint8_t{0}, std::uint8_t{1}}) {
      for (const std::uint32_t preempt_count : {0u, 1u}) {
        Driver d(shape);
        d.preempt_count = preempt_count;
        const bool wrong = list == 1 && preempt_count == 1;
        EXPECT_EQ(row.step(d, list), wrong ? Ruling::broken : Ruling::fine) << row.what << int{list};
        if (wrong) EXPECT_EQ(d.rule(), "pcp.remote") << row.what;
      }
    }
  }
}

TEST(Placement, ListsAreBoundedRefilledInBatchesAndDrained) {
  machine::Shape shape = toy();
  shape.pcp_high = 2;
  shape.pcp_batch = 2;
  {
    Driver d(shape);
    d.call(program::AllocPage{Out{0}, {GFP_KERNEL}});
    EXPECT_EQ(d.placed(EventKind::refilled, 1024), Ruling::fine);
    EXPECT_EQ(d.placed(EventKind::refilled, 1025), Ruling::fine);
    EXPECT_EQ(d.placed(EventKind::refilled, 1026), Ruling::broken);
    EXPECT_EQ(d.rule(), "pcp.batch");
  }
  {
    Driver d(shape);
    d.alloc(0, 1024);
    d.alloc(1, 1025);
    d.call(free_of(0));
    EXPECT_EQ(d.placed(EventKind::parked, 1024), Ruling::fine);
    EXPECT_EQ(d.returned(), Ruling::fine);
    d.call(program::DrainLocalPages{});
    EXPECT_EQ(d.returned(), Ruling::broken);
    EXPECT_EQ(d.rule(), "pcp.drain");
  }
  {
    Driver d(shape);
    d.alloc(0, 1024);
    d.alloc(1, 1025);
    for (std::uint16_t slot = 0; slot != 2; ++slot) {
      d.call(free_of(slot));
      EXPECT_EQ(d.placed(EventKind::parked, 1024 + slot), Ruling::fine);
      EXPECT_EQ(d.returned(), slot == 0 ? Ruling::fine : Ruling::broken);
    }
    EXPECT_EQ(d.rule(), "pcp.high");
  }
  {
    Driver d(shape);
    d.alloc(0, 1024);
    EXPECT_EQ(d.placed(EventKind::parked, 1024), Ruling::broken);
    EXPECT_EQ(d.rule(), "pcp.park");
  }
}

// A daemon announces a drained page before it is merged, so until its next step a refusal may be the older state's.
TEST(Placement, ADaemonsDrainIsUnderWayUntilItsNextStep) {
  machine::Shape shape = toy();
  shape.pcp_high = 2;
  shape.pcp_batch = 1;
  for (const bool finished : {false, true}) {
    Driver d(shape);
    d.alloc(0, 1024);
    d.call(free_of(0));
    EXPECT_EQ(d.placed(EventKind::parked, 1024), Ruling::fine);
    EXPECT_EQ(d.returned(), Ruling::fine);
    Event e = d.event(EventKind::drained);
    e.who = machine::kswapd_first;
    e.pfn = 1024;
    EXPECT_EQ(d.oracle.on(e), Ruling::fine);
    e.kind = EventKind::slept;
    if (finished) EXPECT_EQ(d.oracle.on(e), Ruling::fine);
    d.call(program::NrFreePages{});
    EXPECT_EQ(d.returned(4095), finished ? Ruling::broken : Ruling::fine);
    if (finished) EXPECT_EQ(d.rule(), "buddy.count");
  }
}

}  // namespace
}  // namespace memtorture::oracle::test
