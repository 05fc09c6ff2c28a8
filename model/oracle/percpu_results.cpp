// What operations on per-CPU memory came to (domain.md 16.4, P-PERCPU-1..10). The argument is in percpu.cpp.
//
// Counters. Every copy has one, and what it holds is known: what it began with, and all that was added to it. Additions
// of which one was in the middle while another began or ended are not told apart by what they loaded, but their sum is
// known again when both are through. So the total of an area is the sum of what was added over every interleaving, or
// an update was lost, which is a crime of somebody.
#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "model/oracle/state.h"

namespace memtorture::oracle {

Ruling Oracle::State::judge_percpu(const Event& event, ContextState& state) {
  Flight& f = state.flight;
  const Request& r = f.request;
  if (manages_percpu(r.act)) {
    if (percpu_layout.unit_bytes == 0) return Ruling::fine;
    --percpu_ops;
    ++own_allocations;
    const Ruling ruling = r.act == Act::percpu_alloc ? judge_percpu_alloc(event, state) : Ruling::fine;
    ++percpu_moves;
    return ruling;
  }
  switch (r.act) {
    case Act::percpu_var: {
      const std::uint32_t index = area_at(event.value, 1);
      if (index == 0 || index > percpu_statics || areas[index - 1].cookie != event.value)
        return broken("percpu.place", machine::no_pfn, "no such static variable");
      fill_slot(r.out,
                {.what = Held::percpu, .address = event.value, .object = index - 1, .serial = areas[index - 1].serial});
      return Ruling::fine;
    }
    case Act::copy_get:
    case Act::copy_this:
    case Act::copy_of: return judge_copy(event, state);
    case Act::percpu_sum: return judge_sum(event, state);
    default: return adds_percpu(r.act) ? judge_addition(event, state) : Ruling::fine;
  }
}

Ruling Oracle::State::judge_get_cpu(const Event& event, Flight& f) {
  if (event.value != event.cpu)
    return broken("percpu.cpu", machine::no_pfn, fmt::format("get_cpu told {} on cpu {}", event.value, event.cpu));
  fill_slot(f.request.out,
            {.what = Held::cpu, .serial = ++serial, .cpu = static_cast<std::uint32_t>(event.value), .own = true});
  return Ruling::fine;
}

// --- areas ----------------------------------------------------------------------------------------------------------

Ruling Oracle::State::judge_percpu_alloc(const Event& event, ContextState& state) {
  const Request& r = state.flight.request;
  if (event.value == subject::no_percpu) return judge_percpu_refusal(event, state);
  if (!area_may_be(r))
    return broken("percpu.null", machine::no_pfn,
                  fmt::format("{} bytes aligned to {} were granted", r.number, r.align));
  if (const Ruling ruling = judge_places(event, state); ruling != Ruling::fine) return ruling;
  PercpuRecord record{.cookie = event.value, .bytes = r.number, .serial = ++serial, .reserved = r.reserved};
  record.copies.resize(shape.cpus);
  const auto unused = std::ranges::find_if(areas, [&](const PercpuRecord& a) {
    return &a - areas.data() >= static_cast<std::ptrdiff_t>(percpu_statics) && a.serial == 0 && a.adding == 0;
  });
  const auto index = static_cast<std::uint32_t>(unused - areas.begin());
  if (unused == areas.end()) {
    areas.push_back(std::move(record));
  } else {
    *unused = std::move(record);
  }
  fill_slot(r.out, {.what = Held::percpu, .address = event.value, .object = index, .serial = serial});
  return Ruling::fine;
}

Ruling Oracle::State::judge_percpu_refusal(const Event& event, ContextState& state) {
  Flight& f = state.flight;
  const Request& r = f.request;
  const auto told = [&](ReportKind kind) { return f.seen[static_cast<unsigned>(kind)]; };
  if (!area_may_be(r)) return Ruling::fine;
  const bool undisturbed_so_far = state.percpu.moves != 0 && state.percpu.moves == percpu_moves;
  if (!may_sleep(r.gfp) || f.atomic_crime) {
    if (event.detail != 0 && !r.reserved && undisturbed_so_far)  // the white box looks at dynamic areas only
      return broken("percpu.fail", machine::no_pfn, "an atomic request was refused with a populated place at hand");
    return Ruling::fine;
  }
  if ((r.gfp & subject::gfp_nowarn) == 0 && told(ReportKind::percpu_failed) == 0 && percpu_told + percpu_ops < 10)
    return broken("page.report.missing", machine::no_pfn, "a failure of per-CPU memory was not told");
  if (state.object.refused || f.faulted || state.percpu.faulted) return Ruling::fine;
  if (r.reserved) {
    if (!undisturbed_so_far || !reserved_room(r)) return Ruling::fine;
    return broken("percpu.fail", machine::no_pfn, "refused, and the reserved area has room");
  }
  return broken("percpu.fail", machine::no_pfn, "a per-CPU area was refused without a reason");
}

// Is there a gap in the reserved area that holds the request whatever alignment leaves over?
bool Oracle::State::reserved_room(const Request& r) const {
  constexpr std::uint64_t pieces = 6;  // bytes that an area may be longer than was asked for
  std::vector<std::pair<std::uint64_t, std::uint64_t>> taken;
  for (const PercpuRecord& a : areas)
    if (a.serial != 0 && a.reserved) taken.emplace_back(a.cookie, a.cookie + a.bytes + pieces);
  std::ranges::sort(taken);
  const std::uint64_t begin = percpu_layout.static_cookie + percpu_layout.static_bytes;
  std::uint64_t at = begin;
  const std::uint64_t end = begin + percpu_layout.reserved_bytes;
  taken.emplace_back(end, end);
  for (const auto& [from, to] : taken) {
    const std::uint64_t start = (at + r.align - 1) & ~(r.align - 1);
    if (start + r.number + pieces <= from) return true;
    at = std::max(at, to);
  }
  return false;
}

// P-PERCPU-1, P-PERCPU-2: one copy for each CPU, each in its own unit of one chunk, at one offset.
Ruling Oracle::State::judge_places(const Event& event, ContextState& state) {
  const Request& r = state.flight.request;
  const auto& places = state.percpu.places;
  const auto wrong = [&](std::string what) {
    return broken("percpu.place", machine::no_pfn, fmt::format("{} bytes at {:#x}: {}", r.number, event.value, what));
  };
  if (places.size() != shape.cpus) return wrong(fmt::format("{} copies", places.size()));
  const std::uint64_t first = places[0].address;
  const Pfn frame = frame_of(first);
  if (frame == machine::no_pfn || geometry.absent(frame) || is_high(frame)) return wrong("not in memory");
  const Ledger::Found found = ledger.find(frame);
  if (found.entry.holds() != Holds::live || !ledger.object(found.entry.payload()).layer)
    return wrong(fmt::format("in a frame that is {}", whose(frame)));
  const Object& block = ledger.object(found.entry.payload());
  const std::uint64_t chunk = machine::Ram::linear_base + (std::uint64_t{block.first} << shape.page_shift);
  const std::uint64_t offset = first - chunk, unit = percpu_layout.unit_bytes;
  if (offset + r.number > unit || unit * shape.cpus > shape.page_bytes() << block.order)
    return wrong("not in the first unit of a chunk");
  if (first - percpu_layout.first_chunk != event.value - percpu_layout.static_cookie)
    return wrong("the cookie leads elsewhere");
  if (first % r.align != 0) return wrong(fmt::format("not aligned to {}", r.align));
  const std::uint64_t in_first = first - percpu_layout.first_chunk;
  const std::uint64_t kept = percpu_layout.static_bytes + percpu_layout.reserved_bytes;
  const bool is_reserved = in_first >= percpu_layout.static_bytes && in_first + r.number <= kept;
  if (r.reserved != is_reserved && (r.reserved || in_first < kept))
    return wrong("of the wrong part of the first chunk");
  if (area_at(event.value, r.number) != 0) return wrong("somebody has them");
  for (const PercpuPlace& place : places) {
    if (place.address != first + place.cpu * unit)
      return wrong(fmt::format("the copy of cpu {} is at another offset", place.cpu));
    if (objects.owner(place.address, r.number) != ObjectLedger::nobody) return wrong("an object has them");
    if (!place.populated)
      return broken("percpu.populate", frame, fmt::format("the copy of cpu {} is not populated", place.cpu));
    if (place.dirty != ~std::uint64_t{0})
      return broken("percpu.zero", frame,
                    fmt::format("byte {} of the copy of cpu {} is not zero", place.dirty, place.cpu));
  }
  return Ruling::fine;
}

// --- copies ---------------------------------------------------------------------------------------------------------

Ruling Oracle::State::judge_copy(const Event& event, ContextState& state) {
  const Request& r = state.flight.request;
  if (state.percpu.area == 0) return Ruling::fine;
  const PercpuRecord& area = areas[state.percpu.area - 1];
  const std::uint64_t base = area.cookie - percpu_layout.static_cookie + percpu_layout.first_chunk;
  const std::uint64_t cpu = (event.value - base) / percpu_layout.unit_bytes;
  const bool known = r.act == Act::copy_of || r.act == Act::copy_get || !sleepable_at(state.flight);
  const std::uint64_t right = r.act == Act::copy_of ? r.count : event.cpu;
  if (r.act == Act::copy_of && r.count >= shape.cpus) return Ruling::fine;  // the harness skips it
  if ((event.value - base) % percpu_layout.unit_bytes != 0 || cpu >= shape.cpus || (known && cpu != right))
    return broken("percpu.cpu", machine::no_pfn, fmt::format("{:#x} is not the copy of cpu {}", event.value, right));
  fill_slot(r.out, {.what = Held::copy,
                    .address = event.value,
                    .object = state.percpu.area - 1,
                    .serial = state.percpu.serial,
                    .cpu = static_cast<std::uint32_t>(cpu),
                    .own = r.act != Act::copy_of});
  return Ruling::fine;
}

Ruling Oracle::State::judge_addition(const Event& event, ContextState& state) {
  const Flight& f = state.flight;
  const Request& r = f.request;
  if (state.percpu.area == 0) return Ruling::fine;
  PercpuRecord& area = areas[state.percpu.area - 1];
  --area.adding;
  const bool exact = state.percpu.exact && area.changes == state.percpu.changes && area.adding == 0;
  ++area.changes;
  const unsigned cpu = event.order;
  if (cpu >= area.copies.size() || (r.act == Act::this_add && !sleepable_at(f) && cpu != f.cpu))
    return broken("percpu.cpu", machine::no_pfn,
                  fmt::format("an addition to the copy of cpu {} on cpu {}", cpu, f.cpu));
  PercpuCopy& copy = area.copies[cpu];
  const std::uint64_t before = copy.counter;
  copy.counter = area.narrow(copy.counter + r.count);
  if (r.act == Act::this_add) {
    if (!sleepable_at(f) || !copy.remote) return Ruling::fine;
    return judge_locks(copy, {cpu, true, true}, index_of(who));
  }
  if (event.detail != 0) {
    area.spoilt = true;
    return lost_update(
        fmt::format("{} was loaded from the copy of cpu {}, and was not there any more when {} was added", event.value,
                    cpu, r.count));
  }
  if (!exact || area.spoilt || event.value == before) return Ruling::fine;
  return broken("percpu.content", machine::no_pfn,
                fmt::format("the copy of cpu {} held {}, not {}", cpu, event.value, before));
}

Ruling Oracle::State::judge_percpu_contents(const Event& event, ContextState& state) {
  const std::uint32_t index = area_at(event.value2, 1);
  if (index == 0 || event.order >= areas[index - 1].copies.size()) return Ruling::fine;
  const PercpuRecord& area = areas[index - 1];
  const bool reading = state.flight.active && state.flight.request.act == Act::percpu_sum;
  const bool exact =
      area.adding == 0 && !area.spoilt && (!reading || (state.percpu.exact && state.percpu.changes == area.changes));
  if (event.gfp != 0)
    return broken("percpu.content", machine::no_pfn,
                  fmt::format("byte {} of the copy of cpu {} is not what its owner wrote", event.gfp - 1, event.order));
  if (!exact || (reading == false && machine::is_daemon(event.who))) return Ruling::fine;
  if (event.value == area.copies[event.order].counter) return Ruling::fine;
  return broken(
      "percpu.content", machine::no_pfn,
      fmt::format("the copy of cpu {} holds {}, not {}", event.order, event.value, area.copies[event.order].counter));
}

Ruling Oracle::State::judge_sum(const Event& event, ContextState& state) {
  if (state.percpu.area == 0) return Ruling::fine;
  const PercpuRecord& area = areas[state.percpu.area - 1];
  if (area.serial != state.percpu.serial || area.spoilt || !state.percpu.exact || area.adding != 0 ||
      area.changes != state.percpu.changes)
    return Ruling::fine;
  std::uint64_t total = 0;
  for (const PercpuCopy& copy : area.copies) total += copy.counter;
  if (event.value == total) return Ruling::fine;
  return broken("percpu.content", machine::no_pfn, fmt::format("the total is {}, not {}", event.value, total));
}

// --- reports --------------------------------------------------------------------------------------------------------

// At most ten failures are told, and after the tenth once that there will be no more. False: it was not due.
bool Oracle::State::on_percpu_report(const Event& event, Flight& f) {
  const auto kind = static_cast<ReportKind>(event.detail);
  if (!f.active || f.request.act != Act::percpu_alloc) return false;
  if (kind == ReportKind::percpu_failed) return ++percpu_told <= 10;
  return !std::exchange(percpu_limit_told, true) && percpu_told + percpu_ops > 10;  // others count before they tell
}

}  // namespace memtorture::oracle
