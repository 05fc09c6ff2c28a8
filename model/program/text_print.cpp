// Case -> text. The order of lines is fixed (corpus/README.md), so two equal cases print equal.
//
// Departures stand on the line of the operation during which they happen, in the order in which they are taken; those
// after a program's last operation stand on its `end` line; those of daemons, which have no operations, at the bottom.
#include <fmt/format.h>

#include "model/program/legal.h"
#include "model/program/text.h"
#include "model/program/text_fields.h"
#include "model/program/words.h"

namespace memtorture::program {
namespace {

using machine::Departure;
using machine::Move;

std::string print_rule(const fault::Rule& rule, const Case& c) {
  const fault::Rule plain;
  std::string text = fmt::format("fault {}", rule.site.name());
  auto out = std::back_inserter(text);
  if (rule.probability != plain.probability) fmt::format_to(out, " probability={}", rule.probability);
  if (rule.seed != plain.seed) fmt::format_to(out, " seed={}", rule.seed);
  if (rule.interval != plain.interval) fmt::format_to(out, " interval={}", rule.interval);
  if (rule.times != plain.times) fmt::format_to(out, " times={}", rule.times);
  if (rule.space != plain.space) fmt::format_to(out, " space={}", rule.space);
  if (rule.min_order != plain.min_order) fmt::format_to(out, " min-order={}", rule.min_order);
  if (rule.max_order != plain.max_order) fmt::format_to(out, " max-order={}", rule.max_order);
  if (rule.min_size != plain.min_size) fmt::format_to(out, " min-size={}", rule.min_size);
  if (rule.max_size != plain.max_size) fmt::format_to(out, " max-size={}", rule.max_size);
  if (rule.gfp != plain.gfp) fmt::format_to(out, " gfp={}", print_gfp(rule.gfp));
  if (rule.cpu != plain.cpu) fmt::format_to(out, " cpu={}", rule.cpu);
  if (rule.kind != plain.kind) fmt::format_to(out, " context={}", machine::context_kind_names[rule.kind]);
  if (rule.caller != plain.caller) fmt::format_to(out, " caller={}", op_names[rule.caller - 1U]);
  if (rule.task != plain.task) fmt::format_to(out, " task={}", context_name(rule.task, c));
  if (rule.ignore_wait) text += " ignore-wait";
  if (rule.ignore_highmem) text += " ignore-highmem";
  return text;
}

std::string print_header(const Program& program) {
  std::string text = fmt::format("{} {} cpu{}", machine::context_kind_names[static_cast<unsigned>(program.kind)],
                                 program.name, program.cpu);
  for (const FlagWord& flag : flag_words) {
    if ((program.flags & flag.bit) != 0) text += fmt::format(" {}", flag.word);
  }
  return text;
}

// Walks the sorted departures once, in step with the programs.
class Printer {
 public:
  explicit Printer(const Case& c) : case_(c), next_(c.departures.begin()) {}

  std::string print() {
    head();
    for (std::size_t i = 0; i < case_.programs.size(); ++i) program(static_cast<machine::ContextId>(i));
    daemons();
    return std::move(text_);
  }

 private:
  void head() {
    text_ = "memtorture 1\n";
    for (const std::string& line : case_.comment) text_ += line.empty() ? "#\n" : fmt::format("# {}\n", line);
    text_ += fmt::format("machine {}\n", print_shape(case_.shape));
    text_ += fmt::format("expect {}", verdict_names[static_cast<unsigned>(case_.expect.verdict)]);
    if (!case_.expect.rule.empty()) text_ += fmt::format(" {}", case_.expect.rule);
    text_ += '\n';
    for (const fault::Rule& rule : case_.faults) text_ += print_rule(rule, case_) + '\n';
  }

  void program(machine::ContextId who) {
    const Program& program = case_.programs[who];
    text_ += fmt::format("\n{}\n", print_header(program));
    for (std::uint32_t op = 0; op < program.ops.size(); ++op) {
      text_ += fmt::format("  {}", print_op(program.ops[op], case_));
      departures_at(who, op);
      text_ += '\n';
    }
    const auto after_last = static_cast<std::uint32_t>(program.ops.size());
    if (!is_next_at(who, after_last)) return;
    text_ += "  end";
    departures_at(who, after_last);
    text_ += '\n';
  }

  void departures_at(machine::ContextId who, std::uint32_t op) {
    for (; is_next_at(who, op); ++next_) text_ += fmt::format("  ! {}", print_departure(*next_, case_));
  }

  void daemons() {
    if (next_ != case_.departures.end()) text_ += '\n';
    for (; next_ != case_.departures.end(); ++next_) {
      text_ += fmt::format("@ {}.{} {}\n", daemon_name(next_->at.who), next_->at.op, print_departure(*next_, case_));
    }
  }

  bool is_next_at(machine::ContextId who, std::uint32_t op) const {
    return next_ != case_.departures.end() && next_->at.who == who && next_->at.op == op;
  }

  const Case& case_;
  std::vector<Departure>::const_iterator next_;
  std::string text_;
};

}  // namespace

std::string print_op(const Op& op, const Case& names) {
  std::string text;
  if (const Out* out = field_of<Out>(op)) text = fmt::format("{} = ", names.slot_names[out->slot]);
  text += name_of(op);
  write_fields(text, op, names);
  return text;
}

std::string print_departure(const Departure& departure, const Case& names) {
  const auto [move, whom] = departure.take;
  const std::string place = fmt::format("{}:{}", departure.at.site.name(), departure.at.visit);
  const std::string_view word = machine::move_names[static_cast<unsigned>(move)];
  switch (move) {
    case Move::go_on: return place;
    case Move::fail:
    case Move::fail_from: return fmt::format("{} {}", word, place);
    case Move::migrate: return fmt::format("{} {} {}", place, word, whom);
    case Move::switch_to:
    case Move::deliver:
    case Move::wake: break;
  }
  return fmt::format("{} {} {}", place, word, context_name(whom, names));
}

std::string print(const Case& the_case) { return Printer(the_case).print(); }

}  // namespace memtorture::program
