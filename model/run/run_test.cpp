// run() itself: purity, verdicts of the sandbox, expectations, signatures. (What the page layer does is in corpus and
// props.)
#if MT_ENGINE_FIBER
#include "model/run/run.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <span>
#include <thread>
#include <vector>

#include "allocator/kernel/subject.h"
#include "allocator/subject/forwarding.h"
#include "model/program/edits.h"
#include "model/program/text.h"
#include "model/run/sandbox.h"

namespace memtorture::run {
namespace {

Case parsed(std::string_view text) {
  auto result = program::parse(text);
  if (!result) throw std::invalid_argument(result.error().message("test"));
  return *std::move(result);
}

const Case two_tasks = parsed(R"(memtorture 1
machine tiny-32 cpus=2 pcp=6/2
expect pass

task a cpu0
  p = alloc_pages GFP_KERNEL 3     ! zone.lock:1 -> b
  q = get_zeroed_page GFP_KERNEL
  fill p 0x5a
  check p
  __free_pages p 3
  free_page q
task b cpu1
  r = alloc_page GFP_ATOMIC
  __free_page r
irq t cpu0
  x = alloc_page GFP_ATOMIC
)");

Outcome recorded(const Case& the_case) { return replay(the_case, {.keep = Keep::history, .audit_every = 1}); }

TEST(Run, PassesAndTakesItsSchedule) {
  const Outcome outcome = recorded(two_tasks);
  EXPECT_EQ(outcome.verdict, Verdict::pass) << print_report(two_tasks, outcome);
  EXPECT_EQ(outcome.drifted_at, -1);
  EXPECT_EQ(outcome.statistics.operations, 9u);
  ASSERT_EQ(outcome.departures.size(), 1u);
  EXPECT_EQ(outcome.departures[0], two_tasks.departures[0]);
}

TEST(Run, IsAFunctionOfItsCase) {
  const std::string once = print_history(two_tasks, recorded(two_tasks).history);
  Runner runner;
  for (int i = 0; i != 3; ++i) {
    const Outcome& again = runner.replay(two_tasks, {.keep = Keep::history, .audit_every = 1});
    EXPECT_EQ(print_history(two_tasks, again.history), once);
  }
}

constexpr std::string_view coming_again = R"(memtorture 1
machine tiny-32 cpus=2
expect pass
fault irq.storm times=2

task a cpu0
  p = alloc_page GFP_KERNEL
irq t cpu0
  x = alloc_page GFP_ATOMIC
  irq_exit
  __free_page x
  preempt_disable
  irq_exit
  irq_exit
  x = alloc_page GFP_ATOMIC  ! page.watermark:1 irq n
nmi n cpu1
)";

// Its operations are numbered through, and each interrupt ends by itself.
TEST(Run, AHandlerComesAgainWhereItLeftOff) {
  const Case the_case = parsed(coming_again);
  const Outcome outcome = recorded(the_case);
  EXPECT_EQ(outcome.verdict, Verdict::pass) << print_report(the_case, outcome);
  EXPECT_EQ(outcome.statistics.faults, 2u);
  std::string t;
  for (const Event& event : outcome.history) {
    if (event.who == 0 && event.kind == oracle::EventKind::faulted) t += " !";
    if (event.who != 1) continue;
    if (event.kind == oracle::EventKind::call) t += " " + std::to_string(event.op);
    if (event.kind == oracle::EventKind::left) t += " end";
  }
  EXPECT_EQ(t, " ! 0 1 end ! 2 3 4 end 5 end 6 end");
  EXPECT_EQ(print_history(the_case, outcome.history), print_history(the_case, recorded(the_case).history));
}

TEST(Run, ATaskDoesNotComeAgain) {
  const Case the_case =
      parsed("memtorture 1\nmachine tiny-32\nexpect pass\ntask a cpu0\n  irq_exit\n  p = alloc_page GFP_KERNEL\n");
  const Outcome outcome = recorded(the_case);
  EXPECT_EQ(outcome.verdict, Verdict::pass);
  EXPECT_EQ(outcome.history.front().kind, oracle::EventKind::skipped);
}

// The rules' filters are for who wakes and who is interrupted.
TEST(Run, WakeUpsAndStormsHaveFilters) {
  const auto faults = [](std::string_view rule) {
    const Case the_case = parsed(
        fmt::format("memtorture 1\nmachine tiny-32 cpus=2\nexpect pass\nfault {}\n"
                    "task a cpu0\n  wait_event l0\n  cond_resched\ntask b cpu1\n  wake_up l0\nirq h cpu1\nirq i cpu0\n",
                    rule));
    const Outcome outcome = recorded(the_case);
    EXPECT_EQ(outcome.verdict, Verdict::pass);
    return outcome.statistics.faults;
  };
  EXPECT_EQ(faults("wake.lost"), 1u);
  EXPECT_EQ(faults("wake.lost task=b caller=wake_up"), 1u);
  EXPECT_EQ(faults("wake.lost task=a"), 0u);
  EXPECT_EQ(faults("wake.lost times=0"), 0u);
  EXPECT_EQ(faults("wake.lost gfp=__GFP_WAIT"), 0u);
  EXPECT_EQ(faults("irq.storm"), 2u);
  EXPECT_EQ(faults("irq.storm cpu=1"), 1u);
  EXPECT_EQ(faults("irq.storm context=nmi"), 0u);
  EXPECT_EQ(faults("irq.storm interval=2 task=a"), 1u);
}

TEST(Run, TwoRunsAtOnceInOneProcess) {
  const std::string alone = print_history(two_tasks, recorded(two_tasks).history);
  std::vector<std::string> texts(4);
  std::vector<std::thread> threads;
  for (std::string& text : texts)
    threads.emplace_back([&text] { text = print_history(two_tasks, recorded(two_tasks).history); });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& text : texts) EXPECT_EQ(text, alone);
}

