// Pages of slabs that go back: by whom, told how, and when they are owed.
#include "model/oracle/driver_test.h"

namespace memtorture::oracle::test {
namespace {

using program::In;
using program::Of;
using program::Out;
using subject::GFP_KERNEL;
using enum EventKind;

constexpr machine::Pfn first = 1024;  // of the one slab, of order 1
constexpr std::uint64_t page = 4096, slab = machine::Ram::linear_base + first * page;
constexpr std::uint64_t cache_handle = slab + page;

// A cache of a program (slot 0) with one object (slot 1).
class Slabs : public Driver {
 public:
  explicit Slabs(std::uint64_t quarantine = 0) : Driver(shape(quarantine), 2) {
    for (std::size_t i = 0; i != the_case.slot_names.size(); ++i) the_case.slot_names[i] = "s" + std::to_string(i);
    EXPECT_EQ(call(program::CacheCreate{Out{0}, {512}, {0}, {0}, {0}}), Ruling::fine);
    EXPECT_EQ(returned(cache_handle), Ruling::fine) << why();
    EXPECT_EQ(call(program::CacheAlloc{Out{1}, Of{0}, {GFP_KERNEL}}), Ruling::fine);
    Event e = event(layer_requests);
    e.gfp = GFP_KERNEL;
    e.order = 1;
    e.value = ~std::uint64_t{0};
    EXPECT_EQ(oracle.on(e), Ruling::fine) << why();
    e = event(layer_granted);
    e.pfn = first;
    e.value2 = ~std::uint64_t{0};
    EXPECT_EQ(oracle.on(e), Ruling::fine) << why();
    e = event(result);
    e.pfn = first;
    e.value = slab;
    e.value2 = ~std::uint64_t{0};
    EXPECT_EQ(oracle.on(e), Ruling::fine) << why();
  }
  static machine::Shape shape(std::uint64_t quarantine) {
    machine::Shape shape = toy();
    shape.objects = machine::ObjectLayer::slab;
    shape.reap = machine::Toggle::on;
    shape.quarantine_bytes = quarantine;
    if (quarantine != 0) shape.slab_debug = machine::debug_shadow;
    return shape;
  }

  void free_object() {
    EXPECT_EQ(call(program::CacheFree{Of{0}, In{1}}), Ruling::fine) << crime();
    EXPECT_EQ(returned(), Ruling::fine) << why();
  }
  // Events of a daemon, or of the program whose turn it is.
  Ruling says(EventKind kind, std::uint64_t value = 0, std::uint32_t gfp = GFP_KERNEL) {
    Event e = event(kind);
    if (daemon != machine::no_context) e.who = daemon;
    e.value = value;
    e.gfp = gfp;
    if (kind == layer_releases) {
      e.pfn = first;
      e.order = 1;
    }
    return oracle.on(e);
  }
  void give_back() {
    EXPECT_EQ(says(layer_releases), Ruling::fine) << why();
    EXPECT_EQ(says(layer_released), Ruling::fine) << why();
  }
  void ask(std::uint32_t gfp = kernel_noretry) { EXPECT_EQ(call(program::AllocPage{Out{2}, {gfp}}), Ruling::fine); }
  void reclaim(std::uint32_t gfp = kernel_noretry) {
    ask(gfp);
    EXPECT_EQ(says(reclaim_began, 0, gfp), Ruling::fine) << why();
  }

