// run(): the one function. Façade of model/run.
//
//   Outcome run(const Case&, Chooser&)
//
// A pure function: everything a run depends on is in the case and in the chooser's answers. Property tests, fuzzers,
// the corpus, the shrinker and the zoo are callers of it. A Runner is the same function with its memory kept from call
// to call; use one per host thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "allocator/subject/subject.h"
#include "model/run/choosers.h"
#include "model/run/outcome.h"

namespace memtorture::run {

enum class Keep : std::uint8_t { nothing, history };

// Told every event that is kept, before it is judged: what a run that kills its process leaves behind.
class Listener {
 public:
  virtual ~Listener() = default;
  virtual void on(const Event& event) = 0;
};

inline constexpr std::uint32_t audit_never = 0;
inline constexpr std::uint32_t audit_at_end = ~std::uint32_t{0};

struct Options {
  Keep keep = Keep::nothing;
  std::uint32_t audit_every = audit_at_end;  // operations between two white-box audits; 1: after each
  std::uint64_t steps_budget = 200'000;      // points and timer ticks before a run counts as a livelock
  std::span<std::uint8_t> features = {};     // behaviour seen (size a power of two), or empty
  Listener* listener = nullptr;              // with Keep::history
};

// The subject that ships with memtorture.
std::unique_ptr<subject::Subject> make_kernel();

class Session;

class Runner {
 public:
  explicit Runner(std::unique_ptr<subject::Subject> subject = make_kernel());
  ~Runner();
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  // The outcome is valid until the next call.
  const Outcome& run(const Case& the_case, machine::Chooser& chooser, const Options& options = {});
  // With the case's own schedule; verdict `drifted` when nothing was found but a departure did not apply.
  const Outcome& replay(const Case& the_case, const Options& options = {});

 private:
  std::unique_ptr<Session> session_;
};

[[nodiscard]] Outcome run(const Case& the_case, machine::Chooser& chooser, const Options& options = {});
[[nodiscard]] Outcome replay(const Case& the_case, const Options& options = {});

}  // namespace memtorture::run
