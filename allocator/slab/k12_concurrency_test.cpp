// K12's kmalloc under random traffic: alone with its invariants recomputed on the way, and from tasks and handlers of
// two CPUs at once, which pass blocks to one another. Contents are stamped by whoever holds a block, and looked at
// before it is freed.
#include <gtest/gtest.h>

#include <array>

#include "allocator/kernel/buckets_rig.h"
#include "allocator/kernel/strands_rig.h"

namespace memtorture::kernel {
namespace {

using machine::ContextKind;
using machine::Shape;
using machine::StopReason;
using namespace subject;  // GFP names

constexpr std::uint32_t sizes[] = {0,   1,    24,   25,   56,   100,  120,  244,  250,
                                   500, 1012, 1013, 2032, 2033, 4072, 4073, 8168, 20'000};

TEST(K12Traffic, KeepsContentsAndInvariants) {
  for (const std::string_view shape : {"tiny-32", "alpha"}) {
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
      SCOPED_TRACE(testing::Message() << shape << ", seed " << seed);
      BucketsRig rig(shape);
      SplitMix random{seed};
      LiveBlocks live;
      std::map<std::uint64_t, std::byte> stamps;
      rig.alone([&] {
        auto& k = rig.kernel;
        const std::uint64_t pages = k.nr_free_pages();
        const auto drop = [&](LiveBlocks::iterator it) {
          EXPECT_TRUE(rig.all_bytes(it->first, it->second, stamps[it->first]));
          random.below(2) == 0 ? k.kfree(it->first) : k.kfree_s(it->first, it->second);
          live.erase(it);
        };
        for (unsigned i = 0; i != 1500; ++i) {
          const bool growing = i / 250 % 2 == 0;
          if (random.below(8) < (growing ? 5 : 3)) {
            const std::uint64_t bytes = sizes[random.below(std::size(sizes))];
            const std::uint64_t block =
                k.kmalloc(bytes, random.below(5) == 0 ? GFP_ATOMIC | GFP_DMA : GFP_ATOMIC | gfp_nowarn);
            if (block == 0) continue;
            EXPECT_TRUE(live.emplace(block, bytes).second) << "handed out twice";
            stamps[block] = static_cast<std::byte>(random());
            std::memset(rig.bytes(block), static_cast<int>(stamps[block]), bytes);
          } else if (!live.empty()) {
            drop(std::next(live.begin(), static_cast<std::ptrdiff_t>(random.below(live.size()))));
          }
          if (i % 50 == 0) rig.check(live);
        }
        while (!live.empty()) drop(live.begin());
        rig.check(live);
        k.drain_all_pages();
        EXPECT_EQ(k.nr_free_pages(), pages);
      });
      EXPECT_EQ(rig.said.count(machine::ReportKind::k12_no_page), rig.said.reports.size());
    }
  }
}

// Slots through which contexts hand blocks to one another. First and last word of a block are its holder's stamp.
class Exchange {
 public:
  explicit Exchange(Kernel& kernel) : kernel_(kernel) {}

  void play(SplitMix random, gfp_t gfp, unsigned rounds) {
    for (unsigned i = 0; i != rounds; ++i) {
      machine::begin_operation(i);
      auto& slot = slots_[random.below(slots_.size())];
      std::uint64_t fresh =
          random.below(4) == 0 ? 0 : kernel_.kmalloc(bytes_of(random()), gfp | static_cast<gfp_t>(random.below(2)));
      if (fresh != 0) stamp(fresh, static_cast<std::uint32_t>(random()));
      give(slot.exchange(fresh, std::memory_order_acq_rel));
    }
  }
  // Outside of a run: what lies in the slots, and its end.
  LiveBlocks live() {
    LiveBlocks all;
    for (const auto& slot : slots_) {
      if (slot != 0) all.emplace(slot, words(slot)[-1]);
    }
    return all;
  }
  void give_all() {
    for (auto& slot : slots_) give(slot.exchange(0));
  }

  std::atomic<unsigned> damaged{0};

 private:
  static std::uint64_t bytes_of(std::uint64_t bits) {
    constexpr std::uint32_t some[] = {24, 120, 500, 1012, 2032, 4072, 5000};
    return some[bits % std::size(some)];
  }
  std::uint32_t* words(std::uint64_t block) {
    return reinterpret_cast<std::uint32_t*>(kernel_.machine().ram().at(block));
  }
  std::uint64_t last(std::uint64_t block) { return words(block)[-1] / 4 - 1; }  // of what was asked for
  void stamp(std::uint64_t block, std::uint32_t value) {
    words(block)[0] = value;
    words(block)[last(block)] = ~value;
  }
  void give(std::uint64_t block) {
    if (block == 0) return;
    if (words(block)[0] != ~words(block)[last(block)]) damaged.fetch_add(1, std::memory_order_relaxed);
    kernel_.kfree_s(block, words(block)[-1]);
  }

