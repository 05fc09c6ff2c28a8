// The command as a tree of verbs: what main runs, and what completion and manual page are generated from.
//
// Each verb lives in a file of its own and adds itself here. It parses into an options struct of its own and leaves
// behind what is to be done; nothing runs while arguments are still being read.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include <CLI/CLI.hpp>

#include "cli/exit.h"
#include "model/run/run.h"

namespace memtorture::cli {

inline constexpr std::string_view version = "memtorture 1.0";

struct Command {
  CLI::App app;
  std::function<Exit()> chosen;
};

// All verbs; `command` must outlive every use of its app.
void build(Command& command);

void add_run(Command& command);
void add_replay(Command& command);
void add_shrink(Command& command);
void add_check(Command& command);
void add_sweep(Command& command);
void add_gen(Command& command);
void add_fmt(Command& command);
void add_codec(Command& command);  // encode, decode
void add_list(Command& command);
void add_completion(Command& command);  // completion, man

std::string bash_completion(const CLI::App& app);
std::string manual_page(const CLI::App& app);

// A verb whose options are a struct: `act` gets them when all arguments were read.
template <class Options, class Act>
void on_chosen(Command& command, CLI::App& verb, std::shared_ptr<Options> options, Act act) {
  verb.callback([&command, options, act] { command.chosen = [options, act] { return act(*options); }; });
}

// --audit never|end|N|every
void add_audit(CLI::App& verb, std::uint32_t& audit_every);
std::string audit_word(std::uint32_t audit_every);

// An option that takes a number: "expected a number 1..256, found 'x'".
struct Bounds {
  std::uint64_t least = 0, most = ~std::uint64_t{0};
};
CLI::Validator within(Bounds bounds);
template <class Number>
CLI::Option& add_number(CLI::App& verb, std::string name, Number& value, Bounds bounds, std::string meaning) {
  return *verb.add_option(std::move(name), value, std::move(meaning))->type_name("N")->check(within(bounds));
}

}  // namespace memtorture::cli
