// memtorture: reads the arguments, runs the verb, prints what went wrong in one line, exits with the code.
#include <csignal>
#include <cstdio>
#include <exception>

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/io.h"
#include "model/program/words.h"

namespace {

using memtorture::cli::Command;
using memtorture::cli::Exit;
using memtorture::cli::Trouble;

template <class Items, class Name>
std::string hint_for(std::string_view word, const Items& items, Name name_of) {
  std::vector<std::string> names;
  for (const auto* item : items) {
    for (const std::string& name : name_of(*item)) names.push_back(name);
  }
  const std::vector<std::string_view> views(names.begin(), names.end());
  const std::string hint = memtorture::program::did_you_mean(word, views);
  return hint.empty() ? "" : fmt::format(" ({})", hint);
}

// What nobody asked for comes first: CLI11 would complain about a missing file where an option was misspelt.
std::string explain(const CLI::App& app, const CLI::ParseError& error) {
  const auto verbs = app.get_subcommands();
  if (verbs.empty()) {
    const auto rest = app.remaining();
    if (rest.empty()) return "a verb is missing; see memtorture --help";
    const auto known = app.get_subcommands([](const CLI::App*) { return true; });
    const auto names = [](const CLI::App& verb) { return std::vector<std::string>{verb.get_name()}; };
    return fmt::format("unknown verb '{}'{}; see memtorture --help", rest.front(),
                       hint_for(rest.front(), known, names));
  }
  const CLI::App& verb = *verbs.front();
  const std::string help = fmt::format("; see memtorture {} --help", verb.get_name());
  for (const std::string& word : verb.remaining()) {
    if (!word.starts_with('-')) continue;
    const auto names = [](const CLI::Option& option) {
      std::vector<std::string> all;
      for (const std::string& name : option.get_lnames()) all.push_back("--" + name);
      return all;
    };
    return fmt::format("{}: unknown option '{}'{}{}", verb.get_name(), word, hint_for(word, verb.get_options(), names),
                       help);
  }
  if (!verb.remaining().empty())
    return fmt::format("{}: unexpected argument '{}'{}", verb.get_name(), verb.remaining().front(), help);
  return fmt::format("{}: {}{}", verb.get_name(), error.what(), help);
}

Exit run(int argc, char** argv) {
  Command command;
  memtorture::cli::build(command);
  try {
    command.app.parse(argc, argv);
  } catch (const CLI::CallForVersion&) {
    memtorture::cli::print(fmt::format("{}\n", memtorture::cli::version));
    return Exit::ok;
  } catch (const CLI::Success&) {
    const auto verbs = command.app.get_subcommands();
    memtorture::cli::print(verbs.empty() ? command.app.help() : verbs.front()->help("memtorture"));
    return Exit::ok;
  } catch (const CLI::ParseError& error) {
    throw Trouble{Exit::usage, explain(command.app, error)};
  }
  return command.chosen();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Exit code = run(argc, argv);
    memtorture::cli::flush_output();
    return static_cast<int>(code);
  } catch (const Trouble& trouble) {
    std::fflush(stdout);
    memtorture::cli::say(trouble.line);
    return static_cast<int>(trouble.code);
  } catch (const std::exception& error) {
    memtorture::cli::say(fmt::format("fault in the harness: {}", error.what()));
    return static_cast<int>(Exit::harness);
  }
}
