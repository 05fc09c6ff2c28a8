// The sweep on the sound kernel, where it must find nothing, and on subjects that only a failure breaks: each is found
// by the stage that is there for it, and by none before.
#include "stress/explore/sweep.h"

#include <gtest/gtest.h>

#include "allocator/subject/forwarding.h"
#include "model/program/text.h"

namespace memtorture::explore {
namespace {

program::Case parsed(std::string_view text) {
  auto the_case = program::parse(text);
  EXPECT_TRUE(the_case.has_value()) << the_case.error().message("test");
  return *the_case;
}

constexpr std::string_view three_objects =
    "memtorture 1\n"
    "machine tiny-64 objects=slab\n"
    "expect pass\n"
    "task a cpu0\n"
    "  p = kmalloc 100 GFP_KERNEL\n"
    "  q = kmalloc 100 GFP_ATOMIC\n"
    "  r = kmalloc 100 GFP_KERNEL\n"
    "  kfree q\n";
constexpr std::string_view two_tasks =
    "memtorture 1\n"
    "machine tiny-64 cpus=2 objects=slab\n"
    "expect pass\n"
    "task a cpu0\n"
    "  p = kmalloc 100 GFP_KERNEL\n"
    "task b cpu1\n"
    "  q = kmalloc 100 GFP_KERNEL\n";

struct Swept {
  SweepTotals totals;
  std::vector<std::pair<Stage, std::string>> bugs;  // rules
  std::vector<program::Case> cases;

  std::uint64_t found(Stage stage) const { return totals.bugs[static_cast<std::size_t>(stage)]; }
  std::uint64_t runs(Stage stage) const { return totals.runs[static_cast<std::size_t>(stage)]; }
};

Swept sweep(std::string_view text, SweepOptions options = {},
            std::unique_ptr<subject::Subject> subject = run::make_kernel()) {
  Swept swept;
  options.on_bug = [&](const program::Case& the_case, const run::Outcome& outcome, Stage stage) {
    swept.bugs.emplace_back(stage, std::string(outcome.finding.rule));
    swept.cases.push_back(the_case);
  };
  Sweep it(options, std::move(subject));
  it.run(parsed(text));
  swept.totals = it.totals();
  return swept;
}

const Cell& cell(const SweepTotals& totals, machine::Site site, std::size_t caller) {
  return totals.cells[site.index()][caller];
}

TEST(Sweep, EachVisitFailsOnce) {
  const Swept swept = sweep(three_objects);
  EXPECT_TRUE(swept.bugs.empty());
  EXPECT_EQ(swept.totals.cases, 1u);
  EXPECT_EQ(swept.runs(Stage::untouched), 1u);
  const Cell& objects = cell(swept.totals, "slab.alloc", program::op_index<program::Kmalloc>());
  EXPECT_EQ(objects.visits, 3u);
  EXPECT_EQ(objects.failed, 3u);
  EXPECT_EQ(objects.survived, 0u);
  const Cell& pages = cell(swept.totals, "page.alloc", program::op_index<program::Kmalloc>());
  EXPECT_EQ(swept.runs(Stage::single), 3 + pages.visits);
  EXPECT_EQ(swept.runs(Stage::persistent), swept.runs(Stage::single));
  EXPECT_EQ(objects.recovered, 3u);
  EXPECT_EQ(objects.unrecovered + pages.unrecovered, 0u);
  EXPECT_TRUE(swept.totals.reached("slab.alloc"));
  EXPECT_FALSE(swept.totals.reached("kstack.charge"));
}

// Wakes and interrupts fail like requests.
TEST(Sweep, WakeUpsAreLostAndInterruptsStorm) {
  const Swept swept = sweep(
      "memtorture 1\nmachine tiny-64 cpus=2 objects=slab\nexpect pass\n"
      "task a cpu0\n  mutex_lock l0\n  msleep 5\n  mutex_unlock l0\n  wait_event l1\n"
      "task b cpu1\n  mutex_lock l0\n  mutex_unlock l0\n  msleep 9\n  wake_up l1\n"
      "irq h cpu0\n  p = kmalloc 100 GFP_ATOMIC\n  irq_exit\n  kfree p\n");
  EXPECT_TRUE(swept.bugs.empty());
  const Cell& unlocks = cell(swept.totals, "wake.lost", program::op_index<program::MutexUnlockOp>());
  EXPECT_EQ(unlocks.visits, 1u) << "of two, one has a waiter";
  EXPECT_EQ(unlocks.survived, 1u);
  EXPECT_EQ(cell(swept.totals, "wake.lost", program::op_index<program::WakeUp>()).survived, 1u);
  const Cell& storms = cell(swept.totals, "irq.storm", program::op_index<program::MutexLockOp>());
  EXPECT_GT(storms.visits, 1u);
  EXPECT_EQ(storms.survived, storms.visits) << "a task is interrupted at each of its points";
  EXPECT_EQ(cell(swept.totals, "irq.storm", program::op_index<program::Kmalloc>()).visits, 0u) << "but no handler";
}

TEST(Sweep, AFailureThatIsSurvived) {  // one page each for several CPUs; the request looks elsewhere
  const Swept swept = sweep(
      "memtorture 1\nmachine tiny-64 nodes=2 cpus=2 objects=slab\nexpect pass\ntask a cpu0\n"
      "  c = kmem_cache_create 500 0 0 0x00\n  p = kmem_cache_alloc c GFP_KERNEL\n");
  EXPECT_TRUE(swept.bugs.empty());
  const Cell& pages = cell(swept.totals, "page.alloc", program::op_index<program::CacheAlloc>());
  EXPECT_GT(pages.survived, 0u) << "another node has memory";
}

TEST(Sweep, TheBudgetBoundsPairsAndCrossings) {
  const Swept all = sweep(three_objects, {.pairs = 1'000'000, .crossed = 0});
  EXPECT_GT(all.runs(Stage::pair), 2u);
  EXPECT_EQ(all.totals.pairs_left, 0u);
  EXPECT_EQ(all.runs(Stage::crossed), 0u);
  const Swept few = sweep(three_objects, {.pairs = 2, .crossed = 0});
  EXPECT_EQ(few.runs(Stage::pair), 2u);
  EXPECT_EQ(few.totals.pairs_left, all.runs(Stage::pair) - 2);
}

TEST(Sweep, StopsWhenAsked) {
  unsigned runs = 0;
  const Swept swept = sweep(three_objects, {.stop = [&] { return ++runs > 4; }});
  std::uint64_t done = 0;
  for (const std::uint64_t n : swept.totals.runs) done += n;
  EXPECT_EQ(done, 4u);
}

TEST(Sweep, WhatIsBrokenUntouchedIsNotSwept) {
  class Broken : public subject::ForwardingObjects {
   public:
    Broken(Objects& inner, int) : ForwardingObjects(inner) {}
    std::uint64_t kmalloc(std::uint64_t, subject::gfp_t) override { return 0; }
  };
  const Swept swept = sweep(three_objects, {}, subject::wrapped<Broken>(run::make_kernel(), 0));
  EXPECT_EQ(swept.totals.skipped, 1u);
  EXPECT_EQ(swept.found(Stage::untouched), 1u) << "that is a bug, too, unless the case expects it";
  EXPECT_EQ(swept.totals.cases, 0u);
  EXPECT_EQ(swept.runs(Stage::single), 0u);
}

// --- subjects that a failure breaks ----------------------------------------------------------------------------------

class Defect : public subject::ForwardingObjects {
 public:
  Defect(Objects& inner, Stage stage) : ForwardingObjects(inner), stage_(stage) {}

