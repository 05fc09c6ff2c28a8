// Requests that another allocator layer makes to the page layer while it serves its own caller (kmalloc that grows a
// slab): judged exactly like a program's.
//
// The operation that caused them is set aside meanwhile; its context can be in the middle of one request only. The
// blocks belong to the layer: nobody else may give them back, the harness does not either, and to hold some at the end
// is no leak.
//
// Not checked here: what the layer does with the block; that is its own facet's. Whether it needed it: slab.grow, as
// far as the white box tells, which knows no buckets.
#include <fmt/core.h>

#include "model/oracle/state.h"

namespace memtorture::oracle {

// Sets aside what the context is doing.
Flight& Oracle::State::open_inner(const Event& event, ContextState& state, const Request& request) {
  // Of the same doing as the request that it is for: to that one it is no change by others.
  const bool for_own_request = state.flight.active && allocates(state.flight.request.act);
  const bool in_step = state.flight.changes == changes;
  state.outer.push_back(state.flight);
  Flight& f = state.flight;
  f.open(event);
  f.mems = state.mems_allowed;
  f.layer = true;
  f.request = request;
  enter_mutator();
  if (for_own_request && in_step) state.outer.back().changes = changes;
  f.changes = changes_from_here(for_own_request ? 2 : 1);
  return f;
}

Ruling Oracle::State::close_inner(const Event& event, ContextState& state, Ruling ruling) {
  Flight& f = state.flight;
  leave_mutator();
  if (ruling == Ruling::fine && f.reports_used) ruling = judge_reports(f);
  if (ruling == Ruling::fine) ruling = judge_balance(event, f);
  f = state.outer.back();
  state.outer.pop_back();
  return ruling;
}

// May the operation that is under way ask for pages, and with these flags? Who asks for an object lends the layer his
// rights: it may wait, start I/O or use reserves only where he may.
Ruling Oracle::State::judge_need(const Event& event, ContextState& state) {
  const Flight& caller = state.flight;
  if (state.shrinking && may_sleep(event.gfp))
    return broken("reclaim.nested", machine::no_pfn, "who gives pages back asks for some, and would wait for them");
  if (!caller.active && event.who != machine::no_context)
    return broken("layer.gfp", machine::no_pfn, "a request for pages that nobody asked for");
  state.object.asked = true;
  ++own_allocations;
  if (!caller.active) return Ruling::fine;
  const Act act = caller.request.act;
  std::uint32_t rights = subject::GFP_KERNEL;
  if (act == Act::obj_alloc || act == Act::obj_realloc) {
    rights = caller.request.gfp;
    if (buckets && in_interrupt(caller)) rights |= subject::gfp_high;  // served as GFP_ATOMIC, whatever was asked
  } else if (act == Act::pool_alloc || act == Act::pool_create || act == Act::pool_resize) {
    rights = pool_rights(state);
  } else if (act == Act::percpu_alloc || act == Act::percpu_work) {
    rights = caller.request.gfp;
    if (!may_sleep(rights) || caller.atomic_crime)
      return broken("layer.gfp", machine::no_pfn, "a chunk of per-CPU memory is made for who may not wait for one");
  } else if (act != Act::cache_create && act != Act::fork) {
    return broken("layer.gfp", machine::no_pfn, "a request for pages by a function that needs none");
  }
  if (act == Act::fork && sleepable_at(caller) && (event.gfp & subject::GFP_KERNEL) != subject::GFP_KERNEL)
    return broken("stack.fail", machine::no_pfn,
                  fmt::format("a stack is asked for with gfp {:#x}, less than fork may", event.gfp));
  constexpr std::uint32_t claims = subject::gfp_wait | subject::gfp_high | subject::gfp_io | subject::gfp_fs |
                                   subject::gfp_nofail | subject::gfp_repeat;
  constexpr std::uint32_t bounds = subject::gfp_nomemalloc | subject::gfp_noretry | subject::gfp_nowarn;
  const bool more = (event.gfp & claims & ~rights) != 0, fewer = (rights & bounds & ~event.gfp) != 0;
  if (!more && !fewer) return Ruling::fine;
  return broken(act == Act::pool_alloc ? RuleId("pool.gfp") : RuleId("layer.gfp"), machine::no_pfn,
                fmt::format("pages are asked for with gfp {:#x}, the caller's is {:#x}", event.gfp, rights));
}

// A cache grows only when the request cannot be had otherwise (P-SLAB-3, P-KMALLOC-8). Demanded of who was alone, for
// what he finds is then what is there. On several nodes a task that may be moved can ask on the node that it came from.
Ruling Oracle::State::judge_growth(const Event& event, const ContextState& state) {
  const bool stays = shape.nodes == 1 || shape.cpus == 1 || !sleepable_at(state.flight);
  if (event.detail == 0 || !state.flight.active || !stays || !still(state)) return Ruling::fine;
  return broken("slab.grow", machine::no_pfn,
                fmt::format("a cache grows though {} of its free objects are in reach", event.detail));
}

Ruling Oracle::State::on_layer_requests(const Event& event, ContextState& state, unsigned index) {
  if (exposed != 0) return undecidable();
  if (const Ruling ruling = judge_need(event, state); ruling != Ruling::fine) return ruling;
  if (const Ruling ruling = judge_growth(event, state); ruling != Ruling::fine) return ruling;
  state.object.free_beside = 0;
  Flight& f = open_inner(event, state,
                         {.act = Act::alloc,
                          .order = event.order,
                          .node = static_cast<std::int8_t>(static_cast<std::int64_t>(event.value)),
                          .gfp = event.gfp});
  if (event.held != 0) {
    if (const Ruling ruling = layer_under_locks(event, f); ruling == Ruling::broken) return ruling;
  }
  const Ruling ruling = call_alloc(event, f);
  allocating.push_back(static_cast<std::uint8_t>(index));
  if (allocating.size() > 1) after_change();
  return ruling;
}

Ruling Oracle::State::on_layer_granted(const Event& event, ContextState& state, unsigned index) {
  if (state.outer.empty()) return broken("layer.pages", event.pfn, "a layer got a block that it did not ask for");
  state.flight.active = false;
  const Ruling ruling = judge_result(event, state.flight);
  stop_allocating(index);
  if (event.pfn != machine::no_pfn && ruling == Ruling::fine && state.outer.back().active &&
      state.outer.back().request.act == Act::fork) {
    ledger.object(ledger.find(event.pfn).entry.payload()).stack = true;
    state.footing.block = event.pfn;
  }
  if (event.pfn == machine::no_pfn) {
    state.object.refused = true;
    state.object.page_faulted = state.object.page_faulted || state.flight.faulted;
    // On several nodes a request that is bound to one says little: another one, for anywhere, may follow.
    const bool anywhere = shape.nodes == 1 || (state.flight.request.gfp & subject::gfp_thisnode) == 0;
    if (event.detail != 0 && object_ops == 1 && shrinkers == 0 && anywhere) state.object.free_beside = objects_moves();
  }
  return close_inner(event, state, ruling);
}

Ruling Oracle::State::on_layer_releases(const Event& event, ContextState& state) {
  const Pfn first = event.pfn;
  const std::string what = fmt::format("a layer gives back frame {} order {} while {}", first, event.order,
                                       geometry.absent(first) ? "absent" : whose(first));
  if (geometry.absent(first)) return broken("layer.pages", first, what);
  const Ledger::Found found = ledger.find(first);
  if (found.entry.holds() != Holds::live) return broken("layer.pages", first, what);
  const Object& object = ledger.object(found.entry.payload());
  if (!object.layer || object.first != first || object.order != event.order) return broken("layer.pages", first, what);
  const std::uint64_t address = machine::Ram::linear_base + (std::uint64_t{first} << shape.page_shift);
  if (has_objects && objects.owner(address, shape.page_bytes() << event.order) != ObjectLedger::nobody)
    return broken("object.page", first, what + ": an object in it is live");
  const std::uint64_t as_cookie = address - percpu_layout.first_chunk + percpu_layout.static_cookie;
  if (percpu_layout.unit_bytes != 0 && area_at(as_cookie, shape.page_bytes() << event.order) != 0)
    return broken("percpu.chunk", first, what + ": a per-CPU area in it is live");
  if (has_objects) {
    if (const Ruling ruling = poison_untold(address, shape.page_bytes() << event.order); ruling != Ruling::fine)
      return ruling;
  }
  const Ruling giving_back = object.stack ? stack_given_back(event, state) : judge_giving_back(event, state);
  if (giving_back != Ruling::fine) return giving_back;
  if (exposed != 0) return undecidable();
  open_inner(event, state, {.act = Act::release, .order = event.order});
  ++handling;
  return give_up(state, found.entry.payload());
}

Ruling Oracle::State::on_layer_released(const Event& event, ContextState& state) {
  if (state.outer.empty()) return broken("layer.pages", event.pfn, "a release that never began has ended");
  state.flight.active = false;
  --handling;
  return close_inner(event, state, judge_release(event, state));
}

}  // namespace memtorture::oracle
