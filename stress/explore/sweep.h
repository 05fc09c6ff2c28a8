// The failure sweep: every fault-site visit of a case fails once, and what comes of it is judged.
//
//   single      the 1st visit fails, then the 2nd, ... each in a run of its own
//   recovery    the operation that was refused, and would have been served, asks again right away with nothing failing
//   persistent  from the nth visit on everything fails at that site
//   pairs       a second visit of the run that the first failure left fails, too
//   crossed     beside the failure somebody else comes: at each point around it each other way to go on is taken
//
// Each run is judged like any other: by the specification during the run, by the audit after it, and by what is left
// when everything was given back (P-FAULT-8). The visits of a run are found by asking: a chooser that
// follows the case's own schedule, and writes down where it is asked, makes the run that nothing was done to.
//
// Singles, recovery and persistent failures are exhaustive, but for operations that visit a site very often, one visit
// like the other (client_add, a page at a time). Pairs and crossed runs have a budget; first come those of
// which no pair of sites and operations was seen before in this sweep (of any case).
//
// Not here: rules of the case itself go on firing; what they fail is not failed again. Fiber engine only.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "model/program/op_table.h"
#include "model/run/run.h"

namespace memtorture::explore {

enum class Stage : std::uint8_t { untouched, single, recovery, persistent, pair, crossed };
inline constexpr std::string_view stage_names[] = {"untouched", "single", "recovery", "persistent", "pair", "crossed"};
inline constexpr std::size_t stages = std::size(stage_names);

// One run: what of the world fails, and where else it goes another way.
struct Attempt {
  Stage stage = Stage::untouched;
  std::array<machine::Departure, 2> plan = {};
  unsigned planned = 0;  // so many of them
};
// The case whose replay is that run. Recovery: with one operation more.
program::Case attempted(const program::Case& the_case, const Attempt& attempt);

struct SweepOptions {
  std::uint32_t visits = 12;  // of one site in one operation or by one daemon that fail, the first and the last; 0: all
  std::uint64_t pairs = 100;  // runs a case
  std::uint64_t crossed = 100;  // the same
  bool recovery = true, persistent = true;
  run::Options run = {};                            // keep is ours
  std::function<void(const Attempt&)> before = {};  // each run
  // A run that went wrong; the sweep goes on with the rest.
  std::function<void(const program::Case&, const run::Outcome&, Stage)> on_bug = {};
  std::function<bool()> stop = {};  // asked before each run
};

// What became of failures at one site in one kind of operation.
struct Cell {
  std::uint64_t visits = 0;    // in runs that nothing was done to
  std::uint64_t failed = 0;    // it failed, and the operation was refused
  std::uint64_t survived = 0;  // ... and the operation succeeded all the same
  std::uint64_t ended = 0;  // ... and the run ended before the operation did: panic, or a request that waits for ever
  std::uint64_t recovered = 0, unrecovered = 0;  // refused, and asked again
};

// What failures at a site come to in a sweep that is large enough: each of `due` is seen, and none of `never`. What
// only delays, or comes in between, refuses nothing itself; but who comes first may.
enum Outcomes : std::uint8_t { none = 0, refused = 1, survived = 2 };
struct SiteOutcomes {
  machine::Site site;
  std::uint8_t due, never;  // Outcomes
};
inline constexpr SiteOutcomes site_outcomes[] = {
    {"irq.storm", survived, none},
    {"kstack.charge", refused, survived},
    {"oom.exit", survived, refused},
    {"page.alloc", refused | survived, none},
    {"percpu.chunk", refused | survived, none},
    {"percpu.map", refused | survived, none},
    {"percpu.populate", refused | survived, none},
    {"reclaim.progress", refused | survived, none},
    {"reclaim.slow", survived, refused},
    {"reclaim.swap", refused | survived, none},
    {"reclaim.writeback", refused | survived, none},
    {"slab.alloc", refused | survived, none},
    {"wake.lost", survived, none},
};

// Operations by their index in the table, then the machine's daemons.
inline constexpr std::size_t callers = program::op_kinds + 1;
inline constexpr std::size_t daemons_row = program::op_kinds;
std::string_view caller_name(std::size_t caller);

struct SweepTotals {
  std::uint64_t cases = 0, skipped = 0;  // skipped: they end in a bug even untouched
  std::array<std::uint64_t, stages> runs{}, bugs{};
  std::uint64_t visits_left = 0;                   // not failed, of operations that visit a site very often
  std::uint64_t pairs_left = 0, crossed_left = 0;  // beyond the budget
  std::array<std::array<Cell, callers>, machine::site_count> cells{};  // of singles

  bool reached(machine::Site site) const;  // by any untouched run
  Cell of_site(machine::Site site) const;  // all of its cells
};
// Where that was not so, of sites that were reached: "reclaim.swap was never refused", "oom.exit was refused".
std::vector<std::string> wrong_outcomes(const SweepTotals& totals);

class Sweep {
 public:
  explicit Sweep(SweepOptions options, std::unique_ptr<subject::Subject> subject = run::make_kernel());
  ~Sweep();
  Sweep(const Sweep&) = delete;
  Sweep& operator=(const Sweep&) = delete;

  void run(const program::Case& the_case);
  const SweepTotals& totals() const { return totals_; }

 private:
  struct Seen;  // what a run showed

  const run::Outcome* execute(const program::Case& the_case, const Attempt& attempt, Seen* seen,
                              bool note_options = false);
  void single(const program::Case& the_case, const machine::Moment& at);
  std::vector<machine::Moment> some_of(std::span<const machine::Moment> visits) const;
  void recover(const program::Case& the_case, const machine::Moment& at);
  void pairs(const program::Case& the_case, const machine::Moment& at, const Seen& failed);
  void crossed(const program::Case& the_case, const machine::Moment& at);
  std::size_t caller_of(const program::Case& the_case, const machine::Moment& at) const;
  bool stopped() const { return options_.stop && options_.stop(); }

  SweepOptions options_;
  run::Runner runner_;
  SweepTotals totals_;
  std::uint64_t pairs_left_ = 0, crossed_left_ = 0;                           // of the case
  std::set<std::pair<machine::ContextId, std::uint32_t>> refused_untouched_;  // of the case: operations
  std::set<std::tuple<std::size_t, std::size_t, std::size_t, std::size_t>> pairs_seen_, crossings_seen_;
};

}  // namespace memtorture::explore