  std::uint64_t kmalloc(std::uint64_t bytes, subject::gfp_t gfp) override {
    if (stage_ == Stage::recovery && failures_ == 1 && std::exchange(refuse_, false)) return 0;
    if (busy_ && stage_ == Stage::crossed) lose();
    const std::uint64_t object = inner_.kmalloc(bytes, gfp);
    if (object != 0) return object;
    ++failures_;
    refuse_ = true;
    if (stage_ == Stage::single || (stage_ == Stage::pair && failures_ == 2)) lose();
    busy_ = true;
    machine::point("op");
    busy_ = false;
    return 0;
  }

  void kfree(std::uint64_t object) override {
    if (stage_ != Stage::persistent || failures_ < 3) inner_.kfree(object);
  }

 private:
  void lose() { (void)inner_.kmalloc(40, subject::GFP_ATOMIC); }

  Stage stage_;
  unsigned failures_ = 0;
  bool refuse_ = false, busy_ = false;
};

Stage first_stage(const Swept& swept) { return swept.bugs.empty() ? Stage::untouched : swept.bugs.front().first; }

TEST(SweepFinds, WhatOneFailureLoses) {
  const Swept swept = sweep(three_objects, {}, subject::wrapped<Defect>(run::make_kernel(), Stage::single));
  EXPECT_EQ(first_stage(swept), Stage::single);
  ASSERT_FALSE(swept.cases.empty());
  EXPECT_EQ(swept.cases.front().departures.size(), 1u);
}

TEST(SweepFinds, ARefusalThatWasNotOverWithTheFailure) {
  const Swept swept =
      sweep(three_objects, {.persistent = false}, subject::wrapped<Defect>(run::make_kernel(), Stage::recovery));
  EXPECT_GT(swept.found(Stage::single) + swept.found(Stage::recovery), 0u);
  // Of the last request nothing follows but the one that asks again.
  const bool last = std::ranges::any_of(swept.bugs, [](const auto& bug) { return bug.first == Stage::recovery; });
  EXPECT_TRUE(last);
}

TEST(SweepFinds, WhatTwoFailuresLose) {
  const Swept swept =
      sweep(three_objects, {.persistent = false}, subject::wrapped<Defect>(run::make_kernel(), Stage::pair));
  EXPECT_EQ(first_stage(swept), Stage::pair);
  EXPECT_EQ(swept.found(Stage::single), 0u);
  ASSERT_FALSE(swept.cases.empty());
  EXPECT_EQ(swept.cases.front().departures.size(), 2u);
}

TEST(SweepFinds, WhatOnlyALastingFailureLoses) {
  const Swept swept = sweep(
      "memtorture 1\nmachine tiny-64 objects=slab\nexpect pass\ntask a cpu0\n  p = kmalloc 100 GFP_KERNEL\n"
      "  q = kmalloc 100 GFP_KERNEL\n  r = kmalloc 100 GFP_KERNEL\n  s = kmalloc 100 GFP_KERNEL\n  kfree p\n",
      {}, subject::wrapped<Defect>(run::make_kernel(), Stage::persistent));
  EXPECT_EQ(first_stage(swept), Stage::persistent);
  EXPECT_EQ(swept.found(Stage::pair), 0u);
}

TEST(SweepFinds, AFailureAndSomebodyElse) {
  const Swept swept =
      sweep(two_tasks, {.crossed = 10'000}, subject::wrapped<Defect>(run::make_kernel(), Stage::crossed));
  EXPECT_EQ(first_stage(swept), Stage::crossed);
  EXPECT_EQ(swept.found(Stage::single) + swept.found(Stage::pair) + swept.found(Stage::persistent), 0u);
}

// A window that no request's failure opens, and an interrupt finds.
class Window : public subject::ForwardingObjects {
 public:
  Window(Objects& inner, int) : ForwardingObjects(inner) {}
  std::uint64_t kmalloc(std::uint64_t bytes, subject::gfp_t gfp) override {
    if (open_) (void)inner_.kmalloc(40, subject::GFP_ATOMIC);  // and is lost
    open_ = true;
    machine::point("op");
    open_ = false;
    return inner_.kmalloc(bytes, gfp);
  }

 private:
  bool open_ = false;
};

TEST(SweepFinds, AnInterruptAtTheWrongMoment) {
  const Swept swept = sweep(
      "memtorture 1\nmachine tiny-64 objects=slab\nexpect pass\ntask a cpu0\n  p = kmalloc 100 GFP_KERNEL\n"
      "irq h cpu0\n  q = kmalloc 100 GFP_ATOMIC\n",
      {.pairs = 0, .crossed = 0}, subject::wrapped<Window>(run::make_kernel(), 0));
  EXPECT_EQ(first_stage(swept), Stage::single);
  ASSERT_FALSE(swept.cases.empty());
  EXPECT_EQ(swept.cases.front().departures.front().at.site, machine::Site("irq.storm"));
}

// What is reported can be replayed as it is.
TEST(SweepFinds, CasesThatReplay) {
  const Swept swept = sweep(three_objects, {}, subject::wrapped<Defect>(run::make_kernel(), Stage::single));
  run::Runner runner(subject::wrapped<Defect>(run::make_kernel(), Stage::single));
  for (std::size_t i = 0; i != swept.cases.size(); ++i) {
    const run::Outcome& outcome = runner.replay(swept.cases[i]);
    EXPECT_TRUE(outcome.is_bug()) << program::print(swept.cases[i]);
    EXPECT_EQ(outcome.finding.rule, swept.bugs[i].second);
  }
}

TEST(Sweep, EverySiteSaysWhatItCanComeTo) {
  for (unsigned i = 0; i != machine::site_count; ++i) {
    const machine::Site site = machine::Site::at(i);
    EXPECT_EQ(std::ranges::count(site_outcomes, site, &SiteOutcomes::site), site.is_fault() ? 1 : 0) << site.name();
  }
  const Swept swept = sweep(three_objects);
  const std::vector<std::string> wrong = wrong_outcomes(swept.totals);
  EXPECT_NE(std::ranges::find(wrong, "slab.alloc was never survived"), wrong.end());
  EXPECT_EQ(std::ranges::find(wrong, "oom.exit was never survived"), wrong.end()) << "it was not even reached";
  EXPECT_EQ(std::ranges::find(wrong, "slab.alloc was never refused"), wrong.end());
  SweepTotals odd = swept.totals;
  odd.cells[machine::Site("oom.exit").index()][0].failed = 1;
  const std::vector<std::string> wrong_now = wrong_outcomes(odd);
  EXPECT_NE(std::ranges::find(wrong_now, "oom.exit was refused"), wrong_now.end());
}

}  // namespace
}  // namespace memtorture::explore
