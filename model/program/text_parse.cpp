// Text -> Case, line by line.
//
// Programs may be named before they are declared (departures, fault filters), so such names are noted and resolved at
// the end, with the place where they stood. Total: any bytes give a legal Case or one error; nothing is thrown, and the
// work is linear in the length of the text.
#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "model/program/edits.h"
#include "model/program/legal.h"
#include "model/program/text.h"
#include "model/program/text_fields.h"
#include "model/program/text_shape.h"
#include "model/program/words.h"

namespace memtorture::program {
namespace {

using machine::ContextId;
using machine::ContextKind;
using machine::Departure;
using machine::Move;

constexpr std::size_t text_bytes_max = std::size_t{1} << 20;
constexpr std::string_view head_words[] = {"machine", "expect", "fault"};

constexpr auto site_names = [] {
  std::array<std::string_view, machine::site_count> names;
  for (unsigned i = 0; i < names.size(); ++i) names[i] = machine::site_table[i].name;
  return names;
}();

constexpr auto first_words = [] {  // of a line inside a program: operations, then what ends or follows a program
  std::array<std::string_view, op_kinds + 6> words{};
  std::ranges::copy(op_names, words.begin());
  std::ranges::copy(std::array<std::string_view, 6>{"end", "task", "softirq", "irq", "nmi", "@"},
                    words.begin() + op_kinds);
  return words;
}();

enum class Section : std::uint8_t { magic, head, programs, daemons };
enum class Required : std::uint8_t { context, handler };

// A context that was named where it may not be declared yet. Exactly one of the two indices is used.
struct Mention {
  static constexpr std::size_t none = ~std::size_t{0};
  std::size_t departure = none;
  std::size_t rule = none;
  Required required = Required::context;
  Token token;
  std::uint32_t line = 0;
};

class Parser {
 public:
  std::expected<Case, ParseError> parse(std::string_view text);

 private:
  void line(Scanner& scanner, std::string_view text);
  void comment(std::string_view text);
  void magic(Scanner& scanner);
  void head(Scanner& scanner);
  void machine_line(Scanner& scanner);
  void expect(Scanner& scanner);
  void fault_rule(Scanner& scanner);
  void fault_option(Scanner& scanner, fault::Rule& rule);
  void header(Scanner& scanner, ContextKind kind);
  void program_name(Scanner& scanner, Program& program);
  void body(Scanner& scanner);
  void operation(Scanner& scanner);
  void end(Scanner& scanner);
  void annotations(Scanner& scanner, std::uint32_t op);
  void daemon(Scanner& scanner);
  void departure(Scanner& scanner, ContextId who, std::uint32_t op);
  void action(Scanner& scanner, Departure& departure);
  void place(Scanner& scanner, machine::Moment& at);
  machine::Site site(Scanner& scanner, const Token& token, machine::SiteUse least);
  void mention(Scanner& scanner, Mention mention);
  void resolve(const Mention& mention);
  void finish();

