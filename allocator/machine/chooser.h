// The one source of nondeterminism. Whatever a run does not derive from its case, it asks a Chooser, and every answer
// that is not the default is a departure: small, named, and enough to replay the run.
//
// A departure is anchored by (context, operation, site, visit): "during operation 3 of task a, at its second visit of
// zone.lock". Code that adds or removes points elsewhere does not move it; deleting an operation deletes its
// departures. Defaults (index 0): go on, no fault, wake the first waiter.
#pragma once

#include <cstdint>
#include <span>

#include "allocator/machine/site.h"
#include "allocator/machine/types.h"

namespace memtorture::machine {

struct Moment {
  ContextId who = no_context;
  std::uint32_t op = 0;  // index of the operation within its program; activations for daemons
  Site site = "op";
  std::uint16_t visit = 1;  // 1 = first visit of the site during that operation
  friend bool operator==(const Moment&, const Moment&) = default;
  friend auto operator<=>(const Moment&, const Moment&) = default;
};

enum class Move : std::uint8_t { go_on, switch_to, deliver, migrate, fail, wake, fail_from };
inline constexpr std::string_view move_names[] = {"", "->", "irq", "cpu", "fail", "wake", "fail-from"};
constexpr bool is_failure(Move move) { return move == Move::fail || move == Move::fail_from; }

// go_on: nobody. switch_to: this context runs next (another CPU moves, or a preemption on this one). deliver: this
// handler interrupts its CPU. migrate: the current task goes on, on CPU `whom`. fail: the fault fires. fail_from: it
// fires, and so does every later visit of the site, whoever makes it. wake: waiter.
struct Option {
  Move move = Move::go_on;
  ContextId whom = no_context;
  friend bool operator==(const Option&, const Option&) = default;
  friend auto operator<=>(const Option&, const Option&) = default;
};

struct Departure {
  Moment at;
  Option take;
  std::uint64_t step = 0;  // hint: points passed in the run when it was taken
  friend bool operator==(const Departure& a, const Departure& b) { return a.at == b.at && a.take == b.take; }
};

class Chooser {
 public:
  virtual ~Chooser() = default;
  // False: it will never depart from the defaults in this run, so points need not ask at all.
  virtual bool may_depart() const { return true; }
  // Asked at every scheduling point where there could be an alternative; false costs no list of options.
  virtual bool interested(const Moment&) = 0;
  // Index into options; options[0] is the default and there are at least two. Called only after interested() said yes.
  virtual std::uint32_t choose(const Moment&, std::span<const Option> options) = 0;
  // Does a fault rule's dice roll hit? percent in 1..99. Deterministic choosers derive it from their seed.
  virtual bool roll(const Moment&, std::uint32_t percent) = 0;
  // A fresh run begins: same answers as in the last one.
  virtual void restart() = 0;
};

}  // namespace memtorture::machine
