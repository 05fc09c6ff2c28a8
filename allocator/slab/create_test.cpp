// Caches come and go: arguments, duplicates, destruction, contexts, and failure at every inner allocation
// (domain.md 10.2, 10.11, 19.5, 21.3).
#include <gtest/gtest.h>

#include "allocator/kernel/debug_rig.h"

namespace memtorture::kernel {
namespace {

using machine::ReportKind;
using machine::Shape;
using namespace subject;  // GFP and SLAB names

Shape shape_of(std::string_view name, unsigned cpus = 1, unsigned nodes = 1) {
  Shape shape = machine::shape_named(name).value();
  shape.cpus = static_cast<std::uint8_t>(cpus);
  shape.nodes = static_cast<std::uint8_t>(nodes);
  return shape;
}

TEST(Boot, MakesTheGeneralCachesAndHoldsLittle) {
  for (const std::string_view name : {"x86-32", "x86-64", "tiny-32", "tiny-64", "tiny-all", "toy", "flat", "alpha"}) {
    for (const unsigned cpus : {1u, 3u}) {
      SCOPED_TRACE(testing::Message() << name << " " << cpus);
      ObjectsRig rig(shape_of(name, cpus));
      EXPECT_NE(rig.named("size-32"), no_cache);
      EXPECT_NE(rig.named("size-131072(DMA)"), no_cache);
      EXPECT_NE(rig.named("kmem_cache"), no_cache);
      EXPECT_EQ(rig.named("size-96"), no_cache);
      EXPECT_TRUE(rig.said.reports.empty());
      EXPECT_LT(rig.kernel.slab_pages(SlabPages::unreclaimable), 100u);
    }
  }
}

TEST(Boot, WorksInAQuarterOfAMegabyteOrLeavesNoTrace) {
  for (const bool poison : {false, true}) {
    bool worked = false;
    for (std::uint64_t kib = 8; kib <= 256; kib += 4) {
      Shape shape = shape_of("flat");
      shape.ram_bytes = kib * 1024;
      shape.min_free_kbytes = 0;
      shape.orders = 5;
      if (poison) shape.poison = machine::Toggle::on;
      Rig rig(shape);
      const auto before = rig.free_set();
      worked = rig.kernel.boot_objects();
      EXPECT_TRUE(rig.said.reports.empty()) << kib;
      if (worked) continue;
      EXPECT_EQ(rig.free_set(), before) << kib;
      rig.alone([&] {
        EXPECT_EQ(rig.kernel.kmalloc(32, GFP_KERNEL), 0u);
        EXPECT_EQ(rig.kernel.kmem_cache_create({.name = "none", .size = 32}), no_cache);
      });
    }
    EXPECT_TRUE(worked) << "256 KiB must do";
  }
}

TEST(Boot, TheSixtyFourthCpuHasItsArrays) {
  ObjectsRig rig(shape_of("x86-64", 64, 4));
  for (const CacheHandle cache : rig.caches()) EXPECT_GT(rig.kernel.cpu_array(cache, 63).limit, 0u);
}

TEST(Boot, IsForgottenByTheNextOne) {
  ObjectsRig rig("toy");
  for (unsigned i = 0; i != 3; ++i) {
    rig.alone([&] {
      EXPECT_NE(rig.kernel.kmem_cache_create({.name = "again", .size = 64}), no_cache);
      EXPECT_NE(rig.kernel.kmalloc(100, GFP_KERNEL), 0u);
    });
    rig.kernel.boot(shape_of("toy"), {}, rig.said, rig.said);
    rig.alone([&] { EXPECT_EQ(rig.kernel.kmalloc(100, GFP_KERNEL), 0u) << "not booted yet"; });
    EXPECT_TRUE(rig.kernel.boot_objects());
  }
  EXPECT_TRUE(rig.said.reports.empty());
}

TEST(Create, RefusesWhatMakesNoCache) {  // 10.2
  ObjectsRig rig("toy");
  const std::uint64_t max = 4u << 20;
  rig.alone([&] {
    const std::uint64_t pages = rig.kernel.nr_free_pages();
    const CacheSpec bad[] = {{.name = "", .size = 64},
                             {.name = "01234567890123456789012345678901", .size = 64},
                             {.name = "small", .size = 7},
                             {.name = "none", .size = 0},
                             {.name = "large", .size = max + 1},
                             {.name = "huge", .size = ~std::uint64_t{0}},
                             {.name = "align", .size = 64, .align = 24},
                             {.name = "align", .size = 64, .align = std::uint64_t{1} << 63},
                             {.name = "flag", .size = 64, .flags = 1},
                             {.name = "rcu", .size = 64, .flags = SLAB_DESTROY_BY_RCU | SLAB_POISON},
                             {.name = "nofit", .size = max, .flags = SLAB_NOLEAKTRACE}};
    for (const CacheSpec& spec : bad) {
      rig.said.reports.clear();
      EXPECT_EQ(rig.kernel.kmem_cache_create(spec), no_cache) << spec.name;
      EXPECT_EQ(rig.said.count(ReportKind::bad_cache), 1u) << spec.name;
      EXPECT_EQ(rig.said.reports.size(), 1u);
    }
    EXPECT_EQ(rig.kernel.nr_free_pages(), pages);
    rig.said.reports.clear();
    EXPECT_NE(rig.kernel.kmem_cache_create({.name = "0123456789012345678901234567890", .size = max}), no_cache);
    EXPECT_NE(rig.kernel.kmem_cache_create({.name = "flags", .size = 8, .flags = slab_flags_known & ~SLAB_POISON}),
              no_cache);
    EXPECT_TRUE(rig.said.reports.empty());
  });
}

TEST(Create, ANameIsTakenOnce) {  // P-SLAB-11
  ObjectsRig rig("toy");
  rig.alone([&] {
    auto& k = rig.kernel;
    const CacheHandle first = k.kmem_cache_create({.name = "twin", .size = 64});
    const std::size_t caches = rig.caches().size();
    EXPECT_EQ(k.kmem_cache_create({.name = "twin", .size = 128}), no_cache);
    EXPECT_EQ(k.kmem_cache_create({.name = "size-32", .size = 128}), no_cache);
    EXPECT_EQ(rig.said.count(ReportKind::duplicate_cache), 2u);
    EXPECT_EQ(rig.caches().size(), caches);
    EXPECT_EQ(k.kmem_cache_destroy(first), 0);
    EXPECT_NE(k.kmem_cache_create({.name = "twin", .size = 128}), no_cache);
  });
  EXPECT_EQ(rig.said.reports.size(), 2u);
}

// P-SLAB-11, P-FAULT-8: fail the 1st, 2nd, ... allocation inside of kmem_cache_create until none is left.
TEST(Create, GivesEverythingBackWhereverItFails) {
  for (const Shape& shape :
       {shape_of("toy"), shape_of("toy", 2), shape_of("tiny-64", 4, 2), checked_shape("toy", letters("FZPUK"))}) {
    unsigned failures = 0;
    for (std::uint32_t nth = 1;; ++nth) {
      ObjectsRig rig(shape, {{.site = "slab.alloc", .interval = nth, .times = 1}});
      CacheHandle cache = no_cache;
      std::uint64_t before = 0, after = 0;
      rig.alone([&] {
        rig.kernel.slab().shrink_all();
        before = rig.kernel.nr_free_pages();
        cache = rig.kernel.kmem_cache_create({.name = "fragile", .size = 100});
        rig.check();
        EXPECT_EQ(rig.named("fragile"), cache);
        if (rig.said.faults.empty()) return;
        // A fault in the descriptor of a new slab need not be the end where there is another node to ask.
        if (cache == no_cache) {
          ++failures;
        } else {
          EXPECT_EQ(rig.kernel.kmem_cache_destroy(cache), 0);
        }
        rig.kernel.slab().shrink_all();
        rig.kernel.drain_all_pages();
        after = rig.kernel.nr_free_pages();
        EXPECT_NE(rig.kernel.kmem_cache_create({.name = "fragile", .size = 100}), no_cache);
      });
      if (rig.said.faults.empty()) break;
      EXPECT_EQ(rig.said.faults.size(), 1u);
      EXPECT_TRUE(rig.said.reports.empty());
      EXPECT_EQ(after, before) << nth;
    }
    // An array for each CPU; for each node its structure, an alien array for each other node and a shared array.
    const unsigned node_parts = 1 + (shape.nodes - 1) + (shape.cpus > 1 ? 1 : 0);
    EXPECT_GE(failures, shape.cpus + shape.nodes * node_parts);
  }
}

TEST(Create, PagesThatCannotBeHadFailItToo) {
  for (std::uint32_t nth = 1; nth != 4; ++nth) {
    ObjectsRig rig(shape_of("toy"));
    rig.alone([&] {
      rig.kernel.slab().shrink_all();
      // All memory is gone but what caches still hold.
      while (rig.kernel.alloc_pages(GFP_ATOMIC | gfp_nowarn, 0) != machine::no_pfn) {
      }
      machine::local_irq_save();  // GFP_NOWAIT inside, and one report for the context
      unsigned made = 0;
      while (rig.kernel.kmem_cache_create({.name = std::string(1, static_cast<char>('a' + made)), .size = 64}) != 0)
        ++made;
      machine::local_irq_restore(machine::IrqFlag::on);
      rig.check();
      EXPECT_LT(made, 20u);
      EXPECT_EQ(rig.said.count(ReportKind::sleeping), made + 1);
    });
  }
}

TEST(Create, PanicsOnlyIfAskedTo) {
  struct Silent final : machine::Chooser {
    bool interested(const machine::Moment&) override { return false; }
    std::uint32_t choose(const machine::Moment&, std::span<const machine::Option>) override { return 0; }
    bool roll(const machine::Moment&, std::uint32_t) override { return false; }
    void restart() override {}
  } chooser;
  ObjectsRig rig("toy");
  const machine::Strand strand{.id = 0,
                               .kind = machine::ContextKind::task,
                               .cpu = 0,
                               .flags = 0,
                               .body =
                                   [](void* arg) {
                                     auto& k = *static_cast<Kernel*>(arg);
                                     k.kmem_cache_create({.name = "p", .size = 64, .flags = SLAB_PANIC});
                                     k.kmem_cache_create({.name = "p", .size = 64, .flags = SLAB_PANIC});
                                   },
                               .arg = &rig.kernel};
  const auto result = rig.kernel.machine().run({&strand, 1}, chooser, {});
  EXPECT_EQ(result.reason, machine::StopReason::panic);
  EXPECT_EQ(result.panic, machine::PanicKind::cache_create);
  EXPECT_EQ(rig.said.count(ReportKind::duplicate_cache), 1u);
}

TEST(Destroy, ReturnsEveryPage) {  // P-SLAB-9
  for (const std::string_view name : {"toy", "tiny-32"}) {
    for (const unsigned nodes : {1u, 2u}) {
      ObjectsRig rig(shape_of(name, 2, nodes));
      rig.alone([&] {
        auto& k = rig.kernel;
        k.slab().shrink_all();
        const std::uint64_t before = k.nr_free_pages();
        for (const std::uint64_t size : {40, 512, 3000, 20'000}) {
          const CacheHandle cache = k.kmem_cache_create({.name = "passing", .size = size});
          std::vector<std::uint64_t> objects;
          for (unsigned i = 0; i != 50; ++i) {
            machine::current().cpu = i % 2;
            objects.push_back(k.kmem_cache_alloc(cache, GFP_KERNEL));
          }
          for (unsigned i = 0; i != 50; ++i) {
            machine::current().cpu = i / 3 % 2;
            k.kmem_cache_free(cache, objects[i]);
          }
          machine::current().cpu = 0;
          EXPECT_EQ(k.kmem_cache_destroy(cache), 0);
          EXPECT_EQ(rig.named("passing"), no_cache);
        }
        k.slab().shrink_all();
        k.drain_all_pages();
        EXPECT_EQ(k.nr_free_pages(), before);
      });
      EXPECT_TRUE(rig.said.reports.empty());
    }
  }
}

TEST(Destroy, OfABusyCacheLeavesItUsable) {  // P-SLAB-10
  ObjectsRig rig("toy");
  rig.alone([&] {
    auto& k = rig.kernel;
    const CacheHandle cache = k.kmem_cache_create({.name = "busy", .size = 64});
    const std::uint64_t object = k.kmem_cache_alloc(cache, GFP_KERNEL);
    std::memset(rig.bytes(object), 0x77, 64);
    EXPECT_EQ(k.kmem_cache_destroy(cache), -ebusy);
    EXPECT_EQ(rig.said.count(ReportKind::cache_busy), 1u);
    EXPECT_EQ(rig.named("busy"), cache);
    EXPECT_TRUE(rig.all_bytes(object, 64, std::byte{0x77}));
    const std::uint64_t other = k.kmem_cache_alloc(cache, GFP_KERNEL);
    EXPECT_NE(other, 0u);
    k.kmem_cache_free(cache, other);
    k.kmem_cache_free(cache, object);
    EXPECT_EQ(k.kmem_cache_destroy(cache), 0);
  });
}

TEST(Destroy, ADeadHandleIsReportedByEveryFunction) {
  ObjectsRig rig("toy");
  rig.alone([&] {
    auto& k = rig.kernel;
    const CacheHandle dead = k.kmem_cache_create({.name = "dead", .size = 64});
    EXPECT_EQ(k.kmem_cache_destroy(dead), 0);
    const std::uint64_t bystander = k.kmalloc(64, GFP_KERNEL);
    for (const CacheHandle handle : {dead, bystander, no_cache, CacheHandle{1}, rig.ram().address_of(3)}) {
      rig.said.reports.clear();
      EXPECT_EQ(k.kmem_cache_alloc(handle, GFP_KERNEL), 0u);
      EXPECT_EQ(k.kmem_cache_size(handle), 0u);
      EXPECT_LT(k.kmem_cache_shrink(handle), 0);
      EXPECT_LT(k.kmem_cache_destroy(handle), 0);
      k.kmem_cache_free(handle, bystander);
      EXPECT_EQ(rig.said.count(ReportKind::bad_cache), 5u);
      EXPECT_EQ(rig.said.reports.size(), 5u);
    }
    k.kfree(bystander);
  });
}

// 21.3: allowed anywhere but in an interrupt; where it may not sleep it is reported once and goes on.
TEST(Context, OfCreateShrinkAndDestroy) {
  ObjectsRig rig("toy");
  rig.alone([&] {
    auto& k = rig.kernel;
    machine::preempt_disable();
    const CacheHandle cache = k.kmem_cache_create({.name = "atomic", .size = 64});
    EXPECT_NE(cache, no_cache);
    EXPECT_EQ(k.kmem_cache_shrink(cache), 0);
    EXPECT_EQ(k.kmem_cache_destroy(cache), 0);
    EXPECT_EQ(rig.said.count(ReportKind::sleeping), 3u);
    EXPECT_EQ(rig.said.reports.size(), 3u);
    machine::preempt_enable();

    const CacheHandle other = k.kmem_cache_create({.name = "other", .size = 64});
    rig.said.reports.clear();
    machine::local_bh_disable();  // in_interrupt() for K26
    EXPECT_EQ(k.kmem_cache_create({.name = "softirq", .size = 64}), no_cache);
    EXPECT_LT(k.kmem_cache_shrink(other), 0);
    EXPECT_LT(k.kmem_cache_destroy(other), 0);
    EXPECT_EQ(rig.said.count(ReportKind::bad_cache), 3u);
    EXPECT_EQ(rig.said.reports.size(), 3u);
    machine::local_bh_enable();
    EXPECT_EQ(k.kmem_cache_destroy(other), 0);
  });
}

TEST(Context, AllocationsThatMayNotSleep) {  // P-CTX-1, P-CTX-3
  ObjectsRig rig("toy");
  rig.alone([&] {
    auto& k = rig.kernel;
    const CacheHandle cache = k.kmem_cache_create({.name = "ctx", .size = 2048});  // off-slab: nested requests
    const machine::IrqFlag before = machine::local_irq_save();
    EXPECT_NE(k.kmem_cache_alloc(cache, GFP_ATOMIC), 0u);
    EXPECT_TRUE(rig.said.reports.empty());
    const std::uint32_t count = machine::current().preempt_count;
    for (unsigned i = 0; i != 8; ++i) EXPECT_NE(k.kmem_cache_alloc(cache, GFP_KERNEL), 0u);
    EXPECT_EQ(rig.said.count(ReportKind::sleeping), 8u) << "one for each call, whatever it needed inside";
    EXPECT_EQ(rig.said.reports.size(), 8u);
    EXPECT_TRUE(machine::irqs_disabled());
    EXPECT_EQ(machine::current().preempt_count, count);
    machine::local_irq_restore(before);
  });
  EXPECT_EQ(rig.said.sleeps, 0u);
}

TEST(Context, FromNmiNothingHappens) {  // P-CTX-6
  ObjectsRig rig("toy");
  rig.alone([&] {
    auto& k = rig.kernel;
    const CacheHandle cache = k.kmem_cache_create({.name = "nmi", .size = 64});
    const std::uint64_t object = k.kmem_cache_alloc(cache, GFP_KERNEL);
    const std::uint64_t other = k.kmalloc(64, GFP_KERNEL);
    machine::current().preempt_count += machine::nmi_offset;
    EXPECT_EQ(k.kmem_cache_create({.name = "x", .size = 64, .flags = SLAB_PANIC}), no_cache);
    EXPECT_LT(k.kmem_cache_destroy(cache), 0);
    EXPECT_LT(k.kmem_cache_shrink(cache), 0);
    EXPECT_EQ(k.kmem_cache_size(cache), 0u);
    EXPECT_EQ(k.kmem_cache_alloc(cache, GFP_ATOMIC), 0u);
    EXPECT_EQ(k.kmem_cache_alloc_node(cache, GFP_ATOMIC, 0), 0u);
    EXPECT_EQ(k.kmem_cache_zalloc(cache, GFP_ATOMIC), 0u);
    k.kmem_cache_free(cache, object);
    EXPECT_EQ(k.kmalloc(64, GFP_ATOMIC), 0u);
    EXPECT_EQ(k.kmalloc(0, GFP_ATOMIC), 0u);
    EXPECT_EQ(k.kcalloc(~0ull, 2, GFP_ATOMIC), 0u);
    EXPECT_EQ(k.krealloc(other, 100, GFP_ATOMIC), 0u);
    EXPECT_EQ(k.ksize(other), 0u);
    k.kfree(other);
    k.kzfree(other);
    EXPECT_EQ(k.slab().shrink_all(), 0u);
    k.slab().reap(0);
    machine::current().preempt_count -= machine::nmi_offset;
    EXPECT_EQ(rig.said.count(ReportKind::nmi_entry), 17u);
    EXPECT_EQ(rig.said.reports.size(), 17u);
    EXPECT_TRUE(rig.live(cache).contains(object));
    k.kmem_cache_free(cache, object);
  });
}

}  // namespace
}  // namespace memtorture::kernel