TEST(Run, ADepartureThatCannotBeTakenIsADrift) {
  Case drifting = two_tasks;
  drifting.departures[0].at.visit = 99;
  const Outcome outcome = recorded(drifting);
  EXPECT_EQ(outcome.verdict, Verdict::drifted);
  EXPECT_EQ(outcome.drifted_at, 0);
}

TEST(Run, RecordedDeparturesReplay) {
  int departures = 0;
  for (std::uint64_t seed = 1; seed != 20; ++seed) {
    RandomChooser random(seed, {.switch_permille = 200, .fault_permille = 100});
    Case replayed = two_tasks;
    replayed.departures.clear();
    const Outcome first = run(replayed, random, {.keep = Keep::history});
    replayed.departures = first.departures;
    program::sort_departures(replayed);
    const Outcome second = replay(replayed, {.keep = Keep::history});
    EXPECT_EQ(print_history(two_tasks, first.history), print_history(two_tasks, second.history)) << seed;
    EXPECT_EQ(second.drifted_at, -1) << seed;
    departures += static_cast<int>(first.departures.size());
  }
  EXPECT_GT(departures, 20);
}

TEST(Run, ExpectationsMatchVerdictAndRule) {
  Outcome outcome;
  outcome.verdict = Verdict::misuse;
  outcome.finding.rule = "double-free";
  EXPECT_TRUE(as_expected({Verdict::misuse, ""}, outcome));
  EXPECT_TRUE(as_expected({Verdict::misuse, "double-free"}, outcome));
  EXPECT_FALSE(as_expected({Verdict::misuse, "leak"}, outcome));
  EXPECT_FALSE(as_expected({Verdict::pass, ""}, outcome));
}

// --- the sandbox -----------------------------------------------------------------------------------------------------

// A subject that comes to grief at boot.
template <class Grief>
class Doomed final : public subject::Subject {
 public:
  void boot(const machine::Shape&, std::span<const fault::Rule>, subject::PagesTrace&, machine::Witness&) override {
    Grief{}();
  }
  machine::Machine& machine() override { return inner_->machine(); }
  subject::Pages& pages() override { return inner_->pages(); }
  subject::PagesView* pages_view() override { return nullptr; }
  subject::Promises promises() const override { return {}; }
  static std::unique_ptr<subject::Subject> make() { return std::make_unique<Doomed>(); }

 private:
  std::unique_ptr<subject::Subject> inner_ = kernel::make_subject();
};

