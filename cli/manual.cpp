// Completion and manual page, both generated from the tree of verbs: they cannot promise an option that is not there.
// The generated files lie beside this one; a test compares them with what the program prints.
#include <algorithm>

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/io.h"

namespace memtorture::cli {
namespace {

std::vector<const CLI::App*> verbs_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

std::vector<const CLI::Option*> options_of(const CLI::App& app) {
  return app.get_options([](const CLI::Option* option) { return option->nonpositional(); });
}

std::vector<const CLI::Option*> positionals_of(const CLI::App& app) {
  return app.get_options([](const CLI::Option* option) { return !option->nonpositional(); });
}

bool takes_value(const CLI::Option& option) { return option.get_items_expected_max() != 0; }

// "-o", "--out": as they are typed.
std::vector<std::string> spellings(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  return names;
}

// The type without the ranges that validators add.
std::string type_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  return type.substr(0, type.find(':'));
}

// --- completion ------------------------------------------------------------------------------------------------------

// What can stand for a value: words, files, or nothing that could be guessed.
std::string value_words(const CLI::Option& option) {
  std::string type = type_of(option);
  std::string words;
  for (std::size_t at = 0; at <= type.size();) {
    const std::size_t stop = std::min(type.find('|', at), type.size());
    const std::string word = type.substr(at, stop - at);
    if (!word.empty() && std::ranges::none_of(word, [](char c) { return c >= 'A' && c <= 'Z'; }))
      words += (words.empty() ? "" : " ") + word;
    at = stop + 1;
  }
  return words;
}
bool wants_file(const CLI::Option& option) {
  return type_of(option).find("FILE") != std::string::npos || type_of(option) == "DIR";
}

std::string value_case(const CLI::App& verb, const CLI::Option& option) {
  std::string patterns;
  for (const std::string& name : spellings(option))
    patterns += fmt::format("{}{}:{}", patterns.empty() ? "" : " | ", verb.get_name(), name);
  const std::string words = value_words(option);
  if (!words.empty())
    return fmt::format("    {}) COMPREPLY=($(compgen -W \"{}\" -- \"$word\")); return ;;\n", patterns, words);
  if (wants_file(option)) return fmt::format("    {}) COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n", patterns);
  return fmt::format("    {}) return ;;\n", patterns);
}

std::string verb_case(const CLI::App& verb) {
  std::string options, words;
  for (const CLI::Option* option : options_of(verb)) {
    for (const std::string& name : spellings(*option)) {
      if (name.starts_with("--")) options += (options.empty() ? "" : " ") + name;
    }
  }
  for (const CLI::Option* option : positionals_of(verb)) words += value_words(*option);
  return fmt::format("    {}) options=\"{}\" words=\"{}\" ;;\n", verb.get_name(), options, words);
}

}  // namespace

std::string bash_completion(const CLI::App& app) {
  std::string verbs, values, cases;
  for (const CLI::App* verb : verbs_of(app)) {
    verbs += (verbs.empty() ? "" : " ") + verb->get_name();
    cases += verb_case(*verb);
    for (const CLI::Option* option : options_of(*verb)) {
      if (takes_value(*option)) values += value_case(*verb, *option);
    }
  }
  return fmt::format(R"(# Completion of memtorture for bash. Printed by `memtorture completion bash`; use it with
#   source <(memtorture completion bash)
_memtorture() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} verb=${{COMP_WORDS[1]}} options words
  COMPREPLY=()
  if [ "$COMP_CWORD" = 1 ]; then
    COMPREPLY=($(compgen -W "{} --help --version" -- "$word"))
    return
  fi
  case $verb:$before in
{}  esac
  case $verb in
{}    *) return ;;
  esac
  if [[ $word == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$word"))
  elif [ -n "$words" ]; then
    COMPREPLY=($(compgen -W "$words" -- "$word"))
  else
    COMPREPLY=($(compgen -f -- "$word"))
  fi
}}
complete -o filenames -F _memtorture memtorture
)",
                     verbs, values, cases);
}

// --- manual page -----------------------------------------------------------------------------------------------------

