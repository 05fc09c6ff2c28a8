// Façade of allocator/fault: asks, at a fault site, whether the world fails here.
//
// Two sources of failure, in this order. A departure ("the 2nd page.alloc of operation 3 of task a", or "from there
// on") is the chooser's: like K61's fail-nth it skips the rules' attributes. Then the rules of the case, first to last;
// the first that fires ends the visit, and rules after it do not see it.
//
// Context: any; takes no lock, never sleeps, is not a scheduling point.
#pragma once

#include <atomic>
#include <cstddef>
#include <span>

#include "allocator/fault/decide.h"
#include "allocator/machine/machine.h"

namespace memtorture::fault {

class Listener {
 public:
  virtual ~Listener() = default;
  virtual void fired(machine::Site site) = 0;
};

class Injector {
 public:
  static constexpr std::size_t rules_max = 64;

  // Rules and listener must outlive the run; rules beyond rules_max are a fault of the harness (asserted).
  void reset(std::span<const Rule> rules, Listener& listener);

  // Call it once per visit of `site`. size: what Rule.space counts (pages for page sites). Where nothing can fail,
  // visits are not counted: nobody is there to name one.
  bool has_rules() const { return !rules_.empty(); }
  bool should_fail(machine::Site site, std::uint64_t size, subject::gfp_t gfp, unsigned order) {
    if (rules_.empty() && !machine::this_machine().may_depart()) [[likely]]
      return false;
    return visit(site, size, gfp, order);
  }

 private:
  [[clang::preserve_most, gnu::noinline]] bool visit(machine::Site site, std::uint64_t size, subject::gfp_t gfp,
                                                     unsigned order);
  bool chosen(const machine::Moment& moment);
  bool ruled(machine::Site site, const Call& call, const machine::Moment& moment);

  std::span<const Rule> rules_;
  Listener* listener_ = nullptr;
  Counters counters_[rules_max];
  std::atomic<bool> stuck_[machine::site_count] = {};  // a departure said fail_from
};

}  // namespace memtorture::fault
