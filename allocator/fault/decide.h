// The attribute machine: does this visit of a fault site fail under this rule? (domain.md 19.2 and 19.3)
//
// decide() is a function of the rule, the rule's counters, the call and one dice roll, and changes nothing but the
// counters. The order of the questions is part of the contract: the point's own filters leave every counter alone, the
// budget (`space`) is consumed before the interval counter moves, and the dice are thrown last.
//
// Counters are relaxed atomics: on fibers that is plain arithmetic; on the thread engine CPUs share a rule, and a lock
// here would order exactly those accesses of the subject whose races we look for. Two CPUs may then interleave between
// the fields, but no failure is lost or counted twice: `times` never goes below zero.
#pragma once

#include <atomic>
#include <cstdint>

#include "allocator/fault/plan.h"
#include "allocator/subject/gfp.h"

namespace memtorture::fault {

// One arrival at a fault site.
struct Call {
  std::uint64_t size = 1;  // what `space` is counted in: pages for page sites
  subject::gfp_t gfp = 0;
  unsigned order = 0;
  machine::ContextId who = machine::no_context;
  std::uint8_t cpu = 0;
  machine::ContextKind kind = machine::ContextKind::task;
  std::uint16_t caller = 0;
};

struct Counters {
  std::atomic<std::uint64_t> space{0};
  std::atomic<std::uint64_t> visits{0};  // moves only when interval > 1
  std::atomic<std::int32_t> times{-1};

  void reset(const Rule& rule) {
    space.store(rule.space, std::memory_order_relaxed);
    visits.store(0, std::memory_order_relaxed);
    times.store(rule.times, std::memory_order_relaxed);
  }
};

// The filters of the point itself (19.3). A NOFAIL request is never injected, by whatever means (P-FAULT-5).
constexpr bool injectable(const Call& call) { return (call.gfp & subject::gfp_nofail) == 0; }

inline bool eligible(const Rule& rule, const Call& call) {
  if (!injectable(call) || call.order < rule.min_order) return false;
  if (rule.ignore_highmem && (call.gfp & subject::gfp_highmem) != 0) return false;
  if (rule.ignore_wait && (call.gfp & subject::gfp_wait) != 0) return false;
  if (call.order > rule.max_order || call.size < rule.min_size || call.size > rule.max_size) return false;
  if ((call.gfp & rule.gfp) != rule.gfp || (rule.cpu != any_cpu && rule.cpu != call.cpu)) return false;
  if (rule.kind != any_kind && rule.kind != static_cast<std::uint8_t>(call.kind)) return false;
  if (rule.caller != 0 && rule.caller != call.caller) return false;
  return rule.task == machine::no_context || rule.task == call.who;
}

// roll(percent) answers the dice for 1..99; it is asked only when everything else says "fail".
template <class Roll>
bool decide(const Rule& rule, Counters& counters, const Call& call, Roll&& roll) {
  constexpr auto relaxed = std::memory_order_relaxed;
  if (!eligible(rule, call) || rule.probability == 0 || counters.times.load(relaxed) == 0) return false;
  const std::uint64_t space = counters.space.load(relaxed);
  if (space > call.size) {
    counters.space.store(space - call.size, relaxed);
    return false;
  }
  if (rule.interval > 1 && (counters.visits.fetch_add(1, relaxed) + 1) % rule.interval != 0) return false;
  if (rule.probability < 100 && !roll(rule.probability)) return false;
  std::int32_t left = counters.times.load(relaxed);
  while (left > 0) {
    if (counters.times.compare_exchange_weak(left, left - 1, relaxed)) return true;
  }
  return left < 0;
}

}  // namespace memtorture::fault
