// Begin, end, dispatch of events, and the façade.
#include "model/oracle/oracle.h"

#include <fmt/core.h>

#include <algorithm>

#include "model/oracle/state.h"
#include "model/program/words.h"

namespace memtorture::oracle {

unsigned Oracle::State::index_of(ContextId id) {
  if (id < program::programs_max) return id;
  return machine::is_daemon(id) && machine::daemon_index(id) < machine::daemons_max
             ? static_cast<unsigned>(program::programs_max) + machine::daemon_index(id)
             : harness_index;
}

Ruling Oracle::State::broken(RuleId rule, Pfn pfn, std::string detail) {
  over = true;
  first_finding = {.rule = rule.name(), .who = who, .op = op, .pfn = pfn, .detail = std::move(detail)};
  return Ruling::broken;
}

Ruling Oracle::State::crime(RuleId rule, Pfn pfn, std::string detail) {
  if (first_crime.rule.empty())
    first_crime = {.rule = rule.name(), .who = who, .op = op, .pfn = pfn, .detail = std::move(detail)};
  return Ruling::crime;
}

Ruling Oracle::State::fatal(RuleId rule, Pfn pfn, std::string detail) {
  crime(rule, pfn, std::move(detail));
  over = true;
  return Ruling::fatal;
}

Ruling Oracle::State::noticed_if_free(Flight& f, RuleId rule, Pfn pfn, std::string detail) {
  if (!allocating.empty()) return fatal(rule, pfn, std::move(detail));
  return exposed_crime(f, rule, pfn, std::move(detail));
}

Ruling Oracle::State::exposed_crime(Flight& f, RuleId rule, Pfn pfn, std::string detail) {
  if (!f.exposed) ++exposed;
  f.exposed = true;
  return crime(rule, pfn, std::move(detail));
}

std::string Oracle::State::whose(Pfn frame) {
  if (geometry.absent(frame)) return "absent";
  if (geometry.reserved(frame)) return "reserved";
  const Ledger::Found found = ledger.find(frame);
  switch (found.entry.holds()) {
    case Holds::nothing: return "nobody's";
    case Holds::free: return fmt::format("free (block {} order {})", found.head, found.order);
    case Holds::parked: return fmt::format("on the list of cpu {}", found.entry.payload());
    case Holds::live: return fmt::format("owned (block {} order {})", found.head, found.order);
    case Holds::limbo: return "being released";
    case Holds::client:
      return fmt::format("a {} page of a client", subject::client_names[found.entry.payload() & client_kind_mask]);
    case Holds::bad: return "bad";
  }
  return {};
}

Ruling Oracle::State::begin(const program::Case& next, std::span<const subject::ZoneInfo> published,
                            const subject::Promises& promised) {
  const bool same_shape = built && shape == next.shape;
  the_case = &next;
  client_pages_most = program::client_pages_most(next);
  promises = promised;
  if (!same_shape) shape = next.shape;
  geometry.build(next.shape, published);
  ledger.begin(next.shape, same_shape);
  has_objects = next.shape.objects != machine::ObjectLayer::none;
  buckets = next.shape.objects == machine::ObjectLayer::k12;
  blocks_watched = false;
  if (has_objects) objects.begin(next.shape.page_shift, next.shape.frames());
  caches.clear();
  pools.clear();
  percpu_layout = {};
  areas.clear();
  percpu_statics = percpu_ops = percpu_told = 0;
  percpu_limit_told = false;
  percpu_moves = 0;
  graves.clear();
  next_grave = 0;
  spoilt.clear();
  has_linked = false;
  own_allocations = 0;
  leaks_told.clear();
  stacks.clear();
  forks = spilt_by = 0;
  object_ops = 0;
  object_changes = 0;
  built = true;
  ++run;
  serial = 0;
  for_each_context([](ContextState& state) {  // those of the last run
    state.draining = state.shrinking = state.entered = false;
    state.percpu.area = 0;
    state.mems_allowed = machine::all_nodes;
    state.flight.active = false;
    state.flight.request.act = Act::none;
    state.outer.clear();
    state.limbo.clear();
    state.releasing_client = machine::no_pfn;
    state.footing.stack = 0;
    state.footing.told_low = false;
  });
  contexts_used = static_cast<unsigned>(std::min(next.programs.size(), program::programs_max));
  if (slots.size() < next.slot_names.size()) slots.resize(next.slot_names.size());
  allocating.clear();
  mutators = mark_changers = exposed = handling = 0;
  changes = 0;
  flaws.clear();
  corrupt.clear();
  for (Wake& wake : wakes) wake.judged = wake.ever = false;
  kswapds_started = 0;
  daemons_used = program::daemons_known(next.shape);
  shrinkers = 0;
  shrinks = 0;
  spin_holder = mutex_holder = spin_depth = {};
  locks.begin();
  online.fill(0);
  std::fill_n(online.begin(), shape.cpus, std::int8_t{1});
  hotplug_ops = 0;
  over = panicked = false;
  processes = {};
  client_comings = 0;
  who = machine::no_context;
  op = 0;
  if (!first_crime.rule.empty()) first_crime = {};
  if (!first_finding.rule.empty()) first_finding = {};

  if (const auto difference = geometry.layout_differs(published))
    return broken("zone.layout", machine::no_pfn, *difference);
  if (const auto difference = geometry.marks_differ(published))
    return broken("wmark.formula", machine::no_pfn, *difference);
  if (const auto difference = geometry.pcp_differs(published)) return broken("pcp.size", machine::no_pfn, *difference);
  geometry.adopt_pcp(published);
  return Ruling::fine;
}

void Oracle::State::fill_slot(std::uint16_t index, const Slot& filled) {
  if (index >= slots.size()) slots.resize(index + 1u);
  slots[index] = filled;
  slots[index].run = run;
}

void Oracle::State::enter_mutator() {
  if (!allocating.empty()) before_change(contexts_max);
  ++mutators;
  ++changes;
}

void Oracle::State::stop_allocating(unsigned index) {
  const auto at = std::ranges::find(allocating, static_cast<std::uint8_t>(index));
  if (at == allocating.end()) return;
  *at = allocating.back();
  allocating.pop_back();
}

// A wake-up that was lost, or an interrupt that came: a failure of the world that is no request's.
static bool is_delay(const Event& event) {
  if (event.kind != EventKind::faulted) return false;
  const machine::Site site = machine::Site::at(event.detail);
  return site == machine::Site("wake.lost") || site == machine::Site("irq.storm");
}

Ruling Oracle::State::on(const Event& event) {
  if (panicked) return Ruling::fine;
  if (over) return first_finding.rule.empty() ? Ruling::fatal : Ruling::broken;
  who = event.who;
  op = event.op;
  if (event.kind == EventKind::locked) return on_locked(event);  // in the middle of whatever it is that needs the lock
  if (is_delay(event)) return Ruling::fine;  // it excuses nothing, and what the context was doing goes on behind it
  const unsigned index = index_of(event.who);
  ContextState& state = contexts[index];
  if (state.draining && event.kind != EventKind::drained) settle_drain(state);
  if (state.releasing_client != machine::no_pfn &&
      !(event.kind == EventKind::parked && event.pfn == state.releasing_client))
    settle_client(index);
  switch (event.kind) {
    case EventKind::call: {
      const Ruling ruling = on_call(event, state);
      return ruling == Ruling::crime && handles_blocks(state.flight.request.act) && contested(state) ? Ruling::fatal
                                                                                                     : ruling;
    }
    case EventKind::result: return on_result(event, state);
    case EventKind::skipped: return Ruling::fine;
    case EventKind::contents:
      if (spilt_by != 0) return undecidable();  // perhaps what was spilt; the call that follows ends the run anyway
      if (event.detail == 2) return judge_percpu_contents(event, state);
      return event.detail == 1 ? judge_object_contents(event) : judge_contents(event);
    case EventKind::reported: return on_report(event, state.flight);
    case EventKind::slept: return on_slept(event, state.flight);
    case EventKind::faulted:
      if (machine::Site::at(event.detail) == machine::Site("slab.alloc")) {
        state.flight.faulted = true;
        if (state.flight.active && (state.flight.request.gfp & subject::gfp_nofail) != 0 &&
            state.flight.request.act != Act::pool_alloc && state.flight.request.act != Act::percpu_alloc)
          return broken("fault.nofail", machine::no_pfn, "injected into a __GFP_NOFAIL request for an object");
      } else if (machine::Site::at(event.detail) == machine::Site("page.alloc")) {
        state.flight.faulted = true;
        if (state.flight.active && (state.flight.gfp & subject::gfp_nofail) != 0)
          return broken("fault.nofail", machine::no_pfn, "injected into a __GFP_NOFAIL request");
      } else if (machine::Site::at(event.detail) == machine::Site("kstack.charge")) {
        state.flight.faulted = true;
      } else if (machine::Site::at(event.detail) == machine::Site("oom.exit")) {
        state.flight.slow_exit = true;
      } else if (machine::Site::at(event.detail) == machine::Site("reclaim.slow")) {
        // A slow device excuses nobody who may wait for it.
        if (machine::is_kswapd(event.who)) excuse_kswapd(index - program::programs_max);
      } else if (!machine::Site::at(event.detail).name().starts_with("reclaim.")) {
        state.percpu.faulted = true;
      } else {
        reclaim_fault(machine::Site::at(event.detail), state.flight);
        if (machine::is_kswapd(event.who)) excuse_kswapd(index - program::programs_max);
      }
      return Ruling::fine;
    case EventKind::parked: return promises.traces_placement ? on_parked(event, index) : Ruling::fine;
    case EventKind::refilled: return promises.traces_placement ? on_refilled(event, index) : Ruling::fine;
    case EventKind::drained: return promises.traces_placement ? on_drained(event, index) : Ruling::fine;
    case EventKind::client_granted: return on_client_granted(event, index);
    case EventKind::client_released: return on_client_released(event, index);
    case EventKind::client_writing: return on_client_writing(event);
    case EventKind::client_written: return on_client_written(event);
    case EventKind::layer_requests: return on_layer_requests(event, state, index);
    case EventKind::layer_granted: return on_layer_granted(event, state, index);
    case EventKind::layer_releases: return on_layer_releases(event, state);
    case EventKind::layer_released: return on_layer_released(event, state);
    case EventKind::percpu_place:
      state.percpu.places.push_back({event.order, event.value, event.value2, event.detail == 0});
      return Ruling::fine;
    case EventKind::work_began: return on_work_began(event, state);
    case EventKind::work_ended: return on_work_ended(event, state);
    case EventKind::shrink_began: return on_shrink_began(event, state);
    case EventKind::shrink_ended: return on_shrink_ended(event, state);
    case EventKind::reclaim_began: return on_reclaim_began(event, state);
    case EventKind::reclaim_ended: return on_reclaim_ended(event, state);
    case EventKind::kswapd_woken:
      return event.value < shape.nodes ? on_kswapd_woken(event, state.flight) : Ruling::fine;
    case EventKind::io_started:
    case EventKind::fs_called: return on_io(event, state.flight);
    case EventKind::oom_chose: return on_chose(event, index);
    case EventKind::oom_exited: return on_exited(event, index);
    case EventKind::zone_shown: return on_zone_shown(event, state.flight);
    case EventKind::oom_killed: return on_killed(event, state.flight);
    case EventKind::panicked:
      if (event.detail == static_cast<std::uint8_t>(machine::PanicKind::cache_create)) return on_cache_panic(state);
      if (event.detail == static_cast<std::uint8_t>(machine::PanicKind::stack_end) ||
          event.detail == static_cast<std::uint8_t>(machine::PanicKind::stack_overrun))
        return on_stack_panic(event, state);
      return on_panic(event, state.flight);
    case EventKind::locked: break;  // above
    case EventKind::entered: return on_entered(event, state);
    case EventKind::left:
      for (unsigned lock = 0; lock != program::locks_max; ++lock) {
        if (spin_holder[lock] == index + 1) spin_holder[lock] = spin_depth[lock] = 0;
        if (mutex_holder[lock] == index + 1) mutex_holder[lock] = 0;
      }
      state.entered = false;  // a handler may come again, on top of something else
      return on_left(state);
    case EventKind::quiet: return on_quiet();
  }
  return Ruling::fine;
}

// Is somebody else in the middle of taking, dropping or splitting a block? Who comes first, and what he then finds, is
// not known, so of a crime on a block nothing can be demanded.
bool Oracle::State::contested(const ContextState& state) const {
  return handling > (handles_blocks(state.flight.request.act) ? 1 : 0);
}

unsigned Oracle::State::in_flight_on(const ContextState& state, Act act, Pfn first, std::uint32_t frames) const {
  unsigned count = 0;
  for_each_context([&](const ContextState& other) {
    const Flight& f = other.flight;
    if (&other == &state || !f.active || f.request.act != act || f.target == machine::no_pfn) return;
    if (f.target_serial != state.flight.target_serial) return;
    const std::uint32_t its_frames = act == Act::split ? 1u << f.request.order : 1;
    if (f.target < first + frames && first < f.target + its_frames) ++count;
  });
  return count;
}

Ruling Oracle::State::on_call(const Event& event, ContextState& state) {
  Flight& f = state.flight;
  // Rights come from these flags; between an allocator's function and the next call nobody else changes them.
  if (enters_allocator(f.request.act) && f.task_flags != static_cast<std::uint32_t>(event.value2)) {
    return broken("ctx.balance", machine::no_pfn,
                  fmt::format("task flags {:#x} after operation {}, they were {:#x} at its call", event.value2, f.op,
                              f.task_flags));
  }
  f.open(event);
  f.mems = state.mems_allowed;
  if (is_surely_offline(event.cpu)) return happens_offline(event.cpu, machine::no_pfn, "an operation is called there");
  if (!state.entered) {
    state.entered = true;
    state.entered_count = event.preempt_count;
    state.entered_irqs = event.irqs;
  }
  const unsigned index = index_of(event.who);
  if (index < contexts_used && event.op < the_case->programs[index].ops.size()) {
    f.request = request_of(the_case->programs[index].ops[event.op]);
    if (f.request.act == Act::client_add)
      f.request.number = std::min<std::uint64_t>(f.request.number, client_pages_most);
  } else {
    f.request.act = Act::clean_up;
  }
  const Act act = f.request.act;
  if (spilt_by != 0 && !is_sound_after_spill(event, act)) return undecidable();
  owe_panic(state);
  if (act == Act::none) return Ruling::fine;
  if (event.held != 0) {
    if (const Ruling ruling = request_under_locks(event, f); ruling == Ruling::broken) return ruling;
  }
  if (moves_objects(act)) {
    state.object = {.changes = ++object_changes, .alone = object_ops == 0};
    if (shrinkers == 0) state.object.moves = objects_moves();
    ++object_ops;
  }
  if (exposed != 0 && (allocates(act) || handles_blocks(act) || act == Act::blemish || act == Act::fork ||
                       act == Act::exit || moves_objects(act)))
    return undecidable();
  if (handles_blocks(act)) ++handling;
  if (enters_allocator(act) && !moves_cpus(act) && (f.preempt_count & machine::nmi_mask) != 0) [[unlikely]] {
    f.nmi = f.unjudged = true;
    const bool reads = act == Act::count || act == Act::address || act == Act::nr_free;
    for (unsigned kind = 0; kind != machine::report_kinds; ++kind) f.owe(static_cast<ReportKind>(kind), 0, many);
    // Clients and exact frees of nothing never reach the allocator.
    const bool nothing =
        act == Act::client_drop || ((act == Act::client_add || act == Act::release_exact) && f.request.number == 0);
    f.owe(ReportKind::nmi_entry, reads || nothing ? 0 : 1, many);
    if (changes_free_memory(act)) enter_mutator();
    if (allocates(act)) allocating.push_back(static_cast<std::uint8_t>(index));
    if (moves_objects(act)) object_changes += 2;  // nothing is known of anybody's outcome
    f.changes = changes_from_here(changes_free_memory(act) ? 1 : 0);
    return reads ? Ruling::fine : crime("nmi-entry", machine::no_pfn, "an allocator function is called from NMI");
  }
  if (changes_free_memory(act))
    enter_mutator();
  else if (act == Act::get || act == Act::split)
    ++changes;
  f.changes = changes_from_here(changes_free_memory(act) ? 1 : 0);
  if (allocates(act)) {
    const Ruling ruling = call_alloc(event, f);
    allocating.push_back(static_cast<std::uint8_t>(index));
    if (allocating.size() > 1) after_change();
    return ruling;
  }
  if (on_objects(act)) return call_object(event, state);
  if (on_stacks(act)) return call_stack(state, index);
  if (on_percpu(act)) return call_percpu(state);
  switch (act) {
    case Act::clean_up:
      if (event.detail != 0) return clean_up_of_object(event, state);
      return call_clean_up(event, state);
    case Act::link: {
      const Slot* held = slot(f.request.in.slot, Held::object);
      return held != nullptr ? call_object_memory(state, *held) : Ruling::fine;
    }
    case Act::set_min_free:
      ++mark_changers;
      for (const std::uint8_t other : allocating) request_in_flight(other).unjudged = true;
      for (unsigned node = 0; node != machine::nodes_max; ++node) excuse_kswapd(node);
      geometry.set_min_free(f.request.number);
      return Ruling::fine;
    case Act::release:
    case Act::put:
    case Act::release_exact:
    case Act::get:
    case Act::split:
    case Act::count:
    case Act::address:
    case Act::fill:
    case Act::check:
    case Act::poke:
    case Act::blemish:
    case Act::forget:
    case Act::peek: {
      if (const Slot* object = slot(f.request.in.slot, Held::object)) {
        if (act != Act::release && act != Act::put && act != Act::release_exact)
          return call_object_memory(state, *object);
        const Pfn frame = frame_of(object->address + f.request.in.offset);
        if (frame == machine::no_pfn) return fatal("foreign-free", frame, "the page of what is no object is freed");
        return act == Act::release_exact ? call_release_exact(state, *object, frame)
                                         : call_release(state, frame, f.request.order, object->serial);
      }
      const Slot* held = slot(f.request.in.slot);
      if (held == nullptr) return Ruling::fine;  // the harness skips these
      const Pfn frame = held->first + f.request.in.offset;
      switch (act) {
        case Act::release:
        case Act::put: return call_release(state, frame, f.request.order, held->serial);
        case Act::release_exact: return call_release_exact(state, *held, frame);
        case Act::get: return call_get(state, *held, frame);
        case Act::split: return call_split(state, *held, frame);
        case Act::count:
        case Act::address:
          f.unjudged = act == Act::count && contested(state);
          return geometry.absent(frame) ? fatal("wild-free", frame, "the frame does not exist") : Ruling::fine;
        case Act::peek: return blocks_watched ? call_peek(state, frame) : Ruling::fine;
        case Act::poke: return call_poke(state, *held, frame);
        case Act::blemish: return call_blemish(state, *held, frame);
        case Act::forget: {
          if (geometry.absent(frame)) return Ruling::fine;
          const Ledger::Found found = ledger.find(frame);
          if (found.entry.holds() != Holds::live) return Ruling::fine;
          Object& object = ledger.object(found.entry.payload());
          if (object.serial != held->serial) return Ruling::fine;
          object.forgotten = true;
          return crime("leak", object.first, "the owner has lost its block");
        }
        default: return call_write(state, *held, frame);
      }
    }
    case Act::client_touch:
    case Act::client_drop:
      for (unsigned z = 0; z != geometry.count(); ++z) f.client_held += ledger.zone(z).client_pages[f.request.byte];
      return Ruling::fine;
    default: return call_context(event, f, index);
  }
}

Ruling Oracle::State::on_result(const Event& event, ContextState& state) {
  Flight& f = state.flight;
  if (!f.active) return Ruling::fine;
  f.active = false;
  if (f.exposed) --exposed;
  const Act act = f.request.act;
  if (handles_blocks(act)) --handling;
  if (moves_objects(act)) --object_ops;
  const unsigned index = index_of(event.who);
  Ruling ruling = Ruling::fine;
  if (f.owed_panic != machine::PanicKind::none)
    return broken("stack.overrun", machine::no_pfn, "the scheduler did not see that the stack was overrun");
  if (allocates(act)) {
    ruling = judge_result(event, f);
    stop_allocating(index);
  } else if (f.nmi) {
    settle(state);
  } else if (on_objects(act)) {
    ruling = judge_object(event, state);
  } else if (on_stacks(act)) {
    ruling = judge_stack(event, state);
  } else if (on_percpu(act)) {
    ruling = judge_percpu(event, state);
  } else {
    switch (act) {
      case Act::none: break;
      case Act::release:
      case Act::put:
      case Act::release_exact:
      case Act::clean_up:
        ruling = f.request.byte == clean_up_leak_scan ? judge_leak_scan(event) : judge_release(event, state);
        break;
      case Act::wild: fill_slot(f.request.out, {.first = event.pfn}); break;
      case Act::count:
      case Act::address:
      case Act::nr_free: ruling = judge_count(event, f); break;
      case Act::drain_all:
      case Act::drain_local: ruling = judge_drain(event, f); break;
      case Act::set_min_free: --mark_changers; break;
      case Act::client_drop: ruling = judge_dropped(event, f); break;
      case Act::client_touch: ruling = judge_touched(event, f); break;
      case Act::set_process: ruling = judge_set_process(event, f); break;
      case Act::spin_lock:
        // A handler on top of the holder: reported, granted, and the lock stays the holder's.
        if (f.reports_used && f.seen[static_cast<unsigned>(ReportKind::lock_recursion)] != 0 &&
            spin_holder[f.request.byte & 3] != index + 1)
          break;
        if (spin_holder[f.request.byte & 3] != index + 1) spin_depth[f.request.byte & 3] = 0;
        spin_holder[f.request.byte & 3] = static_cast<std::uint8_t>(index + 1);
        ++spin_depth[f.request.byte & 3];
        break;
      case Act::spin_trylock:
        if (event.value == 0) break;
        spin_holder[f.request.byte & 3] = static_cast<std::uint8_t>(index + 1);
        spin_depth[f.request.byte & 3] = 1;
        break;
      case Act::mutex_trylock:
        if (event.value != 0) mutex_holder[f.request.byte & 3] = static_cast<std::uint8_t>(index + 1);
        break;
      case Act::shrinker: --shrinkers; break;
      case Act::set_mems: ruling = judge_mems_allowed(event, state); break;
      case Act::cpu_down:
      case Act::cpu_up: ruling = judge_hotplug(event, state); break;
      case Act::mutex_lock:
        // Who may not sleep does not get a mutex that is held; that he asked was the crime.
        if (mutex_holder[f.request.byte & 3] == 0 || machine::sleepable(f.preempt_count, f.irqs))
          mutex_holder[f.request.byte & 3] = static_cast<std::uint8_t>(index + 1);
        break;
      case Act::get_cpu: ruling = judge_get_cpu(event, f); break;
      case Act::processor_id:
        if (!machine::sleepable(f.preempt_count, f.irqs) && event.value != event.cpu) {
          ruling = broken("ctx.processor-id", machine::no_pfn,
                          fmt::format("cpu {} was told on cpu {}", event.value, event.cpu));
        }
        break;
      default: break;
    }
  }
  if (changes_free_memory(act)) leave_mutator();
  if (ruling != Ruling::fine) return ruling;
  if (f.reports_used || f.owes_context_report) ruling = judge_reports(f);
  if (ruling == Ruling::fine) ruling = judge_balance(event, f);
  return ruling == Ruling::fine && f.last ? undecidable() : ruling;
}

Ruling Oracle::State::end() {
  if (panicked) return Ruling::fine;
  if (over) return first_finding.rule.empty() ? Ruling::fatal : Ruling::broken;
  who = machine::no_context;
  op = 0;
  settle_unannounced();
  Ruling ruling = Ruling::fine;
  for (const Object& object : ledger.objects()) {
    if (object.serial != 0 && !object.forgotten && !object.layer)
      ruling =
          crime("leak", object.first, fmt::format("block {} order {} is live at the end", object.first, object.order));
  }
  if (has_objects) {
    const Ruling of_objects = end_objects();
    if (of_objects != Ruling::fine) ruling = of_objects;
  }
  if (const Ruling of_stacks = end_stacks(); of_stacks != Ruling::fine) ruling = of_stacks;
  if (ruling == Ruling::broken || !promises.traces_placement || mutators != 0) return ruling;
  for (unsigned z = 0; z != geometry.count(); ++z) {
    if (ledger.zone(z).parked != 0) {
      return broken("pcp.drain", machine::no_pfn,
                    fmt::format("{} pages of zone {} stay on per-CPU lists after the last drain", ledger.zone(z).parked,
                                machine::zone_names[geometry.zone(z).kind]));
    }
  }
  return ruling;
}

std::uint32_t Oracle::State::state_class() const {
  unsigned pressure = 0, largest = 0;
  for (unsigned z = 0; z != geometry.count(); ++z) {
    const Zone& zone = geometry.zone(z);
    const ZoneState& now = ledger.zone(z);
    const unsigned level = now.free == 0               ? 4
                           : now.free < zone.mark_min  ? 3
                           : now.free < zone.mark_low  ? 2
                           : now.free < zone.mark_high ? 1
                                                       : 0;
    pressure = std::max(pressure, level);
    largest = std::max(largest, static_cast<unsigned>(std::bit_width(now.orders_free)));
  }
  return pressure * 12 + largest;  // largest: 0 (nothing) .. 11
}

// --- façade ----------------------------------------------------------------------------------------------------------

Oracle::Oracle() : state_(std::make_unique<State>()) {}
Oracle::~Oracle() = default;

Ruling Oracle::begin(const program::Case& the_case, std::span<const subject::ZoneInfo> published,
                     const subject::Promises& promises) {
  return state_->begin(the_case, published, promises);
}
Ruling Oracle::on(const Event& event) { return state_->on(event); }
Ruling Oracle::end() { return state_->end(); }
Ruling Oracle::audit(subject::PagesView& view) { return state_->spilt() ? Ruling::fine : state_->audit(view); }
void Oracle::begin_objects(subject::ObjectsView& view) { state_->begin_objects(view); }
void Oracle::begin_watching() { state_->blocks_watched = true; }
Ruling Oracle::audit_objects(subject::ObjectsView& view, subject::MempoolsView* pools, subject::PercpuView* percpu) {
  return state_->spilt() ? Ruling::fine : state_->audit_objects(view, pools, percpu);
}
Ruling Oracle::audit_buckets(subject::BucketsView& view) {
  return state_->spilt() ? Ruling::fine : state_->audit_buckets(view);
}
Ruling Oracle::begin_percpu(const subject::PercpuLayout& layout, std::span<const subject::StaticVariable> variables) {
  return state_->begin_percpu(layout, variables);
}
Ruling Oracle::begin_stacks(subject::KstacksView& view) { return state_->begin_stacks(view); }
Ruling Oracle::audit_stacks(subject::KstacksView& view) {
  return state_->spilt() ? Ruling::fine : state_->audit_stacks(view);
}
bool Oracle::may_wait_forever(ContextId id) const { return state_->may_wait_forever(State::index_of(id), 0); }
std::uint64_t Oracle::free_pages(unsigned zone) const { return state_->ledger.zone(zone).free; }
std::uint32_t Oracle::state_class() const { return state_->state_class(); }
const Finding& Oracle::crime() const { return state_->first_crime; }
const Finding& Oracle::finding() const { return state_->first_finding; }

std::optional<Oracle::LiveObject> Oracle::live_object(std::uint64_t address) const {
  State& s = *state_;
  if (s.frame_of(address) == machine::no_pfn) return std::nullopt;
  const std::uint32_t index = s.objects.at(address);
  if (index == ObjectLedger::nobody || s.objects.piece(index).forgotten) return std::nullopt;
  const Piece& piece = s.objects.piece(index);
  return LiveObject{piece.cache == 0 ? 0 : s.caches[piece.cache - 1].handle,
                    piece.pool == 0 ? 0 : s.pools[piece.pool - 1].handle};
}

bool Oracle::is_empty_cache(std::uint64_t handle) const {
  const auto& caches = state_->caches;
  const auto found = std::ranges::find_if(caches, [&](const CacheRecord& c) { return c.alive && c.handle == handle; });
  return found != caches.end() && found->live == 0 &&
         !state_->has_pool(static_cast<std::uint32_t>(found - caches.begin()) + 1);
}

Oracle::LiveBlock Oracle::live_block(Pfn frame) const {
  State& s = *state_;
  if (s.geometry.absent(frame)) return {};
  const Ledger::Found found = s.ledger.find(frame);
  if (found.entry.holds() != Holds::live) return {};
  const Object& object = s.ledger.object(found.entry.payload());
  if (object.forgotten || object.layer) return {};
  return {.first = object.first,
          .frames = 1u << object.order,
          .order = object.order,
          .references = object.references,
          .compound = object.compound};
}

}  // namespace memtorture::oracle
