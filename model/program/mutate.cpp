// Random changes that keep a case legal: the fuzzer's mutator and its crossover.
//
// Each mutation is one small change with a weight; what cannot be done to this case (no departure to erase) falls
// through to inserting an operation, so that mutate() always tries something. Not here: what is interesting. That is
// the fuzzer's business.
#include <algorithm>
#include <array>

#include "model/program/edits.h"
#include "model/program/legal.h"
#include "model/program/op_table.h"
#include "model/program/random_parts.h"
#include "model/program/words.h"

namespace memtorture::program {
namespace {

using machine::ContextId;
using machine::ContextKind;
using machine::Departure;

struct Place {
  std::size_t program = 0, op = 0;
};

std::uint32_t size32(const auto& list) { return static_cast<std::uint32_t>(list.size()); }

// An existing operation, programs weighted by length; nothing when there is none.
std::optional<Place> some_op(const Case& c, Random& random) {
  std::size_t total = 0;
  for (const Program& program : c.programs) total += program.ops.size();
  if (total == 0) return std::nullopt;
  std::size_t index = random.below(static_cast<std::uint32_t>(total));
  for (std::size_t i = 0;; ++i) {
    if (index < c.programs[i].ops.size()) return Place{i, index};
    index -= c.programs[i].ops.size();
  }
}

bool add_program(Case& c, Random& random) {
  if (c.programs.size() >= programs_max || c.programs.size() >= 6) return false;
  Program program;
  if (!c.programs.empty() && random.percent(50)) program.kind = static_cast<ContextKind>(1 + random.below(3));
  program.cpu = static_cast<std::uint8_t>(random.below(c.shape.cpus));
  std::size_t number = c.programs.size();
  const auto is_taken = [&] { return std::ranges::find(c.programs, program.name, &Program::name) != c.programs.end(); };
  do program.name = default_program_name(program.kind, number++);
  while (is_taken());
  c.programs.push_back(std::move(program));
  return true;
}

bool insert(Case& c, Random& random) {
  if (c.programs.empty()) add_program(c, random);
  const std::size_t program = random.below(size32(c.programs));
  const std::size_t at = random.below(size32(c.programs[program].ops) + 1);
  insert_op(c, program, at, random_op(c, program, at, random));
  return true;
}

bool erase_range(Case& c, Random& random) {
  const auto place = some_op(c, random);
  if (!place) return false;
  erase_ops(c, place->program, place->op, 1 + (random.percent(70) ? 0 : random.below(8)));
  return true;
}

bool copy_range(Case& c, Random& random) {
  const auto from = some_op(c, random);
  if (!from) return false;
  const std::size_t to = random.below(size32(c.programs));
  std::size_t at = random.below(size32(c.programs[to].ops) + 1);
  const auto& source = c.programs[from->program].ops;
  const std::size_t count = std::min<std::size_t>(1 + random.below(8), source.size() - from->op);
  const std::vector<Op> ops(source.begin() + static_cast<std::ptrdiff_t>(from->op),
                            source.begin() + static_cast<std::ptrdiff_t>(from->op + count));
  for (const Op& op : ops) insert_op(c, to, at++, op);
  return true;
}

// Moves an operation; the departures stay where they were, with whatever stands there then.
bool move_op(Case& c, Random& random) {
  const auto place = some_op(c, random);
  if (!place) return false;
  auto& ops = c.programs[place->program].ops;
  std::swap(ops[place->op], ops[random.below(size32(ops))]);
  return true;
}

bool change_field(Case& c, Random& random) {
  const auto place = some_op(c, random);
  if (!place) return false;
  Op changed = c.programs[place->program].ops[place->op];
  unsigned fields = 0;
  for_each_field(changed, [&](auto&) { ++fields; });
  if (fields == 0) return false;
  Op fresh = default_op(changed.index());
  randomise_fields(c, fresh, random);
  unsigned skip = random.below(fields);
  for_each_field(changed, [&]<class Field>(Field& field) {
    if (skip-- == 0) field = *field_of<Field>(fresh);
  });
  c.programs[place->program].ops[place->op] = changed;
  return true;
}

// "The same again until it fails": each time into a slot of its own where it fills one.
bool repeat_op(Case& c, Random& random) {
  const auto place = some_op(c, random);
  if (!place) return false;
  Op op = c.programs[place->program].ops[place->op];
  const std::uint32_t times = 1 + random.below(random.percent(80) ? 8 : 64);
  for (std::uint32_t i = 0; i < times; ++i) {
    if (Out* out = field_of<Out>(op)) out->slot = add_slot(c);
    insert_op(c, place->program, place->op + 1 + i, op);
  }
  return true;
}

bool change_program(Case& c, Random& random) {
  if (c.programs.empty() || random.percent(30)) return add_program(c, random);
  const std::size_t index = random.below(size32(c.programs));
  Program& program = c.programs[index];
  switch (random.below(4)) {
    case 0: program.cpu = static_cast<std::uint8_t>(random.below(c.shape.cpus)); break;
    case 1: program.flags ^= one_of(flag_words, random).bit; break;
    case 2: program.kind = static_cast<ContextKind>(random.below(4)); break;
    default:
      if (c.programs.size() == 1) return false;
      erase_program(c, index);
  }
  make_legal(c);
  return true;
}

bool change_shape(Case& c, Random& random) {
  const machine::Shape& row = machine::shape_table()[c.shape.base].shape;
  machine::Shape shape = c.shape;
  const Knob& knob = one_of(shape_knobs(), random);
  knob.set(shape, row, random.below(knob.choices));
  if (random.percent(15)) shape = random_shape(random);
  if (machine::why_impossible(shape)) return false;
  c.shape = shape;
  make_legal(c);
  return true;
}

bool change_faults(Case& c, Random& random) {
  if (c.faults.size() < 4 && (c.faults.empty() || random.percent(40))) {
    c.faults.push_back(random_rule(c, random));
  } else if (random.percent(50)) {
    erase_fault_rule(c, random.below(size32(c.faults)));
  } else {
    c.faults[random.below(size32(c.faults))] = random_rule(c, random);
  }
  return true;
}

bool change_departures(Case& c, Random& random) {
  if (!c.departures.empty() && random.percent(30)) {
    erase_departure(c, random.below(size32(c.departures)));
    return true;
  }
  const auto departure = random_departure(c, random);
  if (!departure) return false;
  if (!c.departures.empty() && random.percent(25)) erase_departure(c, random.below(size32(c.departures)));
  c.departures.push_back(*departure);
  sort_departures(c);
  return true;
}

struct Mutation {
  std::uint32_t weight;
  bool (*apply)(Case&, Random&);  // false: not possible here
};
constexpr Mutation mutations[] = {{25, insert},       {15, erase_range},      {8, copy_range},     {5, move_op},
                                  {22, change_field}, {4, repeat_op},         {4, change_program}, {4, change_shape},
                                  {3, change_faults}, {10, change_departures}};
constexpr std::uint32_t weights_sum = [] {
  std::uint32_t sum = 0;
  for (const Mutation& mutation : mutations) sum += mutation.weight;
  return sum;
}();

// A slot of b becomes the slot of the same number in a, made if there is none: spliced operations meet a's blocks.
Op adopt_slots(Case& a, Op op) {
  const auto adopt = [&](Slot& slot) {
    while (slot >= a.slot_names.size() && a.slot_names.size() < slots_max) add_slot(a);
  };
  for_each_field(op, [&](auto& field) {
    if constexpr (requires { field.slot; }) adopt(field.slot);
  });
  return op;
}

// The departures of b's operations [first, first + count) of `from`, moved to a's operations from `at` on of `to`.
void adopt_departures(Case& a, const Case& b, Place from, std::size_t count, Place to) {
  for (Departure d : b.departures) {
    if (d.at.who != from.program || d.at.op < from.op || d.at.op >= from.op + count) continue;
    d.at.who = static_cast<ContextId>(to.program);
    d.at.op = static_cast<std::uint32_t>(d.at.op - from.op + to.op);
    a.departures.push_back(d);  // make_legal drops those whose target a has not
  }
}

}  // namespace

void mutate(Case& c, Random& random) {
  std::uint32_t dice = random.below(weights_sum);
  const Mutation* chosen = mutations;
  while (dice >= chosen->weight) dice -= chosen++->weight;
  if (!chosen->apply(c, random)) insert(c, random);
  drop_unused_slots(c);
}

Case cross(const Case& a, const Case& b, Random& random) {
  Case child = a;
  const auto from = some_op(b, random);
  if (!from) return child;
  if (child.programs.empty()) add_program(child, random);
  const std::size_t program = random.below(size32(child.programs));
  const Place to{program, random.below(size32(child.programs[program].ops) + 1)};
  const auto& source = b.programs[from->program].ops;
  const std::size_t room = ops_max - child.programs[program].ops.size();
  const std::size_t count = std::min({static_cast<std::size_t>(1 + random.below(32)), source.size() - from->op, room});
  for (std::size_t i = 0; i < count; ++i)
    insert_op(child, to.program, to.op + i, adopt_slots(child, source[from->op + i]));
  adopt_departures(child, b, *from, count, to);
  if (random.percent(20)) child.shape = b.shape;
  if (random.percent(20)) child.faults = b.faults;
  make_legal(child);
  drop_unused_slots(child);
  return child;
}

}  // namespace memtorture::program
