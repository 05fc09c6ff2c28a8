// The quick paths of kmalloc and kfree: they step in where they may and nowhere else, and nobody can tell them from the
// full ones: same addresses, same arrays, same reports, same count of steps, whether the chooser wants to be asked
// (which keeps them out) or not.
#include <gtest/gtest.h>

#include "allocator/kernel/objects_rig.h"
#include "allocator/kernel/strands_rig.h"

namespace memtorture::kernel {
namespace {

using machine::Chooser;
using machine::Moment;
using machine::RunResult;
using machine::Shape;
using namespace subject;  // GFP names

// Takes every default; asked or not.
class Indifferent final : public Chooser {
 public:
  explicit Indifferent(bool asked) : asked_(asked) {}
  bool may_depart() const override { return asked_; }
  bool interested(const Moment&) override { return false; }
  std::uint32_t choose(const Moment&, std::span<const machine::Option>) override { return 0; }
  bool roll(const Moment&, std::uint32_t) override { return false; }
  void restart() override {}

 private:
  bool asked_;
};

Shape shape_of(std::string_view name, unsigned cpus = 1) {
  Shape shape = machine::shape_named(name).value();
  shape.objects = machine::ObjectLayer::slab;
  shape.cpus = static_cast<std::uint8_t>(cpus);
  return shape;
}

// One program of kmalloc, kfree and whatever empties arrays behind their backs, and all that can be seen of it.
class Traffic {
 public:
  explicit Traffic(const Shape& shape) : rig_(shape) { EXPECT_TRUE(rig_.kernel.boot_objects()); }

  RunResult run(bool asked, std::uint64_t steps_budget) {
    const machine::Strand strand{.id = 0,
                                 .kind = machine::ContextKind::task,
                                 .cpu = 0,
                                 .flags = 0,
                                 .body = [](void* arg) { static_cast<Traffic*>(arg)->play(); },
                                 .arg = this};
    Indifferent chooser(asked);
    const RunResult result = rig_.kernel.machine().run({&strand, 1}, chooser, {.steps_budget = steps_budget});
    rig_.kernel.for_each_cache([](void* arg, CacheHandle cache) { static_cast<Traffic*>(arg)->note_array(cache); },
                               this);
    for (const machine::Report& report : rig_.said.reports) seen_.push_back(static_cast<std::uint64_t>(report.kind));
    return result;
  }
  const std::vector<std::uint64_t>& seen() const { return seen_; }

