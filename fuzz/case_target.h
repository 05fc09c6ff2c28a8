// What one execution of the targets that run cases is, apart from libFuzzer: bytes -> case -> run -> verdict.
//
// Any bytes are a case (model/program/codec.h). Its own schedule is followed, and on top of that a RandomChooser seeded
// with a hash of the bytes departs at every sync point, by the rates of its seed: preemption, migration, interrupts and
// failures happen although no byte asks for them, and the same bytes always meet the same ones. Each departure is
// recorded, so what is found replays without the dice.
//
// A bug is saved and shrunk here, at once (model/shrink/found.h), before libFuzzer hears of it. Bugs with a signature
// that this process has met before are only counted.
//
// Not done here: crashes. They end the process with libFuzzer's record of the input; autopsy.h makes a case of that.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "model/run/run.h"
#include "model/shrink/found.h"

namespace memtorture::fuzz {

// Which layers the cases of a target are about. pages: machines without objects. objects: with the slab layer, or what
// the bytes say. kernel: whatever the bytes say.
enum class Scope : std::uint8_t { pages, objects, kernel };
Scope scope_of(std::string_view target);  // "objects_fuzz"; what is no target's name is kernel

// The case and the chooser of an input: the same for the fuzzer, the autopsy and the tests. No client grows by more
// than fills a machine of a few MiB: all that a huge machine allows is 1,048,576 allocations, which cost as much time
// as hundreds of other inputs and show nothing new.
program::Case case_of(std::span<const std::uint8_t> bytes, Scope scope);
run::RandomChooser chooser_of(std::span<const std::uint8_t> bytes, const program::Case& decoded);

class CaseTarget {
 public:
  CaseTarget(Scope scope, std::unique_ptr<subject::Subject> subject, std::filesystem::path found,
             std::span<std::uint8_t> features);

  // Runs one input. The outcome is valid until the next call.
  const run::Outcome& run(std::span<const std::uint8_t> bytes);
  // After run() gave a bug: the reproducer on disk (nothing: that signature is known), or why it could not be written.
  std::expected<std::optional<shrink::Found>, std::string> save();
  const program::Case& the_case() const { return case_; }

 private:
  run::Options unhurried() const;

  Scope scope_;
  run::Runner runner_;
  std::filesystem::path found_;
  run::Options options_;
  program::Case case_;  // of the last run: the oracle refers to it until the next
  const run::Outcome* outcome_ = nullptr;
  std::set<std::string> known_;
};

}  // namespace memtorture::fuzz
