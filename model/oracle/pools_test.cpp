// Memory pools: every rule and crime of the facet, each by the shortest history that earns it.
//
// A pool of one element of kmalloc, unless a test says otherwise. The frames 1024..1031 are the layer's.
#include "model/oracle/no_caches_test.h"
#include "model/oracle/object_driver_test.h"

namespace memtorture::oracle::test {
namespace {

using program::Count;
using subject::gfp_noretry;
using subject::GFP_NOWAIT;
using subject::gfp_nowarn;

constexpr std::uint64_t handle = slab + 4 * page;
constexpr std::uint32_t added = subject::gfp_nomemalloc | gfp_noretry | gfp_nowarn;

class Pools : public Objects {
 public:
  explicit Pools(std::size_t programs = 1) : Objects(toy_with_objects(), programs) {}

  void pool(std::uint16_t slot, std::uint32_t min_nr, std::uint64_t at = handle, std::uint64_t bytes = 100) {
    EXPECT_EQ(call(program::PoolCreateKmalloc{Out{slot}, {min_nr}, {bytes}}), Ruling::fine) << crime();
    EXPECT_EQ(returned(at), Ruling::fine) << why();
  }
  Ruling ask(std::uint16_t slot, std::uint32_t gfp = GFP_KERNEL, std::uint16_t of = 0) {
    return call(program::PoolAlloc{Out{slot}, Of{of}, {gfp}});
  }
  void element(std::uint16_t slot, std::uint64_t address, std::uint16_t of = 0) {
    EXPECT_EQ(ask(slot, GFP_KERNEL, of), Ruling::fine) << crime();
    EXPECT_EQ(got(address), Ruling::fine) << why();
  }
  // The backend asks for pages ...
  Ruling backend(std::uint32_t gfp, std::uint8_t order = 0) {
    Event e = event(EventKind::layer_requests);
    e.gfp = gfp;
    e.order = order;
    e.value = ~std::uint64_t{0};
    return oracle.on(e);
  }
  // ... and gets none.
  void backend_refuses(std::uint32_t gfp = added, std::uint8_t order = 0) {
    EXPECT_EQ(backend(gfp, order), Ruling::fine) << why();
    EXPECT_EQ(told(EventKind::faulted, 0, machine::Site("page.alloc").index()), Ruling::fine);
    EXPECT_EQ(oracle.on(event(EventKind::layer_granted)), Ruling::fine) << why();
  }
  void back(std::uint16_t slot, std::uint16_t of = 0) {
    EXPECT_EQ(call(program::PoolFree{In{slot}, Of{of}}), Ruling::fine) << crime();
    EXPECT_EQ(returned(), Ruling::fine) << why();
  }
  Ruling resize(std::uint32_t min_nr, std::int64_t told, std::uint32_t gfp = GFP_KERNEL) {
    (void)call(program::PoolResize{Of{0}, {min_nr}, {gfp}});
    return returned(static_cast<std::uint64_t>(told));
  }
};

TEST(Pools, ComeAndGo) {
  Pools d;
  d.pool(0, 2);
  d.element(1, slab);
  d.element(2, slab + 128);
  d.back(1);
  d.back(2);
  EXPECT_EQ(d.call(program::PoolDestroy{Of{0}}), Ruling::fine);
  EXPECT_EQ(d.returned(0), Ruling::fine) << d.why();
  EXPECT_EQ(d.oracle.end(), Ruling::fine);
}

TEST(Pools, AreMadeUnlessThereIsAReason) {
  Pools d;
  EXPECT_EQ(d.call(program::PoolCreateKmalloc{Out{0}, {2}, {100}}), Ruling::fine);
  d.breaks(d.returned(0), "pool.create");

  Pools refused;
  EXPECT_EQ(refused.call(program::PoolCreateKmalloc{Out{0}, {2}, {100}}), Ruling::fine);
  refused.backend_refuses(GFP_KERNEL);
  EXPECT_EQ(refused.returned(0), Ruling::fine) << refused.why();

  Pools huge;  // of which there are no objects
  EXPECT_EQ(huge.call(program::PoolCreateKmalloc{Out{0}, {2}, {std::uint64_t{1} << 40}}), Ruling::fine);
  EXPECT_EQ(huge.returned(0), Ruling::fine) << huge.why();
}

TEST(Pools, ThatCannotBeAreReported) {
  const program::Op impossible[] = {program::PoolCreateKmalloc{Out{0}, {1}, {0}},
                                    program::PoolCreateKmalloc{Out{0}, {~0u}, {100}},
                                    program::PoolCreatePages{Out{0}, {1}, {11}}};
  for (const program::Op& op : impossible) {
    Pools d;
    d.is_crime(d.call(op), "bad-pool");
    EXPECT_EQ(d.report(ReportKind::bad_pool), Ruling::fine);
    EXPECT_EQ(d.returned(0), Ruling::fine) << d.why();

    Pools silent;
    (void)silent.call(op);
    silent.breaks(silent.returned(0), "page.report.missing");

    Pools made;
    (void)made.call(op);
    (void)made.report(ReportKind::bad_pool);
    made.breaks(made.returned(handle), "pool.create");
  }
}

TEST(Pools, ARequestThatMayWaitIsNeverRefused) {
  Pools d;
  d.pool(0, 1);
  EXPECT_EQ(d.ask(1), Ruling::fine);
  d.backend_refuses(added | subject::gfp_fs);
  d.breaks(d.got(0), "pool.fail");
}

TEST(Pools, OthersAreRefusedOnlyWhenNothingIsLeft) {
  Pools unasked;
  unasked.pool(0, 1);
  EXPECT_EQ(unasked.ask(1, GFP_NOWAIT), Ruling::fine);
  unasked.breaks(unasked.got(0), "pool.fail");  // nobody refused

  Pools beside_stock;
  beside_stock.pool(0, 1);
  EXPECT_EQ(beside_stock.ask(1, GFP_NOWAIT), Ruling::fine);
  beside_stock.backend_refuses();
  beside_stock.breaks(beside_stock.got(0), "pool.fail");

  Pools empty;
  empty.pool(0, 1);
  EXPECT_EQ(empty.ask(1, GFP_NOWAIT), Ruling::fine);
  empty.backend_refuses();
  EXPECT_EQ(empty.got(slab), Ruling::fine) << empty.why();  // the one that was set aside
  EXPECT_EQ(empty.ask(2, GFP_NOWAIT), Ruling::fine);
  empty.backend_refuses();
  EXPECT_EQ(empty.got(0), Ruling::fine) << empty.why();
  empty.back(1);  // and again there is one
  EXPECT_EQ(empty.ask(3, GFP_NOWAIT), Ruling::fine);
  empty.backend_refuses();
  empty.breaks(empty.got(0), "pool.fail");
}

TEST(Pools, TheBackendIsAskedModestly) {
  const struct {
    std::uint32_t asked, passed;
    bool right;
  } rows[] = {{GFP_KERNEL, added | subject::gfp_fs, true},
              {GFP_KERNEL, added | GFP_KERNEL, false},  // waits before the stock was looked at
              {GFP_KERNEL, added | subject::gfp_fs | subject::gfp_io, false},
              {GFP_ATOMIC, added | GFP_ATOMIC, true},
              {GFP_ATOMIC, gfp_noretry | gfp_nowarn | GFP_ATOMIC, false},  // might take reserves
              {GFP_ATOMIC, subject::gfp_nomemalloc | gfp_nowarn | GFP_ATOMIC, false},
              {GFP_ATOMIC, subject::gfp_nomemalloc | gfp_noretry | GFP_ATOMIC, false},
              {GFP_KERNEL | subject::gfp_nofail, added | subject::gfp_nofail, false}};
  for (const auto& row : rows) {
    Pools d;
    d.pool(0, 1);
    EXPECT_EQ(d.ask(1, row.asked), Ruling::fine);
    const Ruling ruling = d.backend(row.passed);
    if (row.right) {
      EXPECT_EQ(ruling, Ruling::fine) << d.why();
    } else {
      d.breaks(ruling, "pool.gfp");
    }
  }
}

TEST(Pools, AfterARefusalItMayWait) {
  Pools d;
  d.pool(0, 1);
  EXPECT_EQ(d.ask(1), Ruling::fine);
  d.backend_refuses(added | subject::gfp_fs);
  EXPECT_EQ(d.backend(added | GFP_KERNEL), Ruling::fine) << d.why();
}

TEST(Pools, WhatNoFailureMayBeInjectedIntoIsNotTheirs) {
  Pools d;
  d.pool(0, 1);
  (void)d.ask(1, GFP_KERNEL | subject::gfp_nofail);
  EXPECT_EQ(d.told(EventKind::faulted, 0, machine::Site("slab.alloc").index()), Ruling::fine) << d.why();
  EXPECT_EQ(d.got(slab), Ruling::fine) << d.why();
}

TEST(Pools, AWaiterHasARightToWhatIsSetAside) {
  Pools d;
  d.pool(0, 1);
  EXPECT_EQ(d.ask(1), Ruling::fine);
  d.backend_refuses(added | subject::gfp_fs);
  EXPECT_FALSE(d.oracle.may_wait_forever(0));
  EXPECT_EQ(d.got(slab), Ruling::fine);
  EXPECT_EQ(d.ask(2), Ruling::fine);
  d.backend_refuses(added | subject::gfp_fs);
  EXPECT_TRUE(d.oracle.may_wait_forever(0));  // failures are injected into its backend
}

// Nobody injects failures, and there is memory: the backend would give one.
TEST(Pools, AWaiterHasARightToMemory) {
  Pools d;
  EXPECT_EQ(d.call(program::PoolCreatePages{Out{0}, {1}, {0}}), Ruling::fine);
  d.take(1032, 0);
  EXPECT_EQ(d.returned(handle), Ruling::fine) << d.why();
  EXPECT_EQ(d.ask(1), Ruling::fine);
  d.take(1033, 0, added | subject::gfp_fs);
  EXPECT_EQ(d.got(base + 1033 * page), Ruling::fine) << d.why();
  EXPECT_EQ(d.ask(2), Ruling::fine);
  EXPECT_FALSE(d.oracle.may_wait_forever(0));
}

TEST(Pools, AnElementIsAnObject) {
  Pools d;
  d.pool(0, 1);
  d.element(1, slab);
  d.breaks(d.kmalloc(2, 100, slab), "object.overlap");

  Pools pages;
  EXPECT_EQ(pages.call(program::PoolCreatePages{Out{0}, {1}, {1}}), Ruling::fine);
  pages.take(1032, 1);
  EXPECT_EQ(pages.returned(handle), Ruling::fine) << pages.why();
  EXPECT_EQ(pages.ask(1), Ruling::fine);
  pages.breaks(pages.got(slab), "object.place");  // in a block of eight frames
}

TEST(Pools, ResizeTellsWhatItDid) {
  Pools d;
  d.pool(0, 2);
  EXPECT_EQ(d.resize(1, 0), Ruling::fine);
  EXPECT_EQ(d.resize(5, 0), Ruling::fine);
  d.breaks(d.resize(9, -subject::enomem), "pool.resize");

  Pools odd;
  odd.pool(0, 2);
  odd.breaks(odd.resize(1, 7), "pool.resize");

  Pools lowered;
  lowered.pool(0, 2);
  (void)lowered.call(program::PoolResize{Of{0}, {1}, {GFP_KERNEL}});
  lowered.backend_refuses(GFP_KERNEL);
  lowered.breaks(lowered.returned(static_cast<std::uint64_t>(-subject::enomem)), "pool.resize");
}

TEST(Pools, ResizeToNothingIsTold) {
  for (const std::uint32_t min_nr : {0u, ~0u}) {
    Pools d;
    d.pool(0, 2);
    d.is_crime(d.call(program::PoolResize{Of{0}, {min_nr}, {GFP_KERNEL}}), "bad-pool");
    EXPECT_EQ(d.report(ReportKind::bad_pool), Ruling::fine);
    EXPECT_EQ(d.returned(static_cast<std::uint64_t>(-subject::einval)), Ruling::fine) << d.why();
  }
}

TEST(Pools, StayWithAnElementOut) {
  Pools d;
  d.pool(0, 1);
  d.element(1, slab);
  d.is_crime(d.call(program::PoolDestroy{Of{0}}), "busy-pool");
  EXPECT_EQ(d.report(ReportKind::pool_busy), Ruling::fine);
  EXPECT_EQ(d.returned(static_cast<std::uint64_t>(-subject::ebusy)), Ruling::fine) << d.why();
  d.back(1);
  EXPECT_EQ(d.call(program::PoolDestroy{Of{0}}), Ruling::fine);
  d.breaks(d.returned(static_cast<std::uint64_t>(-subject::ebusy)), "pool.destroy");
}

TEST(Pools, UsedAfterTheyWereDestroyed) {
  const auto destroyed = [](Pools& d) {
    d.pool(0, 1);
    EXPECT_EQ(d.call(program::PoolDestroy{Of{0}}), Ruling::fine);
    EXPECT_EQ(d.returned(0), Ruling::fine) << d.why();
  };
  Pools d;
  destroyed(d);
  d.is_crime(d.ask(1), "dead-pool");
  EXPECT_EQ(d.report(ReportKind::bad_pool), Ruling::fine);
  EXPECT_EQ(d.got(0), Ruling::fine) << d.why();

  Pools works;
  destroyed(works);
  (void)works.ask(1);
  (void)works.report(ReportKind::bad_pool);
  works.breaks(works.got(slab), "pool.destroy");

  Pools another;  // has the place by now
  destroyed(another);
  another.object(2, 100, handle);
  another.is_fatal(another.ask(1), "dead-pool");
}

TEST(Pools, DestroyedWhileInUse) {
  Pools d(2);
  d.pool(0, 1);
  EXPECT_EQ(d.ask(1), Ruling::fine);
  d.who = 1;
  d.is_fatal(d.call(program::PoolDestroy{Of{0}}), "dead-pool");
}

TEST(Pools, TakeBackOnlyTheirOwn) {
  Pools d;
  d.pool(0, 1);
  d.object(1, 100, slab);
  d.is_crime(d.call(program::PoolFree{In{1}, Of{0}}), "wrong-pool-free");
  EXPECT_EQ(d.report(ReportKind::bad_object), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine) << d.why();

  Pools believed;  // one is out, and this may be it
  believed.pool(0, 1);
  believed.object(1, 100, slab);
  believed.element(2, slab + 128);
  believed.is_fatal(believed.call(program::PoolFree{In{1}, Of{0}}), "wrong-pool-free");

  Pools behind;
  behind.pool(0, 1);
  behind.element(1, slab);
  behind.is_fatal(behind.kfree(1), "wrong-pool-free");
}

TEST(Pools, SleepInTaskContextOnly) {
  const program::Op sleepers[] = {program::PoolAlloc{Out{1}, Of{0}, {GFP_KERNEL}},
                                  program::PoolResize{Of{0}, {1}, {GFP_ATOMIC}}, program::PoolDestroy{Of{0}},
                                  program::PoolCreateKmalloc{Out{2}, {1}, {64}}};
  for (const program::Op& op : sleepers) {
    Pools d;
    d.pool(0, 1);
    d.preempt_count = 1;
    d.is_crime(d.call(op), "sleep-in-atomic");
    d.breaks(std::holds_alternative<program::PoolAlloc>(op) ? d.got(slab) : d.returned(0), "page.report.missing");
  }
  Pools quiet;
  quiet.pool(0, 1);
  quiet.preempt_count = 1;
  EXPECT_EQ(quiet.ask(1, GFP_ATOMIC), Ruling::fine);
  quiet.breaks(quiet.told(EventKind::slept), "gfp.sleep");
}

TEST(Pools, OfACacheKeepItBusy) {
  Pools d;
  d.cache(0, 128, base + 1030 * page);
  EXPECT_EQ(d.call(program::PoolCreateSlab{Out{1}, {1}, Of{0}}), Ruling::fine);
  EXPECT_EQ(d.returned(handle), Ruling::fine) << d.why();
  EXPECT_EQ(d.call(program::CacheShrink{Of{0}}), Ruling::fine);
  d.breaks(d.returned(0), "cache.shrink");

  Pools busy;
  busy.cache(0, 128, base + 1030 * page);
  EXPECT_EQ(busy.call(program::PoolCreateSlab{Out{1}, {1}, Of{0}}), Ruling::fine);
  EXPECT_EQ(busy.returned(handle), Ruling::fine) << busy.why();
  busy.is_crime(busy.call(program::CacheDestroy{Of{0}}), "busy-cache");
}

// --- the white box

class PoolsView final : public subject::MempoolsView {
 public:
  subject::PoolInfo pool_info(subject::PoolHandle) override { return info; }
  void for_each_element(subject::PoolHandle, EachElement f, void* arg) override {
    for (const std::uint64_t element : elements) f(arg, element);
  }
  subject::PoolInfo info{.min_nr = 2, .curr_nr = 2, .capacity = 2, .out = 0, .waiters = 0, .backend = {}};
  std::vector<std::uint64_t> elements = {slab + 1024, slab + 1152};
};

TEST(Pools, WhatIsSetAsideIsWhatHappened) {
  const std::function<void(Pools&, PoolsView&)> wrong[] = {
      [](Pools&, PoolsView& v) { v.elements.pop_back(); },  // counted, and not there
      [](Pools&, PoolsView& v) {
        v.info.curr_nr = 1;
        v.elements.pop_back();
      },  // lost
      [](Pools&, PoolsView& v) { v.info.min_nr = v.info.capacity = 3; },
      [](Pools&, PoolsView& v) { v.info.out = 1; },
      [](Pools&, PoolsView& v) { v.info.waiters = 1; },
      [](Pools&, PoolsView& v) { v.elements[1] = v.elements[0]; },
      [](Pools&, PoolsView& v) { v.elements[1] = 16; },
      [](Pools& d, PoolsView& v) { d.object(9, 100, v.elements[1]); },  // somebody has it
  };
  for (const auto& bend : wrong) {
    Pools d;
    d.pool(0, 2);
    PoolsView view;
    NoCaches nothing;
    bend(d, view);
    d.breaks(d.oracle.audit_objects(nothing, &view), "pool.stock");
  }
  Pools d;  // the same, right: but its elements are in no slab
  d.pool(0, 2);
  PoolsView view;
  NoCaches nothing;
  d.breaks(d.oracle.audit_objects(nothing, &view), "pool.stock");
  EXPECT_NE(d.why().find("no object in use"), std::string::npos) << d.why();
}

}  // namespace
}  // namespace memtorture::oracle::test
