// Structural edits: what is deleted or inserted, and what that does to the departures anchored around it.
#include "model/program/edits.h"

#include <algorithm>
#include <numeric>

#include "model/program/legal.h"
#include "model/program/op_table.h"

namespace memtorture::program {
namespace {

using machine::ContextId;
using machine::Departure;

// The name of a context after program `gone` was deleted; no_context: it was that program.
ContextId renamed(ContextId id, std::size_t gone) {
  if (machine::is_daemon(id) || id == machine::no_context || id < gone) return id;
  return id == gone ? machine::no_context : static_cast<ContextId>(id - 1);
}

bool names_context(const Departure& departure) {
  using machine::Move;
  const Move move = departure.take.move;
  return move == Move::switch_to || move == Move::deliver || move == Move::wake;
}

}  // namespace

void erase_ops(Case& c, std::size_t program, std::size_t first, std::size_t count) {
  auto& ops = c.programs[program].ops;
  first = std::min(first, ops.size());
  count = std::min(count, ops.size() - first);
  const std::size_t end = first + count;
  ops.erase(ops.begin() + static_cast<std::ptrdiff_t>(first), ops.begin() + static_cast<std::ptrdiff_t>(end));
  std::erase_if(c.departures,
                [&](const Departure& d) { return d.at.who == program && d.at.op >= first && d.at.op < end; });
  for (Departure& d : c.departures) {
    if (d.at.who == program && d.at.op >= end) d.at.op -= static_cast<std::uint32_t>(count);
  }
}

void insert_op(Case& c, std::size_t program, std::size_t at, const Op& op) {
  auto& ops = c.programs[program].ops;
  if (ops.size() == ops_max) return;
  at = std::min(at, ops.size());
  for (Departure& d : c.departures) {
    if (d.at.who == program && d.at.op >= at) ++d.at.op;
  }
  ops.insert(ops.begin() + static_cast<std::ptrdiff_t>(at), op);
}

void erase_program(Case& c, std::size_t program) {
  c.programs.erase(c.programs.begin() + static_cast<std::ptrdiff_t>(program));
  std::erase_if(c.departures, [&](const Departure& d) {
    return d.at.who == program || (names_context(d) && d.take.whom == program);
  });
  for (Departure& d : c.departures) {
    d.at.who = renamed(d.at.who, program);
    if (names_context(d)) d.take.whom = renamed(d.take.whom, program);
  }
  // A rule for a program that is no more would apply to nothing: it goes.
  std::erase_if(c.faults, [&](const fault::Rule& rule) { return rule.task == program; });
  for (fault::Rule& rule : c.faults) rule.task = renamed(rule.task, program);
}

void erase_departure(Case& c, std::size_t index) {
  c.departures.erase(c.departures.begin() + static_cast<std::ptrdiff_t>(index));
}

void erase_fault_rule(Case& c, std::size_t index) {
  c.faults.erase(c.faults.begin() + static_cast<std::ptrdiff_t>(index));
}

// Stable, because the order of departures at one place is the order in which they are taken.
void sort_departures(Case& c) {
  if (std::ranges::is_sorted(c.departures, {}, &Departure::at)) return;
  std::vector<std::size_t> order(c.departures.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t i) { return std::pair(c.departures[i].at, i); });
  std::vector<Departure> sorted;
  sorted.reserve(order.size());
  for (const std::size_t i : order) sorted.push_back(c.departures[i]);
  c.departures = std::move(sorted);
}

void drop_unused_slots(Case& c) {
  static constexpr Slot unused = slots_max;
  std::vector<Slot> renumbered(c.slot_names.size(), unused);
  std::vector<std::string> names;
  const auto renumber = [&](Slot& slot) {
    if (renumbered[slot] == unused) {
      renumbered[slot] = static_cast<Slot>(names.size());
      names.push_back(std::move(c.slot_names[slot]));
    }
    slot = renumbered[slot];
  };
  for (Program& program : c.programs) {
    for (Op& op : program.ops) {
      for_each_field(op, [&](auto& field) {
        if constexpr (requires { field.slot; }) renumber(field.slot);
      });
    }
  }
  c.slot_names = std::move(names);
}

}  // namespace memtorture::program
