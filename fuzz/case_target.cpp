#include "fuzz/case_target.h"

#include <algorithm>
#include <utility>

#include "model/program/codec.h"

namespace memtorture::fuzz {
namespace {

// Programs that wait for ever, legally, are common among random ones and would take most of the time. So few steps that
// what seems to be a livelock is looked at again with the budget that everybody else uses.
constexpr std::uint64_t steps_hurried = 10'000;

constexpr std::uint32_t client_pages_max = 4096;

std::uint64_t hash_of(std::span<const std::uint8_t> bytes) {  // FNV-1a
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const std::uint8_t byte : bytes) hash = (hash ^ byte) * 0x100000001b3;
  return hash;
}

}  // namespace

Scope scope_of(std::string_view target) {
  if (target == "objects_fuzz") return Scope::objects;
  return target == "pages_fuzz" || target == "canary_fuzz" ? Scope::pages : Scope::kernel;
}

program::Case case_of(std::span<const std::uint8_t> bytes, Scope scope) {
  using machine::ObjectLayer;
  program::Case decoded = program::decode(bytes);
  machine::Shape& shape = decoded.shape;
  if (scope == Scope::objects && shape.objects == ObjectLayer::none) shape.objects = ObjectLayer::slab;
  if (scope == Scope::pages) {
    shape.objects = ObjectLayer::none;
    shape.slab_debug = 0;
    shape.quarantine_bytes = 0;
    shape.reap = machine::Toggle::off;
  }
  for (program::Program& program : decoded.programs) {
    for (program::Op& op : program.ops) {
      if (auto* add = std::get_if<program::ClientAdd>(&op))
        add->pages.value = std::min(add->pages.value, client_pages_max);
    }
  }
  return decoded;
}

run::RandomChooser chooser_of(std::span<const std::uint8_t> bytes, const program::Case& decoded) {
  const std::uint64_t seed = hash_of(bytes);
  return {seed, run::RandomChooser::swarm_rates(seed), decoded.departures};
}

CaseTarget::CaseTarget(Scope scope, std::unique_ptr<subject::Subject> subject, std::filesystem::path found,
                       std::span<std::uint8_t> features)
    : scope_(scope),
      runner_(std::move(subject)),
      found_(std::move(found)),
      options_{.steps_budget = steps_hurried, .features = features} {}

run::Options CaseTarget::unhurried() const {
  run::Options options = options_;
  options.steps_budget = run::Options{}.steps_budget;
  return options;
}

const run::Outcome& CaseTarget::run(std::span<const std::uint8_t> bytes) {
  case_ = case_of(bytes, scope_);
  run::RandomChooser chooser = chooser_of(bytes, case_);
  outcome_ = &runner_.run(case_, chooser, options_);
  if (outcome_->verdict == run::Verdict::livelock) outcome_ = &runner_.run(case_, chooser, unhurried());
  return *outcome_;
}

std::expected<std::optional<shrink::Found>, std::string> CaseTarget::save() {
  const run::Outcome outcome = *outcome_;  // the judge runs on the same runner
  if (!known_.insert(run::signature(case_, outcome)).second) return std::nullopt;
  const auto judge = [this](const program::Case& candidate, run::Keep keep) {
    return runner_.replay(candidate, {.keep = keep});
  };
  // Every run of a livelock uses up its whole step budget, which takes seconds: `memtorture shrink` goes on from here.
  const bool slow = outcome.verdict == run::Verdict::livelock;
  return shrink::save(found_, case_, outcome, judge, {.runs_budget = slow ? 8u : 10'000u});
}

}  // namespace memtorture::fuzz
