// Memory pools, one caller at a time: what is kept, what is asked of the backend, every step that can fail (domain.md
// 12.1). Several at once: mempool_waiting_test.cpp.
#include <gtest/gtest.h>

#include <algorithm>

#include "allocator/kernel/objects_rig.h"
#include "allocator/kernel/strands_rig.h"

namespace memtorture::kernel {
namespace {

using machine::ReportKind;
using machine::Shape;
using machine::StopReason;
using namespace subject;  // GFP names

Shape toy() { return machine::shape_named("toy").value(); }

class Pools : public ObjectsRig {
 public:
  explicit Pools(std::vector<fault::Rule> rules = {}) : ObjectsRig(toy(), std::move(rules)) {}

  std::vector<std::uint64_t> elements(PoolHandle pool) {
    std::vector<std::uint64_t> all;
    kernel.for_each_element(
        pool, [](void* arg, std::uint64_t e) { static_cast<std::vector<std::uint64_t>*>(arg)->push_back(e); }, &all);
    EXPECT_EQ(all.size(), kernel.pool_info(pool).curr_nr);
    std::ranges::sort(all);
    EXPECT_EQ(std::ranges::adjacent_find(all), all.end()) << "an element is twice in the pool";
    return all;
  }
  void expect(PoolHandle pool, std::uint32_t min_nr, std::uint32_t curr_nr, std::uint32_t out) {
    const PoolInfo info = kernel.pool_info(pool);
    EXPECT_EQ(info.min_nr, min_nr);
    EXPECT_EQ(info.curr_nr, curr_nr);
    EXPECT_EQ(info.out, out);
    EXPECT_EQ(info.waiters, 0u);
    EXPECT_LE(info.min_nr, info.capacity);
    EXPECT_EQ(elements(pool).size(), curr_nr);
  }
  // Everything that nobody holds is given back; then what is left of memory.
  std::uint64_t pages_left() {
    std::uint64_t pages = 0;
    alone([&] {
      kernel.slab().shrink_all();
      kernel.drain_all_pages();
      pages = kernel.nr_free_pages();
    });
    check();
    return pages;
  }
  // f() as the only task, with id 0: rules with task=0 are for it.
  template <class F>
  void as_task(F f) {
    ASSERT_EQ(Cast().task(0, f).run(kernel), StopReason::finished);
  }
  void write(std::uint64_t element, std::uint8_t value, std::uint64_t n) { std::memset(bytes(element), value, n); }
};

constexpr fault::Rule failing(machine::Site site, std::uint32_t nth = 1, std::int32_t times = -1) {
  return {.site = site, .interval = nth, .times = times, .task = 0};
}

std::vector<PoolBackend> backends(Kernel& kernel) {
  return {slab_backend(kernel.kmem_cache_create({.name = "elements", .size = 200})), kmalloc_backend(1000),
          page_backend(0), page_backend(2)};
}

TEST(Mempool, KeepsItsMinimumAndNoMore) {  // P-POOL-1, P-POOL-4
  Pools rig;
  std::vector<PoolBackend> all;
  rig.alone([&] { all = backends(rig.kernel); });
  const std::uint64_t before = rig.pages_left();
  for (const PoolBackend& backend : all) {
    SCOPED_TRACE(pool_kind_names[static_cast<unsigned>(backend.kind)]);
    PoolHandle pool = no_pool;
    std::vector<std::uint64_t> held;
    rig.alone([&] {
      auto& k = rig.kernel;
      pool = k.mempool_create({.min_nr = 3, .backend = backend});
      ASSERT_NE(pool, no_pool);
      rig.expect(pool, 3, 3, 0);
      const auto stock = rig.elements(pool);
      for (unsigned i = 0; i != 5; ++i) {
        held.push_back(k.mempool_alloc(pool, GFP_KERNEL));
        ASSERT_NE(held.back(), 0u);
        EXPECT_FALSE(std::ranges::binary_search(stock, held.back())) << "the backend comes first";
        rig.write(held.back(), static_cast<std::uint8_t>(i), 200);
      }
      rig.expect(pool, 3, 3, 5);
      for (unsigned i = 0; i != 5; ++i) EXPECT_TRUE(rig.all_bytes(held[i], 200, static_cast<std::byte>(i)));
      for (const std::uint64_t element : held) k.mempool_free(element, pool);
      rig.expect(pool, 3, 3, 0);
      EXPECT_EQ(rig.elements(pool), stock) << "what came back over the minimum went to the backend";
      k.mempool_free(0, pool);
      rig.expect(pool, 3, 3, 0);
      EXPECT_EQ(k.mempool_destroy(pool), 0);
    });
    EXPECT_EQ(rig.pages_left(), before);  // P-POOL-5
  }
  EXPECT_TRUE(rig.said.reports.empty());
}

TEST(Mempool, StockIsForWhenTheBackendFails) {  // P-POOL-3
  Pools rig({failing("slab.alloc")});
  PoolHandle pool = no_pool;
  rig.alone([&] { pool = rig.kernel.mempool_create({.min_nr = 3, .backend = kmalloc_backend(1000)}); });
  rig.as_task([&] {
    auto& k = rig.kernel;
    std::vector<std::uint64_t> stock = rig.elements(pool), held;
    for (unsigned i = 3; i-- != 0;) {
      held.push_back(k.mempool_alloc(pool, i % 2 == 0 ? GFP_NOWAIT : GFP_KERNEL));
      rig.write(held.back(), static_cast<std::uint8_t>(i), 1000);
      rig.expect(pool, 3, i, 3 - i);
    }
    EXPECT_EQ(k.mempool_alloc(pool, GFP_NOWAIT), 0u);
    EXPECT_EQ(k.mempool_alloc(pool, GFP_ATOMIC), 0u);
    for (unsigned i = 0; i != 3; ++i) EXPECT_TRUE(rig.all_bytes(held[i], 1000, static_cast<std::byte>(2 - i)));
    k.mempool_free(held[1], pool);
    EXPECT_EQ(k.mempool_alloc(pool, GFP_ATOMIC), held[1]) << "what came back is there for the next";
    for (const std::uint64_t element : held) k.mempool_free(element, pool);
    EXPECT_EQ(rig.elements(pool), stock);
  });
  rig.alone([&] { EXPECT_EQ(rig.kernel.mempool_destroy(pool), 0); });
  EXPECT_EQ(rig.said.faults.size(), 6u);
  EXPECT_TRUE(rig.said.reports.empty());
}

TEST(Mempool, AsksTheBackendGentlyFirst) {  // P-POOL-6
  constexpr gfp_t always = gfp_nomemalloc | gfp_noretry | gfp_nowarn;
  for (const gfp_t gfp : {GFP_KERNEL, GFP_NOIO, GFP_ATOMIC, GFP_NOWAIT, GFP_KERNEL | gfp_nofail}) {
    Pools rig({failing("page.alloc", 1, 2)});
    PoolHandle pool = no_pool;
    rig.alone([&] { pool = rig.kernel.mempool_create({.min_nr = 1, .backend = page_backend(1)}); });
    rig.as_task([&] {
      auto& k = rig.kernel;
      rig.said.requests.clear();
      const std::uint64_t first = k.mempool_alloc(pool, gfp);
      EXPECT_NE(first, 0u) << "from the stock";
      const bool waits = (gfp & gfp_wait) != 0;
      const std::uint64_t second = k.mempool_alloc(pool, gfp);  // in vain at first: asks again after the time-out
      EXPECT_EQ(second != 0, waits);
      const gfp_t kept = gfp & ~gfp_nofail;
      ASSERT_EQ(rig.said.requests.size(), waits ? 3u : 2u);
      for (const auto& request : rig.said.requests) EXPECT_EQ(request.order, 1u);
      EXPECT_EQ(rig.said.requests[0].gfp, (kept & ~(gfp_wait | gfp_io)) | always);
      EXPECT_EQ(rig.said.requests[1].gfp, (kept & ~(gfp_wait | gfp_io)) | always);
      if (waits) EXPECT_EQ(rig.said.requests[2].gfp, kept | always);
      EXPECT_EQ(rig.said.sleeps, waits ? 1u : 0u);
      if (waits) EXPECT_GE(machine::jiffies_now(), 5u * toy().hz);
      k.mempool_free(first, pool);
      k.mempool_free(second, pool);
    });
    EXPECT_TRUE(rig.said.reports.empty());
  }
}

TEST(Mempool, NeverTouchesTheReserves) {  // P-POOL-6: PF_MEMALLOC has no privilege here
  Pools rig;
  PoolHandle pool = no_pool;
  rig.alone([&] { pool = rig.kernel.mempool_create({.min_nr = 1, .backend = page_backend(0)}); });
  Cast cast;
  cast.task(
      0,
      [&] {
        auto& k = rig.kernel;
        while (k.alloc_pages(GFP_NOWAIT | gfp_nomemalloc | gfp_nowarn, 0) != machine::no_pfn) {
        }
        const std::uint64_t element = k.mempool_alloc(pool, GFP_NOWAIT);
        EXPECT_NE(element, 0u) << "from the stock";
        EXPECT_EQ(k.mempool_alloc(pool, GFP_NOWAIT), 0u);
        EXPECT_NE(k.alloc_pages(GFP_NOWAIT | gfp_nowarn, 0), machine::no_pfn) << "there was a reserve to be used";
        k.mempool_free(element, pool);
      },
      machine::pf_memalloc);
  EXPECT_EQ(cast.run(rig.kernel), StopReason::finished);
  EXPECT_TRUE(rig.said.reports.empty());
}

// Every request of a creation fails once: the first, the second, ... until one creation is not hit.
TEST(Mempool, CreationThatFailsKeepsNothing) {  // P-POOL-5, P-FAULT-8
  for (const char* const site : {"slab.alloc", "page.alloc"}) {
    SCOPED_TRACE(site);
    for (unsigned kind = 0; kind != 4; ++kind) {
      unsigned nth = 1;
      for (bool created = false; !created; ++nth) {
        ASSERT_LT(nth, 50u);
        Pools rig({failing(machine::Site::named(site).value(), nth, 1)});
        PoolBackend backend;
        rig.alone([&] { backend = backends(rig.kernel)[kind]; });
        const std::uint64_t before = rig.pages_left();
        rig.as_task([&] {
          const PoolHandle pool = rig.kernel.mempool_create({.min_nr = 5, .backend = backend});
          created = rig.said.faults.empty();
          EXPECT_EQ(pool != no_pool, created);
          if (pool == no_pool) return;
          rig.expect(pool, 5, 5, 0);
          EXPECT_EQ(rig.kernel.mempool_destroy(pool), 0);
        });
        EXPECT_EQ(rig.pages_left(), before) << "failure " << nth;
      }
      // The struct, the array and 5 elements (whose slabs want descriptors, too, if they are large); pages of a page
      // pool are asked for one by one.
      if (site == std::string_view("slab.alloc") && kind != 1) EXPECT_EQ(nth - 2, kind == 0 ? 7u : 2u);
      if (site == std::string_view("page.alloc") && kind >= 2) EXPECT_GE(nth - 2, 5u);
    }
  }
}

TEST(Mempool, AbsurdPoolsAreRefused) {
  Pools rig;
  const std::uint64_t before = rig.pages_left();
  rig.alone([&] {
    auto& k = rig.kernel;
    const PoolSpec absurd[] = {{.min_nr = -1, .backend = kmalloc_backend(8)},
                               {.min_nr = 1, .backend = kmalloc_backend(0)},
                               {.min_nr = 1, .backend = page_backend(11)},
                               {.min_nr = 1, .backend = slab_backend(no_cache)}};
    for (const PoolSpec& spec : absurd) EXPECT_EQ(k.mempool_create(spec), no_pool);
    EXPECT_EQ(rig.said.count(ReportKind::bad_pool), std::size(absurd));
    EXPECT_EQ(rig.said.reports.size(), std::size(absurd));
    EXPECT_EQ(k.mempool_create({.min_nr = 0x7fffffff, .backend = kmalloc_backend(8)}), no_pool) << "no such array";
    EXPECT_EQ(k.mempool_create({.min_nr = 1, .backend = slab_backend(17)}), no_pool);
    EXPECT_EQ(rig.said.count(ReportKind::bad_cache), 1u);
    EXPECT_EQ(rig.said.reports.size(), std::size(absurd) + 1);
  });
  EXPECT_EQ(rig.pages_left(), before);
}

TEST(Mempool, WithoutAMinimumGuaranteesNothing) {
  Pools rig({failing("slab.alloc")});
  PoolHandle pool = no_pool;
  rig.alone([&] { pool = rig.kernel.mempool_create({.backend = kmalloc_backend(8)}); });
  ASSERT_NE(pool, no_pool);
  rig.alone([&] {
    const std::uint64_t element = rig.kernel.mempool_alloc(pool, GFP_KERNEL);
    EXPECT_NE(element, 0u);
    rig.kernel.mempool_free(element, pool);
  });
  rig.as_task([&] { EXPECT_EQ(rig.kernel.mempool_alloc(pool, GFP_ATOMIC), 0u); });
  rig.alone([&] { EXPECT_EQ(rig.kernel.mempool_destroy(pool), 0); });
  EXPECT_TRUE(rig.said.reports.empty());
}

TEST(Mempool, ResizesWhileElementsAreOut) {
  Pools rig;
  std::vector<PoolBackend> all;
  rig.alone([&] { all = backends(rig.kernel); });
  const std::uint64_t before = rig.pages_left();
  for (const PoolBackend& backend : all) {
    rig.alone([&] {
      auto& k = rig.kernel;
      const PoolHandle pool = k.mempool_create({.min_nr = 4, .backend = backend});
      std::vector<std::uint64_t> held;
      for (unsigned i = 0; i != 6; ++i) {
        held.push_back(k.mempool_alloc(pool, GFP_KERNEL));
        rig.write(held.back(), static_cast<std::uint8_t>(i), 200);
      }
      EXPECT_EQ(k.mempool_resize(pool, 2, GFP_KERNEL), 0);
      rig.expect(pool, 2, 2, 6);
      EXPECT_EQ(k.mempool_resize(pool, 2, GFP_KERNEL), 0);
      rig.expect(pool, 2, 2, 6);
      const auto kept = rig.elements(pool);
      EXPECT_EQ(k.mempool_resize(pool, 40, GFP_KERNEL), 0);
      rig.expect(pool, 40, 40, 6);
      const auto grown = rig.elements(pool);
      EXPECT_TRUE(std::ranges::includes(grown, kept)) << "what was there moved to the new array";
      for (unsigned i = 0; i != 6; ++i) {
        EXPECT_FALSE(std::ranges::binary_search(grown, held[i]));
        EXPECT_TRUE(rig.all_bytes(held[i], 200, static_cast<std::byte>(i)));
        k.mempool_free(held[i], pool);
      }
      rig.expect(pool, 40, 40, 0);
      EXPECT_EQ(k.mempool_resize(pool, 1, GFP_KERNEL), 0);
      rig.expect(pool, 1, 1, 0);
      EXPECT_EQ(k.mempool_resize(pool, 3, GFP_KERNEL), 0);
      rig.expect(pool, 3, 3, 0);
      EXPECT_EQ(k.mempool_resize(pool, 0, GFP_KERNEL), -einval);
      EXPECT_EQ(k.mempool_resize(pool, -5, GFP_KERNEL), -einval);
      EXPECT_EQ(rig.said.count(ReportKind::bad_pool), 2u);
      EXPECT_EQ(k.mempool_resize(pool, 0x7fffffff, GFP_KERNEL), -enomem);
      rig.expect(pool, 3, 3, 0);
      EXPECT_EQ(k.mempool_destroy(pool), 0);
      EXPECT_EQ(rig.said.reports.size(), 2u);
      rig.said.reports.clear();
    });
    EXPECT_EQ(rig.pages_left(), before);
  }
}

TEST(Mempool, ResizeThatFailsChangesNothingOrIsFinishedByReturns) {
  for (unsigned nth = 1, hit = true; hit; ++nth) {
    ASSERT_LT(nth, 20u);
    Pools rig({failing("slab.alloc", nth, 1)});
    PoolHandle pool = no_pool;
    std::vector<std::uint64_t> held;
    rig.alone([&] {
      pool = rig.kernel.mempool_create({.min_nr = 2, .backend = kmalloc_backend(100)});
      for (unsigned i = 0; i != 5; ++i) held.push_back(rig.kernel.mempool_alloc(pool, GFP_KERNEL));
    });
    rig.as_task([&] {
      auto& k = rig.kernel;
      const int result = k.mempool_resize(pool, 6, GFP_KERNEL);
      hit = !rig.said.faults.empty();
      EXPECT_EQ(result, nth == 1 ? -enomem : 0) << "only the array is refused";
      if (nth == 1) return rig.expect(pool, 2, 2, 5);
      rig.expect(pool, 6, hit ? nth : 6, 5);  // 2 were there, and each round but the last added one
    });
    rig.alone([&] {
      auto& k = rig.kernel;
      for (const std::uint64_t element : held) k.mempool_free(element, pool);
      rig.expect(pool, nth == 1 ? 2 : 6, nth == 1 ? 2 : 6, 0);
      EXPECT_EQ(k.mempool_destroy(pool), 0);
    });
    EXPECT_TRUE(rig.said.reports.empty());
  }
}

// K26 could never destroy a pool that resize left incomplete.
TEST(Mempool, AnIncompletePoolCanBeDestroyed) {
  Pools rig({failing("slab.alloc", 3, 1)});
  PoolHandle pool = no_pool;
  rig.alone([&] { pool = rig.kernel.mempool_create({.min_nr = 1, .backend = kmalloc_backend(100)}); });
  rig.as_task([&] { EXPECT_EQ(rig.kernel.mempool_resize(pool, 9, GFP_KERNEL), 0); });
  rig.expect(pool, 9, 2, 0);
  rig.alone([&] { EXPECT_EQ(rig.kernel.mempool_destroy(pool), 0); });
  EXPECT_TRUE(rig.said.reports.empty());
}

TEST(Mempool, IsNotDestroyedWhileElementsAreOut) {
  Pools rig;
  const std::uint64_t before = rig.pages_left();
  rig.alone([&] {
    auto& k = rig.kernel;
    const PoolHandle pool = k.mempool_create({.min_nr = 2, .backend = page_backend(0)});
    const std::uint64_t element = k.mempool_alloc(pool, GFP_KERNEL);
    EXPECT_EQ(k.mempool_destroy(pool), -ebusy);
    EXPECT_EQ(rig.said.count(ReportKind::pool_busy), 1u);
    EXPECT_EQ(rig.said.reports.size(), 1u);
    rig.expect(pool, 2, 2, 1);
    const std::uint64_t other = k.mempool_alloc(pool, GFP_KERNEL);
    EXPECT_NE(other, 0u) << "it lives on";
    k.mempool_free(other, pool);
    k.mempool_free(element, pool);
    EXPECT_EQ(k.mempool_destroy(pool), 0);
    EXPECT_EQ(rig.said.reports.size(), 1u);
  });
  EXPECT_EQ(rig.pages_left(), before);
}

TEST(Mempool, WrongHandlesAndElementsAreReported) {
  Pools rig;
  rig.alone([&] {
    auto& k = rig.kernel;
    const PoolHandle pool = k.mempool_create({.min_nr = 1, .backend = kmalloc_backend(64)});
    const std::uint64_t element = k.mempool_alloc(pool, GFP_KERNEL);
    const PoolHandle dead = k.mempool_create({.min_nr = 1, .backend = kmalloc_backend(64)});
    EXPECT_EQ(k.mempool_destroy(dead), 0);
    const Pfn plain = k.alloc_pages(GFP_KERNEL, 0);
    const Pfn blemished = k.alloc_pages(GFP_KERNEL, 0);
    k.blemish(blemished, Blemish::slab);
    const PoolHandle wrong[] = {
        0, 1, pool + 8, element, rig.ram().address_of(plain), rig.ram().address_of(blemished), pool + 1, dead, ~0ull};
    for (const PoolHandle handle : wrong) {
      rig.said.reports.clear();
      EXPECT_EQ(k.mempool_alloc(handle, GFP_KERNEL), 0u);
      k.mempool_free(element, handle);
      EXPECT_EQ(k.mempool_resize(handle, 1, GFP_KERNEL), -einval);
      EXPECT_EQ(k.mempool_destroy(handle), -einval);
      EXPECT_EQ(rig.said.count(ReportKind::bad_pool), 4u) << std::hex << handle;
      EXPECT_EQ(rig.said.reports.size(), 4u);
    }
    rig.said.reports.clear();
    rig.expect(pool, 1, 1, 1);
    k.mempool_free(element, pool);
    k.mempool_free(element, pool);
    EXPECT_EQ(rig.said.count(ReportKind::bad_object), 1u) << "more came back than went out";
    rig.expect(pool, 1, 1, 0);
  });
}

TEST(Mempool, HighMemoryIsMaskedAndReportedOnce) {
  Pools rig({failing("page.alloc", 1, 1)});
  PoolHandle pool = no_pool;
  rig.alone([&] { pool = rig.kernel.mempool_create({.min_nr = 1, .backend = page_backend(3)}); });
  rig.as_task([&] {
    rig.said.requests.clear();
    EXPECT_NE(rig.kernel.mempool_alloc(pool, GFP_ATOMIC | gfp_highmem), 0u);
    ASSERT_EQ(rig.said.reports.size(), 1u);
    EXPECT_EQ(rig.said.reports[0].kind, ReportKind::highmem_address);
    EXPECT_EQ(rig.said.reports[0].order, 3u);
    EXPECT_EQ(rig.said.requests.at(0).gfp & gfp_highmem, 0u);
  });
}

// domain.md 21.3: the blocking ones are told, and then do not sleep.
TEST(Mempool, ContextsThatMayNotSleep) {
  Pools rig({failing("page.alloc")});
  PoolHandle pool = no_pool;
  rig.alone([&] { pool = rig.kernel.mempool_create({.min_nr = 1, .backend = page_backend(0)}); });
  rig.as_task([&] {
    auto& k = rig.kernel;
    machine::preempt_disable();
    const std::uint64_t element = k.mempool_alloc(pool, GFP_KERNEL);
    EXPECT_NE(element, 0u);
    EXPECT_EQ(rig.said.count(ReportKind::sleeping), 1u);
    EXPECT_EQ(k.mempool_alloc(pool, GFP_KERNEL), 0u) << "served like one that may not wait";
    EXPECT_EQ(rig.said.count(ReportKind::sleeping), 2u);
    EXPECT_EQ(k.mempool_alloc(pool, GFP_ATOMIC), 0u);
    k.mempool_free(element, pool);
    EXPECT_EQ(rig.said.count(ReportKind::sleeping), 2u);
    EXPECT_EQ(k.mempool_resize(pool, 2, GFP_KERNEL), 0);
    EXPECT_EQ(rig.said.count(ReportKind::sleeping), 3u);
    EXPECT_EQ(k.mempool_create({.min_nr = 1, .backend = page_backend(0)}), no_pool) << "no page for it";
    EXPECT_EQ(rig.said.count(ReportKind::sleeping), 4u);
    EXPECT_EQ(k.mempool_destroy(pool), 0);
    EXPECT_EQ(rig.said.count(ReportKind::sleeping), 5u);
    machine::preempt_enable();
    EXPECT_EQ(rig.said.sleeps, 0u);
    EXPECT_EQ(rig.said.count(ReportKind::allocation_failure), 0u) << "injected";
    EXPECT_EQ(rig.said.reports.size(), 5u);
  });
}

TEST(Mempool, NothingWorksFromNmi) {  // P-CTX-6
  Pools rig;
  PoolHandle pool = no_pool;
  std::uint64_t element = 0;
  rig.alone([&] {
    pool = rig.kernel.mempool_create({.min_nr = 1, .backend = page_backend(0)});
    element = rig.kernel.mempool_alloc(pool, GFP_KERNEL);
  });
  Cast cast;
  cast.add(machine::ContextKind::nmi, 0, [&] {
    auto& k = rig.kernel;
    EXPECT_EQ(k.mempool_create({.min_nr = 1, .backend = page_backend(0)}), no_pool);
    EXPECT_EQ(k.mempool_alloc(pool, GFP_ATOMIC), 0u);
    k.mempool_free(element, pool);
    EXPECT_EQ(k.mempool_resize(pool, 5, GFP_ATOMIC), -einval);
    EXPECT_EQ(k.mempool_destroy(pool), -einval);
  });
  EXPECT_EQ(cast.run(rig.kernel), StopReason::finished);
  EXPECT_EQ(rig.said.count(ReportKind::nmi_entry), 5u);
  EXPECT_EQ(rig.said.reports.size(), 5u);
  rig.expect(pool, 1, 1, 1);
}

}  // namespace
}  // namespace memtorture::kernel
