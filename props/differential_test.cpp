// Differential properties: a program on two machines, or with and without something beside it, where the specification
// says that the caller can see no difference. No oracle is asked here: the two runs judge one another.
//
// The programs are unconstrained by time: no reclaimable clients (so nothing that kswapd or reclaim does, whenever it
// runs, gives a page back), no handlers, and everybody stays on CPU 0. What they see is then decided by zones, marks
// and lists alone.
//
// Not checked: machines of another size. Marks and batches follow from the size (domain.md 5.2, 6.2), so requests may
// rightly be refused on one and granted on the other.
#include <variant>
#include <vector>

#include "model/program/edits.h"
#include "model/program/legal.h"
#include "model/program/op_table.h"
#include "props/check.h"

namespace memtorture::props {
namespace {

const run::Options kept{.keep = run::Keep::history};
const GenerateOptions sequential{.faults = 0, .contexts = 0, .ops_max = 150, .cpus_max = 1, .nodes_max = 1};

// What a caller sees of an operation: the frame it got, or what was told. Not what `peek` reads: bytes that nobody
// wrote, or of a stamp, which says which operation it is of; and so do return addresses.
struct Seen {
  run::ContextId who;
  std::uint32_t op;
  machine::Pfn pfn;
  std::uint64_t value, value2;
  friend bool operator==(const Seen&, const Seen&) = default;
};

std::vector<Seen> seen(const Case& the_case, const Outcome& outcome) {
  std::vector<Seen> all;
  for (const auto& event : outcome.history) {
    if (event.kind == oracle::EventKind::result && event.op != run::harness_op) {
      const program::Op& op = the_case.programs[event.who].ops[event.op];
      if (std::holds_alternative<program::Peek>(op) || std::holds_alternative<program::PopFrame>(op)) continue;
      const bool told_address = program::is_for_stacks(op) && !std::holds_alternative<program::ForkTask>(op);
      all.push_back({event.who, event.op, event.pfn, event.value, told_address ? 0 : event.value2});
    }
  }
  return all;
}

Case without_clients(Case c) {
  for (std::size_t p = 0; p != c.programs.size(); ++p) {
    for (std::size_t i = c.programs[p].ops.size(); i-- != 0;) {
      const auto& op = c.programs[p].ops[i];
      const bool client =
          std::holds_alternative<program::ClientAdd>(op) || std::holds_alternative<program::ClientDrop>(op);
      if (client) program::erase_ops(c, p, i, 1);
    }
  }
  return c;
}

void demand_same(const Case& a, const Outcome& on_a, const Case& b, const Outcome& on_b) {
  if (on_a.verdict != on_b.verdict || seen(a, on_a) != seen(b, on_b))
    RC_FAIL("--- one:\n" + explain(a, on_a) + "\n--- other:\n" + explain(b, on_b));
}

template <class Change>
void machine_makes_no_difference(Change&& change) {
  run::Runner runner;
  check(500, [&] {
    const Case the_case = without_clients(*cases(sequential));
    Case other = the_case;
    change(other.shape);
    RC_PRE(!machine::why_impossible(other.shape).has_value());
    const Outcome here = runner.replay(the_case, kept);
    demand_same(the_case, here, other, runner.replay(other, kept));
  });
}

// Zone layout, marks, high and batch are functions of RAM, not of the number of CPUs (5.2, 5.4, 6.2), and the lists of
// a CPU on which nobody runs are empty. Not so for objects: a cache has an array for each CPU; nor for stacks: the idle
// task of each has one.
TEST(Differential, CpusOnWhichNobodyRuns) {
  machine_makes_no_difference([](machine::Shape& shape) {
    if (shape.objects == machine::ObjectLayer::none && shape.stack_bytes == 0) shape.cpus = 4;
  });
}

// HZ says how long a wait is, and nobody here waits for anything that comes.
TEST(Differential, TheTimersFrequency) {
  machine_makes_no_difference([](machine::Shape& shape) { shape.hz = shape.hz == 1000 ? 100 : 1000; });
}

// Poisoning changes the contents of free pages only; a program without crimes never reads those (20.4).
TEST(Differential, Poisoning) {
  machine_makes_no_difference([](machine::Shape& shape) {
    shape.poison = shape.poison == machine::Toggle::on ? machine::Toggle::off : machine::Toggle::on;
  });
}

// Audits look; whoever is looked at must not notice. Here with everything on: contexts, faults, random schedules.
TEST(Differential, AuditsAreNotNoticed) {
  run::Runner runner;
  check(500, [&] {
    const Case the_case = *cases({.faults = 50, .ops_max = 150});
    const std::uint64_t seed = *seeds();
    const auto with = [&](std::uint32_t every) {
      return run_at_random(runner, the_case, seed, {.keep = run::Keep::history, .audit_every = every},
                           Faults::at_random);
    };
    const Outcome never = with(run::audit_never);
    const Outcome always = with(1);
    RC_ASSERT(never.verdict == always.verdict);
    RC_ASSERT(never.history == always.history);
    RC_ASSERT(never.departures == always.departures);
  });
}

// free_pages(0, order) does nothing and nr_free_pages only reads, so nobody behind them sees that they were there.
TEST(Differential, OperationsThatDoNothing) {
  run::Runner runner;
  check(500, [&] {
    const Case the_case = *cases({.faults = 0, .contexts = 0, .ops_max = 150});
    program::Random random(*seeds());
    const std::size_t p = random.below(static_cast<std::uint32_t>(the_case.programs.size()));
    const std::uint32_t at = random.below(static_cast<std::uint32_t>(the_case.programs[p].ops.size()) + 1);
    Case longer = the_case;
    program::insert_op(longer, p, at,
                       random.percent(50) ? program::Op{program::FreeNull{{3}}} : program::Op{program::NrFreePages{}});

    const Outcome without = runner.replay(the_case, kept);
    const Outcome with = runner.replay(longer, kept);
    std::vector<Seen> rest = seen(longer, with);
    std::erase_if(rest, [&](const Seen& s) { return s.who == p && s.op == at; });
    for (Seen& s : rest) s.op -= s.who == p && s.op > at;
    if (without.verdict != with.verdict || seen(the_case, without) != rest)
      RC_FAIL(explain(the_case, without) + "\n--- longer:\n" + explain(longer, with));
  });
}

}  // namespace
}  // namespace memtorture::props
