#include "model/program/legal.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "model/program/edits.h"
#include "model/program/op_table.h"
#include "model/program/words.h"

namespace memtorture::program {
namespace {

using machine::ContextId;
using machine::ContextKind;
using machine::Departure;
using machine::Move;
using Why = std::optional<std::string>;

bool exists(const Case& c, ContextId id) {
  return machine::is_daemon(id) ? machine::daemon_index(id) < daemons_known(c.shape) : id < c.programs.size();
}

Why why_illegal_comment(const std::string& line) {
  if (line.find('\n') != std::string::npos) return "a comment line holds a line break";
  if (line.find_last_of(" \t\r") == line.size() - 1 && !line.empty()) return "a comment line ends in a blank";
  return std::nullopt;
}

Why why_illegal_names(const Case& c) {
  std::set<std::string_view> seen;
  for (const std::string& name : c.slot_names) {
    if (!is_name(name)) return fmt::format("'{}' is no name for a slot", name);
    if (!seen.insert(name).second) return fmt::format("two slots are called '{}'", name);
  }
  seen.clear();
  for (const Program& program : c.programs) {
    if (!is_name(program.name) || find_daemon(program.name))
      return fmt::format("'{}' is no name for a program", program.name);
    if (!seen.insert(program.name).second) return fmt::format("two programs are called '{}'", program.name);
  }
  return std::nullopt;
}

// Field types that have values which mean nothing.
bool is_legal_field(const Case& c, Out out) { return out.slot < c.slot_names.size(); }
bool is_legal_field(const Case& c, In in) { return in.slot < c.slot_names.size(); }
bool is_legal_field(const Case& c, Of of) { return of.slot < c.slot_names.size(); }
bool is_legal_field(const Case&, Gfp gfp) { return (gfp.bits & ~subject::gfp_known) == 0; }
bool is_legal_field(const Case&, Node node) {
  return node.value >= -1 && node.value < static_cast<int>(machine::nodes_max);
}
bool is_legal_field(const Case&, Lock lock) { return lock.value < locks_max; }
bool is_legal_field(const Case&, Client client) { return static_cast<unsigned>(client.value) < subject::client_kinds; }
bool is_legal_field(const Case&, Trait trait) { return static_cast<unsigned>(trait.value) < subject::process_traits; }
bool is_legal_field(const Case&, Flaw flaw) {
  return static_cast<unsigned>(flaw.value) < std::size(subject::blemish_names);
}
template <class Other>
bool is_legal_field(const Case&, const Other&) {
  return true;
}

Why why_illegal_program(const Case& c, const Program& program) {
  if (program.cpu >= c.shape.cpus)
    return fmt::format("program '{}' is on a CPU that the machine has not", program.name);
  if (program.ops.size() > ops_max)
    return fmt::format("program '{}' has more than {} operations", program.name, ops_max);
  if (program.kind > ContextKind::nmi) return fmt::format("program '{}' is of no known kind", program.name);
  if ((program.flags & ~task_flags_known) != 0) return fmt::format("program '{}' has unknown task flags", program.name);
  if (program.flags != 0 && program.kind != ContextKind::task)
    return fmt::format("handler '{}' has task flags", program.name);
  for (const Op& op : program.ops) {
    bool legal = true;
    for_each_field(op, [&](const auto& field) { legal = legal && is_legal_field(c, field); });
    if (!legal) return fmt::format("program '{}' has a {} with a value that means nothing", program.name, name_of(op));
  }
  return std::nullopt;
}

Why why_illegal_rule(const Case& c, const fault::Rule& rule) {
  if (!rule.site.is_fault()) return fmt::format("{} is not a fault site", rule.site.name());
  if (rule.probability > 100 || rule.interval == 0 || rule.times < -1) return "a fault rule has a value out of range";
  if (rule.cpu != fault::any_cpu && rule.cpu >= c.shape.cpus)
    return "a fault rule names a CPU that the machine has not";
  if (rule.kind != fault::any_kind && rule.kind >= std::size(machine::context_kind_names))
    return "a fault rule names a kind of context that there is not";
  if ((rule.gfp & ~subject::gfp_known) != 0) return "a fault rule has flags that there are not";
  if (rule.caller > op_kinds) return "a fault rule names an operation that there is not";
  if (rule.task != machine::no_context && !exists(c, rule.task))
    return "a fault rule names a context that does not exist";
  return std::nullopt;
}

bool is_legal_option(const Case& c, const Departure& departure) {
  const ContextId whom = departure.take.whom;
  switch (departure.take.move) {
    case Move::go_on: return false;
    case Move::switch_to:
    case Move::wake: return exists(c, whom);
    case Move::deliver: return whom < c.programs.size() && c.programs[whom].kind != ContextKind::task;
    case Move::migrate: return whom < c.shape.cpus;
    case Move::fail:
    case Move::fail_from: return whom == machine::no_context && departure.at.site.is_fault();
  }
  return false;
}

bool is_legal_departure(const Case& c, const Departure& departure) {
  const auto& at = departure.at;
  if (!exists(c, at.who) || at.visit == 0) return false;
  if (!machine::is_daemon(at.who) && at.op > c.programs[at.who].ops.size()) return false;
  return is_legal_option(c, departure);
}

}  // namespace

std::optional<std::string> why_illegal(const Case& c) {
  if (auto why = machine::why_impossible(c.shape)) return why;
  if (c.programs.size() > programs_max) return fmt::format("more than {} programs", programs_max);
  if (c.slot_names.size() > slots_max) return fmt::format("more than {} slots", slots_max);
  if (c.faults.size() > faults_max) return fmt::format("more than {} fault rules", faults_max);
  for (const std::string& line : c.comment) {
    if (auto why = why_illegal_comment(line)) return why;
  }
  if (c.expect.verdict > Verdict::drifted) return "an unknown verdict";
  if (c.expect.rule.find_first_of(" \t\r\n\v\f=!#") != std::string::npos) return "the expected rule is not one word";
  if (auto why = why_illegal_names(c)) return why;
  for (const Program& program : c.programs) {
    if (auto why = why_illegal_program(c, program)) return why;
  }
  for (const fault::Rule& rule : c.faults) {
    if (auto why = why_illegal_rule(c, rule)) return why;
  }
  for (const Departure& departure : c.departures) {
    if (!is_legal_departure(c, departure)) return "a departure names what does not exist";
  }
  if (!std::ranges::is_sorted(c.departures, {}, &Departure::at)) return "departures are not sorted";
  return std::nullopt;
}

Case normal(Case c) {
  sort_departures(c);
  drop_unused_slots(c);
  return c;
}

void make_legal(Case& c) {
  for (Program& program : c.programs) {
    program.cpu = static_cast<std::uint8_t>(program.cpu % c.shape.cpus);
    if (program.kind != ContextKind::task) program.flags = 0;
  }
  std::erase_if(c.faults, [&](const fault::Rule& rule) { return why_illegal_rule(c, rule).has_value(); });
  std::erase_if(c.departures, [&](const Departure& departure) { return !is_legal_departure(c, departure); });
  sort_departures(c);
}

std::string default_program_name(ContextKind kind, std::size_t index) {
  static constexpr std::string_view letters = "tsin";
  return fmt::format("{}{}", letters[static_cast<unsigned>(kind)], index);
}

std::string default_slot_name(std::size_t index) { return fmt::format("p{}", index); }

std::string context_name(ContextId id, const Case& names) {
  return machine::is_daemon(id) ? daemon_name(id) : names.programs[id].name;
}

}  // namespace memtorture::program
