// Per-CPU memory: areas, what may be asked for, and the work item (domain.md 16).
//
// An area is its owner's from the result of its allocation until the call of its release. It has a copy for each CPU,
// at the same offset of each unit; how units lie the subject has told, and that they are apart is judged with it
// (percpu_results.cpp). Static variables are areas that were always there. What may be done to copies, by whom and
// under which protection, is percpu_access.cpp's.
//
// Rulings. A request that may wait is refused only if memory was: a request for pages, kmalloc, or the layer's own
// fault sites. One that may not wait may be refused as long as the white box shows no place that is populated. Whoever
// frees what is no area is told so, unless an area begins there by now. An area that is used after it was given up, or
// given up while it is used: nobody can notice.
//
// Not checked: which free place an area gets, but for its being free; when the work item comes (it is judged by what is
// there when it has gone, percpu_audit.cpp).
#include <fmt/core.h>

#include <algorithm>
#include <bit>

#include "model/oracle/state.h"

namespace memtorture::oracle {

Ruling Oracle::State::begin_percpu(const subject::PercpuLayout& layout,
                                   std::span<const subject::StaticVariable> variables) {
  percpu_layout = layout;
  const auto wrong = [&](std::string what) { return broken("percpu.place", machine::no_pfn, std::move(what)); };
  if (layout.unit_bytes == 0 || layout.unit_bytes % shape.page_bytes() != 0 || layout.units != shape.cpus)
    return wrong(fmt::format("{} units of {} bytes on {} CPUs", layout.units, layout.unit_bytes, shape.cpus));
  if (layout.static_bytes + layout.reserved_bytes >= layout.unit_bytes)
    return wrong("the first chunk has nothing to give");
  for (const subject::StaticVariable& v : variables) {
    PercpuRecord record{.cookie = v.cookie, .bytes = v.bytes, .serial = ++serial};
    record.copies.resize(shape.cpus);
    for (PercpuCopy& copy : record.copies) copy.counter = record.narrow(v.initial);
    if (v.bytes == 0 || v.cookie - layout.static_cookie + v.bytes > layout.static_bytes ||
        area_at(v.cookie, v.bytes) != 0)
      return wrong(fmt::format("the static variable {} is outside of its area, or on another one", v.name));
    areas.push_back(std::move(record));
  }
  percpu_statics = static_cast<unsigned>(areas.size());
  return Ruling::fine;
}

// Index + 1 of a live area that has any of these bytes; 0: none.
std::uint32_t Oracle::State::area_at(std::uint64_t cookie, std::uint64_t bytes) const {
  for (const PercpuRecord& r : areas) {
    if (r.serial != 0 && (r.has(cookie) || (r.cookie - cookie) < bytes))
      return static_cast<std::uint32_t>(&r - areas.data()) + 1;
  }
  return 0;
}

PercpuRecord* Oracle::State::live_area(std::uint16_t index) {
  const Slot* held = slot(index, Held::percpu);
  if (held == nullptr) return nullptr;
  PercpuRecord& record = areas[held->object];
  return record.serial == held->serial ? &record : nullptr;
}

bool Oracle::State::area_may_be(const Request& r) const {
  return r.number != 0 && r.number <= percpu_layout.size_max && std::has_single_bit(r.align) &&
         r.align <= shape.page_bytes();
}

Ruling Oracle::State::dead_area(std::string_view doing) {
  return fatal("percpu-use-after-free", machine::no_pfn, fmt::format("a per-CPU area that was given up is {}", doing));
}

// --- calls ----------------------------------------------------------------------------------------------------------

Ruling Oracle::State::call_percpu(ContextState& state) {
  Flight& f = state.flight;
  const Request& r = f.request;
  state.percpu.area = 0;
  state.percpu.bad = state.percpu.faulted = false;
  state.percpu.places.clear();
  if (percpu_layout.unit_bytes == 0) return Ruling::fine;  // the harness skips it
  if (manages_percpu(r.act)) {
    ++own_allocations;
    f.use_reports();
    state.percpu.moves = percpu_ops == 0 ? ++percpu_moves : (++percpu_moves, 0);
    ++percpu_ops;
    return r.act == Act::percpu_alloc ? call_percpu_alloc(state) : call_percpu_free(state);
  }
  if (r.act == Act::percpu_var) return Ruling::fine;
  if (r.act == Act::copy_add) return call_addition(state, index_of(who));
  if (slot(r.of, Held::percpu) == nullptr) return Ruling::fine;  // the harness skips it
  PercpuRecord* const area = live_area(r.of);
  if (area == nullptr) return dead_area("used");
  state.percpu.area = static_cast<std::uint32_t>(area - areas.data()) + 1;
  state.percpu.serial = area->serial;
  if (adds_percpu(r.act)) return call_addition(state, index_of(who));
  if (r.act == Act::percpu_sum) {
    state.percpu.exact = area->adding == 0;
    state.percpu.changes = area->changes;
  }
  if (r.act == Act::copy_this && sleepable_at(f)) {
    f.owe(ReportKind::processor_id, 1, 1);
    return crime("processor-id-preemptible", machine::no_pfn, "this_cpu_ptr where the task may migrate");
  }
  return Ruling::fine;
}

Ruling Oracle::State::call_percpu_alloc(ContextState& state) {
  Flight& f = state.flight;
  const Request& r = f.request;
  Ruling ruling = Ruling::fine;
  const bool may_be = area_may_be(r);
  if (!may_be) {
    f.owe(ReportKind::percpu_illegal, 1, 1);
    ruling = crime("percpu-illegal", machine::no_pfn,
                   fmt::format("a per-CPU area of {} bytes, aligned to {}", r.number, r.align));
  } else if (may_sleep(r.gfp) && !sleepable_at(f)) {
    f.atomic_crime = true;
    f.owe(ReportKind::sleeping, 1, 1);
    ruling = crime("sleep-in-atomic", machine::no_pfn, "a per-CPU area is asked for in atomic context");
  }
  // Told in the end, if it is refused (on_percpu_report).
  f.owe(ReportKind::percpu_failed, 0, may_sleep(r.gfp) && (r.gfp & subject::gfp_nowarn) == 0 && may_be ? 1 : 0);
  f.owe(ReportKind::percpu_limit, 0, 1);
  return ruling;
}

Ruling Oracle::State::call_percpu_free(ContextState& state) {
  Flight& f = state.flight;
  const Request& r = f.request;
  const Slot* held = slot(r.in.slot, Held::percpu);
  if (held == nullptr) return Ruling::fine;  // the harness skips it
  PercpuRecord& area = areas[held->object];
  const std::uint64_t cookie = held->address + r.in.offset;
  const bool owned = area.serial == held->serial && r.in.offset == 0;
  if (owned && held->object >= percpu_statics) {
    if (area.adding != 0) return dead_area("still used by somebody else");
    area.serial = 0;
    return Ruling::fine;
  }
  const std::uint32_t there = area_at(cookie, 1);
  const bool begins = there != 0 && areas[there - 1].cookie == cookie && there > percpu_statics;
  const std::string what = fmt::format("{:#x} is freed, which is no per-CPU area", cookie);
  if (begins || percpu_ops > 1) return fatal("percpu-bad-free", machine::no_pfn, what);
  state.percpu.bad = true;
  f.owe(ReportKind::percpu_bad_free, 1, 1);
  return crime("percpu-bad-free", machine::no_pfn, what);
}

// --- the work item --------------------------------------------------------------------------------------------------

Ruling Oracle::State::on_work_began(const Event& event, ContextState& state) {
  if (event.who != machine::percpu_work || state.flight.active)
    return broken("layer.gfp", machine::no_pfn, "the work item of per-CPU memory runs where it is not");
  state.flight.open(event);
  state.flight.request = {.act = Act::percpu_work, .gfp = subject::GFP_KERNEL};
  state.flight.irqs = event.irqs;
  state.object = {.changes = ++object_changes, .alone = object_ops == 0};
  ++object_ops;
  ++own_allocations;
  ++percpu_ops;
  ++percpu_moves;
  return exposed != 0 ? undecidable() : Ruling::fine;
}

Ruling Oracle::State::on_work_ended(const Event& event, ContextState& state) {
  if (!state.flight.active) return broken("layer.gfp", machine::no_pfn, "work ends that never began");
  state.flight.active = false;
  --object_ops;
  --percpu_ops;
  ++percpu_moves;
  ++own_allocations;
  const Ruling ruling = state.flight.reports_used ? judge_reports(state.flight) : Ruling::fine;
  return ruling == Ruling::fine ? judge_balance(event, state.flight) : ruling;
}

}  // namespace memtorture::oracle
