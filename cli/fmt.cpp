// memtorture fmt: a case as the language prints it.
//
// A case keeps the comment under its first line and no other, so formatting in place refuses to delete what a person
// wrote elsewhere.
#include <fmt/format.h>

#include <algorithm>

#include "cli/command.h"
#include "cli/io.h"
#include "model/program/text.h"

namespace memtorture::cli {
namespace {

struct Options {
  std::vector<std::string> files;
  bool in_place = false, check = false, drop_comments = false;
};

// The line of the first comment that the case does not keep, 0: none.
std::size_t lost_comment(std::string_view text) {
  bool kept = false;
  for (std::size_t line = 1; !text.empty(); ++line) {
    const std::string_view one = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(one.size() + 1, text.size()));
    kept = one.starts_with('#') ? kept : false;
    if (one.find('#') != one.npos && !kept) return line;
    kept = kept || one.starts_with("memtorture");
  }
  return 0;
}

Exit format(const Options& options, const std::string& file) {
  const std::string text = read_file(file);
  const auto parsed = program::parse(text);
  if (!parsed) throw Trouble{Exit::usage, parsed.error().message(file)};
  const std::string printed = program::print(*parsed);
  if (options.check) {
    if (printed == text) return Exit::ok;
    print(fmt::format("{}\n", file));
    return Exit::finding;
  }
  if (!options.in_place) {
    print(printed);
  } else if (printed != text) {
    const std::size_t lost = options.drop_comments ? 0 : lost_comment(text);
    if (lost != 0) {
      throw Trouble{Exit::usage, fmt::format("{}:{}: this comment would be lost, only those under the first line are "
                                             "kept (move it there, or --drop-comments)",
                                             file, lost)};
    }
    write_file(file, printed);
  }
  return Exit::ok;
}

Exit act(const Options& options) {
  Exit code = Exit::ok;
  for (const std::string& file : find_cases(options.files)) code = worse(code, format(options, file));
  return code;
}

}  // namespace

void add_fmt(Command& command) {
  CLI::App& verb = *command.app.add_subcommand("fmt", "Print cases in their normal form");
  auto options = std::make_shared<Options>();
  verb.add_option("FILE", options->files, "Cases, or folders that are searched for *.case; - is standard input")
      ->required()
      ->type_name("FILE|DIR");
  auto* in_place = verb.add_flag("-i,--in-place", options->in_place, "Rewrite the files");
  verb.add_flag("--check", options->check, "Only name the files that would change; exit code 1 if any")
      ->excludes(in_place);
  verb.add_flag("--drop-comments", options->drop_comments, "With -i: lose the comments that a case does not keep");
  verb.footer(
      "Examples:\n"
      "  memtorture fmt -i my.case\n"
      "  memtorture fmt --check corpus/cases\n");
  on_chosen(command, verb, options, act);
}

}  // namespace memtorture::cli
