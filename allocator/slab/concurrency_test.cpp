// Two CPUs, tasks and interrupt handlers on the same caches, objects passed from one to another, a third task that
// creates, destroys, shrinks and reaps: whatever interleaving, every invariant holds at the end and all memory returns.
// The same with all checks on, when freed objects of one go to their slabs at the hands of another.
//
// On fibers a seeded chooser decides at every point; on threads the host does, and ThreadSanitizer watches.
#include <gtest/gtest.h>

#include "allocator/kernel/debug_rig.h"
#include "allocator/kernel/strands_rig.h"

namespace memtorture::kernel {
namespace {

using machine::ContextKind;
using machine::Shape;
using machine::StopReason;
using machine::Strand;
using namespace subject;  // GFP names

class Field {
 public:
  Field(ObjectsRig& rig, CacheHandle cache) : rig_(rig), cache_(cache) {}

  // Puts a stamped object into a slot; whoever lay there before is looked at and freed.
  void exchange(SplitMix& random, gfp_t gfp) {
    auto& slot = slots_[random.below(std::size(slots_))];
    const std::uint64_t fresh = random.below(4) == 0 ? 0 : take(random, gfp);
    if (fresh != 0) stamp(fresh, random());
    if (random.below(4) == 0) use_pages(gfp);
    give(slot.exchange(fresh, std::memory_order_acq_rel));
  }
  void give(std::uint64_t object) {
    if (object == 0) return;
    if (!stamped(object)) damaged.fetch_add(1, std::memory_order_relaxed);
    rig_.kernel.kfree(object);
  }
  void give_all() {
    for (auto& slot : slots_) give(slot.exchange(0, std::memory_order_acq_rel));
  }

  std::atomic<unsigned> damaged{0};

 private:
  std::uint64_t take(SplitMix& random, gfp_t gfp) {
    if (random.below(2) == 0) return rig_.kernel.kmem_cache_alloc(cache_, gfp);
    constexpr std::uint64_t sizes[] = {8, 40, 100, 512, 2000, 5000};
    return rig_.kernel.kmalloc(sizes[random.below(std::size(sizes))], gfp);
  }
  // A block of pages is nobody else's, tails and all, whatever happens to the free lists around it.
  void use_pages(gfp_t gfp) {
    const std::uint64_t pages = rig_.kernel.get_free_pages(gfp | gfp_nowarn | gfp_noretry, 1);
    if (pages == 0) return;
    touch(pages, 2 * 4096);
    rig_.kernel.free_pages(pages, 1);
  }
  void touch(std::uint64_t address, std::uint64_t bytes) {
    if (!rig_.kernel.check_access(address, bytes, Access::write)) damaged.fetch_add(1, std::memory_order_relaxed);
  }
  std::uint64_t* words(std::uint64_t object) { return reinterpret_cast<std::uint64_t*>(rig_.bytes(object)); }
  std::uint64_t last(std::uint64_t object) { return rig_.kernel.ksize(object) / 8 - 1; }
  void stamp(std::uint64_t object, std::uint64_t value) {
    touch(object, rig_.kernel.ksize(object));
    words(object)[0] = value;
    words(object)[last(object)] = ~value;
  }
  bool stamped(std::uint64_t object) {
    touch(object, rig_.kernel.ksize(object));
    return words(object)[0] == ~words(object)[last(object)];
  }

