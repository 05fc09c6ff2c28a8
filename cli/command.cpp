#include "cli/command.h"

#include <charconv>

#include <fmt/format.h>

namespace memtorture::cli {
namespace {

std::string exit_codes() {
  std::string text = "Exit codes:\n";
  for (const ExitRow& row : exit_table) text += fmt::format("  {:>3}  {}\n", static_cast<int>(row.code), row.meaning);
  return text;
}

constexpr std::string_view first_steps = R"(First steps:
  memtorture check --seconds 10             search for bugs with random cases
  memtorture replay out/found/FILE.case     see one again, with its report
  memtorture run corpus/cases               does every case give what it expects?
  memtorture gen --seed 1                   what does a case look like?
  memtorture list operations                what can a case do?
  memtorture VERB --help                    more, with examples

A case is a text file: a machine, programs, faults, a schedule and the verdict that it must give.
)";

}  // namespace

void build(Command& command) {
  CLI::App& app = command.app;
  app.name("memtorture");
  app.description(
      "Finds bugs in memory allocators: random cases under an executable specification, with injected\n"
      "failures and controlled interleavings; each bug becomes a small file that replays exactly.");
  app.set_version_flag("--version", std::string(version), "Print the version and exit");
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.require_subcommand(1);
  app.get_formatter()->column_width(30);
  app.get_formatter()->label("REQUIRED", "");
  app.get_formatter()->label("SUBCOMMAND", "VERB");
  app.get_formatter()->label("OPTIONS", "OPTION...");
  app.footer(std::string(first_steps) + "\n" + exit_codes());
  add_check(command);
  add_sweep(command);
  add_run(command);
  add_replay(command);
  add_shrink(command);
  add_gen(command);
  add_fmt(command);
  add_codec(command);
  add_list(command);
  add_completion(command);
  for (CLI::App* verb : app.get_subcommands({})) verb->group("Verbs");
}

CLI::Validator within(Bounds bounds) {
  const auto check = [bounds](const std::string& word) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
    const bool good =
        error == std::errc() && end == word.data() + word.size() && number >= bounds.least && number <= bounds.most;
    return good ? std::string() : fmt::format("expected a number {}..{}, found '{}'", bounds.least, bounds.most, word);
  };
  return {check, ""};
}

void add_audit(CLI::App& verb, std::uint32_t& audit_every) {
  const auto parse = [&audit_every](const std::string& word) {
    if (word == "never") {
      audit_every = run::audit_never;
    } else if (word == "end") {
      audit_every = run::audit_at_end;
    } else if (word == "every") {
      audit_every = 1;
    } else if (!CLI::detail::lexical_cast(word, audit_every) || audit_every == 0) {
      throw CLI::ValidationError("--audit",
                                 fmt::format("expected never, end, every or a number of operations, found '{}'", word));
    }
  };
  verb.add_option_function<std::string>("--audit", parse,
                                        "Audit the subject's own structures: never, at the end of a run (default), "
                                        "after every N operations, after every one")
      ->type_name("never|end|every|N");
}

std::string audit_word(std::uint32_t audit_every) {
  if (audit_every == run::audit_never) return "never";
  if (audit_every == run::audit_at_end) return "end";
  return audit_every == 1 ? "every" : fmt::format("{}", audit_every);
}

}  // namespace memtorture::cli
