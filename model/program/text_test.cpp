// The case language: what is written is read back, and what is wrong is said to the column.
#include "model/program/text.h"
#include "model/program/words.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "model/program/generate.h"
#include "model/program/legal.h"
#include "model/program/op_table.h"
#include "model/program/random_parts.h"

namespace memtorture::program {
namespace {

constexpr GenerateOptions everything{.crimes = 50, .faults = 80, .departures = 80, .contexts = 90};

std::string with_head(std::string_view body) { return "memtorture 1\nmachine tiny-32 cpus=2\n" + std::string(body); }

Case must_parse(std::string_view text) {
  auto parsed = parse(text);
  EXPECT_TRUE(parsed.has_value()) << (parsed ? "" : parsed.error().message("case")) << "\n" << text;
  return parsed ? std::move(*parsed) : Case{};
}

TEST(Text, ReadsAWholeCase) {
  const Case c = must_parse(R"(memtorture 1
# Two tasks and a handler.
#
#  indented
machine x86-32 ram=8M cpus=2 dma=1M dma32=1M normal=6M pcp=6/2 hole=100-200
expect double-free
fault page.alloc probability=20 seed=7 interval=3 times=5 space=16 min-order=1 task=b ignore-wait ignore-highmem

task a cpu0           # comments are ignored here
  p = alloc_pages GFP_KERNEL|__GFP_ZERO 3   ! fail page.alloc:1
  fill p 0x5a
  __free_pages p+2 3  ! zone.lock:2 -> b ! page.merge:1 irq t
  end ! op:1 cpu 1
task b cpu1 rt memalloc
  poke p -5 7
irq t cpu0
  task = alloc_page GFP_ATOMIC
@ kswapd0.1 kswapd.balance:1 -> a
)");
  ASSERT_EQ(c.programs.size(), 3U);
  EXPECT_EQ(c.comment, (std::vector<std::string>{"Two tasks and a handler.", "", " indented"}));
  EXPECT_EQ(c.shape.ram_bytes, 8U << 20);
  EXPECT_EQ(c.shape.hole_end, 200U);
  EXPECT_EQ(c.expect, (Expect{Verdict::misuse, "double-free"}));
  ASSERT_EQ(c.faults.size(), 1U);
  EXPECT_EQ(c.faults[0].task, 1);
  EXPECT_EQ(c.faults[0].times, 5);
  EXPECT_EQ(c.slot_names, (std::vector<std::string>{"p", "task"}));
  EXPECT_EQ(c.programs[0].ops[0], Op(AllocPages{{0}, {subject::GFP_KERNEL | subject::gfp_zero}, {3}}));
  EXPECT_EQ(c.programs[0].ops[2], Op(FreePagesOf{{0, 2}, {3}}));
  EXPECT_EQ(c.programs[1].ops[0], Op(Poke{{0}, {-5}, {7}}));
  EXPECT_EQ(c.programs[1].flags, machine::pf_realtime | machine::pf_memalloc);
  EXPECT_EQ(c.programs[2].ops[0], Op(AllocPage{{1}, {subject::GFP_ATOMIC}}));
  using machine::Move;
  const std::vector<machine::Departure> departures = {
      {{0, 0, "page.alloc", 1}, {Move::fail}},
      {{0, 2, "page.merge", 1}, {Move::deliver, 2}},
      {{0, 2, "zone.lock", 2}, {Move::switch_to, 1}},
      {{0, 3, "op", 1}, {Move::migrate, 1}},
      {{machine::kswapd_first, 1, "kswapd.balance", 1}, {Move::switch_to, 0}}};
  EXPECT_EQ(c.departures, departures);
  EXPECT_EQ(must_parse(print(c)), c);
}

TEST(Text, PrintsEveryOperationWithEveryGfpRow) {
  Case c{.shape = machine::shape_table()[2].shape, .programs = {{.name = "a"}}};
  Random random(7);
  for (std::size_t kind = 0; kind < op_kinds; ++kind) {
    for (unsigned i = 0; i < 8; ++i) {
      Op op = default_op(kind);
      randomise_fields(c, op, random);
      c.programs[0].ops.push_back(op);
    }
  }
  for (const auto& row : subject::gfp_table) c.programs[0].ops.push_back(AllocPage{{0}, {row.bits}});
  c = normal(std::move(c));
  ASSERT_EQ(why_illegal(c), std::nullopt);
  EXPECT_EQ(must_parse(print(c)), c);
}

TEST(Text, EveryGfpNameIsReadAsItsBits) {
  for (const auto& row : subject::gfp_table) {
    const Case c = must_parse(with_head("task a cpu0\n p = alloc_page " + std::string(row.name) + "\n"));
    EXPECT_EQ(c.programs[0].ops[0], Op(AllocPage{{0}, {row.bits}})) << row.name;
    if (row.group == subject::GfpGroup::alias) continue;
    const auto* first = std::ranges::find(subject::gfp_table, row.bits, &subject::GfpRow::bits);
    EXPECT_EQ(print_gfp(row.bits), first->name);  // __GFP_WAIT alone is GFP_NOIO
  }
  EXPECT_EQ(print_gfp(subject::GFP_KERNEL | subject::GFP_ATOMIC), "GFP_KERNEL|__GFP_HIGH");
  EXPECT_EQ(print_gfp(0), "GFP_NOWAIT");
}

TEST(Text, EveryShapeAndKnobRoundTrips) {
  for (const auto& row : machine::shape_table()) {
    EXPECT_EQ(print_shape(row.shape), row.name);
    EXPECT_EQ(parse_shape(row.name), row.shape);
  }
  Random random(11);
  for (unsigned i = 0; i < 2000; ++i) {
    const machine::Shape shape = random_shape(random);
    ASSERT_EQ(machine::why_impossible(shape), std::nullopt) << print_shape(shape);
    EXPECT_EQ(parse_shape(print_shape(shape)), shape) << print_shape(shape);
  }
}

TEST(Text, GeneratedCasesRoundTrip) {
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    const Case c = generate(seed, everything);
    ASSERT_EQ(why_illegal(c), std::nullopt) << seed;
    const std::string text = print(c);
    ASSERT_EQ(must_parse(text), c) << text;
    ASSERT_EQ(print(must_parse(text)), text);
  }
}

TEST(Text, EveryVerdictRoundTrips) {
  for (unsigned i = 0; i < std::size(verdict_names); ++i) {
    Case c{.shape = machine::shape_table()[0].shape,
           .expect = {static_cast<Verdict>(i), i % 2 == 0 ? "page.overlap" : ""}};
    EXPECT_EQ(must_parse(print(c)), c);
  }
}

struct Wrong {
  std::string_view body;  // after "memtorture 1\nmachine tiny-32 cpus=2\n"
  std::uint32_t line, column;
  std::string_view expected, found, hint;
};
constexpr Wrong wrongs[] = {
    {"tusk a cpu0", 3, 1, "'machine', 'expect', 'fault' or a program (task, softirq, irq, nmi)", "tusk",
     "did you mean 'task'?"},
    {"machine toy", 3, 9, "one machine line only", "toy", ""},
    {"expect pas", 3, 8, "a verdict or a crime", "pas", "did you mean 'pass'?"},
    {"expect", 3, 7, "a verdict or a crime", "end of line", ""},
    {"expect pass a b", 3, 15, "the end of the line", "b", ""},
    {"expect pass\nexpect pass", 4, 8, "one expect line only", "pass", ""},
    {"fault page.aloc", 3, 7, "a fault site", "page.aloc", "did you mean 'page.alloc'?"},
    {"fault zone.lock", 3, 7, "a fault site", "zone.lock", "nothing can be made to fail there"},
    {"fault page.alloc probability=101", 3, 30, "a percentage 0..100", "101", ""},
    {"fault page.alloc interval=0", 3, 27, "an interval 1..4294967295", "0", ""},
    {"fault page.alloc probability 5", 3, 30, "'='", "5", ""},
    {"fault page.alloc chance=5", 3, 18, "an option of a fault rule", "chance", ""},
    {"fault page.alloc task=zz\ntask a cpu0", 3, 23, "the name of a program or daemon", "zz", ""},
    {"task A cpu0", 3, 6, "a name for the program", "A", "names are [a-z][a-z0-9_]*"},
    {"task kswapd1 cpu0", 3, 6, "a name that no daemon has", "kswapd1", daemon_names_text},
    {"task a cpu0\ntask a cpu1", 4, 6, "a name that no other program has", "a", ""},
    {"task a 0", 3, 8, "a CPU cpu0..cpu1", "0", ""},
    {"task a cpu2", 3, 11, "a CPU of the machine 0..1", "2", ""},
    {"task a cpu0 fast", 3, 13, "a task flag (rt, memalloc, noio, nofs, memdie) or the end of the line", "fast", ""},
    {"irq a cpu0 rt", 3, 12, "the end of the line", "rt", "only tasks have flags"},
    {"task a cpu0\n  p = alloc_pagez GFP_KERNEL", 4, 7, "an operation", "alloc_pagez", "did you mean 'alloc_pages'?"},
    {"task a cpu0\n  frob p", 4, 3, "an operation or a program", "frob", ""},
    {"task a cpu0\n  alloc_page GFP_KERNEL", 4, 3, "a slot to fill", "alloc_page", "write: p = alloc_page ..."},
    {"task a cpu0\n  p = fill p 1", 4, 7, "an operation that fills a slot", "fill",
     "fill fills none: write it without 'p ='"},
    {"task a cpu0\n  P = alloc_page GFP_KERNEL", 4, 3, "a slot", "P", "slots are named [a-z][a-z0-9_]*"},
    {"task a cpu0\n  p = alloc_pages GFP_KERNEL x", 4, 30, "an order 0..255", "x", ""},
    {"task a cpu0\n  p = alloc_pages GFP_KERNEL 256", 4, 30, "an order 0..255", "256", ""},
    {"task a cpu0\n  p = alloc_pages GFP_KERNEL", 4, 29, "an order 0..255", "end of line", ""},
    {"task a cpu0\n  p = alloc_page GFP_KERNEL|__GFP_ZER", 4, 29, "a GFP flag", "__GFP_ZER",
     "did you mean '__GFP_ZERO'?"},
    {"task a cpu0\n  p = alloc_page GFP_KERNEL|", 4, 29, "a GFP flag", "end of line", ""},
    {"task a cpu0\n  p = alloc_page GFP_KERNEL 3", 4, 29, "'!' or the end of the line", "3", ""},
    {"task a cpu0\n  p = alloc_pages_node 4 GFP_KERNEL 0", 4, 24, "'local' or a node 0..3", "4", ""},
    {"task a cpu0\n  p = alloc_pages_exact 1Q GFP_KERNEL", 4, 25, "a size 0..18446744073709551615", "1Q",
     "sizes are written 4096, 0x1000, 64K, 8M, 1G or 1T"},
    {"task a cpu0\n  p = alloc_pages_exact 99999999T GFP_KERNEL", 4, 25, "a size 0..18446744073709551615", "99999999T",
     ""},
    {"task a cpu0\n  fill p+70000 1", 4, 10, "an offset 0..65535", "70000", ""},
    {"task a cpu0\n  fill p 0x1ff", 4, 10, "a byte 0..255", "0x1ff", ""},
    {"task a cpu0\n  poke p 9223372036854775808 1", 4, 10, "an offset in bytes 0..9223372036854775807",
     "9223372036854775808", ""},
    {"task a cpu0\n  spin_lock l4", 4, 14, "a lock number 0..3", "4", ""},
    {"task a cpu0\n  spin_lock 1", 4, 13, "a lock l0..l3", "1", ""},
    {"task a cpu0\n  client_add cleen 3 GFP_KERNEL", 4, 14, "a kind of client (clean, dirty, anon, process)", "cleen",
     "did you mean 'clean'?"},
    {"task a cpu0\n  blemish p slab2", 4, 13, "a kind of blemish (locked, lru, slab, mapping, mapcount)", "slab2",
     "did you mean 'slab'?"},
    {"task a cpu0\n  schedule ! zone.lok:1 -> a", 4, 14, "a site", "zone.lok", "did you mean 'zone.lock'?"},
    {"task a cpu0\n  schedule ! zone.lock -> a", 4, 14, "SITE:VISIT", "zone.lock", "the first visit is written SITE:1"},
    {"task a cpu0\n  schedule ! zone.lock:0 -> a", 4, 24, "a visit 1..65535", "0", ""},
    {"task a cpu0\n  schedule ! zone.lock:1 to a", 4, 26, "an action ('-> NAME', 'irq NAME', 'cpu N', 'wake NAME')",
     "to", ""},
    {"task a cpu0\n  schedule ! page.alloc:1 fail", 4, 27, "an action ('-> NAME', 'irq NAME', 'cpu N', 'wake NAME')",
     "fail", "a failure is written: fail SITE:VISIT"},
    {"task a cpu0\n  schedule ! fail zone.lock:1", 4, 19, "a fault site", "zone.lock:1", "see: memtorture list sites"},
    {"task a cpu0\n  schedule ! op:1 cpu 2", 4, 23, "a CPU of the machine 0..1", "2", ""},
    {"task a cpu0\n  schedule ! op:1 -> b", 4, 22, "the name of a program or daemon", "b", "did you mean 'a'?"},
    {"task a cpu0\n  schedule ! op:1 irq a", 4, 23, "a handler (softirq, irq, nmi)", "a", ""},
    {"task a cpu0\n  schedule ! op:1 irq", 4, 22, "the name of a program or daemon", "end of line", ""},
    {"task a cpu0\n  end\n  schedule", 5, 3, "a program", "schedule", "'end' is the last line of a program"},
    {"task a cpu0\n  end\n  end", 5, 6, "one 'end' line only", "end of line", ""},
    {"task a cpu0\nexpect pass", 4, 1, "an operation or a program", "expect",
     "machine, expect and fault stand before the first program"},
    {"task = alloc_page GFP_KERNEL", 3, 1, "a program (task, softirq, irq, nmi)", "task", ""},
    {"task a cpu0\n@ a.1 op:1 -> a", 4, 3, "a daemon's activation, kswapdN.NUMBER or eventsN.NUMBER", "a.1", ""},
    {"task a cpu0\n@ kswapd0.x op:1 -> a", 4, 11, "an activation 0..4294967295", "x", ""},
    {"task a cpu0\n@ kswapd0.1 op:1 -> a\n  schedule", 5, 3, "'@' or the end of the file", "schedule",
     "departures of daemons stand after all programs"},
    {"task a cpu0\n  \x01\xff", 4, 3, "an operation or a program", "\\x01\\xff", ""},
};

TEST(Text, EveryErrorNamesItsPlace) {
  for (const Wrong& wrong : wrongs) {
    const auto parsed = parse(with_head(wrong.body));
    ASSERT_FALSE(parsed.has_value()) << wrong.body;
    const ParseError& error = parsed.error();
    EXPECT_EQ(error.line, wrong.line) << error.message("case") << "\n" << wrong.body;
    EXPECT_EQ(error.column, wrong.column) << error.message("case") << "\n" << wrong.body;
    EXPECT_EQ(error.expected, wrong.expected) << wrong.body;
    EXPECT_EQ(error.found, wrong.found) << wrong.body;
    EXPECT_EQ(error.hint, wrong.hint) << wrong.body;
  }
}

constexpr Wrong wrong_wholes[] = {
    {"", 1, 1, "'memtorture 1'", "end of file", ""},
    {"memtortue 1\n", 1, 1, "'memtorture'", "memtortue", ""},
    {"memtorture 2\n", 1, 12, "the language version '1'", "2", ""},
    {"memtorture 1\n", 2, 1, "'machine'", "end of file", "write, for example: machine tiny-32 cpus=2"},
    {"memtorture 1\ntask a cpu0\n", 2, 1, "'machine' before the first program", "task",
     "write, for example: machine tiny-32 cpus=2"},
    {"memtorture 1\nmachine x86\n", 2, 9,
     "a machine (x86-32, x86-64, tiny-32, tiny-64, tiny-all, toy, flat, alpha, buddy16)", "x86", ""},
    {"memtorture 1\nmachine toy cpu=2\n", 2, 13, "a key of the machine line", "cpu", "did you mean 'cpus'?"},
    {"memtorture 1\nmachine toy cpus=1 cpus=2\n", 2, 20, "each key once", "cpus", ""},
    {"memtorture 1\nmachine toy cpus=0\n", 2, 9, "a possible machine", "toy", "cpus must be 1..64"},
    {"memtorture 1\nmachine toy cpus=256\n", 2, 18, "a number 0..255", "256", ""},
    {"memtorture 1\nmachine toy page=16K\n", 2, 18, "a page size (4K, 8K)", "16K", ""},
    {"memtorture 1\nmachine toy hole=5\n", 2, 18, "a range of frames START-END", "5", ""},
    {"memtorture 1\nmachine toy pcp=6\n", 2, 17, "'auto' or HIGH/BATCH", "6", ""},
    {"memtorture 1\nmachine toy pcp=6/x\n", 2, 19, "a pcp batch 0..65535", "x", ""},
    {"memtorture 1\nmachine toy poison=yes\n", 2, 20, "'on' or 'off'", "yes", ""},
    {"memtorture 1\nmachine toy objects=slub\n", 2, 21, "a layer (none, slab, k12)", "slub", ""},
    {"memtorture 1\nmachine toy slab_debug=ZA\n", 2, 24, "'-' or letters of FZPUK", "ZA", ""},
    {"memtorture 1\nmachine toy slab_debug=Z\n", 2, 9, "a possible machine", "toy", "slab_debug needs objects=slab"},
    {"memtorture 1\nmachine toy objects=slab quarantine=1\n", 2, 9, "a possible machine", "toy",
     "a quarantine needs the letter K in slab_debug"},
};

TEST(Text, EveryErrorInTheHeadNamesItsPlace) {
  for (const Wrong& wrong : wrong_wholes) {
    const auto parsed = parse(wrong.body);
    ASSERT_FALSE(parsed.has_value()) << wrong.body;
    const ParseError& error = parsed.error();
    EXPECT_EQ(std::tie(error.line, error.column), std::tie(wrong.line, wrong.column)) << error.message("case");
    EXPECT_EQ(error.expected, wrong.expected);
    EXPECT_EQ(error.found, wrong.found);
    EXPECT_EQ(error.hint, wrong.hint);
  }
}

TEST(Text, MessageIsOneLine) {
  const ParseError error{3, 12, "an order 0..255", "x", "orders are numbers"};
  EXPECT_EQ(error.message("a.case"), "a.case:3:12: expected an order 0..255, found 'x' (orders are numbers)");
  EXPECT_EQ((ParseError{3, 12, "an order", "end of line", ""}.message("a.case")),
            "a.case:3:12: expected an order, found end of line");
}

TEST(Text, LimitsAreErrors) {
  EXPECT_EQ(parse(std::string((1U << 20) + 1, ' ')).error().expected, "a case of at most 1 MiB");
  std::string text = with_head("");
  for (std::size_t i = 0; i <= programs_max; ++i) text += "task t" + std::to_string(i) + " cpu0\n";
  EXPECT_EQ(parse(text).error().expected, "at most 64 programs");
  EXPECT_EQ(parse(text).error().line, 3 + programs_max);
  text = with_head("task a cpu0\n");
  for (std::size_t i = 0; i <= slots_max; ++i) text += "fill p" + std::to_string(i) + " 1\n";
  EXPECT_EQ(parse(text).error().expected, "at most 4096 slots");
  text = with_head("task a cpu0\n");
  for (std::size_t i = 0; i <= ops_max; ++i) text += "schedule\n";
  EXPECT_EQ(parse(text).error().expected, "at most 100000 operations in a program");
  text = with_head("");
  for (std::size_t i = 0; i <= faults_max; ++i) text += "fault page.alloc\n";
  EXPECT_EQ(parse(text).error().expected, "at most 64 fault rules");
}

// Total: whatever the bytes, a legal case or an error inside the text.
void check_total(const std::string& text) {
  const auto parsed = parse(text);
  if (parsed) {
    EXPECT_EQ(why_illegal(*parsed), std::nullopt) << text;
    EXPECT_EQ(must_parse(print(*parsed)), *parsed) << text;
  } else {
    EXPECT_GE(parsed.error().line, 1U);
    EXPECT_FALSE(parsed.error().expected.empty());
    EXPECT_EQ(parsed.error().message("f").find('\n'), std::string::npos);
  }
}

TEST(Text, AnyBytesGiveACaseOrAnError) {
  Random random(3);
  unsigned accepted = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    std::string text = print(generate(seed % 50, everything));
    for (unsigned changes = random.below(4); changes > 0; --changes) {
      const std::uint32_t at = random.below(static_cast<std::uint32_t>(text.size()));
      switch (random.below(4)) {
        case 0: text[at] = static_cast<char>(random.next()); break;
        case 1: text.erase(at, 1 + random.below(20)); break;
        case 2: text.insert(at, 1, " \n=!#|+:.-@0aZ"[random.below(14)]); break;
        default: text.insert(at, text.substr(random.below(static_cast<std::uint32_t>(text.size())), random.below(40)));
      }
    }
    check_total(text);
    accepted += parse(text).has_value() ? 1 : 0;
  }
  EXPECT_GT(accepted, 30U);  // else the mutations test the first error only
  for (unsigned i = 0; i < 2000; ++i) {
    std::string noise = i % 2 == 0 ? with_head("task a cpu0\n") : "";
    for (unsigned n = random.below(200); n > 0; --n) noise += static_cast<char>(random.next());
    check_total(noise);
  }
}

}  // namespace
}  // namespace memtorture::program