  ObjectsRig& rig_;
  CacheHandle cache_;
  std::atomic<std::uint64_t> slots_[24] = {};
};

struct Actor {
  Field* field;
  ObjectsRig* rig;
  CacheHandle cache;
  SplitMix random;
  gfp_t gfp;
  unsigned rounds;
};

void play(void* arg) {
  Actor& me = *static_cast<Actor*>(arg);
  for (unsigned i = 0; i != me.rounds; ++i) {
    machine::begin_operation(i);
    me.field->exchange(me.random, me.gfp);
  }
}

void manage(void* arg) {
  Actor& me = *static_cast<Actor*>(arg);
  auto& k = me.rig->kernel;
  for (unsigned i = 0; i != me.rounds; ++i) {
    machine::begin_operation(i);
    const CacheHandle own = k.kmem_cache_create({.name = "own", .size = 8 + me.random.below(3000)});
    const std::uint64_t object = own != no_cache ? k.kmem_cache_alloc(own, GFP_KERNEL) : 0;
    switch (me.random.below(4)) {
      case 0: k.kmem_cache_shrink(me.cache); break;
      case 1: k.slab().shrink_all(); break;
      case 2: k.slab().reap(static_cast<unsigned>(me.random.below(me.rig->cpus()))); break;
      default: me.field->exchange(me.random, GFP_KERNEL); break;
    }
    if (object != 0) k.kmem_cache_free(own, object);
    if (own != no_cache) EXPECT_EQ(k.kmem_cache_destroy(own), 0);
  }
}

Strand strand(std::uint16_t id, ContextKind kind, std::uint8_t cpu, void (*body)(void*), Actor& actor) {
  return {.id = id, .kind = kind, .cpu = cpu, .flags = 0, .body = body, .arg = &actor};
}

// Twice, for the descriptors of the first round's slabs.
void give_all_back(ObjectsRig& rig) {
  const CacheHandle cache_cache = rig.named("kmem_cache");
  for (const bool last : {false, true}) {
    for (const CacheHandle cache : rig.caches()) {
      if (cache != cache_cache) rig.kernel.kmem_cache_shrink(cache);
    }
    if (last) rig.kernel.slab().shrink_all();
  }
  rig.kernel.drain_all_pages();
}

void play_once(ObjectsRig& rig, const Shape& shape, std::uint64_t seed) {
  Tally counted;
  rig.kernel.boot(shape, {}, counted, counted);
  ASSERT_TRUE(rig.kernel.boot_objects());
  CacheHandle cache = no_cache;
  std::uint64_t free_before = 0;
  int blocks_before = 0;
  rig.alone([&] {
    cache = rig.kernel.kmem_cache_create({.name = "field", .size = 136});
    give_all_back(rig);
    free_before = rig.kernel.nr_free_pages();
    blocks_before = counted.blocks;
  });
  Field field(rig, cache);
  const auto actor = [&](unsigned i, gfp_t gfp, unsigned rounds) {
    return Actor{&field, &rig, cache, {seed * 16 + i}, gfp, rounds};
  };
  Actor actors[] = {actor(0, GFP_KERNEL, 30), actor(1, GFP_KERNEL, 30), actor(2, GFP_ATOMIC, 8),
                    actor(3, GFP_ATOMIC, 8),  actor(4, GFP_ATOMIC, 8),  actor(5, GFP_KERNEL, 2)};
  const Strand strands[] = {
      strand(0, ContextKind::task, 0, play, actors[0]),    strand(1, ContextKind::task, 1, play, actors[1]),
      strand(2, ContextKind::hardirq, 0, play, actors[2]), strand(3, ContextKind::hardirq, 1, play, actors[3]),
      strand(4, ContextKind::softirq, 0, play, actors[4]), strand(5, ContextKind::task, 0, manage, actors[5])};
  Dice dice(seed);
  const auto result = rig.kernel.machine().run(strands, dice, {});
  ASSERT_EQ(result.reason, StopReason::finished);
  EXPECT_EQ(field.damaged, 0u);
  rig.check();
  rig.alone([&] {
    field.give_all();
    EXPECT_EQ(field.damaged, 0u);
    EXPECT_EQ(rig.kernel.kmem_cache_shrink(cache), 0);
    give_all_back(rig);
    EXPECT_EQ(rig.kernel.nr_free_pages(), free_before);
    EXPECT_EQ(counted.blocks, blocks_before);
  });
  EXPECT_EQ(counted.reports, 0u);
}

void play_many(unsigned nodes, std::uint8_t checks = 0) {
  Shape shape = checked_shape("tiny-64", checks, 3000);
  shape.cpus = 2;
  shape.nodes = static_cast<std::uint8_t>(nodes);
  ObjectsRig rig(shape);
  const std::uint64_t seeds = machine::Machine::concurrent() ? 30 : 1500;
  for (std::uint64_t seed = 1; seed <= seeds && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    play_once(rig, shape, seed);
  }
  rig.kernel.boot(shape, {}, rig.said, rig.said);  // the last run's trace is gone
}

// --- crimes ----------------------------------------------------------------------------------------------------------

constexpr unsigned doubled = 40;

struct Freer {
  ObjectsRig* rig;
  std::uint64_t* objects;
  unsigned first;
};

void free_all(void* arg) {
  const Freer& me = *static_cast<Freer*>(arg);
  for (unsigned i = 0; i != doubled; ++i) {
    machine::begin_operation(i);
    me.rig->kernel.kfree(me.objects[(me.first + i) % doubled]);
  }
}

// Three contexts free the same objects, each in another order: one free and two reports for every object.
void free_thrice(std::uint8_t checks) {
  Shape shape = checked_shape("tiny-64", checks, 1000);
  shape.cpus = 2;
  ObjectsRig rig(shape);
  const std::uint64_t seeds = machine::Machine::concurrent() ? 20 : 300;
  for (std::uint64_t seed = 1; seed <= seeds && !testing::Test::HasFailure(); ++seed) {
    Tally counted;
    rig.kernel.boot(shape, {}, counted, counted);
    ASSERT_TRUE(rig.kernel.boot_objects());
    std::uint64_t objects[doubled];
    rig.alone([&] {
      for (std::uint64_t& object : objects) object = rig.kernel.kmalloc(100, GFP_KERNEL);
    });
    Freer freers[] = {{&rig, objects, 0}, {&rig, objects, 0}, {&rig, objects, 7}};
    const auto as = [&](std::uint16_t id, ContextKind kind, std::uint8_t cpu) {
      return Strand{.id = id, .kind = kind, .cpu = cpu, .flags = 0, .body = free_all, .arg = &freers[id]};
    };
    const Strand strands[] = {as(0, ContextKind::task, 0), as(1, ContextKind::task, 1), as(2, ContextKind::hardirq, 0)};
    Dice dice(seed);
    ASSERT_EQ(rig.kernel.machine().run(strands, dice, {}).reason, StopReason::finished);
    EXPECT_EQ(counted.count(machine::ReportKind::object_double_free), 2 * doubled);
    EXPECT_EQ(counted.reports, 2 * doubled);
    rig.check();
    std::set<std::uint64_t> again;
    rig.alone([&] {
      for (unsigned i = 0; i != 2 * doubled; ++i) again.insert(rig.kernel.kmalloc(100, GFP_KERNEL));
    });
    EXPECT_EQ(again.size(), 2 * doubled) << "handed out twice";
  }
  rig.kernel.boot(shape, {}, rig.said, rig.said);
}

TEST(Concurrency, OfManyFreesOneIsOne) {
  free_thrice(letters("F"));
  free_thrice(letters("K"));
  free_thrice(letters("FZPUK"));
}

TEST(Concurrency, ALifeNamesItsContexts) {
  Shape shape = checked_shape("tiny-64", letters("F"));
  shape.cpus = 2;
  DebugRig rig(shape);
  struct Life {
    Kernel& kernel;
    std::uint64_t object = 0;
  } life{rig.kernel};
  const auto run = [&](std::uint16_t id, ContextKind kind, std::uint8_t cpu, void (*body)(void*)) {
    const Strand strands[] = {{.id = id, .kind = kind, .cpu = cpu, .flags = 0, .body = body, .arg = &life}};
    Dice dice(1);
    ASSERT_EQ(rig.kernel.machine().run(strands, dice, {}).reason, StopReason::finished);
  };
  run(3, ContextKind::task, 1, [](void* arg) {
    machine::begin_operation(17);
    static_cast<Life*>(arg)->object = static_cast<Life*>(arg)->kernel.kmalloc(30, GFP_KERNEL);
    machine::sleep_jiffies(5);
  });
  run(4, ContextKind::hardirq, 0, [](void* arg) {
    machine::begin_operation(2);
    static_cast<Life*>(arg)->kernel.kfree(static_cast<Life*>(arg)->object);
  });
  rig.alone([&] { rig.kernel.kfree(life.object); });
  const auto details = rig.expect_one(machine::ReportKind::object_double_free, life.object);
  const auto is = [](machine::Life was, machine::ContextId who, ContextKind kind, std::uint8_t cpu, std::uint32_t op) {
    EXPECT_TRUE(was.known);
    EXPECT_EQ(was.who, who);
    EXPECT_EQ(was.kind, kind);
    EXPECT_EQ(was.cpu, cpu);
    EXPECT_EQ(was.op, op);
  };
  is(details.allocated, 3, ContextKind::task, 1, 17);
  is(details.freed, 4, ContextKind::hardirq, 0, 2);
  EXPECT_GE(details.freed.jiffies, details.allocated.jiffies);
}

TEST(Concurrency, OnOneNode) { play_many(1); }  // P-SLAB-15, P-CTX-10
TEST(Concurrency, OnTwoNodes) { play_many(2); }
TEST(Concurrency, OnOneNodeWithAllChecks) { play_many(1, letters("FZPUK")); }  // P-DEBUG-2
TEST(Concurrency, OnTwoNodesWithAllChecks) { play_many(2, letters("FZPUK")); }
TEST(Concurrency, WithTheQuarantineAlone) { play_many(2, letters("K")); }

}  // namespace
}  // namespace memtorture::kernel
