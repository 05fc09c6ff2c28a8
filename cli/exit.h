// Exit codes of the command, in one table: help, manual page and README all show these rows, and a test compares them.
//
// A verdict class is a code, so that a script (or git bisect) can tell a broken subject from a broken command line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "model/program/case.h"

namespace memtorture::cli {

enum class Exit : std::uint8_t {
  ok = 0,
  finding = 1,
  usage = 2,
  io = 3,
  drifted = 4,
  crash = 5,
  hang = 6,
  out_of_memory = 7,
  nondeterministic = 8,
  deadlock = 9,
  harness = 70,
  interrupted = 130,
};

struct ExitRow {
  Exit code;
  std::string_view meaning;
};
inline constexpr ExitRow exit_table[] = {
    {Exit::ok, "everything was as it should be"},
    {Exit::finding, "the subject broke a rule, or a case did not give what it expects"},
    {Exit::usage, "wrong usage, a malformed case, a folder without cases"},
    {Exit::io, "a file or folder could not be read or written"},
    {Exit::drifted, "a departure of a schedule no longer applies"},
    {Exit::crash, "the subject died of a signal or a sanitizer"},
    {Exit::hang, "the subject did not end within the time limit"},
    {Exit::out_of_memory, "the host memory of the subject ran away"},
    {Exit::nondeterministic, "two runs of the same case differed"},
    {Exit::deadlock, "the subject deadlocked or livelocked"},
    {Exit::harness, "a fault in memtorture itself"},
    {Exit::interrupted, "ended by Ctrl-C; what was found until then was saved"},
};

constexpr Exit exit_of(program::Verdict verdict) {
  using enum program::Verdict;
  switch (verdict) {
    case pass:
    case misuse:
    case panic:
    case stalled: return Exit::ok;
    case finding: return Exit::finding;
    case deadlock:
    case livelock: return Exit::deadlock;
    case crash: return Exit::crash;
    case hang: return Exit::hang;
    case out_of_memory: return Exit::out_of_memory;
    case drifted: return Exit::drifted;
  }
  return Exit::harness;
}

// Where several things went wrong, the code is that of the first of these that happened.
inline constexpr Exit exit_order[] = {
    Exit::harness, Exit::nondeterministic, Exit::crash, Exit::out_of_memory, Exit::hang,       Exit::deadlock,
    Exit::finding, Exit::drifted,          Exit::io,    Exit::usage,         Exit::interrupted};
constexpr Exit worse(Exit a, Exit b) {
  for (const Exit code : exit_order) {
    if (a == code || b == code) return code;
  }
  return Exit::ok;
}
static_assert(worse(Exit::ok, Exit::ok) == Exit::ok && worse(Exit::finding, Exit::crash) == Exit::crash);
static_assert(std::size(exit_order) + 1 == std::size(exit_table), "every code but ok has its place in the order");

// Ends a verb: main prints the line, prefixed by the name of the command, and exits with the code.
struct Trouble {
  Exit code;
  std::string line;
};

}  // namespace memtorture::cli
