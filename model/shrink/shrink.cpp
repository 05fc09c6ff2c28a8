#include "model/shrink/shrink.h"

#include <algorithm>

#include "model/program/edits.h"
#include "model/shrink/found.h"

namespace memtorture::shrink {

using program::Case;
using run::Outcome;

Progress measure(const Case& the_case) {
  Progress size{};
  for (const auto& program : the_case.programs) size.operations += program.ops.size();
  for (const auto& departure : the_case.departures) {
    ++(machine::is_failure(departure.take.move) ? size.faults : size.departures);
  }
  size.faults += the_case.faults.size();
  return size;
}

namespace {

class Shrinker {
 public:
  Shrinker(Case the_case, const Outcome& found, const Judge& judge, const Options& options)
      : best_(std::move(the_case)),
        outcome_(found),
        signature_(run::signature(best_, found)),
        judge_(judge),
        options_(options) {}

  bool reproduces() {
    const Case unchanged = best_;
    return try_case(unchanged);
  }

  // Structure first: a value that is made smaller costs as many runs as an operation that is deleted, and most of them
  // belong to operations that will go.
  void shrink() {
    while (!exhausted()) {
      while (shrink_structure() && !exhausted()) {
      }
      if (!simplify_operations()) break;
    }
    Case tidy = best_;
    program::drop_unused_slots(tidy);
    if (tidy != best_) try_case(tidy);
  }

  // What was left out of all the runs before.
  void recall_history() {
    Outcome outcome = judge_(best_, run::Keep::history);
    ++runs_;
    if (run::signature(best_, outcome) == signature_) outcome_ = std::move(outcome);
  }

  Result result() && { return {.smallest = std::move(best_), .outcome = std::move(outcome_), .runs = runs_}; }

 private:
  bool exhausted() const { return runs_ >= options_.runs_budget || (options_.stop && options_.stop()); }

  // The heart: accept a candidate iff it shows the same bug, and then keep only the departures that its run took.
  bool try_case(const Case& candidate) {
    if (exhausted()) return false;
    const Outcome outcome = judge_(candidate, run::Keep::nothing);
    ++runs_;
    const bool same = run::signature(candidate, outcome) == signature_;
    if (same) {
      best_ = reproducer(candidate, outcome);
      outcome_ = outcome;
    }
    if (options_.progress && (same || runs_ % 256 == 0)) {
      Progress progress = measure(best_);
      progress.runs = runs_;
      options_.progress(progress);
    }
    return same;
  }

  template <class Edit>
  bool try_edit(Edit&& edit) {
    Case candidate = best_;
    edit(candidate);
    return try_case(candidate);
  }

  // Deletes chunks of [0, count) from the end, halving the chunk; count() is asked anew because an accepted case may
  // have lost more than the chunk.
  template <class Count, class Erase>
  bool erase_chunks(Count&& count, Erase&& erase) {
    bool any = false;
    for (std::size_t chunk = std::max<std::size_t>(count() / 2, 1); chunk != 0; chunk /= 2) {
      for (std::size_t end = count(); end != 0 && !exhausted();) {
        const std::size_t first = end > chunk ? end - chunk : 0;
        any |= try_edit([&](Case& candidate) { erase(candidate, first, end - first); });
        end = std::min(first, count());
      }
    }
    return any;
  }

  bool shrink_structure() {
    bool smaller = straighten();
    smaller |= erase_programs();
    smaller |= erase_operations();
    smaller |= erase_fault_rules();
    smaller |= erase_departures();
    smaller |= simplify_machine();
    smaller |= simplify_programs();
    return smaller;
  }

  // A schedule with a hundred departures falls apart with every operation that goes; often the bug needs none of them,
  // or has come to need none now that the case is smaller.
  bool straighten() {
    const auto is_switch = [](const machine::Departure& d) { return !machine::is_failure(d.take.move); };
    if (std::ranges::none_of(best_.departures, is_switch)) return false;
    return try_edit([&](Case& c) { std::erase_if(c.departures, is_switch); });
  }

  bool erase_programs() {
    return best_.programs.size() > 1 && erase_chunks([&] { return best_.programs.size(); },
                                                     [](Case& c, std::size_t first, std::size_t n) {
                                                       for (std::size_t i = first + n; i != first; --i)
                                                         program::erase_program(c, i - 1);
                                                     });
  }

  bool erase_operations() {
    bool any = false;
    for (std::size_t p = best_.programs.size(); p-- != 0;) {
      any |= erase_chunks([&] { return best_.programs[p].ops.size(); },
                          [p](Case& c, std::size_t first, std::size_t n) { program::erase_ops(c, p, first, n); });
    }
    return any;
  }

  bool erase_fault_rules() {
    return erase_chunks([&] { return best_.faults.size(); },
                        [](Case& c, std::size_t first, std::size_t n) {
                          for (std::size_t i = first + n; i != first; --i) program::erase_fault_rule(c, i - 1);
                        });
  }

  bool erase_departures() {
    return erase_chunks([&] { return best_.departures.size(); },
                        [](Case& c, std::size_t first, std::size_t n) {
                          for (std::size_t i = first + n; i != first; --i) program::erase_departure(c, i - 1);
                        });
  }

  bool simplify_machine() {
    for (const machine::Shape& shape : program::simpler(best_.shape)) {
      const bool cpus_suffice = std::ranges::all_of(best_.programs, [&](const auto& p) { return p.cpu < shape.cpus; });
      if (cpus_suffice && try_edit([&](Case& c) { c.shape = shape; })) return true;
    }
    return false;
  }

  bool simplify_programs() {
    bool any = false;
    for (std::size_t p = 0; p != best_.programs.size(); ++p) {
      if (best_.programs[p].flags != 0) any |= try_edit([p](Case& c) { c.programs[p].flags = 0; });
      if (best_.programs[p].cpu != 0) any |= try_edit([p](Case& c) { c.programs[p].cpu = 0; });
    }
    return any;
  }

  bool simplify_operations() {
    bool any = false;
    for (std::size_t p = 0; p != best_.programs.size(); ++p) {
      for (std::size_t i = 0; i < best_.programs[p].ops.size(); ++i) {
        while (simplify_operation(p, i)) any = true;
      }
    }
    return any;
  }

  bool simplify_operation(std::size_t p, std::size_t i) {
    if (p >= best_.programs.size() || i >= best_.programs[p].ops.size()) return false;
    for (const program::Op& op : program::simpler(best_.programs[p].ops[i])) {
      if (try_edit([&](Case& c) { c.programs[p].ops[i] = op; })) return true;
    }
    return false;
  }

  Case best_;
  Outcome outcome_;
  std::string signature_;
  const Judge& judge_;
  const Options& options_;
  std::uint64_t runs_ = 0;
};

}  // namespace

Result shrink(const Case& the_case, const Outcome& found, const Judge& judge, const Options& options) {
  Shrinker shrinker(reproducer(the_case, found), found, judge, options);
  if (!shrinker.reproduces())
    return {.smallest = reproducer(the_case, found), .outcome = found, .runs = 1, .reproduced = false};
  shrinker.shrink();
  shrinker.recall_history();
  return std::move(shrinker).result();
}

}  // namespace memtorture::shrink
