#include "model/run/outcome.h"

#include <algorithm>

namespace memtorture::run {

void Statistics::add(const Statistics& other) {
  operations += other.operations;
  refused += other.refused;
  faults += other.faults;
  interrupts += other.interrupts;
  steps += other.steps;
}

namespace {

// The role of the operation at which a rule broke. Names of single functions would tell __free_page from free_pages and
// split one bug in many; no role at all would merge a bad grant with a bad release.
std::string_view role_of(const program::Op& op) {
  constexpr std::string_view allocations[] = {"alloc", "get_free", "get_zeroed", "get_dma", "client_add"};
  constexpr std::string_view releases[] = {"free", "put_page", "client_drop"};
  const std::string_view name = program::name_of(op);
  const auto mentions = [&](std::string_view part) { return name.find(part) != name.npos; };
  if (std::ranges::any_of(releases, mentions)) return "release";
  if (std::ranges::any_of(allocations, mentions)) return "allocation";
  return "other";
}

oracle::RuleKind kind_of(std::string_view rule) {
  const auto row = std::ranges::find(oracle::rule_table(), rule, &oracle::RuleRow::id);
  return row == oracle::rule_table().end() ? oracle::RuleKind::rule : row->kind;
}

// The first words that a sanitizer or the host said about a dead subject.
std::string_view last_words(std::string_view detail) {
  constexpr std::string_view marker = "SUMMARY: ";
  const std::size_t at = detail.find(marker);
  if (at == detail.npos) return detail.substr(0, detail.find('\n'));
  const std::string_view summary = detail.substr(at + marker.size());
  std::size_t end = 0;  // tool and kind of error: two words
  for (int words = 0; end != summary.size() && summary[end] != '\n' && words != 2; ++end) words += summary[end] == ' ';
  return summary.substr(0, end);
}

}  // namespace

std::string signature(const Case& the_case, const Outcome& outcome) {
  std::string text(program::verdict_names[static_cast<unsigned>(outcome.verdict)]);
  if (outcome.verdict == Verdict::crash) return text + " " + std::string(last_words(outcome.sandbox_detail));
  if (outcome.finding.rule.empty()) return text;
  text += " " + std::string(outcome.finding.rule);
  const auto& finding = outcome.finding;
  // What an audit sees was done earlier, by an operation that it cannot name.
  if (kind_of(finding.rule) == oracle::RuleKind::audit || finding.who >= the_case.programs.size()) return text;
  const auto& ops = the_case.programs[finding.who].ops;
  return finding.op < ops.size() ? text + " " + std::string(role_of(ops[finding.op])) : text;
}

bool as_expected(const program::Expect& expect, const Outcome& outcome) {
  return expect.verdict == outcome.verdict && (expect.rule.empty() || expect.rule == outcome.finding.rule);
}

}  // namespace memtorture::run