namespace {

// A leading dot or quote would be a request, a plain minus a hyphen.
std::string roff(std::string_view text) {
  std::string safe;
  bool line_begins = true;
  for (const char c : text) {
    if (line_begins && (c == '.' || c == '\'')) safe += "\\&";
    if (c == '-') safe += '\\';
    safe += c;
    if (c == '\\') safe += 'e';
    line_begins = c == '\n';
  }
  return safe;
}

std::string roff_option(const CLI::Option& option) {
  std::string names;
  for (const std::string& name : spellings(option))
    names += fmt::format("{}\\fB{}\\fR", names.empty() ? "" : ", ", roff(name));
  if (names.empty()) names = fmt::format("\\fI{}\\fR", roff(option.get_name()));
  if (takes_value(option) && option.nonpositional()) names += fmt::format(" \\fI{}\\fR", roff(type_of(option)));
  std::string text = fmt::format(".TP\n{}\n{}", names, roff(option.get_description()));
  if (const std::string value = option.get_default_str(); !value.empty())
    text += fmt::format(" (default {})", roff(value));
  return text + ".\n";
}

// Footers are laid out by hand; "Examples:" and the like are bold.
std::string roff_block(std::string_view text) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  return fmt::format(".PP\n.nf\n{}\n.fi\n", roff(text));
}

std::string roff_verb(const CLI::App& verb) {
  std::string line = fmt::format("\\fBmemtorture {}\\fR", verb.get_name());
  for (const CLI::Option* option : positionals_of(verb)) {
    line += fmt::format(" \\fI{}\\fR{}", roff(option->get_name()), option->get_expected_max() > 1 ? "..." : "");
  }
  std::string text = fmt::format(".SS \"{}\"\n{} [\\fIOPTION\\fR...]\n.PP\n{}.\n", verb.get_name(), line,
                                 roff(verb.get_description()));
  for (const CLI::Option* option : positionals_of(verb)) text += roff_option(*option);
  for (const CLI::Option* option : options_of(verb)) {
    if (!option->check_name("--help")) text += roff_option(*option);
  }
  return text + roff_block(verb.get_footer());
}

std::string roff_exit_codes() {
  std::string text = ".SH EXIT STATUS\nThe class of the worst verdict:\n";
  for (const ExitRow& row : exit_table)
    text += fmt::format(".TP\n\\fB{}\\fR\n{}.\n", static_cast<int>(row.code), roff(row.meaning));
  return text;
}

}  // namespace

std::string manual_page(const CLI::App& app) {
  std::string text =
      fmt::format(".\\\" Printed by `memtorture man`.\n.TH MEMTORTURE 1 \"\" \"{}\" \"User Commands\"\n", version);
  text += ".SH NAME\nmemtorture \\- find bugs in memory allocators\n";
  text +=
      ".SH SYNOPSIS\n\\fBmemtorture\\fR \\fIVERB\\fR [\\fIARGUMENT\\fR...]\n.br\n\\fBmemtorture\\fR \\fIVERB\\fR "
      "\\fB\\-\\-help\\fR\n";
  text += fmt::format(".SH DESCRIPTION\n{}\n", roff(app.get_description()));
  text +=
      ".PP\nA case is a text file: a machine, programs (tasks and interrupt handlers, each a list of operations), "
      "faults,\n"
      "a schedule, and the verdict that it must give. Two runs of a case are the same to the byte.\n";
  text += ".SH VERBS\n";
  for (const CLI::App* verb : verbs_of(app)) text += roff_verb(*verb);
  text += roff_exit_codes();
  text +=
      ".SH DIAGNOSTICS\nWhat was wrong with the input is one line on standard error:\n.PP\n.nf\n"
      "memtorture: FILE:LINE:COLUMN: expected ..., found ... (hint)\n.fi\n";
  text +=
      ".SH FILES\n.TP\n\\fIout/found/\\fR\nWhere \\fBmemtorture check\\fR saves what it finds: a case, and its report "
      "beside it.\n";
  return text;
}

void add_completion(Command& command) {
  struct Options {
    std::string shell;
  };
  CLI::App& completion = *command.app.add_subcommand("completion", "Print the completion of this command for a shell");
  auto options = std::make_shared<Options>();
  const auto known = [](const std::string& word) {
    return word == "bash" ? std::string() : fmt::format("expected bash, found '{}'", word);
  };
  completion.add_option("SHELL", options->shell, "The shell")
      ->required()
      ->type_name("bash")
      ->check(CLI::Validator(known, ""));
  completion.footer("Examples:\n  source <(memtorture completion bash)\n");
  on_chosen(command, completion, options, [&command](const Options&) {
    print(bash_completion(command.app));
    return Exit::ok;
  });
  CLI::App& manual = *command.app.add_subcommand("man", "Print the manual page, in roff");
  manual.footer("Examples:\n  memtorture man | man -l -\n");
  on_chosen(command, manual, options, [&command](const Options&) {
    print(manual_page(command.app));
    return Exit::ok;
  });
}

}  // namespace memtorture::cli
