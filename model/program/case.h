// A Case: everything that run() needs, and the verdict that it must give. One text file is one Case.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "allocator/fault/plan.h"
#include "allocator/machine/chooser.h"
#include "allocator/machine/shape.h"
#include "model/program/ops.h"

namespace memtorture::program {

// How a run ended. The exit code of the command is derived from it (cli/README).
enum class Verdict : std::uint8_t {
  pass,     // everything was as the specification says
  misuse,   // the program committed a crime and the subject answered it as the specification says
  panic,    // the machine stopped legally (out of memory and nobody to kill)
  stalled,  // some task waits for ever, legally (NOFS/NOIO/NOFAIL with nothing left to reclaim)
  finding,  // the subject broke a rule
  deadlock,
  livelock,
  crash,          // sandbox: the subject died of a signal or a sanitizer
  hang,           // sandbox: no end within the time limit
  out_of_memory,  // sandbox: the subject's host memory ran away
  drifted,        // a departure of the schedule no longer applies
};
inline constexpr std::string_view verdict_names[] = {"pass",    "misuse",        "panic",    "stalled",
                                                     "finding", "deadlock",      "livelock", "crash",
                                                     "hang",    "out-of-memory", "drifted"};

// "expect pass", "expect misuse double-free", "expect finding page.wmark.min". An empty rule matches any.
struct Expect {
  Verdict verdict = Verdict::pass;
  std::string rule;
  friend bool operator==(const Expect&, const Expect&) = default;
};

struct Program {
  std::string name;  // [a-z][a-z0-9_]*, unique in the case
  machine::ContextKind kind = machine::ContextKind::task;
  std::uint8_t cpu = 0;     // < shape.cpus
  std::uint32_t flags = 0;  // TaskFlag bits that it starts with; only for tasks
  std::vector<Op> ops;
  friend bool operator==(const Program&, const Program&) = default;
};

// Departures name contexts by index into programs (ContextId) or as daemons, and are kept sorted by `at`. Several
// departures may share a place (visit); their order is then the order in which they are taken.
struct Case {
  std::vector<std::string> comment;  // lines of the head comment, without '#'
  machine::Shape shape;
  Expect expect;
  std::vector<std::string> slot_names;
  std::vector<fault::Rule> faults;
  std::vector<Program> programs;
  std::vector<machine::Departure> departures;
  friend bool operator==(const Case&, const Case&) = default;
};

// How many pages one client_add of the case adds at most: as many as the machine has, and all together no more than
// 1,048,576, so that a run ends soon and its step budget can allow for them.
std::uint32_t client_pages_most(const Case& the_case);

inline constexpr std::size_t programs_max = 64;
inline constexpr std::size_t ops_max = 100'000;  // per program; text and codec refuse or stop there

}  // namespace memtorture::program