struct Dies {
  void operator()() const {
    std::signal(SIGTERM, SIG_DFL);
    std::raise(SIGTERM);
  }
};
struct Hangs {
  void operator()() const {
    volatile bool for_ever = true;
    while (for_ever) {
    }
  }
};
struct Devours {
  void operator()() const {
    std::vector<std::vector<char>> eaten;
    for (;;) eaten.emplace_back(1 << 20, 'x');
  }
};

TEST(Sandbox, AnOrdinaryRunComesBackWhole) {
  const Outcome outside = recorded(two_tasks);
  const Outcome inside = replay_sandboxed(two_tasks, {.audit_every = 1});
  EXPECT_EQ(inside.verdict, outside.verdict);
  EXPECT_EQ(inside.departures, outside.departures);
  EXPECT_EQ(inside.statistics, outside.statistics);
  EXPECT_TRUE(inside.history.empty());
  EXPECT_EQ(replay_sandboxed(two_tasks, {.keep = Keep::history, .audit_every = 1}).history, outside.history);
}

TEST(Sandbox, ACrashIsAVerdictWithItsCause) {
  const Outcome outcome = replay_sandboxed(two_tasks, {}, {}, &Doomed<Dies>::make);
  EXPECT_EQ(outcome.verdict, Verdict::crash);
  EXPECT_NE(outcome.sandbox_detail.find("SIGTERM"), std::string::npos) << outcome.sandbox_detail;
  EXPECT_EQ(signature(two_tasks, outcome), "crash SIGTERM");
}

// Dies in the middle of a run: what it told until then is kept.
class Mortal final : public subject::ForwardingPages {
 public:
  Mortal(subject::Pages& inner, Verdict) : ForwardingPages(inner) {}
  void free_pages_of(machine::Pfn, unsigned) override { Dies{}(); }
};

TEST(Sandbox, ADeadRunHasAHistory) {
  const std::vector<Event> whole = recorded(two_tasks).history;
  const Outcome outcome = replay_sandboxed(two_tasks, {.keep = Keep::history, .audit_every = 1}, {}, [] {
    return subject::wrapped<Mortal>(kernel::make_subject(), Verdict::crash);
  });
  EXPECT_EQ(outcome.verdict, Verdict::crash);
  ASSERT_FALSE(outcome.history.empty());
  ASSERT_LT(outcome.history.size(), whole.size());
  EXPECT_TRUE(std::ranges::equal(outcome.history, std::span(whole).first(outcome.history.size())));
  const Event& last = outcome.history.back();
  EXPECT_EQ(last.kind, oracle::EventKind::call);
  EXPECT_NE(program::print_op(two_tasks.programs[last.who].ops[last.op], two_tasks).find("__free_page"),
            std::string::npos);
}

TEST(Sandbox, AHangIsAVerdict) {
  EXPECT_EQ(replay_sandboxed(two_tasks, {}, {.seconds = 1}, &Doomed<Hangs>::make).verdict, Verdict::hang);
}

TEST(Sandbox, RunawayMemoryIsAVerdict) {
  const SandboxLimits limits{.seconds = 60, .memory_bytes = std::uint64_t{256} << 20};
  EXPECT_EQ(replay_sandboxed(two_tasks, {}, limits, &Doomed<Devours>::make).verdict, Verdict::out_of_memory);
}

TEST(Report, WhereEverybodyIs) {
  const auto parsed = program::parse(R"(memtorture 1
machine toy cpus=2
expect stalled

task a cpu0
  mutex_lock l0
  wait_event l1

task b cpu1
  mutex_lock l1
  mutex_lock l0

task c cpu1
  mutex_lock l2
)");
  ASSERT_TRUE(parsed.has_value());
  const Outcome outcome = replay(*parsed, {.keep = Keep::history});
  EXPECT_EQ(outcome.verdict, Verdict::stalled);
  const std::string report = print_report(*parsed, outcome);
  EXPECT_NE(report.find("Where everybody is:\n"
                        " a: in a.1 wait_event l1, on cpu0, holding program.mutex0\n"
                        " b: in b.1 mutex_lock l0, on cpu1, holding program.mutex1\n"
                        " c: at its end\n"),
            std::string::npos)
      << report;
}

}  // namespace
}  // namespace memtorture::run
#endif
