// Additions to per-CPU counters, in all interleavings with up to two departures from run-to-completion.
//
// Two tasks of CPU 0, a third on CPU 1 where it matters, and handlers of CPU 0, each with one addition. At every point
// of every run everything is tried that could happen there: another task preempts, another CPU moves, the task
// migrates, a softirq, hardirq or NMI lands. The right forms keep the total in all of them. A wrong form is a crime in
// all of them, whatever happened, and loses an update in some; but for a stale number, which is one only if the task
// moved.
//
// Not here: three departures. No form that we know needs more than two to go wrong.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "model/program/text.h"
#include "model/run/run.h"

namespace memtorture::run {
namespace {

struct Turn {
  std::size_t decision;
  std::uint32_t option;
};

// Takes the turns of its script, and notes how many options there were at each decision.
class Script final : public machine::Chooser {
 public:
  explicit Script(std::vector<Turn> turns) : turns_(std::move(turns)) {}
  bool interested(const machine::Moment& moment) override { return !moment.site.is_fault(); }
  std::uint32_t choose(const machine::Moment&, std::span<const machine::Option> options) override {
    const std::size_t now = seen.size();
    seen.push_back(static_cast<std::uint32_t>(options.size()));
    for (const Turn& turn : turns_) {
      if (turn.decision == now) return turn.option;
    }
    return 0;
  }
  bool roll(const machine::Moment&, std::uint32_t) override { return false; }
  void restart() override { seen.clear(); }

  std::vector<std::uint32_t> seen;

 private:
  std::vector<Turn> turns_;
};

struct Result {
  std::size_t runs = 0, passed = 0, lost = 0, caught = 0, other = 0;
  std::string strangest;
};

class Explorer {
 public:
  Explorer(std::string_view programs, std::string_view rule, std::string_view cpus = "2") : rule_(rule) {
    auto parsed = program::parse("memtorture 1\nmachine flat objects=slab percpu=on cpus=" + std::string(cpus) + "\n" +
                                 std::string(programs));
    EXPECT_TRUE(parsed) << parsed.error().message("case");
    if (parsed) case_ = *parsed;
  }
  Result explore() {
    below({});
    return result_;
  }

 private:
  void below(const std::vector<Turn>& turns) {
    Script script(turns);
    const Outcome& outcome = runner_.run(case_, script, {.audit_every = audit_never});
    ++result_.runs;
    const bool misuse = outcome.verdict == program::Verdict::misuse;
    if (outcome.verdict == program::Verdict::pass) {
      ++result_.passed;
    } else if (misuse && outcome.finding.rule == "lost-update") {
      ++result_.lost;
    } else if (misuse && outcome.finding.rule == rule_) {
      ++result_.caught;
    } else {
      ++result_.other;
      result_.strangest = std::string(outcome.finding.rule) + ": " + outcome.finding.detail;
    }
    if (turns.size() == departures_most) return;
    const std::vector<std::uint32_t> seen = script.seen;
    for (std::size_t at = turns.empty() ? 0 : turns.back().decision + 1; at < seen.size(); ++at) {
      for (std::uint32_t option = 1; option < seen[at]; ++option) {
        std::vector<Turn> more = turns;
        more.push_back({at, option});
        below(more);
      }
    }
  }