  Kernel& kernel_;
  std::array<std::atomic<std::uint64_t>, 12> slots_ = {};
};
static_assert(gfp_dma == 1, "a random bit makes a request one for DMA");

TEST(K12Traffic, TasksAndHandlersOfTwoCpus) {  // P-CTX-10
  Shape shape = BucketsRig::k12("tiny-32");
  shape.cpus = 2;
  Kernel kernel;
  const std::uint64_t seeds = machine::Machine::concurrent() ? 60 : 1500;
  for (std::uint64_t seed = 1; seed <= seeds && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Tally tally;
    kernel.boot(shape, {}, tally, tally);
    ASSERT_TRUE(kernel.boot_objects());
    const auto alone = [&](auto f) {
      kernel.machine().run_alone([](void* arg) { (*static_cast<decltype(f)*>(arg))(); }, &f);
    };
    std::uint64_t pages = 0;
    alone([&] { pages = kernel.nr_free_pages(); });
    Exchange exchange(kernel);
    Cast cast;
    for (unsigned cpu = 0; cpu != 2; ++cpu) {
      cast.task(cpu, [&, cpu] { exchange.play({seed * 8 + cpu}, GFP_KERNEL, 25); });
      cast.add(ContextKind::hardirq, cpu, [&, cpu] { exchange.play({seed * 8 + 2 + cpu}, GFP_ATOMIC, 6); });
    }
    cast.add(ContextKind::softirq, 0, [&] { exchange.play({seed * 8 + 4}, GFP_ATOMIC, 6); });
    ASSERT_EQ(cast.run(kernel, seed), StopReason::finished);
    EXPECT_EQ(exchange.damaged, 0u);
    check_buckets(kernel, exchange.live(), tally.blocks);
    alone([&] {
      exchange.give_all();
      check_buckets(kernel, {}, tally.blocks);
      kernel.drain_all_pages();
      EXPECT_EQ(kernel.nr_free_pages(), pages);
    });
    EXPECT_EQ(exchange.damaged, 0u);
    EXPECT_EQ(tally.reports, 0u);
  }
}

// An interrupt in the middle of a refill: after the look at the list, before the new area is on it. Its handler needs
// the same class and gets an area of its own; nobody waits, and nothing is lost.
TEST(K12Traffic, InterruptDuringRefill) {
  if (machine::Machine::concurrent()) GTEST_SKIP() << "who is interrupted where is decided on fibers only";
  struct At final : machine::Chooser {
    explicit At(machine::Site where) : site(where) {}
    machine::Site site;
    bool delivered = false;
    bool interested(const machine::Moment& moment) override {
      return !delivered && moment.site == site && moment.who == 0;
    }
    std::uint32_t choose(const machine::Moment&, std::span<const machine::Option> options) override {
      for (std::uint32_t i = 0; i != options.size(); ++i) {
        if (options[i].move != machine::Move::deliver) continue;
        delivered = true;
        return i;
      }
      return 0;
    }
    bool roll(const machine::Moment&, std::uint32_t) override { return false; }
    void restart() override {}
  };
  const Shape shape = BucketsRig::k12("toy");
  Kernel kernel;
  for (const machine::Site site : {machine::Site("k12.grow"), machine::Site("page.watermark"),
                                   machine::Site("page.prep"), machine::Site("irq.enable")}) {
    SCOPED_TRACE(site.name());
    Tally tally;
    kernel.boot(shape, {}, tally, tally);
    ASSERT_TRUE(kernel.boot_objects());
    std::uint64_t first = 0, second = 0, interrupts = 0;
    Cast cast;
    cast.task(0, [&] {
      first = kernel.kmalloc(1000, GFP_KERNEL);
      second = kernel.kmalloc(1000, GFP_KERNEL);
    });
    cast.add(ContextKind::hardirq, 0, [&] {
      interrupts = kernel.kmalloc(1000, GFP_ATOMIC);
      kernel.kfree(kernel.kmalloc(1000, GFP_ATOMIC));
    });
    At chooser(site);
    ASSERT_EQ(cast.run(kernel, chooser), StopReason::finished);
    EXPECT_TRUE(chooser.delivered);
    const LiveBlocks live{{first, 1000}, {second, 1000}, {interrupts, 1000}};
    check_buckets(kernel, live, tally.blocks);
    EXPECT_EQ(kernel.bucket(5).areas, 2u) << "each brought its own";
    auto free_all = [&] {
      for (const auto& [block, bytes] : live) kernel.kfree(block);
    };
    kernel.machine().run_alone([](void* arg) { (*static_cast<decltype(free_all)*>(arg))(); }, &free_all);
    check_buckets(kernel, {}, tally.blocks);
    EXPECT_EQ(tally.reports, 0u);
  }
}

}  // namespace
}  // namespace memtorture::kernel
