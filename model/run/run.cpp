// One run, from boot to verdict:
//
//   boot -> oracle.begin -> objects boot -> stacks boot -> programs run, every event judged -> quiet -> harness gives
//   everything back -> oracle.end -> audit
//
// A stop on the way (finding, fatal misuse, panic, deadlock, livelock) ends it there: after it nothing more is
// demanded.
#include "model/run/run.h"

#include <algorithm>

#include "allocator/kernel/subject.h"
#include "model/run/executor.h"
#include "model/run/tape.h"

namespace memtorture::run {

using machine::RunResult;
using machine::StopReason;

namespace {

// One client_add is many allocations, each with its own reclaim: many steps, but progress.
std::uint64_t steps_for_clients(const Case& the_case) {
  constexpr std::uint64_t steps_per_page = 200;
  const std::uint32_t most = program::client_pages_most(the_case);
  std::uint64_t pages = 0;
  for (const auto& program : the_case.programs) {
    for (const auto& op : program.ops) {
      if (const auto* add = std::get_if<program::ClientAdd>(&op)) pages += std::min(add->pages.value, most);
    }
  }
  return steps_per_page * pages;
}

// After a sleep every CPU may have a pass of its reaper through all caches: progress, too.
std::uint64_t steps_for_reapers(const Case& the_case) {
  constexpr std::uint64_t steps_per_pass = 2000;
  if (the_case.shape.reap == machine::Toggle::off) return 0;
  std::uint64_t sleeps = 0;
  for (const auto& program : the_case.programs) {
    for (const auto& op : program.ops) sleeps += std::holds_alternative<program::Msleep>(op) ? 1 : 0;
  }
  return steps_per_pass * the_case.shape.cpus * sleeps;
}

}  // namespace

class Session {
 public:
  explicit Session(std::unique_ptr<subject::Subject> subject)
      : subject_(std::move(subject)), tape_(oracle_), executor_(tape_, oracle_) {}

  const Outcome& run(const Case& the_case, machine::Chooser& chooser, const Options& options);
  Outcome& outcome() { return outcome_; }

 private:
  void conclude(const Case& the_case, const RunResult& result);
  void clean_up(const machine::Limits& limits);
  bool waits_legally(const Case& the_case) const;
  bool brought_it_on_itself() const;
  void conclude_blocked(const Case& the_case, Verdict verdict);

