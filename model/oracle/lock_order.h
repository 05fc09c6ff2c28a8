// Which locks may be waited for while which are held: a graph over classes, and what is wrong with it.
//
// Two classes that were ever taken in both orders can deadlock, whatever happened in this run; so can a class that an
// interrupt handler takes, if something that may be interrupted is held when, or on the way to what, it is waited for
// (P-CTX-7, domain.md 1.5, 1.7). The reference's own order and its promises about interrupts are in the graph from the
// start, so one wrong step is enough: nobody has to take the right one first.
//
// Reclaim is three classes of its own. What reclaim takes, it takes while "reclaim" is held at the level that the
// request allows (any, I/O, filesystems); whoever allocates waits for it at all levels that his flags allow. A lock
// that a filesystem's shrinker takes, held over a GFP_KERNEL request, is then an ordinary cycle (9.6).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "allocator/machine/lock_class.h"
#include "model/oracle/event.h"

namespace memtorture::oracle {

using machine::LockSet;

LockSet reclaim_levels(std::uint32_t gfp, std::uint32_t task_flags);  // what a request waits for; 0: never reclaims
machine::LockClass reclaim_level(std::uint32_t gfp);  // what is held inside of reclaim with these masked flags

class LockOrder {
 public:
  void begin();

  struct By {  // who did it; who == no_context: the reference says so
    ContextId who = machine::no_context;
    std::uint32_t op = 0;
  };
  enum class Kind : std::uint8_t { order, interrupts, reclaim };
  struct Trouble {
    Kind kind;
    bool of_a_program;  // a program's lock is in it
    std::string text;
  };
  // `taken` is about to be waited for under `under`, in the ways `use` (LockUse).
  std::optional<Trouble> take(unsigned taken, LockSet under, std::uint8_t use, By by);

 private:
  struct Edge {
    std::uint8_t from, to;
    By by;
  };
  struct Use {
    std::uint8_t node, way;  // way: bit of LockUse
    By by;
  };
  void add(unsigned from, unsigned to, By by);
  bool way(unsigned from, unsigned to, std::vector<unsigned>& nodes) const;
  std::string told(const std::vector<unsigned>& nodes) const;
  std::optional<Trouble> cycle(unsigned taken, LockSet fresh) const;
  std::optional<Trouble> interrupts() const;
  std::optional<Trouble> interrupts(unsigned in, unsigned on, std::string_view handler) const;

  std::array<LockSet, machine::lock_classes> after_{};   // by node: what was taken while it was held
  std::array<LockSet, machine::lock_classes> before_{};  // ... what was held when it was taken
  std::array<LockSet, 4> used_as_{};                     // by bit of LockUse: nodes
  std::vector<Edge> edges_;
  std::vector<Use> used_;
};

}  // namespace memtorture::oracle
