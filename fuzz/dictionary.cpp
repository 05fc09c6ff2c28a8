#include "fuzz/dictionary.h"

#include <set>

#include <fmt/format.h>

#include "model/program/case.h"
#include "model/program/op_table.h"
#include "model/program/words.h"

namespace memtorture::fuzz {
namespace {

// Words that stand in no table: keywords of the grammar and values at its limits.
constexpr std::string_view other_words[] = {"memtorture 1",
                                            "machine ",
                                            "expect ",
                                            "fault ",
                                            "end",
                                            "->",
                                            "#",
                                            "|",
                                            "=",
                                            "+1",
                                            "cpu0",
                                            "cpu1",
                                            "l0",
                                            "l3",
                                            "kswapd0",
                                            "events0",
                                            "ram=",
                                            "8M",
                                            "1T",
                                            "cpus=",
                                            "nodes=",
                                            "hz=",
                                            "probability=",
                                            "interval=",
                                            "times=",
                                            "space=",
                                            "min-order=",
                                            "max-order=",
                                            "min-size=",
                                            "max-size=",
                                            "gfp=",
                                            "cpu=",
                                            "context=",
                                            "caller=",
                                            "task=",
                                            "ignore-wait",
                                            "ignore-highmem",
                                            "0x5a",
                                            "-1",
                                            "10",
                                            "11",
                                            "255",
                                            "65536",
                                            "18446744073709551615"};

}  // namespace

std::string text_dictionary() {
  std::set<std::string_view> words(std::begin(other_words), std::end(other_words));
  words.insert(program::op_names.begin(), program::op_names.end());
  words.insert(std::begin(program::verdict_names), std::end(program::verdict_names));
  words.insert(std::begin(machine::context_kind_names), std::end(machine::context_kind_names));
  words.insert(std::begin(subject::client_names), std::end(subject::client_names));
  words.insert(std::begin(subject::trait_names), std::end(subject::trait_names));
  words.insert(std::begin(subject::blemish_names), std::end(subject::blemish_names));
  for (const auto& row : subject::gfp_table) words.insert(row.name);
  for (const auto& row : machine::site_table) words.insert(row.name);
  for (const auto& row : machine::shape_table()) words.insert(row.name);
  for (const auto& flag : program::flag_words) words.insert(flag.word);
  for (const auto move : machine::move_names) words.insert(move);
  words.erase("");

  std::string text = "# Words of the case language. Made by fuzz/dictionary.cpp; fuzz_tests compares.\n";
  for (const std::string_view word : words) text += fmt::format("\"{}\"\n", word);
  return text;
}

}  // namespace memtorture::fuzz
