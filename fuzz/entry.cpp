#include "fuzz/entry.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include <fmt/format.h>

namespace memtorture::fuzz {

Entry::Entry(const std::string& target, std::unique_ptr<subject::Subject> subject, std::span<std::uint8_t> features,
             std::unique_ptr<subject::Subject> sound)
    : settings_(settings_from_environment()),
      tally_(target, settings_.stats),
      target_(scope_of(target), std::move(subject), settings_.found, features) {
  if (sound) sound_.emplace(std::move(sound));
}

void Entry::one_input(std::span<const std::uint8_t> bytes) {
  const run::Outcome& outcome = target_.run(bytes);
  tally_.count(outcome.statistics);
  if (outcome.is_bug() && is_wanted(outcome)) [[unlikely]]
    report(outcome);
}

bool Entry::is_wanted(const run::Outcome& outcome) {
  return !sound_ || !sound_->replay(shrink::reproducer(target_.the_case(), outcome)).is_bug();
}

void Entry::report(const run::Outcome& outcome) {
  const std::string whole = run::print_report(target_.the_case(), outcome);
  const auto saved = target_.save();
  if (saved && !*saved) return;  // the same bug again, and the process was told to go on
  if (saved) {
    const shrink::Found& found = **saved;
    tally_.found(found.path.string());
    fmt::print(stderr, "\n{}reproducer: {}{}\nsignature:  {}\n",
               run::print_report(found.result.smallest, found.result.outcome), found.path.string(),
               found.result.reproduced ? "" : " (DID NOT REPLAY: the run is not deterministic)", found.signature);
  } else {
    // Nothing is lost: the fuzzer records the input of an abort, and the report stands in its log.
    fmt::print(stderr, "\n{}not saved: {}\n", whole, saved.error());
  }
  tally_.write();
  if (!saved || settings_.after_finding == AfterFinding::abort) std::abort();
}

}  // namespace memtorture::fuzz