  static constexpr std::size_t departures_most = 2;
  std::string_view rule_;
  Case case_;
  Runner runner_;
  Result result_;
};

// A program: its line, a handle of static variable 0, and what it does with it.
std::string program(std::string_view line, char handle, std::string form) {
  std::string text(line);
  for (char& c : form) c = c == 'S' ? handle : c == 'Q' ? static_cast<char>(handle + 8) : c;
  return text + "\n  " + handle + " = per_cpu_var 0\n" + form;
}
std::string tasks(const std::string& form) {
  return program("task a cpu0", 'a', form) + program("task b cpu0", 'b', form);
}

constexpr const char* pointer = "  Q = get_cpu_ptr S\n  ptr_add Q 1\n  put_cpu_ptr S\n";
constexpr const char* number = "  Q = get_cpu\n  per_cpu_add S Q 1\n  put_cpu\n";
constexpr const char* pinned = "  preempt_disable\n  __this_cpu_add S 1\n  preempt_enable\n";
constexpr const char* masked = "  local_irq_save\n  __this_cpu_add S 1\n  local_irq_restore\n";
constexpr const char* bottom = "  local_bh_disable\n  __this_cpu_add S 1\n  local_bh_enable\n";
constexpr const char* locked = "  spin_lock l0\n  __this_cpu_add S 1\n  spin_unlock l0\n";
constexpr const char* locked_remote = "  Q = per_cpu_ptr S 1\n  spin_lock l0\n  ptr_add Q 1\n  spin_unlock l0\n";
constexpr const char* one_step = "  this_cpu_add S 1\n";
constexpr const char* bare = "  __this_cpu_add S 1\n";

struct Form {
  const char* name;
  std::string programs;
  const char* rule = "";
  const char* cpus = "2";
};

TEST(PercpuInterleavings, RightFormsKeepTheTotal) {
  if (machine::Machine::concurrent()) GTEST_SKIP() << "schedules are for the deterministic engine";
  const Form forms[] = {
      {"get_cpu_ptr", tasks(pointer)},
      {"get_cpu", tasks(number)},
      {"preempt_disable", tasks(pinned)},
      {"this_cpu_add", tasks(one_step) + program("irq i cpu0", 'c', one_step) +
                           program("softirq s cpu0", 'd', one_step) + program("nmi n cpu0", 'e', one_step)},
      {"local_irq_save", tasks(masked) + program("irq i cpu0", 'c', bare) + program("softirq s cpu0", 'd', masked)},
      {"local_bh_disable", tasks(bottom) + program("softirq s cpu0", 'c', bare)},
      {"spin_lock", program("task a cpu0", 'a', locked_remote) + program("task b cpu1", 'b', locked)},
  };
  std::size_t runs = 0;
  for (const Form& form : forms) {
    const Result result = Explorer(form.programs, form.rule).explore();
    EXPECT_EQ(result.passed, result.runs) << form.name << ": " << result.lost << " lost, " << result.strangest;
    EXPECT_GT(result.runs, 100U) << form.name;
    runs += result.runs;
  }
  RecordProperty("runs", static_cast<int>(runs));
}

TEST(PercpuInterleavings, WrongFormsAreCaughtAlwaysAndLoseSometimes) {
  if (machine::Machine::concurrent()) GTEST_SKIP() << "schedules are for the deterministic engine";
  // A handler disturbs its own CPU only, so where it is about one the tasks have no other to move to.
  const Form forms[] = {
      {"no pin", tasks(bare), "percpu-unpinned"},
      {"pointer after its pin", tasks("  Q = get_cpu_ptr S\n  put_cpu_ptr S\n  ptr_add Q 1\n"), "percpu-unpinned"},
      {"number after its pin", tasks("  Q = get_cpu\n  put_cpu\n  per_cpu_add S Q 1\n"), "percpu-unpinned"},
      {"hardirq", tasks(pinned) + program("irq i cpu0", 'c', bare), "percpu-irq", "1"},
      {"softirq", tasks(pinned) + program("softirq s cpu0", 'c', bare), "percpu-irq", "1"},
      {"hardirq above bottom halves", tasks(bottom) + program("irq i cpu0", 'c', one_step), "percpu-irq", "1"},
      {"nmi", tasks(masked) + program("nmi n cpu0", 'c', one_step), "percpu-irq", "1"},
  };
  std::size_t runs = 0;
  for (const Form& form : forms) {
    const Result result = Explorer(form.programs, form.rule, form.cpus).explore();
    EXPECT_EQ(result.caught + result.lost, result.runs) << form.name << ": " << result.strangest;
    EXPECT_GT(result.lost, 0U) << form.name;
    EXPECT_GT(result.caught, 0U) << form.name;
    runs += result.runs;
  }
  RecordProperty("runs", static_cast<int>(runs));
}

// What is wrong only where the task runs: a number that is stale once it moved, a copy that is another CPU's until it
// came there.
TEST(PercpuInterleavings, WhoIsElsewhereIsCaughtThereAndLosesSometimes) {
  if (machine::Machine::concurrent()) GTEST_SKIP() << "schedules are for the deterministic engine";
  const std::string stale = "  Q = get_cpu\n  put_cpu\n  preempt_disable\n  per_cpu_add S Q 1\n  preempt_enable\n";
  const std::string remote = "  Q = per_cpu_ptr S 1\n  preempt_disable\n  ptr_add Q 1\n  preempt_enable\n";
  const Form forms[] = {
      {"stale", program("task a cpu0", 'a', stale) + program("task b cpu0", 'b', pinned), "percpu-stale"},
      {"remote", program("task a cpu0", 'a', remote) + program("task b cpu1", 'b', pinned), "percpu-remote"},
      {"remote, one lock", program("task a cpu0", 'a', locked_remote) + program("task b cpu1", 'b', pinned),
       "percpu-remote"},
  };
  for (const Form& form : forms) {
    const Result result = Explorer(form.programs, form.rule).explore();
    EXPECT_EQ(result.other, 0U) << form.name << ": " << result.strangest;
    EXPECT_GT(result.passed, 0U) << form.name;
    EXPECT_GT(result.caught, 0U) << form.name;
    EXPECT_GT(result.lost, 0U) << form.name;
    RecordProperty("runs", static_cast<int>(result.runs));
  }
}

}  // namespace
}  // namespace memtorture::run