  Case case_;
  SlotTable slots_{case_.slot_names};
  std::unordered_map<std::string_view, ContextId> programs_;  // keys point into the text
  std::vector<Mention> mentions_;
  Section section_ = Section::magic;
  bool in_comment_ = false;  // still in the head comment
  bool has_machine_ = false, has_expect_ = false, has_ended_ = false;
  std::uint32_t lines_ = 0;
  std::optional<ParseError> error_;
};

std::expected<Case, ParseError> Parser::parse(std::string_view text) {
  if (text.size() > text_bytes_max) {
    return std::unexpected(ParseError{1, 1, "a case of at most 1 MiB", fmt::format("{} bytes", text.size()), {}});
  }
  for (std::size_t at = 0; at < text.size() && !error_;) {
    const std::size_t stop = std::min(text.find('\n', at), text.size());
    const std::string_view one = text.substr(at, stop - at);
    Scanner scanner(one, ++lines_);
    line(scanner, one);
    error_ = scanner.error();
    at = stop + 1;
  }
  finish();
  if (error_) return std::unexpected(std::move(*error_));
  return std::move(case_);
}

void Parser::line(Scanner& scanner, std::string_view text) {
  if (in_comment_ && text.starts_with('#')) return comment(text.substr(1));
  in_comment_ = false;
  if (scanner.at_end()) return;
  if (section_ == Section::magic) return magic(scanner);
  if (section_ == Section::head) return head(scanner);
  body(scanner);
}

void Parser::comment(std::string_view text) {
  if (text.starts_with(' ')) text.remove_prefix(1);
  const std::size_t last = text.find_last_not_of(" \t\r");
  case_.comment.emplace_back(text.substr(0, last == std::string_view::npos ? 0 : last + 1));
}

void Parser::magic(Scanner& scanner) {
  scanner.require("memtorture");
  const Token version = scanner.take();
  if (version.text != "1") scanner.refuse(version, "the language version '1'");
  scanner.require_end();
  section_ = Section::head;
  in_comment_ = true;
}

void Parser::head(Scanner& scanner) {
  if (scanner.take_if("machine")) return machine_line(scanner);
  if (scanner.take_if("expect")) return expect(scanner);
  if (scanner.take_if("fault")) return fault_rule(scanner);
  const Token word = scanner.peek();
  const auto kind = std::ranges::find(machine::context_kind_names, word.text);
  if (kind == std::end(machine::context_kind_names) && word.text != "@") {
    static constexpr std::string_view all[] = {"machine", "expect", "fault", "task", "softirq", "irq", "nmi"};
    return scanner.refuse(word, "'machine', 'expect', 'fault' or a program (task, softirq, irq, nmi)",
                          did_you_mean(word.text, all));
  }
  if (!has_machine_)
    return scanner.refuse(word, "'machine' before the first program", "write, for example: machine tiny-32 cpus=2");
  section_ = Section::programs;
  body(scanner);
}

void Parser::machine_line(Scanner& scanner) {
  if (has_machine_) return scanner.refuse(scanner.peek(), "one machine line only");
  has_machine_ = true;
  case_.shape = read_shape(scanner);
}

void Parser::expect(Scanner& scanner) {
  const Token word = scanner.take();
  if (has_expect_) return scanner.refuse(word, "one expect line only");
  has_expect_ = true;
  if (word.text.empty()) return scanner.refuse(word, "a verdict or a crime");
  const auto verdict = std::ranges::find(verdict_names, word.text);
  if (verdict != std::end(verdict_names)) {
    case_.expect.verdict = static_cast<Verdict>(verdict - std::begin(verdict_names));
    case_.expect.rule = scanner.take().text;
    return scanner.require_end();
  }
  // The short form names a crime; the rules are not known here, but a slip in a verdict is.
  for (const std::string_view name : verdict_names) {
    if (edit_distance(word.text, name) <= 1)
      return scanner.refuse(word, "a verdict or a crime", fmt::format("did you mean '{}'?", name));
  }
  case_.expect = {Verdict::misuse, std::string(word.text)};
  scanner.require_end();
}

void Parser::fault_rule(Scanner& scanner) {
  if (case_.faults.size() == faults_max)
    return scanner.refuse(scanner.peek(), fmt::format("at most {} fault rules", faults_max));
  fault::Rule rule;
  rule.site = site(scanner, scanner.take(), machine::SiteUse::fault);
  while (scanner.ok() && !scanner.at_end()) fault_option(scanner, rule);
  case_.faults.push_back(rule);
}

// The next word must be one of these.
template <class Words>
std::size_t index_of(Scanner& scanner, std::string_view what, const Words& words) {
  const Token word = scanner.take();
  const auto found = std::ranges::find(words, word.text);
  if (found != std::ranges::end(words)) return static_cast<std::size_t>(found - std::ranges::begin(words));
  scanner.refuse(word, std::string(what), did_you_mean(word.text, words));
  return 0;
}

void Parser::fault_option(Scanner& scanner, fault::Rule& rule) {
  static constexpr std::string_view options[] = {
      "probability", "interval",  "times",    "space",    "min-order", "task", "ignore-wait", "ignore-highmem",
      "seed",        "max-order", "min-size", "max-size", "gfp",       "cpu",  "context",     "caller"};
  static constexpr std::uint64_t u32_max = 0xffff'ffff, i32_max = 0x7fff'ffff;
  const Token key = scanner.take();
  if (key.text == "ignore-wait") {
    rule.ignore_wait = true;
    return;
  }
  if (key.text == "ignore-highmem") {
    rule.ignore_highmem = true;
    return;
  }
  if (std::ranges::find(options, key.text) == std::end(options)) {
    return scanner.refuse(key, "an option of a fault rule", did_you_mean(key.text, options));
  }
  scanner.require("=");
  if (key.text == "probability")
    rule.probability = static_cast<std::uint8_t>(scanner.take_number("a percentage", {0, 100}));
  if (key.text == "seed")
    rule.seed = static_cast<std::uint32_t>(scanner.take_number("a seed of the dice", {0, u32_max}));
  if (key.text == "interval")
    rule.interval = static_cast<std::uint32_t>(scanner.take_number("an interval", {1, u32_max}));
  if (key.text == "times")
    rule.times = static_cast<std::int32_t>(scanner.take_number("a number of failures", {0, i32_max}));
  if (key.text == "space")
    rule.space = static_cast<std::uint32_t>(scanner.take_number("a number of pages", {0, u32_max}));
  if (key.text == "min-order") rule.min_order = static_cast<std::uint8_t>(scanner.take_number("an order", {0, 255}));
  if (key.text == "max-order") rule.max_order = static_cast<std::uint8_t>(scanner.take_number("an order", {0, 255}));
  if (key.text == "min-size") rule.min_size = static_cast<std::uint32_t>(scanner.take_number("a size", {0, u32_max}));
  if (key.text == "max-size") rule.max_size = static_cast<std::uint32_t>(scanner.take_number("a size", {0, u32_max}));
  if (key.text == "gfp") rule.gfp = read_gfp(scanner);
  if (key.text == "cpu")
    rule.cpu = static_cast<std::uint8_t>(scanner.take_number("a CPU of the machine", {0, case_.shape.cpus - 1U}));
  if (key.text == "context")
    rule.kind = static_cast<std::uint8_t>(
        index_of(scanner, "a kind of context (task, softirq, irq, nmi)", machine::context_kind_names));
  if (key.text == "caller")
    rule.caller = static_cast<std::uint16_t>(1 + index_of(scanner, "the name of an operation", op_names));
  if (key.text == "task") mention(scanner, {.rule = case_.faults.size(), .token = scanner.take()});
}

void Parser::header(Scanner& scanner, ContextKind kind) {
  if (case_.programs.size() == programs_max)
    return scanner.refuse(scanner.peek(), fmt::format("at most {} programs", programs_max));
  Program program;
  program.kind = kind;
  program_name(scanner, program);
  const Token cpu = scanner.take();
  if (!cpu.text.starts_with("cpu")) return scanner.refuse(cpu, fmt::format("a CPU cpu0..cpu{}", case_.shape.cpus - 1));
  program.cpu =
      static_cast<std::uint8_t>(scanner.number_in(tail_of(cpu, 3), "a CPU of the machine", {0, case_.shape.cpus - 1U}));
  while (scanner.ok() && !scanner.at_end()) {
    const Token word = scanner.take();
    const auto* flag = std::ranges::find(flag_words, word.text, &FlagWord::word);
    if (kind != ContextKind::task) return scanner.refuse(word, "the end of the line", "only tasks have flags");
    if (flag == std::end(flag_words))
      return scanner.refuse(word, "a task flag (rt, memalloc, noio, nofs, memdie) or the end of the line");
    program.flags |= flag->bit;
  }
  case_.programs.push_back(std::move(program));
  has_ended_ = false;
}

void Parser::program_name(Scanner& scanner, Program& program) {
  const Token name = scanner.take();
  if (!is_name(name.text)) return scanner.refuse(name, "a name for the program", "names are [a-z][a-z0-9_]*");
  if (find_daemon(name.text)) return scanner.refuse(name, "a name that no daemon has", std::string(daemon_names_text));
  const auto id = static_cast<ContextId>(case_.programs.size());
  if (!programs_.try_emplace(name.text, id).second) return scanner.refuse(name, "a name that no other program has");
  program.name = name.text;
}

void Parser::body(Scanner& scanner) {
  const Token word = scanner.peek();
  if (!scanner.next_is("=")) {
    const auto kind = std::ranges::find(machine::context_kind_names, word.text);
    if (kind != std::end(machine::context_kind_names) && section_ == Section::programs) {
      scanner.take();
      return header(scanner, static_cast<ContextKind>(kind - std::begin(machine::context_kind_names)));
    }
    if (scanner.take_if("@")) return daemon(scanner);
    if (section_ == Section::daemons)
      return scanner.refuse(word, "'@' or the end of the file", "departures of daemons stand after all programs");
    if (scanner.take_if("end")) return end(scanner);
    if (std::ranges::find(head_words, word.text) != std::end(head_words)) {
      return scanner.refuse(word, "an operation or a program",
                            "machine, expect and fault stand before the first program");
    }
  }
  if (section_ == Section::daemons)
    return scanner.refuse(word, "'@' or the end of the file", "departures of daemons stand after all programs");
  operation(scanner);
}

void Parser::operation(Scanner& scanner) {
  if (case_.programs.empty()) return scanner.refuse(scanner.peek(), "a program (task, softirq, irq, nmi)");
  Program& program = case_.programs.back();
  if (has_ended_) return scanner.refuse(scanner.peek(), "a program", "'end' is the last line of a program");
  if (program.ops.size() == ops_max)
    return scanner.refuse(scanner.peek(), fmt::format("at most {} operations in a program", ops_max));
  std::optional<Slot> assigned;
  const Token first = scanner.take();
  Token name = first;
  if (scanner.take_if("=")) {
    assigned = slots_.slot(scanner, first);
    name = scanner.take();
  }
  const auto kind = find_op(name.text);
  if (!kind)
    return scanner.refuse(
        name, assigned ? "an operation" : "an operation or a program",
        did_you_mean(name.text, assigned ? std::span<const std::string_view>(op_names) : first_words));
  Op op = default_op(*kind);
  Out* out = field_of<Out>(op);
  if (assigned && out == nullptr)
    return scanner.refuse(name, "an operation that fills a slot",
                          fmt::format("{} fills none: write it without '{} ='", name.text, first.text));
  if (!assigned && out != nullptr)
    return scanner.refuse(name, "a slot to fill", fmt::format("write: p = {} ...", name.text));
  if (out != nullptr) out->slot = *assigned;
  read_fields(scanner, slots_, op);
  program.ops.push_back(op);
  annotations(scanner, static_cast<std::uint32_t>(program.ops.size() - 1));
}

void Parser::end(Scanner& scanner) {
  if (has_ended_) return scanner.refuse(scanner.peek(), "one 'end' line only");
  has_ended_ = true;
  annotations(scanner, static_cast<std::uint32_t>(case_.programs.back().ops.size()));
}

void Parser::annotations(Scanner& scanner, std::uint32_t op) {
  const auto who = static_cast<ContextId>(case_.programs.size() - 1);
  while (scanner.take_if("!")) departure(scanner, who, op);
  scanner.require_end("'!'");
}

void Parser::daemon(Scanner& scanner) {
  section_ = Section::daemons;
  const Token token = scanner.take();
  const std::size_t dot = token.text.find('.');
  const auto who = find_daemon(token.text.substr(0, dot));
  if (!who || dot == std::string_view::npos)
    return scanner.refuse(token, "a daemon's activation, kswapdN.NUMBER or eventsN.NUMBER");
  const auto activation = scanner.number_in(tail_of(token, dot + 1), "an activation", {0, 0xffff'ffff});
  departure(scanner, *who, static_cast<std::uint32_t>(activation));
  scanner.require_end();
}

void Parser::departure(Scanner& scanner, ContextId who, std::uint32_t op) {
  Departure departure{.at = {.who = who, .op = op}};
  const bool persists = scanner.take_if("fail-from");
  if (persists || scanner.take_if("fail")) {
    departure.take.move = persists ? Move::fail_from : Move::fail;
    const Token token = scanner.peek();
    place(scanner, departure.at);
    if (scanner.ok() && !departure.at.site.is_fault())
      return scanner.refuse(token, "a fault site", "see: memtorture list sites");
  } else {
    place(scanner, departure.at);
    action(scanner, departure);
  }
  if (scanner.ok()) case_.departures.push_back(departure);
}

void Parser::action(Scanner& scanner, Departure& departure) {
  const Token word = scanner.take();
  const auto move = std::ranges::find(machine::move_names, word.text);
  departure.take.move = static_cast<Move>(move - std::begin(machine::move_names));
  if (word.text.empty() || move == std::end(machine::move_names) || machine::is_failure(departure.take.move)) {
    return scanner.refuse(word, "an action ('-> NAME', 'irq NAME', 'cpu N', 'wake NAME')",
                          word.text.starts_with("fail") ? "a failure is written: fail SITE:VISIT" : "");
  }
  if (departure.take.move == Move::migrate) {
    departure.take.whom =
        static_cast<ContextId>(scanner.take_number("a CPU of the machine", {0, case_.shape.cpus - 1U}));
    return;
  }
  const Required required = departure.take.move == Move::deliver ? Required::handler : Required::context;
  mention(scanner, {.departure = case_.departures.size(), .required = required, .token = scanner.take()});
}

// SITE:VISIT
void Parser::place(Scanner& scanner, machine::Moment& at) {
  const Token token = scanner.take();
  const std::size_t colon = token.text.find(':');
  at.site = site(scanner, {token.text.substr(0, colon), token.column}, machine::SiteUse::point);
  if (scanner.ok() && colon == std::string_view::npos)
    return scanner.refuse(token, "SITE:VISIT", "the first visit is written SITE:1");
  if (scanner.ok())
    at.visit = static_cast<std::uint16_t>(scanner.number_in(tail_of(token, colon + 1), "a visit", {1, 0xffff}));
}

machine::Site Parser::site(Scanner& scanner, const Token& token, machine::SiteUse least) {
  const auto found = machine::Site::named(token.text);
  if (!found) {
    scanner.refuse(token, least == machine::SiteUse::fault ? "a fault site" : "a site",
                   did_you_mean(token.text, site_names));
    return "op";
  }
  if (least == machine::SiteUse::fault && !found->is_fault())
    scanner.refuse(token, "a fault site", "nothing can be made to fail there");
  return *found;
}

void Parser::mention(Scanner& scanner, Mention mention) {
  if (!is_name(mention.token.text)) return scanner.refuse(mention.token, "the name of a program or daemon");
  mention.line = scanner.line();
  mentions_.push_back(mention);
}

void Parser::resolve(const Mention& mention) {
  const auto refuse = [&](std::string expected, std::string hint) {
    if (!error_)
      error_ = ParseError{mention.line, mention.token.column, std::move(expected), std::string(mention.token.text),
                          std::move(hint)};
  };
  ContextId id = machine::no_context;
  if (const auto found = programs_.find(mention.token.text); found != programs_.end()) {
    id = found->second;
  } else if (const auto daemon = find_daemon(mention.token.text)) {
    id = *daemon;
  } else {
    std::vector<std::string_view> names;
    for (const Program& program : case_.programs) names.push_back(program.name);
    return refuse("the name of a program or daemon", did_you_mean(mention.token.text, names));
  }
  const bool is_handler = id < case_.programs.size() && case_.programs[id].kind != ContextKind::task;
  if (mention.required == Required::handler && !is_handler) return refuse("a handler (softirq, irq, nmi)", {});
  if (mention.departure != Mention::none) case_.departures[mention.departure].take.whom = id;
  if (mention.rule != Mention::none) case_.faults[mention.rule].task = id;
}

void Parser::finish() {
  for (const Mention& mention : mentions_) {
    if (error_) return;
    resolve(mention);
  }
  if (!error_ && section_ == Section::magic) error_ = ParseError{lines_ + 1, 1, "'memtorture 1'", "end of file", {}};
  if (!error_ && !has_machine_) {
    error_ = ParseError{lines_ + 1, 1, "'machine'", "end of file", "write, for example: machine tiny-32 cpus=2"};
  }
  sort_departures(case_);
}

}  // namespace

std::expected<Case, ParseError> parse(std::string_view text) { return Parser().parse(text); }

}  // namespace memtorture::program
