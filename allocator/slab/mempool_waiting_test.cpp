// Memory pools with several contexts: whoever may wait gets an element, as long as holders give theirs back, and no
// return is missed (domain.md 12.1, P-POOL-2 and P-POOL-7).
//
// On fibers time stands still unless nobody can move: a wait that ends by its time-out shows as time that passed, which
// is how a lost wake-up is told from a wake-up. On threads the same programs run under ThreadSanitizer, and time moves
// with the CPUs' steps.
#include <gtest/gtest.h>

#include "allocator/kernel/objects_rig.h"
#include "allocator/kernel/strands_rig.h"

namespace memtorture::kernel {
namespace {

using machine::Shape;
using machine::StopReason;
using namespace subject;  // GFP names

Shape two_cpus() {
  Shape shape = machine::shape_named("toy").value();
  shape.cpus = 2;
  return shape;
}

// The requests of contexts 0..tasks-1 to the page layer always fail, or by chance.
std::vector<fault::Rule> no_pages(machine::ContextId tasks, std::uint8_t percent = 100, std::int32_t times = -1) {
  std::vector<fault::Rule> rules;
  for (machine::ContextId i = 0; i != tasks; ++i)
    rules.push_back({.site = "page.alloc", .probability = percent, .times = times, .task = i});
  return rules;
}

class WaitingPool {
 public:
  WaitingPool(std::vector<fault::Rule> rules, int min_nr) : rules_(std::move(rules)) {
    kernel.boot(two_cpus(), rules_, said, said);
    EXPECT_TRUE(kernel.boot_objects());
    alone([&] {
      pages_before_ = pages_left();
      pool = kernel.mempool_create({.min_nr = min_nr, .backend = page_backend(0)});
    });
    EXPECT_NE(pool, no_pool);
  }
  // All elements are back: destroys the pool and looks what is left.
  void finish() {
    EXPECT_EQ(kernel.pool_info(pool).waiters, 0u);
    EXPECT_EQ(kernel.pool_info(pool).out, 0u);
    EXPECT_EQ(kernel.pool_info(pool).curr_nr, kernel.pool_info(pool).min_nr);
    alone([&] {
      EXPECT_EQ(kernel.mempool_destroy(pool), 0);
      EXPECT_EQ(pages_left(), pages_before_);
    });
    EXPECT_EQ(said.reports, 0u);
  }
  template <class F>
  void alone(F f) {
    kernel.machine().run_alone([](void* arg) { (*static_cast<F*>(arg))(); }, &f);
  }
  std::uint64_t* words(std::uint64_t element) {
    return reinterpret_cast<std::uint64_t*>(kernel.machine().ram().at(element));
  }
  std::uint64_t jiffies() {
    std::uint64_t now = 0;
    alone([&] { now = machine::jiffies_now(); });
    return now;
  }

  Tally said;
  Kernel kernel;
  PoolHandle pool = no_pool;

