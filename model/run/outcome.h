// An Outcome: how a run ended and everything needed to say why, as a value.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "allocator/machine/object_details.h"
#include "model/oracle/event.h"
#include "model/oracle/oracle.h"
#include "model/program/case.h"

namespace memtorture::run {

using machine::ContextId;
using oracle::Event;
using program::Case;
using program::Verdict;

inline constexpr ContextId harness_context = 0xfeff;      // the harness itself, giving back what programs left
inline constexpr std::uint32_t harness_op = 0x8000'0000;  // its operations have no line in the case

struct Statistics {
  std::uint64_t operations = 0;  // executed (skipped ones do not count)
  std::uint64_t refused = 0;     // allocations that failed
  std::uint64_t faults = 0;      // injected failures that fired
  std::uint64_t interrupts = 0;  // handlers delivered by decision
  std::uint64_t steps = 0;
  void add(const Statistics& other);
  friend bool operator==(const Statistics&, const Statistics&) = default;
};

// What the subject said about an object; the report itself is an event of the history.
struct ObjectReport {
  std::size_t event;  // index in the history
  std::string cache;
  std::uint64_t address;
  bool overwritten;                // memory beside an object, or of a free one
  machine::ObjectDetails details;  // its `cache` is not valid any more
};

struct Outcome {
  Verdict verdict = Verdict::pass;
  oracle::Finding finding;                     // rule empty unless verdict is finding or misuse
  std::vector<Event> history;                  // empty when not kept
  std::vector<ObjectReport> object_reports;    // of that history, in its order; deterministic engine only
  std::vector<machine::Departure> departures;  // the schedule taken, faults included, in the order taken
  Statistics statistics;
  std::int64_t drifted_at = -1;  // replay: index of the first departure that did not apply; -1: none
  std::string sandbox_detail;    // crash, hang, out of memory: signal and sanitizer text

  bool is_bug() const {  // the subject is to blame
    return verdict == Verdict::finding || verdict == Verdict::deadlock || verdict == Verdict::livelock ||
           verdict == Verdict::crash || verdict == Verdict::hang || verdict == Verdict::out_of_memory;
  }
};

// What makes two findings the same bug: rule id and the operations involved by name, never addresses or positions.
std::string signature(const Case& the_case, const Outcome& outcome);

// Does the outcome match what the case expects?
bool as_expected(const program::Expect& expect, const Outcome& outcome);

// The program with its results as comments, one line an event of interest; equal for equal runs, byte by byte.
// reports: those of that very history.
std::string print_history(const Case& the_case, const std::vector<Event>& history,
                          std::span<const ObjectReport> reports = {});
std::string print_object_report(const Case& the_case, const ObjectReport& report);

// The kernel-style report of a finding: rule, operation, object's life, the clause of the specification.
std::string print_report(const Case& the_case, const Outcome& outcome);

}  // namespace memtorture::run
