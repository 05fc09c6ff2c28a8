// memtorture encode, decode: cases as text <-> the bytes that fuzz targets eat.
#include <unistd.h>

#include "cli/command.h"
#include "cli/io.h"
#include "model/program/codec.h"
#include "model/program/text.h"

namespace memtorture::cli {
namespace {

struct Options {
  std::string file;
  std::string out = "-";
};

Exit encode(const Options& options) {
  const std::string text = read_file(options.file);
  const auto parsed = program::parse(text);
  if (!parsed) throw Trouble{Exit::usage, parsed.error().message(options.file)};
  if (options.out == "-" && isatty(STDOUT_FILENO) == 1)
    throw Trouble{Exit::usage, "encode: bytes do not go to a terminal: add -o FILE"};
  const auto bytes = program::encode(*parsed);
  write_file(options.out, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  return Exit::ok;
}

Exit decode(const Options& options) {
  const std::string bytes = read_file(options.file);
  write_file(options.out,
             program::print(program::decode({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()})));
  return Exit::ok;
}

using Act = Exit (*)(const Options&);

void add(Command& command, CLI::App& verb, std::string_view input, Act act) {
  auto options = std::make_shared<Options>();
  verb.add_option("FILE", options->file, std::string(input))->required()->type_name("FILE");
  verb.add_option("-o,--out", options->out, "Where to write; - is standard output")
      ->type_name("FILE")
      ->capture_default_str();
  on_chosen(command, verb, options, act);
}

}  // namespace

void add_codec(Command& command) {
  CLI::App& to_bytes = *command.app.add_subcommand("encode", "Turn a case into fuzz bytes");
  add(command, to_bytes, "A case; - is standard input", encode);
  to_bytes.footer(
      "Names, comment and expectation have no bytes.\n\n"
      "Examples:\n"
      "  memtorture encode corpus/cases/hello.case -o seeds/hello\n");
  CLI::App& to_text = *command.app.add_subcommand("decode", "Turn fuzz bytes into a case");
  add(command, to_text, "Any bytes; - is standard input", decode);
  to_text.footer(
      "Any bytes are a legal case.\n\n"
      "Examples:\n"
      "  memtorture decode crash-0123abcd -o crash.case\n");
}

}  // namespace memtorture::cli