  std::unique_ptr<subject::Subject> subject_;
  oracle::Oracle oracle_;
  Outcome outcome_;
  Tape tape_;
  Executor executor_;
};

const Outcome& Session::run(const Case& the_case, machine::Chooser& chooser, const Options& options) {
  outcome_.verdict = Verdict::pass;
  outcome_.finding = {};
  outcome_.history.clear();
  outcome_.object_reports.clear();
  outcome_.departures.clear();
  outcome_.statistics = {};
  outcome_.drifted_at = -1;

  machine::Machine& machine = subject_->machine();
  const machine::Limits limits{.steps_budget =
                                   options.steps_budget + steps_for_clients(the_case) + steps_for_reapers(the_case)};
  tape_.start(the_case, options, outcome_, machine);
  subject_->boot(the_case.shape, the_case.faults, tape_, tape_);
  subject::PagesView* view = subject_->pages_view();
  executor_.start(the_case, options, subject_->pages(), view, machine);
  executor_.use_cpus(subject_->cpus());
  tape_.conclude(oracle_.begin(the_case, view != nullptr ? view->zones() : std::span<const subject::ZoneInfo>{},
                               subject_->promises()));
  if (!tape_.is_over() && the_case.shape.objects != machine::ObjectLayer::none) {
    subject::Objects* const objects = subject_->boot_objects();  // its requests for pages are judged like any other
    if (objects != nullptr) {
      executor_.use_objects(*objects, subject_->object_debug(), subject_->objects_view());
      tape_.look_at(subject_->objects_view());
      if (subject::BucketsView* const buckets = subject_->buckets_view()) executor_.use_buckets(*buckets);
      if (subject::Mempools* const pools = subject_->mempools()) executor_.use_pools(*pools, subject_->mempools_view());
    }
    if (objects != nullptr && the_case.shape.percpu == machine::Toggle::on) {
      if (subject::Percpu* const percpu = subject_->boot_percpu())
        executor_.use_percpu(*percpu, subject_->percpu_view());
    }
    tape_.judge_logs();
  }
  if (!tape_.is_over() && the_case.shape.stack_bytes != 0) {
    subject::Kstacks* const stacks = subject_->boot_stacks(executor_.strands());
    tape_.judge_logs();
    if (stacks != nullptr && !tape_.is_over()) executor_.use_stacks(*stacks, subject_->kstacks_view());
  }
  if (tape_.is_over()) return outcome_;
  tape_.begin_programs();

  chooser.restart();
  const RunResult result = machine.run(executor_.strands(), chooser, limits);
  outcome_.departures.assign(machine.departures().begin(), machine.departures().end());
  outcome_.statistics.steps = result.steps;
  for (const auto& departure : outcome_.departures)
    outcome_.statistics.interrupts += departure.take.move == machine::Move::deliver;
  tape_.judge_logs();
  conclude(the_case, result);
  if (outcome_.verdict == Verdict::pass && !tape_.is_over() && result.reason == StopReason::finished)
    tape_.emit({.kind = oracle::EventKind::quiet});
  if (outcome_.verdict == Verdict::pass && !tape_.is_over() && result.reason == StopReason::finished)
    executor_.audit();  // what programs made, before the harness takes it apart
  if (outcome_.verdict == Verdict::pass && !tape_.is_over()) clean_up(limits);
  if (outcome_.verdict == Verdict::pass && !oracle_.crime().rule.empty()) {
    outcome_.verdict = Verdict::misuse;
    outcome_.finding = oracle_.crime();
  }
  return outcome_;
}

void Session::conclude(const Case& the_case, const RunResult& result) {
  if (tape_.is_over()) return;
  switch (result.reason) {
    case StopReason::finished:
    case StopReason::stopped: return;
    case StopReason::panic:
      outcome_.verdict = Verdict::panic;
      if (oracle_.crime().rule != "stack-overflow") return;  // else this is how it has to end
      outcome_.verdict = Verdict::misuse;
      outcome_.finding = oracle_.crime();
      return;
    case StopReason::deadlock: return conclude_blocked(the_case, Verdict::deadlock);
    case StopReason::livelock: return conclude_blocked(the_case, Verdict::livelock);
  }
}

// A program that recursed on its own locks, or slept where it must not, has itself to thank if nothing moves any more.
bool Session::brought_it_on_itself() const {
  constexpr std::string_view lock_crimes[] = {"lock-misuse",     "sleep-in-atomic",   "preempt-underflow", "lock-order",
                                              "lock-interrupts", "reclaim-recursion", "unbalanced-exit"};
  return std::ranges::find(lock_crimes, oracle_.crime().rule) != std::end(lock_crimes);
}

void Session::conclude_blocked(const Case& the_case, Verdict verdict) {
  if (brought_it_on_itself()) {
    outcome_.verdict = Verdict::misuse;
    outcome_.finding = oracle_.crime();
  } else {
    outcome_.verdict = waits_legally(the_case) ? Verdict::stalled : verdict;
  }
}

bool Session::waits_legally(const Case& the_case) const {
  for (std::size_t i = 0; i != the_case.programs.size(); ++i) {
    const auto who = static_cast<ContextId>(i);
    if (executor_.in_flight(who) && oracle_.may_wait_forever(who)) return true;
  }
  return false;
}

void Session::clean_up(const machine::Limits& limits) {
  subject_->machine().dismiss_daemons();  // nobody but the harness is there any more
  StraightChooser straight;
  const machine::Strand strand = executor_.cleaner();
  const RunResult result = subject_->machine().run({&strand, 1}, straight, limits);
  tape_.judge_logs();
  if (tape_.is_over()) return;
  if (result.reason == StopReason::livelock) outcome_.verdict = Verdict::livelock;
  if (result.reason == StopReason::deadlock) outcome_.verdict = Verdict::deadlock;
  if (outcome_.verdict != Verdict::pass) return;
  tape_.conclude(oracle_.end());
  executor_.audit();
}

std::unique_ptr<subject::Subject> make_kernel() { return kernel::make_subject(); }

Runner::Runner(std::unique_ptr<subject::Subject> subject) : session_(std::make_unique<Session>(std::move(subject))) {}
Runner::~Runner() = default;

const Outcome& Runner::run(const Case& the_case, machine::Chooser& chooser, const Options& options) {
  return session_->run(the_case, chooser, options);
}

const Outcome& Runner::replay(const Case& the_case, const Options& options) {
  ReplayChooser chooser(the_case.departures);
  session_->run(the_case, chooser, options);
  Outcome& outcome = session_->outcome();
  outcome.drifted_at = chooser.first_missed();
  if (outcome.verdict == Verdict::pass && outcome.drifted_at >= 0) outcome.verdict = Verdict::drifted;
  return outcome;
}

Outcome run(const Case& the_case, machine::Chooser& chooser, const Options& options) {
  return Runner().run(the_case, chooser, options);
}
Outcome replay(const Case& the_case, const Options& options) { return Runner().replay(the_case, options); }

}  // namespace memtorture::run
