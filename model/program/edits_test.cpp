// Edits keep a case legal and departures where they belong; simpler means simpler.
#include "model/program/edits.h"

#include <gtest/gtest.h>

#include "model/program/codec.h"
#include "model/program/generate.h"
#include "model/program/legal.h"
#include "model/program/op_table.h"
#include "model/program/random_parts.h"
#include "model/program/simpler.h"
#include "model/program/text.h"

namespace memtorture::program {
namespace {

constexpr GenerateOptions everything{.crimes = 50, .faults = 80, .departures = 100, .contexts = 90};

Case from_text(std::string_view text) {
  auto parsed = parse(text);
  EXPECT_TRUE(parsed.has_value()) << (parsed ? "" : parsed.error().message("case"));
  return parsed.value_or(Case{});
}

Case sample() {
  return from_text(R"(memtorture 1
machine tiny-32 cpus=2
fault page.alloc task=b
fault page.alloc task=c
task a cpu0
  schedule ! op:1 -> b
  cond_resched ! op:1 -> c
  might_sleep ! op:1 irq i
  end ! op:1 -> kswapd0
task b cpu0
  schedule ! op:1 -> a
task c cpu1
irq i cpu0
  nr_free_pages ! op:1 -> c
)");
}

TEST(Edits, ErasingOperationsMovesDepartures) {
  Case c = sample();
  erase_ops(c, 0, 1, 1);
  EXPECT_EQ(print(c), print(from_text(R"(memtorture 1
machine tiny-32 cpus=2
fault page.alloc task=b
fault page.alloc task=c
task a cpu0
  schedule ! op:1 -> b
  might_sleep ! op:1 irq i
  end ! op:1 -> kswapd0
task b cpu0
  schedule ! op:1 -> a
task c cpu1
irq i cpu0
  nr_free_pages ! op:1 -> c
)")));
  erase_ops(c, 0, 1, 100);  // more than there are
  EXPECT_EQ(c.programs[0].ops.size(), 1U);
  EXPECT_EQ(why_illegal(c), std::nullopt);
}

TEST(Edits, InsertingMovesDepartures) {
  Case c = sample();
  insert_op(c, 0, 1, DrainLocalPages{});
  EXPECT_EQ(c.departures[0].at.op, 0U);
  EXPECT_EQ(c.departures[1].at.op, 2U);
  EXPECT_EQ(c.departures[3].at.op, 4U);  // the end stays the end
  erase_ops(c, 0, 1, 1);
  EXPECT_EQ(c, sample());
}

TEST(Edits, ErasingAProgramRenamesContexts) {
  Case c = sample();
  erase_program(c, 1);
  EXPECT_EQ(print(c), print(from_text(R"(memtorture 1
machine tiny-32 cpus=2
fault page.alloc task=c
task a cpu0
  schedule
  cond_resched ! op:1 -> c
  might_sleep ! op:1 irq i
  end ! op:1 -> kswapd0
task c cpu1
irq i cpu0
  nr_free_pages ! op:1 -> c
)")));
}

TEST(Edits, SortingKeepsTheOrderAtOnePlace) {
  Case c = sample();
  const machine::Departure twice{{0, 0, "op", 1}, {machine::Move::migrate, 1}};
  c.departures.push_back(twice);
  sort_departures(c);
  EXPECT_EQ(c.departures[0].take.move, machine::Move::switch_to);
  EXPECT_EQ(c.departures[1], twice);
  EXPECT_EQ(why_illegal(c), std::nullopt);
}

TEST(Edits, UnusedSlotsGoAndNamesStay) {
  Case c = sample();
  c.slot_names = {"x", "y", "z"};
  c.programs[0].ops = {FreePageOf{{2}}, AllocPage{{0}, {}}};
  drop_unused_slots(c);
  EXPECT_EQ(c.slot_names, (std::vector<std::string>{"z", "x"}));
  EXPECT_EQ(c.programs[0].ops[0], Op(FreePageOf{{0}}));
}

TEST(Edits, EverySubsequenceIsLegal) {
  Random random(9);
  for (std::uint64_t seed = 0; seed < 150; ++seed) {
    Case c = generate(seed, everything);
    while (!c.programs.empty()) {
      const auto program = random.below(static_cast<std::uint32_t>(c.programs.size()));
      const auto ops = static_cast<std::uint32_t>(c.programs[program].ops.size());
      if (ops == 0) {
        erase_program(c, program);
      } else {
        erase_ops(c, program, random.below(ops), 1 + random.below(ops));
      }
      if (!c.departures.empty() && random.percent(20)) erase_departure(c, 0);
      if (!c.faults.empty() && random.percent(20)) erase_fault_rule(c, 0);
      ASSERT_EQ(why_illegal(c), std::nullopt);
      ASSERT_EQ(from_text(print(c)), normal(c)) << print(c);
      ASSERT_EQ(print(decode(encode(c))).empty(), false);
    }
  }
}

TEST(Edits, SimplerOperationsAreSimplerAndLegal) {
  Random random(13);
  Case c{.shape = machine::shape_table()[2].shape, .programs = {{.name = "a"}}};
  for (std::size_t kind = 0; kind < op_kinds; ++kind) {
    for (unsigned i = 0; i < 100; ++i) {
      Op op = default_op(kind);
      randomise_fields(c, op, random);
      for (const Op& lighter : simpler(op)) {
        ASSERT_EQ(lighter.index(), op.index());
        ASSERT_LT(complexity(lighter), complexity(op));
        c.programs[0].ops = {lighter};
        ASSERT_EQ(why_illegal(c), std::nullopt);
      }
      ASSERT_EQ(simpler(op).empty(), complexity(op) == 0) << print_op(op, c);
    }
  }
  EXPECT_EQ(simpler(Op(AllocPages{{0}, {subject::GFP_ATOMIC}, {5}})).front(),
            Op(AllocPages{{0}, {subject::GFP_KERNEL}, {5}}));
}

TEST(Edits, SimplerShapesAreSimplerAndPossible) {
  Random random(19);
  for (unsigned i = 0; i < 500; ++i) {
    const machine::Shape shape =
        i < machine::shape_table().size() ? machine::shape_table()[i].shape : random_shape(random);
    const auto lighter = simpler(shape);
    for (const machine::Shape& candidate : lighter) {
      ASSERT_EQ(machine::why_impossible(candidate), std::nullopt);
      ASSERT_LT(complexity(candidate), complexity(shape));
    }
  }
  const auto big = parse_shape("x86-64 cpus=3 nodes=2 poison=on").value();
  EXPECT_FALSE(simpler(big).empty());
}

TEST(Edits, MutationsAndCrossoversStayLegal) {
  Random random(23);
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    Case c = generate(seed, everything);
    const Case other = generate(seed + 1000, everything);
    unsigned changed = 0;
    for (unsigned i = 0; i < 80; ++i) {
      const Case before = c;
      mutate(c, random);
      ASSERT_EQ(why_illegal(c), std::nullopt) << seed << " " << i << "\n" << print(before);
      ASSERT_EQ(normal(c), c);
      changed += c == before ? 0 : 1;
    }
    EXPECT_GT(changed, 60U);  // a mutation mostly changes something
    const Case child = cross(c, other, random);
    ASSERT_EQ(why_illegal(child), std::nullopt);
    ASSERT_EQ(from_text(print(child)), child);
  }
}

TEST(Edits, MutatesAnEmptyCase) {
  Random random(29);
  Case c{.shape = machine::shape_table()[2].shape};
  for (unsigned i = 0; i < 100; ++i) mutate(c, random);
  EXPECT_EQ(why_illegal(c), std::nullopt);
  EXPECT_FALSE(c.programs.empty());
  const Case empty{.shape = machine::shape_table()[2].shape};
  EXPECT_EQ(why_illegal(cross(empty, c, random)), std::nullopt);
  EXPECT_EQ(cross(c, empty, random), c);
}

// The checker itself: every kind of illegality is noticed.
TEST(Legal, RefusesEachKindOfNonsense) {
  const auto is_refused = [](auto spoil) {
    Case c = sample();
    EXPECT_EQ(why_illegal(c), std::nullopt);
    spoil(c);
    return why_illegal(c).has_value();
  };
  EXPECT_TRUE(is_refused([](Case& c) { c.shape.cpus = 0; }));
  EXPECT_TRUE(is_refused([](Case& c) { c.shape.cpus = 1; }));
  EXPECT_TRUE(is_refused([](Case& c) { c.comment = {"a\nb"}; }));
  EXPECT_TRUE(is_refused([](Case& c) { c.comment = {"a "}; }));
  EXPECT_TRUE(is_refused([](Case& c) { c.expect.rule = "two words"; }));
  EXPECT_TRUE(is_refused([](Case& c) { c.programs[0].name = "b"; }));
  EXPECT_TRUE(is_refused([](Case& c) { c.programs[0].name = "kswapd2"; }));
  EXPECT_TRUE(is_refused([](Case& c) { c.slot_names = {"p", "p"}; }));
  EXPECT_TRUE(is_refused([](Case& c) { c.slot_names = {"P"}; }));
  EXPECT_TRUE(is_refused([](Case& c) { c.programs[0].ops = {FreePageOf{{0}}}; }));
  EXPECT_TRUE(is_refused([](Case& c) { c.programs[0].ops[0] = SpinLockOp{{locks_max}}; }));
  EXPECT_TRUE(is_refused([](Case& c) { c.programs[0].flags = 1U << 30; }));
  EXPECT_TRUE(is_refused([](Case& c) { c.programs[3].flags = machine::pf_noio; }));
  EXPECT_TRUE(is_refused([](Case& c) { c.faults[0].task = 9; }));
  EXPECT_TRUE(is_refused([](Case& c) { c.faults[0].site = "zone.lock"; }));
  EXPECT_TRUE(is_refused([](Case& c) { c.faults[0].interval = 0; }));
  EXPECT_TRUE(is_refused([](Case& c) { c.departures[0].at.visit = 0; }));
  EXPECT_TRUE(is_refused([](Case& c) { c.departures[0].at.op = 9; }));
  EXPECT_TRUE(is_refused([](Case& c) { c.departures[0].take.whom = 9; }));
  EXPECT_TRUE(is_refused([](Case& c) { c.departures[2].take.whom = 0; }));  // delivers a task
  EXPECT_TRUE(is_refused([](Case& c) { std::swap(c.departures[0], c.departures[1]); }));
}

}  // namespace
}  // namespace memtorture::program
