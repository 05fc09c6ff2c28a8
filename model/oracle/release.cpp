// Releases and references: what giving a frame back means, from the ledger alone (domain.md 2.4-2.6, 4.5, 8; K26).
//
// A release takes effect for its owner at the call; its frames are in limbo until the subject says where they went or
// the call returns. When several contexts drop references of one block at once, whoever comes last in the subject frees
// it, so the limbo passes to the one that is still in flight.
#include <fmt/core.h>

#include <algorithm>

#include "model/oracle/state.h"

namespace memtorture::oracle {

// What releasing a frame would be.
struct Oracle::State::Claim {
  using enum machine::BadPageReason;
  enum class Kind : std::uint8_t { legal, crime, fatal } kind;
  RuleId rule = "double-free";
  ReportKind report = ReportKind::bad_page;
  unsigned reports_most = 1;
  std::uint32_t object = 0;
  bool leaks = false;                             // the block is lost by design
  bool last = false;                              // what comes after it is nobody's promise
  bool unowned = false;                           // noticed by the frame's own count, while nobody owns it
  ReasonSet reasons = oracle::reasons(refcount);  // for which it may be called bad: all that hold
};

namespace {

// A frame that nobody owns has no reference; tails of a compound block that leaked are still tails.
ReasonSet was_compound(Entry entry) {
  using enum machine::BadPageReason;
  return entry.holds() == Holds::bad ? reasons(refcount, compound) : reasons(refcount);
}

}  // namespace

// Of the blocks that the layer holds, all but the elements of page pools are slabs; those of K12 say nothing of
// themselves. While an object is on its way, so may its slab be.
bool Oracle::State::is_slab(const Object& block) const {
  return block.layer && !block.stack && has_objects && !buckets && object_ops == 0 && percpu_layout.unit_bytes == 0 &&
         std::ranges::find(pools, subject::PoolKind::pages, &PoolRecord::kind) == pools.end();
}

Oracle::State::Claim Oracle::State::claim(const Request& request, Pfn frame, unsigned order, std::uint32_t handle) {
  using enum Claim::Kind;
  const bool put = request.act == Act::put;
  // Addresses are of the linear map, which ends with low memory.
  const bool beyond = frame >= geometry.frames();
  if (request.by_address && (beyond || is_high(frame)))
    return {.kind = crime, .rule = "wild-free", .report = ReportKind::bad_address};
  if (geometry.absent(frame)) return {.kind = fatal, .rule = "wild-free"};
  if (geometry.reserved(frame)) {
    if (order >= ledger.orders()) return {.kind = fatal, .rule = "reserved-free"};
    return {.kind = crime,
            .rule = "reserved-free",
            .reports_most = std::min(many, 1u << order),
            .reasons = reasons(Claim::reserved)};
  }
  const Ledger::Found found = ledger.find(frame);
  switch (found.entry.holds()) {
    case Holds::nothing:
    case Holds::client: return {.kind = fatal, .rule = "foreign-free"};
    case Holds::limbo: return {.kind = fatal, .rule = "double-free"};
    case Holds::free:
    case Holds::parked:
    case Holds::bad:
      return {.kind = crime,
              .rule = handle == 0 ? RuleId("wild-free")
                      : put       ? RuleId("put-too-many")
                                  : RuleId("double-free"),
              .unowned = true,
              .reasons = was_compound(found.entry)};
    case Holds::live: break;
  }
  const Object& object = ledger.object(found.entry.payload());
  const bool inner = frame != object.first;
  if (inner && !(put && object.compound))
    return {.kind = crime,
            .rule = put ? RuleId("put-too-many") : RuleId("interior-free"),
            .unowned = object.serial != handle,
            .reasons = object.compound ? reasons(Claim::refcount, Claim::compound) : reasons(Claim::refcount)};
  const bool right_order = put || order == object.order;
  if (object.serial != handle && is_slab(object))
    return {.kind = crime,
            .rule = "foreign-free",
            .reports_most = right_order ? 1 : many,
            .last = true,
            // With a larger order other frames are looked at, too, and called bad for whatever they are.
            .reasons = right_order ? reasons(Claim::flags, Claim::mapping) : static_cast<ReasonSet>(~0u)};
  if (object.serial != handle) return {.kind = fatal, .rule = "foreign-free"};
  const std::uint32_t index = found.entry.payload();
  // put_page of the last reference of a non-compound block would free one frame of it.
  if (put && !object.compound && object.order != 0 && object.references == 1)
    return {.kind = fatal, .rule = "wrong-order-free"};
  if (!put && order != object.order) {
    if (!object.compound || object.references != 1) return {.kind = fatal, .rule = "wrong-order-free"};
    const unsigned most =
        std::min(many, 1u + (1u << std::max<unsigned>(object.order, std::min<unsigned>(order, machine::orders_max))));
    return {
        .kind = crime,
        .rule = "wrong-order-free",
        .reports_most = most,
        .object = index,
        .leaks = true,
        .reasons = static_cast<ReasonSet>(reasons(Claim::compound) | flaw_reasons(object.first, 1u << object.order))};
  }
  if (object.references == 1 && !flaws.empty()) {
    const unsigned flawed = flaws_in(object.first, 1u << object.order);
    if (flawed != 0)
      return {.kind = crime,
              .rule = "blemished-free",
              .reports_most = std::min(many, flawed),
              .object = index,
              .leaks = true,
              .reasons = flaw_reasons(object.first, 1u << object.order)};
  }
  return {.kind = legal, .object = index};
}

Ruling Oracle::State::call_release(ContextState& state, Pfn frame, unsigned order, std::uint32_t handle) {
  const Claim claimed = claim(state.flight.request, frame, order, handle);
  if (claimed.kind == Claim::Kind::legal) return give_up(state, claimed.object);
  std::string what = fmt::format("frame {} order {} is released while {}", frame, order, whose(frame));
  if (claimed.kind == Claim::Kind::fatal) return fatal(claimed.rule, frame, std::move(what));
  state.flight.owe(claimed.report, 1, claimed.reports_most);
  state.flight.reasons = claimed.reasons;
  state.flight.last = claimed.last;
  if (claimed.leaks) lose(claimed.object);
  return noticed(state.flight, claimed, frame, std::move(what));
}

Ruling Oracle::State::noticed(Flight& f, const Claim& claimed, Pfn frame, std::string what) {
  if (claimed.unowned) return noticed_if_free(f, claimed.rule, frame, std::move(what));
  const bool nobodys = claimed.report == ReportKind::bad_address || claimed.rule.name() == "reserved-free";
  return nobodys ? crime(claimed.rule, frame, std::move(what)) : exposed_crime(f, claimed.rule, frame, std::move(what));
}

// free_pages_exact is free_page of every frame of the size.
Ruling Oracle::State::call_release_exact(ContextState& state, const Slot& held, Pfn frame) {
  const std::uint64_t bytes = state.flight.request.number;
  const std::uint64_t pages = bytes / shape.page_bytes() + (bytes % shape.page_bytes() != 0);
  if (pages > ledger.chunk_frames())
    return fatal("wrong-order-free", frame, fmt::format("{} bytes cannot have been one block", bytes));
  for (std::uint32_t i = 0; i != pages; ++i) {
    const Claim claimed = claim(state.flight.request, frame + i, 0, held.serial);
    if (claimed.kind == Claim::Kind::fatal)
      return fatal(claimed.rule, frame + i, fmt::format("frame {} is released while {}", frame + i, whose(frame + i)));
  }
  Ruling ruling = Ruling::fine;
  unsigned least = 0, most = 0, bad_addresses = 0;
  for (std::uint32_t i = 0; i != pages; ++i) {
    const Claim claimed = claim(state.flight.request, frame + i, 0, held.serial);
    if (claimed.kind == Claim::Kind::legal) {
      if (give_up(state, claimed.object) == Ruling::fatal) return Ruling::fatal;
      continue;
    }
    std::string what = fmt::format("frame {} is released while {}", frame + i, whose(frame + i));
    ruling = noticed(state.flight, claimed, frame + i, std::move(what));
    if (ruling == Ruling::fatal) return ruling;
    if (claimed.report == ReportKind::bad_address) {
      bad_addresses = std::min(many, bad_addresses + 1);
      continue;
    }
    least = std::min(many, least + 1);
    most = std::min(many, most + claimed.reports_most);
    state.flight.reasons |= claimed.reasons;
    state.flight.last = state.flight.last || claimed.last;
    if (claimed.leaks) lose(claimed.object);
  }
  if (most != 0) state.flight.owe(ReportKind::bad_page, least, most);
  if (bad_addresses != 0) state.flight.owe(ReportKind::bad_address, 1, bad_addresses);
  return ruling;
}

// The harness gives back what programs left: a legal release by the block's owner, one reference a call.
Ruling Oracle::State::call_clean_up(const Event& event, ContextState& state) {
  if (geometry.absent(event.pfn)) return Ruling::fine;  // a drain, or a client's page: told by other events
  const Ledger::Found found = ledger.find(event.pfn);
  if (found.entry.holds() != Holds::live) return Ruling::fine;
  const Object& object = ledger.object(found.entry.payload());
  return call_release(state, event.pfn, object.order, object.serial);
}

Ruling Oracle::State::give_up(ContextState& state, std::uint32_t index) {
  Object& object = ledger.object(index);
  const Pfn first = object.first;
  const unsigned order = object.order;
  state.flight.target = first;
  state.flight.target_serial = object.serial;
  --object.references;
  if (contested(state)) [[unlikely]] {
    // A reference that somebody is still taking keeps nothing alive yet.
    const unsigned coming = in_flight_on(state, Act::get, first, 1);
    if ((coming != 0 && object.references <= coming) || in_flight_on(state, Act::split, first, 1u << order) != 0)
      return fatal("block-race", first,
                   fmt::format("a reference of block {} is dropped while another context works on it", first));
  }
  if (object.references != 0) return Ruling::fine;
  ledger.drop_object(index);
  to_limbo(state, first, order);
  return Ruling::fine;
}

void Oracle::State::lose(std::uint32_t index) {
  const Object object = ledger.object(index);
  ZoneState& zone = ledger.zone(geometry.zone_of(object.first));
  zone.live -= std::uint64_t{1} << object.order;
  zone.bad += std::uint64_t{1} << object.order;
  ledger.drop_object(index);
  ledger.set(object.first, Entry(Holds::bad, object.order));
}

void Oracle::State::to_limbo(ContextState& state, Pfn first, unsigned order) {
  const unsigned index = static_cast<unsigned>(&state - contexts.data());
  ZoneState& zone = ledger.zone(geometry.zone_of(first));
  zone.live -= std::uint64_t{1} << order;
  zone.limbo += std::uint64_t{1} << order;
  ledger.set(first, limbo_entry(order, index));
  state.limbo.push_back({first, static_cast<std::uint8_t>(order)});
  if (!allocating.empty()) after_change();
}

// The release has returned: what did not go on a per-CPU list is on the buddy lists now.
void Oracle::State::settle(ContextState& state) {
  const unsigned index = static_cast<unsigned>(&state - contexts.data());
  for (const Limbo& block : state.limbo) {
    if (ledger.at(block.first) != limbo_entry(block.order, index)) continue;
    const auto still_dropping = [&](const ContextState& other) {
      return &other != &state && other.flight.active && other.flight.target == block.first &&
             releases(other.flight.request.act);
    };
    if (mutators > 1) {
      ContextState* heir = nullptr;
      for_each_context([&](ContextState& other) {
        if (heir == nullptr && still_dropping(other)) heir = &other;
      });
      if (heir != nullptr) {
        ledger.set(block.first, limbo_entry(block.order, static_cast<unsigned>(heir - contexts.data())));
        heir->limbo.push_back(block);
        continue;
      }
    }
    const unsigned z = geometry.zone_of(block.first);
    if (!allocating.empty()) before_change(contexts_max);
    ledger.zone(z).limbo -= std::uint64_t{1} << block.order;
    ledger.add_free(block.first, block.order, z);
    if (!allocating.empty()) after_change();
  }
  state.limbo.clear();
}

// Somebody got frames that a release in flight gave up: that release has taken effect.
void Oracle::State::settle_overlapping(Pfn first, unsigned order) {
  const Pfn last = first + (1u << order) - 1;
  for_each_context([&](ContextState& state) {
    const auto index = static_cast<unsigned>(&state - contexts.data());
    const auto free_it = [&](Pfn head, unsigned size) {
      const unsigned z = geometry.zone_of(head);
      ledger.zone(z).limbo -= std::uint64_t{1} << size;
      ledger.add_free(head, size, z);
    };
    for (const Limbo& block : state.limbo) {
      const bool overlaps = block.first <= last && first <= block.first + (1u << block.order) - 1;
      if (overlaps && ledger.at(block.first) == limbo_entry(block.order, index)) free_it(block.first, block.order);
    }
    const Pfn client = state.releasing_client;
    if (client != machine::no_pfn && client >= first && client <= last && ledger.at(client) == limbo_entry(0, index))
      free_it(client, 0);
  });
}

Ruling Oracle::State::judge_release(const Event&, ContextState& state) {
  settle(state);
  const Flight& f = state.flight;
  if (f.parked_cpu == 0xff || !quiet(f)) return Ruling::fine;
  const unsigned z = geometry.zone_of(f.target);
  const std::uint32_t high = std::max<std::uint32_t>(1, geometry.zone(z).pcp_high);
  if (ledger.parked(z, f.parked_cpu) < high) return Ruling::fine;
  return broken("pcp.high", f.target,
                fmt::format("{} pages on the list of cpu {} after a free, high is {}", ledger.parked(z, f.parked_cpu),
                            f.parked_cpu, geometry.zone(z).pcp_high));
}

Ruling Oracle::State::call_get(ContextState& state, const Slot& held, Pfn frame) {
  if (geometry.absent(frame)) return fatal("wild-free", frame, "the frame does not exist");
  if (geometry.reserved(frame)) return fatal("foreign-free", frame, "a reference to a reserved frame");
  const Ledger::Found found = ledger.find(frame);
  const std::string what = fmt::format("get_page of frame {} while {}", frame, whose(frame));
  const auto noticed = [&] {
    state.flight.owe(ReportKind::bad_page, 1, 1);
    state.flight.reasons = was_compound(found.entry);
    return noticed_if_free(state.flight, "get-after-free", frame, what);
  };
  switch (found.entry.holds()) {
    case Holds::free:
    case Holds::parked:
    case Holds::bad: return noticed();
    case Holds::live: break;
    default: return fatal("foreign-free", frame, what);
  }
  Object& object = ledger.object(found.entry.payload());
  if (frame != object.first && !object.compound) return noticed();
  if (object.serial != held.serial) return fatal("foreign-free", frame, what);
  state.flight.target = object.first;
  state.flight.target_serial = object.serial;
  if (contested(state) && in_flight_on(state, Act::split, object.first, 1u << object.order) != 0)
    return fatal("block-race", frame, what + " another context splits it");
  ++object.references;
  return Ruling::fine;
}

Ruling Oracle::State::call_split(ContextState& state, const Slot& held, Pfn frame) {
  const unsigned order = state.flight.request.order;
  if (geometry.absent(frame)) return fatal("wild-free", frame, "the frame does not exist");
  if (geometry.reserved(frame)) return fatal("foreign-free", frame, "split_page of a reserved frame");
  const Ledger::Found found = ledger.find(frame);
  const std::string what = fmt::format("split_page of frame {} order {} while {}", frame, order, whose(frame));
  const auto noticed = [&] {
    state.flight.owe(ReportKind::split_misuse, 1, 1);
    const Entry entry = ledger.find(frame).entry;
    if (entry.holds() == Holds::live && ledger.object(entry.payload()).serial == held.serial)
      return crime("split-compound", frame, what);
    return noticed_if_free(state.flight, "split-compound", frame, what);
  };
  switch (found.entry.holds()) {
    case Holds::free:
    case Holds::parked:
    case Holds::bad: return noticed();
    case Holds::live: break;
    default: return fatal("foreign-free", frame, what);
  }
  const Object whole = ledger.object(found.entry.payload());
  if (whole.compound || frame != whole.first) return noticed();
  if (whole.serial != held.serial) return fatal("foreign-free", frame, what);
  if (order != whole.order) return fatal("wrong-order-split", frame, what);
  state.flight.target = whole.first;
  state.flight.target_serial = whole.serial;
  if (contested(state)) {
    for (const Act act : {Act::release, Act::put, Act::release_exact, Act::get, Act::split}) {
      if (in_flight_on(state, act, whole.first, 1u << order) != 0) return fatal("block-race", frame, what);
    }
  }
  ledger.object(found.entry.payload()).order = 0;  // keeps the references of the whole
  for (std::uint32_t i = 1; i != 1u << order; ++i) ledger.new_object(frame + i, 0, whole.serial, false);
  return Ruling::fine;
}

// page_count, page_address, nr_free_pages.
Ruling Oracle::State::judge_count(const Event& event, Flight& f) {
  if (f.request.act == Act::nr_free) {
    if (mutators != 0 || changes != f.changes || !promises.traces_placement) return Ruling::fine;
    std::uint64_t free = 0;
    for (unsigned z = 0; z != geometry.count(); ++z) free += ledger.zone(z).free;
    if (event.value == free) return Ruling::fine;
    return broken("buddy.count", machine::no_pfn,
                  fmt::format("nr_free_pages told {}, there are {}", event.value, free));
  }
  const Slot* held = slot(f.request.in.slot);
  if (held == nullptr) return Ruling::fine;
  const Pfn frame = held->first + f.request.in.offset;
  if (f.request.act == Act::address) {
    const std::uint64_t right =
        is_high(frame) ? 0 : machine::Ram::linear_base + (std::uint64_t{frame} << shape.page_shift);
    if (event.value == right) return Ruling::fine;
    return broken("page.address", frame,
                  fmt::format("page_address of frame {} told {:#x}, not {:#x}", frame, event.value, right));
  }
  if (f.unjudged || changes != f.changes || mutators != 0 || geometry.reserved(frame)) return Ruling::fine;
  const Ledger::Found found = ledger.find(frame);
  std::uint32_t right = 0;
  switch (found.entry.holds()) {
    case Holds::free:
    case Holds::parked: break;
    case Holds::live: {
      const Object& object = ledger.object(found.entry.payload());
      right = frame == object.first || object.compound ? object.references : 0;
      break;
    }
    default: return Ruling::fine;
  }
  if (static_cast<std::int64_t>(event.value) == static_cast<std::int64_t>(right)) return Ruling::fine;
  return broken(
      "page.count", frame,
      fmt::format("page_count of frame {} told {}, not {}", frame, static_cast<std::int64_t>(event.value), right));
}

}  // namespace memtorture::oracle
