// The search behind `memtorture check`: what it is told, and what comes of it. worker.h does the runs, watcher.h keeps
// the workers going.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/board.h"
#include "cli/exit.h"
#include "cli/generating.h"

namespace memtorture::cli {

using Clock = std::chrono::steady_clock;

struct SearchOptions {
  std::uint32_t seconds = 0;  // 0: no limit
  std::uint64_t seed = 1;
  std::uint32_t jobs = 1;
  std::uint64_t runs = 0;  // 0: no limit
  std::string out = "out/found";
  std::uint32_t audit_every = run::audit_at_end;
  bool stop_at_first = false;
  bool json = false;
  Generator generator;
};

// A bug on disk. Travels from worker to watcher as a line of JSON, and from there into the summary.
struct Discovery {
  std::string verdict, rule, signature, path;
  std::uint64_t runs = 0;                                    // of all jobs, until it was found
  double seconds = 0;                                        // until it was found
  std::uint64_t operations = 0, faults = 0, departures = 0;  // of the case as saved
  std::uint64_t seed = 0, run = 0;                           // memtorture gen --seed SEED --run is the whole of it
  bool is_new = true;                                        // no file of that signature was there before the search
  bool reproduced = true;                                    // false: not again when the run was alone; saved as it is
  NLOHMANN_DEFINE_TYPE_INTRUSIVE(Discovery, verdict, rule, signature, path, runs, seconds, operations, faults,
                                 departures, seed, run, is_new, reproduced)
};

struct Summary {
  double seconds = 0;
  Exit code = Exit::ok;
  bool interrupted = false;
  std::vector<Discovery> findings;
};

}  // namespace memtorture::cli
