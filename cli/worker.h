// A searching process: takes run numbers from the board, runs them, saves and shrinks what it finds.
//
// It may die at any moment, because the subject that it runs is broken. Nothing is lost then: the board says which run
// it was at, and the run can be had again from its number. The next process in its place first does the aftermath: the
// run once more in a process of its own, whose decisions are written to shared memory as they are taken, so that the
// schedule up to the death is known; from there on every candidate is judged in a sandbox.
//
// Not done: a death that does not happen again when the run is alone is saved as it is, unshrunk.
#pragma once

#include <optional>

#include "cli/search.h"
#include "model/shrink/shrink.h"

namespace memtorture::cli {

// How a worker ended that did not end well.
struct Death {
  std::uint64_t run = 0;
  Phase phase = Phase::searching;
  std::string words;  // "SIGSEGV", "no progress for 10 s", and what it said last
};

class Worker {
 public:
  // messages: where lines of JSON go, see watcher.cpp.
  Worker(const SearchOptions& options, Board& board, unsigned job, int messages, Clock::time_point started);

  void search();  // until the board says stop or there are enough runs
  void aftermath(const Death& death);

 private:
  struct Trial {
    std::uint64_t run, seed;
    program::Case the_case;
  };
  enum class Where : std::uint8_t { here, sandbox };

  Trial trial(std::uint64_t run) const;
  void found(Trial trial, const run::Outcome& outcome, Where where);
  void save(Trial trial, const run::Outcome& outcome, Where where, Discovery discovery);
  void save_as_it_is(const Trial& trial, const Death& death, const run::Outcome& alone);
  Discovery discovered(const Trial& trial, const run::Outcome& outcome) const;
  shrink::Judge judge(Where where, const std::string& signature) const;
  void enter(Phase phase) const { column_.phase.store(phase, std::memory_order_relaxed); }
  void tell(const nlohmann::json& message) const;

  const SearchOptions& options_;
  Board& board_;
  Column& column_;
  int messages_;
  Clock::time_point started_;
  run::Options run_options_;
};

}  // namespace memtorture::cli
