// The frame around one execution: counts, saves what is found, tells it, ends the process. Shared by the targets that
// run cases; entry_points.cpp is where libFuzzer calls, and each NAME_fuzz.cpp says which subject it is about.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "fuzz/case_target.h"
#include "fuzz/settings.h"
#include "fuzz/tally.h"

namespace memtorture::fuzz {

class Entry {
 public:
  // `sound`: the same subject without a planted bug, or null. What it does too is then not what is looked for.
  Entry(const std::string& target, std::unique_ptr<subject::Subject> subject, std::span<std::uint8_t> features,
        std::unique_ptr<subject::Subject> sound = nullptr);
  void one_input(std::span<const std::uint8_t> bytes);

 private:
  bool is_wanted(const run::Outcome& outcome);
  void report(const run::Outcome& outcome);

  Settings settings_;
  Tally tally_;
  CaseTarget target_;
  std::optional<run::Runner> sound_;
};

// One definition a target, in its NAME_fuzz.cpp. `features`: counters that libFuzzer watches, for as long as it lives.
std::unique_ptr<Entry> make_entry(std::span<std::uint8_t> features);

}  // namespace memtorture::fuzz