  machine::ContextId daemon = machine::no_context;
};

TEST(Shrinkers, OfARequestThatReclaims) {
  Slabs d;
  d.free_object();
  d.reclaim();
  EXPECT_EQ(d.says(shrink_began), Ruling::fine) << d.why();
  d.give_back();
  EXPECT_EQ(d.says(shrink_ended, 2), Ruling::fine) << d.why();
  EXPECT_EQ(d.says(reclaim_ended, 2), Ruling::fine) << d.why();
  EXPECT_EQ(d.granted(first), Ruling::fine) << "what came back serves the request: " << d.why();
}

TEST(Shrinkers, OfDaemons) {
  for (const machine::ContextId daemon : {machine::kswapd_first, machine::events_first}) {
    Slabs d;
    d.free_object();
    d.daemon = daemon;
    EXPECT_EQ(d.says(shrink_began, 0, machine::is_worker(daemon) ? 0 : GFP_KERNEL), Ruling::fine) << d.why();
    d.give_back();
    EXPECT_EQ(d.says(shrink_ended, 2), Ruling::fine) << d.why();
    d.alloc(2, first, GFP_KERNEL, 1);
  }
}

TEST(Shrinkers, NobodyElseGivesBack) {
  for (const unsigned who : {0u, 1u, 2u, 3u}) {
    Slabs d;
    d.alloc(3, first + 2);
    d.free_object();
    if (who == 0) (void)d.call(free_of(3));
    if (who == 1) d.ask();
    if (who == 2) d.reclaim();  // but not from within a shrinker
    if (who == 3) d.daemon = machine::kswapd_first;
    d.breaks(d.says(layer_releases), "reclaim.owner");
  }
}

TEST(Shrinkers, NeverTakeWhatIsInUse) {
  Slabs d;
  d.daemon = machine::events_first;
  EXPECT_EQ(d.says(shrink_began, 0, 0), Ruling::fine);
  d.breaks(d.says(layer_releases), "object.page");
}

TEST(Shrinkers, AreCalledByReclaimWithItsFlags) {
  Slabs outside;
  outside.ask(subject::GFP_ATOMIC);
  outside.breaks(outside.says(shrink_began, 0, subject::GFP_ATOMIC), "gfp.reclaim");
  Slabs other;
  other.reclaim(subject::GFP_NOFS);
  other.breaks(other.says(shrink_began, 0, GFP_KERNEL), "gfp.scope");
}

TEST(Shrinkers, DoNotRecurse) {
  Slabs twice;
  twice.reclaim();
  EXPECT_EQ(twice.says(shrink_began), Ruling::fine);
  twice.breaks(twice.says(shrink_began), "reclaim.nested");
  Slabs hungry;
  hungry.reclaim();
  EXPECT_EQ(hungry.says(shrink_began), Ruling::fine);
  hungry.breaks(hungry.says(layer_requests), "reclaim.nested");
  Slabs reaper;
  reaper.daemon = machine::events_first;
  reaper.breaks(reaper.says(layer_requests, 0, subject::GFP_NOWAIT), "layer.gfp");
}

TEST(Shrinkers, TellWhatCameBack) {
  for (const unsigned told : {1u, 2u, 3u}) {
    Slabs d;
    d.free_object();
    d.reclaim();
    EXPECT_EQ(d.says(shrink_began), Ruling::fine);
    d.give_back();
    const Ruling ruling = d.says(shrink_ended, told);
    if (told != 2) d.breaks(ruling, "reclaim.progress");
    if (told == 2) d.breaks(d.says(reclaim_ended, 1), "reclaim.progress");
  }
}

// Rounds that tell no progress, with the slab empty or not, and with what may be in the way.
TEST(Shrinkers, NoProgressOnlyWithoutEmptySlabs) {
  enum class Way { none, in_use, quarantine, other, reaper, crime, injected };
  for (const Way way : {Way::none, Way::in_use, Way::quarantine, Way::other, Way::reaper, Way::crime, Way::injected}) {
    Slabs d(way == Way::quarantine ? 4096 : 0);
    if (way != Way::in_use) d.free_object();
    if (way == Way::crime) {
      (void)d.call(program::PreemptEnable{});
      (void)d.report(ReportKind::preempt_underflow);
      (void)d.returned();
    }
    if (way == Way::other) {
      d.who = 1;
      EXPECT_EQ(d.call(program::Kmalloc{Out{3}, {100}, {GFP_KERNEL}}), Ruling::fine);
      d.who = 0;
    }
    if (way == Way::reaper) {
      d.daemon = machine::events_first;
      EXPECT_EQ(d.says(shrink_began, 0, 0), Ruling::fine);
      d.daemon = machine::no_context;
    }
    d.reclaim();
    if (way == Way::injected)
      (void)d.told(faulted, 0, machine::Site("reclaim.progress").index());
    else
      EXPECT_EQ(d.says(shrink_began), Ruling::fine);
    if (way != Way::injected) EXPECT_EQ(d.says(shrink_ended, 0), Ruling::fine) << d.why();
    const Ruling ruling = d.says(reclaim_ended, 0);
    if (way == Way::none)
      d.breaks(ruling, "reclaim.slab");
    else
      EXPECT_EQ(ruling, Ruling::fine) << static_cast<int>(way) << d.why();
  }
}

// Somebody was there when the round began, or came and went: he may have held the chain.
TEST(Shrinkers, WhoWasThereExcuses) {
  for (const bool before : {true, false}) {
    Slabs d;
    d.free_object();
    if (!before) d.reclaim();
    d.daemon = machine::events_first;
    EXPECT_EQ(d.says(shrink_began, 0, 0), Ruling::fine);
    d.daemon = machine::no_context;
    if (before) d.reclaim();
    d.daemon = machine::events_first;
    EXPECT_EQ(d.says(shrink_ended, 0), Ruling::fine);
    d.daemon = machine::no_context;
    EXPECT_EQ(d.says(shrink_began), Ruling::fine);
    EXPECT_EQ(d.says(shrink_ended, 0), Ruling::fine);
    EXPECT_EQ(d.says(reclaim_ended, 0), Ruling::fine) << d.why();
  }
}

}  // namespace
}  // namespace memtorture::oracle::test