 private:
  std::uint64_t pages_left() {
    kernel.slab().shrink_all();
    kernel.drain_all_pages();
    return kernel.nr_free_pages();
  }
  std::vector<fault::Rule> rules_;
  std::uint64_t pages_before_ = 0;
};

constexpr bool exact_time() { return !machine::Machine::concurrent(); }
}  // namespace

TEST(MempoolWaiting, EndsWhenAnotherTaskGivesBack) {
  WaitingPool rig(no_pages(1), 1);
  std::atomic<std::uint64_t> held{0};
  machine::WaitQueue taken;
  unsigned order = 0, freed_at = 0, got_at = 0;
  Cast cast;
  cast.task(0, [&] {
    held = rig.kernel.mempool_alloc(rig.pool, GFP_NOIO);
    taken.wake_all();
    const std::uint64_t again = rig.kernel.mempool_alloc(rig.pool, GFP_NOIO);
    got_at = ++order;
    EXPECT_EQ(again, held);
    rig.kernel.mempool_free(again, rig.pool);
  });
  cast.task(1, [&] {
    while (held == 0) taken.wait_timeout(1000, [&] { return held != 0; });
    freed_at = ++order;
    rig.kernel.mempool_free(held, rig.pool);
  });
  ASSERT_EQ(cast.run(rig.kernel), StopReason::finished);
  EXPECT_EQ(freed_at, 1u);
  EXPECT_EQ(got_at, 2u);
  if (exact_time()) {
    EXPECT_EQ(rig.jiffies(), 0u);
    EXPECT_EQ(rig.said.sleeps, 1u);
  }
  rig.finish();
}

TEST(MempoolWaiting, EndsWhenAnInterruptGivesBack) {
  WaitingPool rig(no_pages(1), 1);
  std::uint64_t element = 0;
  rig.alone([&] { element = rig.kernel.mempool_alloc(rig.pool, GFP_KERNEL); });
  Cast cast;
  cast.task(0, [&] {
    const std::uint64_t first = rig.kernel.mempool_alloc(rig.pool, GFP_NOIO);  // the one that was set aside
    const std::uint64_t second = rig.kernel.mempool_alloc(rig.pool, GFP_NOIO);
    EXPECT_EQ(second, element);
    rig.kernel.mempool_free(first, rig.pool);
    rig.kernel.mempool_free(second, rig.pool);
  });
  cast.add(machine::ContextKind::hardirq, 0, [&] { rig.kernel.mempool_free(element, rig.pool); });
  ASSERT_EQ(cast.run(rig.kernel), StopReason::finished);
  if (exact_time()) EXPECT_EQ(rig.jiffies(), 0u) << "interrupts come before time-outs";
  rig.finish();
}

// Memory that comes back to the backend wakes nobody: the time-out is for that.
TEST(MempoolWaiting, LooksAgainAfterFiveSeconds) {
  WaitingPool rig(no_pages(1, 100, 5), 1);
  Cast cast;
  cast.task(0, [&] {
    const std::uint64_t first = rig.kernel.mempool_alloc(rig.pool, GFP_NOIO);
    const std::uint64_t second = rig.kernel.mempool_alloc(rig.pool, GFP_NOIO);
    EXPECT_NE(second, 0u);
    rig.kernel.mempool_free(first, rig.pool);
    rig.kernel.mempool_free(second, rig.pool);
  });
  ASSERT_EQ(cast.run(rig.kernel), StopReason::finished);
  EXPECT_EQ(rig.said.faults, 5u) << "one for the first element, then four in vain";
  EXPECT_EQ(rig.said.sleeps, 4u);
  if (exact_time()) EXPECT_EQ(rig.jiffies(), 4 * 5 * two_cpus().hz);
  rig.finish();
}

// Two wait; one element comes back. The first of them is served by the backend after all, so the element is the other
// one's, who must have been woken as well: no further return will do it.
TEST(MempoolWaiting, AWokenOneWhoNeedsNoElementLeavesItToTheOther) {
  std::vector<fault::Rule> rules = no_pages(3);
  rules[1].times = 1;
  WaitingPool rig(rules, 1);
  Cast cast;
  cast.task(0, [&] {
    const std::uint64_t stock = rig.kernel.mempool_alloc(rig.pool, GFP_NOIO);
    machine::sleep_jiffies(1);  // until both wait
    rig.kernel.mempool_free(stock, rig.pool);
  });
  for (unsigned i = 0; i != 2; ++i)
    cast.task(1, [&] { rig.kernel.mempool_free(rig.kernel.mempool_alloc(rig.pool, GFP_NOIO), rig.pool); });
  ASSERT_EQ(cast.run(rig.kernel), StopReason::finished);
  if (exact_time()) EXPECT_EQ(rig.jiffies(), 1u);
  rig.finish();
}

TEST(MempoolWaiting, ResizeBringsWaitersWhatTheyWaitFor) {
  WaitingPool rig(no_pages(1), 1);
  std::uint64_t held = 0;
  Cast cast;
  cast.task(0, [&] {
    held = rig.kernel.mempool_alloc(rig.pool, GFP_NOIO);
    const std::uint64_t second = rig.kernel.mempool_alloc(rig.pool, GFP_NOIO);
    EXPECT_NE(second, 0u);
    rig.kernel.mempool_free(second, rig.pool);
    rig.kernel.mempool_free(held, rig.pool);
  });
  cast.task(1, [&] { EXPECT_EQ(rig.kernel.mempool_resize(rig.pool, 2, GFP_KERNEL), 0); });
  ASSERT_EQ(cast.run(rig.kernel), StopReason::finished);
  if (exact_time()) EXPECT_EQ(rig.jiffies(), 0u);
  rig.finish();
}

namespace {

struct Party {
  machine::ContextId tasks;
  std::uint8_t percent;  // of requests to the backend that fail
  int min_nr;
};

// Each task takes an element, stamps it, passes points, looks at the stamp and gives it back. Handlers do the same and
// must cope with none. With all backends failing there are min_nr elements for everybody.
void play(const Party& party, std::uint64_t seed) {
  WaitingPool rig(no_pages(party.tasks + 2, party.percent), party.min_nr);
  std::atomic<unsigned> damaged{0}, refused{0};
  const auto use = [&](std::uint64_t mark, gfp_t gfp) {
    const std::uint64_t element = rig.kernel.mempool_alloc(rig.pool, gfp);
    if (element == 0) {
      if ((gfp & gfp_wait) != 0) ++refused;
      return;
    }
    std::uint64_t* const words = rig.words(element);
    words[0] = words[511] = mark;
    machine::point("op");
    if ((gfp & gfp_wait) != 0) machine::cond_resched();
    if (words[0] != mark || words[511] != mark) ++damaged;
    rig.kernel.mempool_free(element, rig.pool);
  };
  Cast cast;
  for (unsigned i = 0; i != party.tasks; ++i) {
    cast.task(i % 2, [&use, i] {
      for (unsigned round = 0; round != 4; ++round) use(i * 16 + round, GFP_NOIO);
    });
  }
  cast.add(machine::ContextKind::hardirq, 0, [&] { use(1000, GFP_ATOMIC); });
  cast.add(machine::ContextKind::softirq, 1, [&] { use(1001, GFP_ATOMIC); });
  ASSERT_EQ(cast.run(rig.kernel, seed), StopReason::finished);
  EXPECT_EQ(damaged, 0u);
  EXPECT_EQ(refused, 0u);                          // P-POOL-2
  if (exact_time()) EXPECT_EQ(rig.jiffies(), 0u);  // P-POOL-7: nobody was left to the time-out
  rig.finish();
}

void play_many(const Party& party) {
  const std::uint64_t seeds = machine::Machine::concurrent() ? 100 : 400;
  for (std::uint64_t seed = 1; seed <= seeds && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    play(party, seed);
  }
}

TEST(MempoolWaiting, NoWakeUpIsLostWithOneElementForMany) { play_many({.tasks = 5, .percent = 100, .min_nr = 1}); }
TEST(MempoolWaiting, NoWakeUpIsLostWithTwoElements) { play_many({.tasks = 6, .percent = 100, .min_nr = 2}); }
// One that is woken may be served by the backend: the element that it was woken for is another one's.
TEST(MempoolWaiting, NoWakeUpIsLostWhenTheBackendHelps) { play_many({.tasks = 5, .percent = 80, .min_nr = 1}); }

// Tasks use the pool while another one resizes it up and down.
TEST(MempoolWaiting, ResizeUnderway) {
  const std::uint64_t seeds = machine::Machine::concurrent() ? 100 : 300;
  for (std::uint64_t seed = 1; seed <= seeds && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    WaitingPool rig(no_pages(2, 70), 3);
    std::atomic<unsigned> damaged{0};
    Cast cast;
    for (unsigned i = 0; i != 4; ++i) {
      cast.task(i % 2, [&, i] {
        for (unsigned round = 0; round != 4; ++round) {
          const std::uint64_t element = rig.kernel.mempool_alloc(rig.pool, GFP_NOIO);
          rig.words(element)[0] = i;
          machine::cond_resched();
          if (rig.words(element)[0] != i) ++damaged;
          rig.kernel.mempool_free(element, rig.pool);
        }
      });
    }
    for (const int bias : {0, 1}) {
      cast.task(static_cast<unsigned>(bias), [&rig, bias] {
        for (const int size : {5, 1, 9, 2, 3}) rig.kernel.mempool_resize(rig.pool, size + bias, GFP_KERNEL);
      });
    }
    ASSERT_EQ(cast.run(rig.kernel, seed), StopReason::finished);
    EXPECT_EQ(damaged, 0u);
    const PoolInfo info = rig.kernel.pool_info(rig.pool);
    EXPECT_TRUE(info.min_nr == 3 || info.min_nr == 4) << info.min_nr;
    rig.finish();
  }
}

}  // namespace
}  // namespace memtorture::kernel
