// Contents and descriptors: who may write where, shadow memory (domain.md 20.1), poison (20.4) and blemishes (2.6).
//
// Where the subject is shown every access (K) it sees at once that a frame is free, whoever wrote or read it; it cannot
// see that a frame in use is not the caller's. High memory has no addresses, so nobody shows accesses to it.
//
// Rulings. A write to a free frame is noticed where poisoning is on: the next allocation that takes the frame reports
// it once and hands it out. Only a frame that this handle owned before is known to have been poisoned at its free; for
// other free frames the report is possible, not owed. Without poisoning and without K nobody can notice: fatal.
#include <fmt/core.h>

#include <algorithm>

#include "model/oracle/state.h"

namespace memtorture::oracle {

namespace {

constexpr std::uint8_t poison_byte = 0xaa;

constexpr ReasonSet reason_of(subject::Blemish kind) {
  using enum machine::BadPageReason;
  switch (kind) {
    case subject::Blemish::mapping: return reasons(mapping);
    case subject::Blemish::mapcount: return reasons(mapcount);
    default: return reasons(flags);
  }
}

bool is_free(Entry entry) { return entry.holds() == Holds::free || entry.holds() == Holds::parked; }

}  // namespace

unsigned Oracle::State::flaws_in(Pfn first, std::uint32_t frames) const {
  return static_cast<unsigned>(
      std::ranges::count_if(flaws, [&](const Flaw& f) { return f.frame >= first && f.frame - first < frames; }));
}

ReasonSet Oracle::State::flaw_reasons(Pfn first, std::uint32_t frames) const {
  ReasonSet all = 0;
  for (const Flaw& flaw : flaws) {
    if (flaw.frame >= first && flaw.frame - first < frames) all |= flaw.reasons;
  }
  return all;
}

// Is every free frame where the subject looks for it? Somebody in the middle of a change may have it in his hands.
bool Oracle::State::surely_listed() const {
  bool moving = mutators != 0;
  for_each_context(
      [&](const ContextState& c) { moving = moving || c.draining || c.releasing_client != machine::no_pfn; });
  return !moving;
}

// Of an access that touches a free frame: the first byte that is wrong names the crime, once.
void Oracle::State::owe_use_after_free(Flight& f) { f.owe(ReportKind::use_after_free, surely_listed() ? 1 : 0, 1); }

// A free frame is written, by way of a handle: who allocates it next says so where free pages are poisoned.
void Oracle::State::corrupt_frame(const Slot& held, Pfn frame, std::uint8_t byte) {
  if (shape.poison == machine::Toggle::off) return;
  const bool harmless = byte == poison_byte;  // may even repair what another write did
  const bool within = frame >= held.first && frame - held.first < held.frames;
  const bool owed = !harmless && within && held.serial != 0;
  const auto known = std::ranges::find(corrupt, frame, &Corrupt::frame);
  if (known != corrupt.end()) {
    known->owed = !harmless && (known->owed || owed);
  } else if (!harmless) {
    corrupt.push_back({frame, owed});
  }
}

// fill and check work on the whole block that the handle got, or with an offset on that frame alone.
Ruling Oracle::State::call_write(ContextState& state, const Slot& held, Pfn base) {
  const bool reads = state.flight.request.act == Act::check;
  const RuleId rule = reads ? RuleId("use-after-free-read") : RuleId("use-after-free-write");
  const std::uint32_t frames = base == held.first ? std::max(1u, held.frames) : 1;
  const bool noticed = allocating.empty() && is_watched(base);  // should a free frame be among them
  std::vector<Pfn> free;
  for (std::uint32_t i = 0; i < frames;) {
    const Pfn frame = base + i;
    if (geometry.absent(frame)) return fatal("wild-free", frame, "the frame does not exist");
    const Ledger::Found found = ledger.find(frame);
    const bool own = found.entry.holds() == Holds::live && ledger.object(found.entry.payload()).serial == held.serial;
    if (own) {
      i += 1u << found.order;
      continue;
    }
    if (!noticed || !is_free(found.entry))
      return fatal(rule, frame,
                   fmt::format("frame {} is {} while {}", frame, reads ? "read" : "written", whose(frame)));
    free.push_back(frame);
    ++i;
  }
  if (free.empty()) return Ruling::fine;
  owe_use_after_free(state.flight);
  if (!reads) {
    for (const Pfn frame : free) corrupt_frame(held, frame, state.flight.request.byte);
  }
  return noticed_if_free(
      state.flight, rule, free.front(),
      fmt::format("frame {} is {} while {}", free.front(), reads ? "read" : "written", whose(free.front())));
}

// no_pfn: no frame of any machine.
Pfn Oracle::State::frame_at(Pfn base, std::uint64_t offset) const {
  const std::int64_t address = (std::int64_t{base} << shape.page_shift) + static_cast<std::int64_t>(offset);
  return address < 0 ? machine::no_pfn
                     : static_cast<Pfn>(std::min<std::int64_t>(address >> shape.page_shift, machine::no_pfn));
}

Ruling Oracle::State::call_poke(ContextState& state, const Slot& held, Pfn base) {
  const Pfn frame = frame_at(base, state.flight.request.number);
  const bool within = frame >= held.first && frame - held.first < held.frames;
  const RuleId rule = within ? RuleId("use-after-free-write") : RuleId("write-outside");
  if (geometry.absent(frame)) return fatal("write-outside", frame, "the frame does not exist");
  const Ledger::Found found = ledger.find(frame);
  if (found.entry.holds() == Holds::live && held.serial != 0 &&
      ledger.object(found.entry.payload()).serial == held.serial)
    return Ruling::fine;
  const std::string what = fmt::format("frame {} is written while {}", frame, whose(frame));
  const bool watched = is_watched(frame);
  // An allocation in flight may have taken the frame already, and nobody looks at it again.
  if (!is_free(found.entry) || !allocating.empty() || (shape.poison == machine::Toggle::off && !watched))
    return fatal(rule, frame, what);
  corrupt_frame(held, frame, state.flight.request.byte);
  if (!watched) return crime(rule, frame, what);
  owe_use_after_free(state.flight);
  return noticed_if_free(state.flight, rule, frame, what);
}

// A read harms nobody; but whose the byte is, whoever watches it can tell.
Ruling Oracle::State::call_peek(ContextState& state, Pfn base) {
  using enum ReportKind;
  Flight& f = state.flight;
  const Pfn frame = frame_at(base, f.request.number);
  if (geometry.absent(frame) || is_high(frame) || geometry.reserved(frame)) return Ruling::fine;
  const Ledger::Found found = ledger.find(frame);
  const std::string what = fmt::format("frame {} is read while {}", frame, whose(frame));
  if (is_free(found.entry)) {
    owe_use_after_free(f);
    if (allocating.empty()) return noticed_if_free(f, "use-after-free-read", frame, what);
    f.owe(use_after_free, 0, 1);
    return crime("use-after-free-read", frame, what);
  }
  if (found.entry.holds() != Holds::live) {  // on its way, or lost: it may look free
    f.owe(use_after_free, 0, 1);
    return Ruling::fine;
  }
  return ledger.object(found.entry.payload()).layer
             ? peek_at_object(f, base, frame, what + ", no object of the reader's")
             : Ruling::fine;
}

// A frame of the object layer: the shadow of whatever lies there decides.
Ruling Oracle::State::peek_at_object(Flight& f, Pfn base, Pfn frame, std::string what) {
  const std::uint64_t address =
      machine::Ram::linear_base + (std::uint64_t{base} << shape.page_shift) + f.request.number;
  const bool settled = object_ops == 0 && allocating.empty();
  const std::uint32_t index = settled ? objects.owner(address, 1) : ObjectLedger::nobody;
  if (index == ObjectLedger::nobody) {
    f.owe(ReportKind::out_of_bounds, 0, 1);
    f.owe(ReportKind::use_after_free, 0, 1);
    return Ruling::fine;
  }
  const Piece& piece = objects.piece(index);
  if ((piece.checks & machine::debug_shadow) == 0 || address - piece.address < piece.open) return Ruling::fine;
  f.owe(ReportKind::out_of_bounds, 1, 1);
  return noticed_if_free(f, "object-read-outside", frame, std::move(what));
}

Ruling Oracle::State::call_blemish(ContextState& state, const Slot& held, Pfn frame) {
  if (geometry.absent(frame)) return fatal("foreign-blemish", frame, "the frame does not exist");
  const Ledger::Found found = ledger.find(frame);
  const auto add = [&] {
    const ReasonSet reason = reason_of(static_cast<subject::Blemish>(state.flight.request.byte));
    const auto known = std::ranges::find(flaws, frame, &Flaw::frame);
    if (known == flaws.end())
      flaws.push_back({frame, reason});
    else
      known->reasons |= reason;
  };
  const std::string what = fmt::format("the descriptor of frame {} is written while {}", frame, whose(frame));
  switch (found.entry.holds()) {
    case Holds::live:
      if (ledger.object(found.entry.payload()).serial != held.serial) return fatal("foreign-blemish", frame, what);
      add();
      return Ruling::fine;
    case Holds::free:
    case Holds::parked:
      if (!allocating.empty()) return fatal("foreign-blemish", frame, what);
      add();
      return crime("foreign-blemish", frame, what);
    default: return fatal("foreign-blemish", frame, what);
  }
}

Ruling Oracle::State::judge_contents(const Event& event) {
  const std::int64_t damage = static_cast<std::int64_t>(event.value);
  if (damage < 0 || geometry.absent(event.pfn)) return Ruling::fine;
  // A handle may outlive parts of its block (exact allocations, split pages): only what is still its own counts.
  const Pfn frame = event.pfn + static_cast<Pfn>(damage >> shape.page_shift);
  if (geometry.absent(frame)) return Ruling::fine;
  const Ledger::Found whole = ledger.find(event.pfn), part = ledger.find(frame);
  if (whole.entry.holds() != Holds::live || part.entry.holds() != Holds::live) return Ruling::fine;
  const std::uint32_t owner = ledger.object(whole.entry.payload()).serial;
  if (ledger.object(part.entry.payload()).serial != owner) return Ruling::fine;
  // Nor does a handle whose block is long gone say anything about the next owner's.
  if (const unsigned index = index_of(event.who);
      index < contexts_used && event.op < the_case->programs[index].ops.size()) {
    const Slot* held = slot(request_of(the_case->programs[index].ops[event.op]).in.slot);
    if (held != nullptr && held->serial != owner) return Ruling::fine;
  }
  return broken("page.content", event.pfn,
                fmt::format("byte {} of block {} is not what its owner wrote", damage, event.pfn));
}

// A block was granted: corrupted frames in it must have been reported by now.
Ruling Oracle::State::judge_poison(Flight&, Pfn first, std::uint32_t frames) {
  const auto inside = [&](const Corrupt& c) { return c.frame >= first && c.frame - first < frames; };
  const bool missing = std::ranges::any_of(corrupt, [&](const Corrupt& c) { return inside(c) && c.owed; });
  std::erase_if(corrupt, inside);
  if (missing && promises.reports)
    return broken("page.report.missing", first,
                  "a free page that was written to was handed out without a poison report");
  return Ruling::fine;
}

// The allocator found a page bad when it wanted to hand it out: that page is lost, the rest of its block goes back, and
// another block is taken.
bool Oracle::State::discard_flawed(Flight&, Pfn frame) {
  if (std::ranges::find(flaws, frame, &Flaw::frame) == flaws.end() || geometry.absent(frame)) return false;
  const unsigned z = geometry.zone_of(frame);
  const Entry entry = ledger.at(frame);
  before_change(contexts_max);
  if (entry.holds() == Holds::parked) {
    --ledger.parked(z, entry.payload());
    --ledger.zone(z).parked;
  } else if (!ledger.remove_free(frame, 0, z)) {
    return false;
  }
  ledger.set(frame, Entry(Holds::bad, 0));
  ++ledger.zone(z).bad;
  after_change();
  return true;
}

}  // namespace memtorture::oracle
