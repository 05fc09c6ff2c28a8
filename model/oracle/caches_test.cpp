// Caches: every rule and crime of kmem_cache_create, destroy and shrink, and of constructed objects.
#include "model/oracle/object_driver_test.h"

namespace memtorture::oracle::test {
namespace {

TEST(Caches, ComeAndGo) {
  Objects d;
  d.cache(0, 100, slab);
  EXPECT_EQ(d.alloc_of(1, 0, slab + 1024), Ruling::fine) << d.why();
  EXPECT_EQ(d.call(program::CacheShrink{Of{0}}), Ruling::fine);
  EXPECT_EQ(d.returned(1), Ruling::fine) << d.why();
  EXPECT_EQ(d.call(program::CacheFree{Of{0}, In{1}}), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine);
  EXPECT_EQ(d.call(program::CacheDestroy{Of{0}}), Ruling::fine);
  EXPECT_EQ(d.returned(0), Ruling::fine) << d.why();
  d.cache(0, 100, slab);  // the name is free again
}

TEST(Caches, AreMadeUnlessThereIsAReason) {
  Objects d;
  EXPECT_EQ(d.call(program::CacheCreate{Out{0}, {100}, {0}, {0}, {0}}), Ruling::fine);
  d.breaks(d.returned(0), "cache.create");
}

TEST(Caches, WithoutWhichTheMachineStops) {
  const program::CacheCreate impossible{Out{0}, {1}, {0}, {subject::SLAB_PANIC}, {0}};
  const auto panic = static_cast<std::uint8_t>(machine::PanicKind::cache_create);
  {
    Objects d;
    EXPECT_EQ(d.call(impossible), Ruling::crime);
    EXPECT_EQ(d.report(ReportKind::bad_cache), Ruling::fine);
    EXPECT_EQ(d.told(EventKind::panicked, 0, panic), Ruling::fine) << d.why();
  }
  {
    Objects d;
    EXPECT_EQ(d.call(impossible), Ruling::crime);
    EXPECT_EQ(d.report(ReportKind::bad_cache), Ruling::fine);
    d.breaks(d.returned(0), "cache.create");
  }
  Objects d;
  EXPECT_EQ(d.call(program::CacheCreate{Out{0}, {100}, {0}, {subject::SLAB_PANIC}, {0}}), Ruling::fine);
  d.breaks(d.told(EventKind::panicked, 0, panic), "cache.create");
}

TEST(Caches, HaveNamesOfTheirOwn) {
  Objects d;
  d.cache(0, 100, slab);
  EXPECT_EQ(d.call(program::CacheCreate{Out{0}, {100}, {0}, {0}, {0}}), Ruling::fine);
  EXPECT_EQ(d.report(ReportKind::duplicate_cache), Ruling::fine);
  EXPECT_EQ(d.returned(0), Ruling::fine) << d.why();
  EXPECT_EQ(d.call(program::CacheCreate{Out{0}, {100}, {0}, {0}, {0}}), Ruling::fine);
  EXPECT_EQ(d.report(ReportKind::duplicate_cache), Ruling::fine);
  d.breaks(d.returned(slab + 512), "cache.create");
}

TEST(Caches, ThatCannotBeAreReported) {
  for (const program::CacheCreate& op :
       {program::CacheCreate{Out{0}, {1}, {0}, {0}, {0}}, program::CacheCreate{Out{0}, {100}, {3}, {0}, {0}},
        program::CacheCreate{Out{0}, {100}, {0}, {2}, {0}},
        program::CacheCreate{Out{0}, {100}, {0}, {subject::SLAB_DESTROY_BY_RCU | subject::SLAB_POISON}, {0}}}) {
    Objects d;
    d.is_crime(d.call(op), "bad-cache");
    EXPECT_EQ(d.report(ReportKind::bad_cache), Ruling::fine);
    EXPECT_EQ(d.returned(0), Ruling::fine) << d.why();
  }
}

TEST(Caches, GoExactlyWhenTheyAreEmpty) {
  Objects d;
  d.cache(0, 100, slab);
  EXPECT_EQ(d.call(program::CacheDestroy{Of{0}}), Ruling::fine);
  d.breaks(d.returned(static_cast<std::uint64_t>(-subject::ebusy)), "cache.destroy");
}

TEST(Caches, StayWithALiveObject) {
  Objects d;
  d.cache(0, 100, slab);
  EXPECT_EQ(d.alloc_of(1, 0, slab + 1024), Ruling::fine);
  d.is_crime(d.call(program::CacheDestroy{Of{0}}), "busy-cache");
  EXPECT_EQ(d.report(ReportKind::cache_busy), Ruling::fine);
  EXPECT_EQ(d.returned(static_cast<std::uint64_t>(-subject::ebusy)), Ruling::fine) << d.why();
  EXPECT_EQ(d.alloc_of(2, 0, slab + 2048), Ruling::fine) << d.why();
  d.is_crime(d.call(program::CacheDestroy{Of{0}}), "busy-cache");
  EXPECT_EQ(d.report(ReportKind::cache_busy), Ruling::fine);
  d.breaks(d.returned(0), "cache.destroy");
}

TEST(Caches, TellWhetherTheyShrank) {
  Objects d;
  d.cache(0, 100, slab);
  EXPECT_EQ(d.call(program::CacheShrink{Of{0}}), Ruling::fine);
  d.breaks(d.returned(1), "cache.shrink");
}

TEST(Caches, UsedAfterTheyWereDestroyed) {
  for (const program::Op& op :
       {program::Op(program::CacheAlloc{Out{1}, Of{0}, {GFP_KERNEL}}), program::Op(program::CacheShrink{Of{0}}),
        program::Op(program::CacheDestroy{Of{0}}), program::Op(program::CacheSize{Of{0}})}) {
    Objects d;
    d.cache(0, 100, slab);
    EXPECT_EQ(d.call(program::CacheDestroy{Of{0}}), Ruling::fine);
    EXPECT_EQ(d.returned(0), Ruling::fine);
    d.is_fatal(d.call(op), "dead-cache");
  }
}

TEST(Caches, TakeBackOnlyTheirOwn) {
  Objects d;
  d.cache(0, 100, slab);
  d.cache(1, 100, slab + 512);
  EXPECT_EQ(d.alloc_of(2, 0, slab + 1024), Ruling::fine);
  d.is_fatal(d.call(program::CacheFree{Of{1}, In{2}}), "wrong-cache-free");
}

TEST(Caches, ConstructedObjectsComeAsTheyWent) {
  Objects d;
  d.cache(0, 100, slab, 0, 0, 0x33);
  d.breaks(d.alloc_of(1, 0, slab + 1024, 12), "object.construct");
}

TEST(Caches, WhatCameBackBrokenMayComeAgain) {
  Objects d;
  d.cache(0, 100, slab, 0, 0, 0x33);
  EXPECT_EQ(d.alloc_of(1, 0, slab + 1024), Ruling::fine);
  EXPECT_EQ(d.call(program::Poke{In{1}, {12}, {1}}), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine);
  d.freed(1);
  EXPECT_EQ(d.alloc_of(1, 0, slab + 1024, 12), Ruling::fine) << d.why();
}

}  // namespace
}  // namespace memtorture::oracle::test
