// Pages of slabs that go back because memory is short or time has passed (domain.md 9.3, 10.5, P-SLAB-14): who may give
// them, what is told about it, and when they have to be given.
//
// Who. The functions for objects and caches, whose doing it is; a request for pages while it reclaims, from within the
// shrinker; kswapd from within the shrinker; a CPU's worker during its pass. Nobody else has anything to do with slabs.
// That no object in them is live is layers.cpp's (object.page), whoever gives them.
//
// When. To give pages back early is legal and never owed: by the reaper, by kswapd, by a function that frees objects.
// But a round of direct reclaim that tells no progress is the licence to refuse, or to kill; it may not do so beside
// slabs without objects. What is demanded is what is certain: slabs of caches that programs made (among kmalloc's
// objects are the layer's own) and made no pools of, no quarantine, no crime so far, and nobody else in the object
// layer from the beginning of the round to its end, because he may hold the chain of caches or have an object on its
// way. Nor is anything owed by a request that holds the chain itself, or whose operation has an object out (krealloc).
//
// Not checked: how many pages a shrinker is asked for, and how many more it gives; when the reaper comes, and what it
// takes from arrays (unit tests of allocator/slab have the reference's numbers).
#include <fmt/core.h>

#include "model/oracle/state.h"

namespace memtorture::oracle {

Ruling Oracle::State::on_shrink_began(const Event& event, ContextState& state) {
  const Flight& f = state.flight;
  if (state.shrinking) return broken("reclaim.nested", machine::no_pfn, "a shrinker inside a shrinker");
  if (!machine::is_daemon(event.who)) {
    if (f.nmi || event.who == machine::no_context) return Ruling::fine;
    if (!f.active || !allocates(f.request.act) || !f.in_reclaim)
      return broken("gfp.reclaim", machine::no_pfn, "a shrinker is called outside of reclaim");
    constexpr std::uint32_t scoped = subject::gfp_io | subject::gfp_fs;
    const std::uint32_t right = scope_masked(f.gfp, f.task_flags);
    if (((event.gfp ^ right) & scoped) != 0)
      return broken("gfp.scope", machine::no_pfn,
                    fmt::format("a shrinker is called with gfp {:#x}, right is {:#x}", event.gfp, right));
  }
  state.shrinking = true;
  state.shrunk_pages = 0;
  ++shrinkers;
  ++shrinks;
  return Ruling::fine;
}

Ruling Oracle::State::on_shrink_ended(const Event& event, ContextState& state) {
  if (!state.shrinking) return Ruling::fine;
  state.shrinking = false;
  --shrinkers;
  state.flight.round_pages += state.shrunk_pages;
  if (event.value == state.shrunk_pages) return Ruling::fine;
  return broken("reclaim.progress", machine::no_pfn,
                fmt::format("a shrinker told {} pages, {} came back", event.value, state.shrunk_pages));
}

Ruling Oracle::State::judge_giving_back(const Event& event, ContextState& state) {
  const Flight& f = state.flight;
  if (state.shrinking) {
    state.shrunk_pages += 1u << event.order;
    return Ruling::fine;
  }
  const bool boot = event.who == machine::no_context;
  if (boot || (f.active && (moves_objects(f.request.act) || f.request.act == Act::clean_up))) return Ruling::fine;
  return broken("reclaim.owner", event.pfn,
                f.active ? "an operation that neither deals in objects nor reclaims gives back pages of a slab"
                         : "pages of a slab are given back that nobody looked for");
}

// Nobody but the context itself is in the middle of an operation on objects or looks for pages; and its own operation
// neither holds the chain of caches nor has an object out.
bool Oracle::State::objects_at_rest(const ContextState& state) const {
  const Act own = state.outer.empty() ? state.flight.request.act : state.outer.front().request.act;
  if (on_the_chain(own) || own == Act::obj_realloc) return false;
  return shrinkers == 0 && object_ops == (moves_objects(own) ? 1u : 0u);
}

// A round of reclaim has told that there is nothing to be had.
Ruling Oracle::State::judge_no_progress(const ContextState& state) {
  const Flight& f = state.flight;
  // Its own look at the slabs is one more.
  const bool undisturbed = f.objects_rested && objects_at_rest(state) && objects_moves() - f.objects_then <= 1;
  if (!undisturbed || f.reclaim_faulted || shape.quarantine_bytes != 0 || !first_crime.rule.empty())
    return Ruling::fine;
  for (const Object& block : ledger.objects()) {
    if (block.serial == 0 || !block.layer || block.cache == 0) continue;
    const CacheRecord& cache = caches[block.cache - 1];
    if (!cache.alive || cache.pooled) continue;
    const std::uint64_t address = machine::Ram::linear_base + (std::uint64_t{block.first} << shape.page_shift);
    if (objects.owner(address, shape.page_bytes() << block.order) != ObjectLedger::nobody) continue;
    return broken("reclaim.slab", block.first,
                  fmt::format("reclaim found nothing, and the slab at frame {} has no object", block.first));
  }
  return Ruling::fine;
}

}  // namespace memtorture::oracle