 private:
  void play() {
    for (int i = 0; i != 6'000; ++i) {
      switch (random_.below(64)) {
        case 0: rig_.kernel.slab().shrink_all(); break;
        case 1: rig_.kernel.slab().reap(0); break;
        case 2: held_off([] { machine::preempt_disable(); }, [] { machine::preempt_enable(); }, GFP_ATOMIC); break;
        case 3: held_off([] { machine::local_bh_disable(); }, [] { machine::local_bh_enable(); }, GFP_KERNEL); break;
        case 4: {
          const machine::Masked masked;
          exchange(GFP_ATOMIC);
          break;
        }
        case 5: rig_.kernel.kfree(odd_address()); break;
        default: exchange(some_gfp());
      }
    }
    for (const std::uint64_t object : held_) rig_.kernel.kfree(object);
  }
  template <class Down, class Up>
  void held_off(Down down, Up up, gfp_t gfp) {
    down();
    exchange(gfp);
    up();
  }
  // Half of what goes is what came last.
  void exchange(gfp_t gfp) {
    const std::size_t at = random_.below(2) == 0 ? last_ : random_.below(std::size(held_));
    rig_.kernel.kfree(held_[at]);
    last_ = at;
    held_[at] = rig_.kernel.kmalloc(some_bytes(), gfp);
    seen_.push_back(held_[at]);
  }
  std::uint64_t some_bytes() {
    constexpr std::uint64_t odd[] = {0, 1, 1024, 1025, 4096, 4097, 1 << 20, 1 << 25, ~std::uint64_t{0}};
    return random_.below(8) == 0 ? odd[random_.below(std::size(odd))] : 1 + random_.below(2'000);
  }
  gfp_t some_gfp() {
    constexpr gfp_t some[] = {GFP_KERNEL,
                              GFP_KERNEL,
                              GFP_ATOMIC,
                              GFP_KERNEL | gfp_dma,
                              GFP_KERNEL | gfp_zero,
                              GFP_NOWAIT,
                              GFP_KERNEL | gfp_highmem};
    return some[random_.below(std::size(some))] | gfp_noretry | gfp_nowarn;
  }
  std::uint64_t odd_address() {
    const std::uint64_t odd[] = {0, zero_size_ptr, 4096, ~std::uint64_t{0} - 7};
    return odd[random_.below(std::size(odd))];
  }
  void note_array(CacheHandle cache) {
    slab::SlabAllocator& slab = rig_.kernel.slab();
    seen_.push_back(slab.array_at(slab.cache_at(cache).array()[0]).touched);
    for (const std::uint64_t buffer : rig_.kernel.cpu_array(cache, 0).entries) seen_.push_back(buffer);
  }

  Rig rig_;  // unchecked: a run that was cut short may have stopped in the middle of anything
  SplitMix random_{1};
  std::uint64_t held_[40] = {};
  std::size_t last_ = 0;
  std::vector<std::uint64_t> seen_;
};

TEST(Quick, NobodyCanTellItFromTheFullPaths) {
  if (machine::Machine::concurrent()) GTEST_SKIP() << "one run need not be like another";
  for (const char* name : {"toy", "x86-32", "x86-64"}) {
    for (const unsigned cpus : {1, 2}) {
      for (const std::uint64_t budget : {1'000'000, 30'000, 20'001, 20'000, 9'999, 16'390}) {
        SCOPED_TRACE(testing::Message() << name << ", " << cpus << " CPUs, " << budget << " steps");
        Traffic full(shape_of(name, cpus)), quick(shape_of(name, cpus));
        const RunResult one = full.run(true, budget), other = quick.run(false, budget);
        EXPECT_EQ(one.reason, other.reason);
        EXPECT_EQ(one.steps, other.steps);
        EXPECT_EQ(full.seen(), quick.seen());
      }
    }
  }
}

// --- where it steps in ----------------------------------------------------------------------------------------------

// Gets an object, gives it back, both quickly. A full path comes first, so that the array is not empty.
bool steps_in(Kernel& kernel, std::uint64_t bytes = 100, gfp_t gfp = GFP_KERNEL) {
  kernel.slab().kfree(kernel.slab().kmalloc(bytes, gfp));
  const std::uint64_t object = kernel.slab().kmalloc_quick(bytes, gfp);
  return object != 0 && kernel.slab().kfree_quick(object);
}
// Neither half of it.
bool stays_out(Kernel& kernel, std::uint64_t bytes = 100, gfp_t gfp = GFP_KERNEL) {
  const std::uint64_t object = kernel.slab().kmalloc(bytes, gfp);
  const bool out = !kernel.slab().kfree_quick(object);
  if (out) kernel.slab().kfree(object);
  return out && kernel.slab().kmalloc_quick(bytes, gfp) == 0;
}

template <class F>
void on_machine(ObjectsRig& rig, bool asked, F f) {
  const machine::Strand strand{.id = 0,
                               .kind = machine::ContextKind::task,
                               .cpu = 0,
                               .flags = 0,
                               .body = [](void* arg) { (*static_cast<F*>(arg))(); },
                               .arg = &f};
  Indifferent chooser(asked);
  rig.kernel.machine().run({&strand, 1}, chooser, {});
}

TEST(Quick, StepsInWhereNothingIsInTheWay) {
  ObjectsRig rig(shape_of("toy", 2));
  const bool possible = !machine::Machine::concurrent();
  rig.alone([&] { EXPECT_EQ(steps_in(rig.kernel), possible); });
  on_machine(rig, false, [&] {
    EXPECT_EQ(steps_in(rig.kernel), possible);
    EXPECT_EQ(steps_in(rig.kernel, 1, GFP_ATOMIC), possible);
    EXPECT_EQ(steps_in(rig.kernel, 5000, GFP_NOIO), possible);
  });
}

TEST(Quick, StaysOutWhenTheChooserWantsToBeAsked) {
  ObjectsRig rig(shape_of("toy"));
  on_machine(rig, true, [&] { EXPECT_TRUE(stays_out(rig.kernel)); });
}

TEST(Quick, StaysOutInContextsThatHoldSomethingOff) {
  ObjectsRig rig(shape_of("toy"));
  on_machine(rig, false, [&] {
    machine::preempt_disable();
    EXPECT_TRUE(stays_out(rig.kernel, 100, GFP_ATOMIC));
    machine::preempt_enable();
    machine::local_bh_disable();
    EXPECT_TRUE(stays_out(rig.kernel, 100, GFP_ATOMIC));
    machine::local_bh_enable();
    const machine::Masked masked;
    EXPECT_TRUE(stays_out(rig.kernel, 100, GFP_ATOMIC));
  });
}

TEST(Quick, StaysOutOfNodesAndOfCheckedCaches) {
  Shape nodes = shape_of("toy", 2);
  nodes.nodes = 2;
  Shape checked = shape_of("toy");
  checked.slab_debug = machine::debug_sanity;
  for (const Shape& shape : {nodes, checked}) {
    ObjectsRig rig(shape);
    on_machine(rig, false, [&] { EXPECT_TRUE(stays_out(rig.kernel)); });
  }
  ObjectsRig rig(shape_of("toy"));
  on_machine(rig, false, [&] {
    const CacheHandle cache = rig.kernel.kmem_cache_create({.name = "c", .size = 100, .flags = SLAB_RED_ZONE});
    const std::uint64_t object = rig.kernel.kmem_cache_alloc(cache, GFP_KERNEL);
    EXPECT_FALSE(rig.kernel.slab().kfree_quick(object));
    EXPECT_FALSE(rig.kernel.slab().kfree_quick(cache)) << "the cache of caches is nobody's";
    rig.kernel.kmem_cache_free(cache, object);
    EXPECT_EQ(rig.kernel.kmem_cache_destroy(cache), 0);
  });
}

// A free is no place where something can fail; a request is.
TEST(Quick, LeavesRequestsThatMayFailToTheFullPath) {
  ObjectsRig rig(shape_of("toy"), {{.site = "slab.alloc", .interval = 1'000, .times = 1}});
  on_machine(rig, false, [&] {
    const std::uint64_t object = rig.kernel.slab().kmalloc(100, GFP_KERNEL);
    EXPECT_EQ(rig.kernel.slab().kmalloc_quick(100, GFP_KERNEL), 0u);
    rig.kernel.kfree(object);
  });
}

TEST(Quick, LeavesOddRequestsToTheFullPath) {
  ObjectsRig rig(shape_of("toy"));
  on_machine(rig, false, [&] {
    for (const gfp_t more : {gfp_dma, gfp_zero, gfp_highmem, ~gfp_known}) {
      rig.kernel.kfree(rig.kernel.kmalloc(100, GFP_KERNEL | (more & gfp_known)));
      EXPECT_EQ(rig.kernel.slab().kmalloc_quick(100, GFP_KERNEL | more), 0u) << more;
    }
    EXPECT_EQ(rig.kernel.slab().kmalloc_quick(0, GFP_KERNEL), 0u);
    EXPECT_EQ(rig.kernel.slab().kmalloc_quick(std::uint64_t{1} << 40, GFP_KERNEL), 0u);
    const std::uint64_t page = rig.kernel.get_free_pages(GFP_KERNEL, 0);
    for (const std::uint64_t none : {std::uint64_t{0}, zero_size_ptr, std::uint64_t{4096}, page})
      EXPECT_FALSE(rig.kernel.slab().kfree_quick(none)) << none;
    rig.kernel.free_pages(page, 0);
  });
}

// --- the array that the last object came from -----------------------------------------------------------------------

TEST(Quick, WhoFreesTheLastObjectOnAnotherCpuFillsHisOwnArray) {
  if (machine::Machine::concurrent()) GTEST_SKIP() << "the order of the tasks is the host's";
  ObjectsRig rig(shape_of("toy", 2));
  std::uint64_t object = 0;
  Cast cast;
  cast.task(0, [&] {
    rig.kernel.kfree(rig.kernel.kmalloc(100, GFP_KERNEL));
    object = rig.kernel.slab().kmalloc_quick(100, GFP_KERNEL);
  });
  cast.task(1, [&] { EXPECT_TRUE(rig.kernel.slab().kfree_quick(object)); });
  EXPECT_EQ(cast.run(rig.kernel), machine::StopReason::finished);
  ASSERT_NE(object, 0u);
  const auto entries = rig.kernel.cpu_array(rig.named("size-128"), 1).entries;
  ASSERT_FALSE(entries.empty());
  EXPECT_EQ(entries.back(), object);
}

// The last object was freed, its slab went back, and its address is an object of another cache now, which came by the
// full path and so is not remembered.
TEST(Quick, AnAddressThatChangedItsCacheGoesToTheNewOne) {
  if (machine::Machine::concurrent()) GTEST_SKIP() << "full paths only";
  ObjectsRig rig(shape_of("toy"));
  on_machine(rig, false, [&] {
    const CacheHandle before = rig.named("size-2048"), now = rig.named("size-512");
    std::vector<std::uint64_t> gone;
    std::uint64_t last = 0;
    for (int i = 0; i != 64 && (last = rig.kernel.slab().kmalloc_quick(2048, GFP_KERNEL)) == 0; ++i)
      gone.push_back(rig.kernel.slab().kmalloc(2048, GFP_KERNEL));
    ASSERT_NE(last, 0u);
    rig.kernel.slab().kfree(last);
    for (const std::uint64_t object : gone) rig.kernel.kfree(object);
    rig.kernel.kmem_cache_shrink(before);
    std::vector<std::uint64_t> fresh;
    for (int i = 0; i != 200; ++i) fresh.push_back(rig.kernel.slab().kmalloc(512, GFP_KERNEL));
    unsigned known = 0;
    for (const std::uint64_t object : fresh) {
      if (object == last) ++known;
      rig.kernel.kfree(object);
      const auto entries = rig.kernel.cpu_array(now, 0).entries;
      ASSERT_FALSE(entries.empty());
      EXPECT_EQ(entries.back(), object);
    }
    EXPECT_EQ(known, 1u) << "the address did not come back: the test shows nothing";
  });
}

}  // namespace
}  // namespace memtorture::kernel
