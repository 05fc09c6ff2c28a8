// Per-CPU memory under several CPUs: tasks, softirqs and hardirqs that allocate, free and count, steered by dice on
// fibers and by the host on threads (where ThreadSanitizer watches).
//
// Counters are read after the run: while others count, a total is only near the truth.
#include <gtest/gtest.h>

#include <vector>

#include "allocator/kernel/strands_rig.h"

namespace memtorture::percpu {
namespace {

using kernel::Cast;
using kernel::Kernel;
using kernel::Tally;
using machine::ContextKind;
using machine::StopReason;
using subject::GFP_ATOMIC;
using subject::GFP_KERNEL;

constexpr unsigned cpus = 4, seeds = 12;

struct Counters {
  DEFINE_PER_CPU(std::uint64_t, in_one) = 0;
  DEFINE_PER_CPU(std::uint64_t, masked) = 0;
  DEFINE_PER_CPU(std::uint64_t, pinned) = 0;
};
DECLARE_PER_CPU(Counters, in_one);
DECLARE_PER_CPU(Counters, masked);
DECLARE_PER_CPU(Counters, pinned);

class Machine {
 public:
  Machine() {
    machine::Shape shape = machine::shape_named("toy").value();
    shape.cpus = cpus;
    shape.objects = machine::ObjectLayer::slab;
    kernel.boot(shape, {}, tally, tally);
    EXPECT_TRUE(kernel.boot_objects());
    struct Boot {
      Kernel& kernel;
      bool done = false;
    } boot{kernel};
    kernel.machine().run_alone(
        [](void* arg) {
          Boot& self = *static_cast<Boot*>(arg);
          self.done = self.kernel.percpu().boot(Counters{});
        },
        &boot);
    EXPECT_TRUE(boot.done);
  }
  template <class T>
  T total(StaticPercpu<T> variable) {
    T sum{};
    for (unsigned cpu = 0; cpu != cpus; ++cpu) sum += kernel.percpu().variable(variable).on(cpu);
    return sum;
  }
  PercpuAllocator& percpu() { return kernel.percpu(); }

  Tally tally;
  Kernel kernel;
};

void add_masked(PercpuAllocator& percpu) {
  const machine::Masked masked;
  auto& mine = percpu.variable(per_cpu_var__masked)[masked];
  const std::uint64_t loaded = mine;
  machine::point("percpu.rmw");  // whatever could come in between would
  mine = loaded + 1;
}

TEST(PercpuConcurrency, CountersLoseNothing) {
  constexpr unsigned rounds = 40;
  for (unsigned seed = 0; seed != seeds; ++seed) {
    Machine m;
    Cast cast;
    const auto count = [&](bool task) {
      for (unsigned i = 0; i != rounds; ++i) {
        m.percpu().this_cpu_add(PercpuAllocator::static_cookie + per_cpu_var__in_one.offset, 1, 8);
        add_masked(m.percpu());
        if (!task) continue;
        std::uint64_t& mine = get_cpu_var(m.percpu(), pinned);
        const std::uint64_t loaded = mine;
        machine::point("percpu.rmw");
        mine = loaded + 1;
        put_cpu_var(m.percpu(), pinned);
      }
    };
    for (unsigned cpu = 0; cpu != cpus; ++cpu) {
      cast.task(cpu, [&] { count(true); });
      cast.task(cpu, [&] { count(true); });
      cast.add(ContextKind::hardirq, cpu, [&] { count(false); });
      cast.add(ContextKind::softirq, cpu, [&] { count(false); });
    }
    ASSERT_EQ(cast.run(m.kernel, seed), StopReason::finished);
    EXPECT_EQ(m.total(per_cpu_var__in_one), 4 * cpus * rounds) << "seed " << seed;
    EXPECT_EQ(m.total(per_cpu_var__masked), 4 * cpus * rounds) << "seed " << seed;
    EXPECT_EQ(m.total(per_cpu_var__pinned), 2 * cpus * rounds) << "seed " << seed;
    EXPECT_EQ(m.tally.reports, 0U);
  }
}

// Each keeps what it wrote to every copy while all others allocate and free.
TEST(PercpuConcurrency, AreasAreApart) {
  for (unsigned seed = 0; seed != seeds; ++seed) {
    Machine m;
    Cast cast;
    const auto churn = [&](unsigned salt, gfp_t gfp, unsigned rounds) {
      const auto at = [&](PercpuPtr p, unsigned cpu) {
        return reinterpret_cast<std::uint64_t*>(m.percpu().at(m.percpu().per_cpu_ptr(p, cpu)));
      };
      std::vector<PercpuPtr> mine;
      for (unsigned i = 0; i != rounds; ++i) {
        const std::uint64_t bytes = i % 7 == 0 && (gfp & subject::gfp_wait) != 0 ? 20000 : 8 + i % 5 * 24;
        const PercpuPtr p = m.percpu().alloc(bytes, 8, gfp);
        if (p != 0) {
          for (unsigned cpu = 0; cpu != cpus; ++cpu) {
            EXPECT_EQ(*at(p, cpu), 0U);
            *at(p, cpu) = p + salt;
          }
          mine.push_back(p);
        }
        if (mine.size() < 4) continue;
        for (unsigned cpu = 0; cpu != cpus; ++cpu) EXPECT_EQ(*at(mine[i % 4], cpu), mine[i % 4] + salt);
        m.percpu().free(mine[i % 4]);
        mine.erase(mine.begin() + i % 4);
      }
      for (const PercpuPtr p : mine) m.percpu().free(p);
    };
    for (unsigned cpu = 0; cpu != cpus; ++cpu) {
      cast.task(cpu, [&, cpu] { churn(cpu, GFP_KERNEL, 40); });
      cast.task(cpu, [&, cpu] { churn(cpu + 8, GFP_ATOMIC, 20); });
      cast.add(ContextKind::hardirq, cpu, [&, cpu] { churn(cpu + 16, GFP_ATOMIC, 6); });
      cast.add(ContextKind::softirq, cpu, [&, cpu] { churn(cpu + 32, GFP_ATOMIC, 6); });
    }
    ASSERT_EQ(cast.run(m.kernel, seed), StopReason::finished);
    EXPECT_EQ(m.tally.reports, 0U) << "seed " << seed;
    unsigned whole = 0, chunks = 0;
    m.percpu().for_each_chunk([&](Chunk& chunk) {
      ++chunks;
      whole += chunk.free_bytes == m.percpu().layout().unit_bytes ? 1 : 0;
    });
    EXPECT_LE(whole, 1U) << "the work item has gone";
    EXPECT_EQ(chunks, 2U + whole) << "nobody has anything any more";
  }
}

}  // namespace
}  // namespace memtorture::percpu
