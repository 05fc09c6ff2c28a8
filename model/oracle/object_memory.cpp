// Who reads and writes the bytes of objects, who sees it, and what it does (P-SYS-4, P-SLAB-7, P-SLAB-18, P-DEBUG-6).
//
// Every access of a program to an object is shown to the subject before it is made. With shadow memory (K) an access
// that touches one byte outside of what was asked for owes a report; without it none does. Then the access is made:
//
//   in another live object        its contents are no longer its owner's word, whom nobody blames for it
//   in its own place, beside it   red zone words (Z) owe a report when the object is freed; slack owes nothing
//   in its own place, after free  poison (P) owes a report when the place is handed out again, or its slab given back
//   anywhere else                 may hit what the layer keeps for itself: nothing can be demanded any more
//
// A read harms nobody.
//
// Rulings. K: what ksize was asked for is open in its whole class. Where several checks may speak of one place (a free
// buffer's guard) either report will do. A write of the byte that is there already need not be seen.
#include <fmt/core.h>

#include <algorithm>

#include "model/oracle/state.h"

namespace memtorture::oracle {

namespace {

constexpr std::uint32_t no_object = ObjectLedger::nobody;
constexpr std::uint64_t word = 8;  // of a red zone
constexpr std::uint64_t redzone_active = 0xD84156C5635688C0;
constexpr std::uint8_t poison_free = 0x6b, poison_end = 0xa5;

bool is_read(const Flight& f) { return f.request.act == Act::peek; }

}  // namespace

Ruling Oracle::State::call_object_memory(ContextState& state, const Slot& held) {
  Flight& f = state.flight;
  const Request& r = f.request;
  const std::uint32_t index = owned(held);
  const bool empty = held.address == subject::zero_size_ptr;
  const bool skipped = r.in.offset != 0 && r.act != Act::poke && r.act != Act::peek;
  if (skipped || (empty && !buckets)) return Ruling::fine;
  switch (r.act) {
    case Act::fill: {
      if (index != no_object) {
        objects.piece(index).link = 0;
        return Ruling::fine;
      }
      const Piece* grave = grave_of(held);
      if (grave == nullptr) return fatal("object-use-after-free", frame_of(held.address), "a freed object is filled");
      return object_access(f, held, grave->address, grave->bytes);
    }
    case Act::link:
      if (index == no_object || objects.piece(index).is_block) return Ruling::fine;  // the harness skips it
      objects.piece(index).broken = true;
      has_linked = true;
      if (const Slot* to = slot(r.of, Held::object)) objects.piece(index).link = to->address;
      return Ruling::fine;
    case Act::forget:
      if (index == no_object) return Ruling::fine;
      objects.piece(index).forgotten = true;
      return crime("leak", frame_of(held.address), "the owner has lost its object");
    case Act::poke:
    case Act::peek: return object_access(f, held, held.address + r.in.offset + r.number, 1);
    default: return Ruling::fine;
  }
}

// By way of a handle; all of the range has one answer, or it is one byte.
Ruling Oracle::State::object_access(Flight& f, const Slot& held, std::uint64_t address, std::uint64_t bytes) {
  const Pfn frame = frame_of(address);
  const bool reachable = frame != machine::no_pfn && frame_of(address + bytes - 1) != machine::no_pfn;
  const std::uint32_t own = owned(held), hit = reachable ? objects.owner(address, bytes) : no_object;
  const RuleId rule = own == no_object ? RuleId("object-use-after-free")
                      : is_read(f)     ? RuleId("object-read-outside")
                                       : RuleId("object-write-outside");
  const std::string what =
      fmt::format("{:#x} is {} by way of the object at {:#x}", address, is_read(f) ? "read" : "written", held.address);
  if (frame == machine::no_pfn) {
    if ((shape.slab_debug & machine::debug_shadow) == 0) return Ruling::fine;  // the harness skips it
    f.owe(ReportKind::wild_access, 1, 1);
    return crime(rule, frame, what + ", outside of memory");
  }
  if (geometry.absent(frame) || is_high(frame)) return Ruling::fine;  // skipped
  if (own != no_object && (hit == own || hit == no_object)) {
    Piece& piece = objects.piece(own);
    const std::uint64_t place = piece.address - piece.before;
    const bool within = piece.buffer != 0 ? address >= place && address - place < piece.buffer : hit == own;
    if (within) return access_inside(f, piece, address, rule, what);
    return access_outside(f, &piece, address, rule, what);
  }
  if (hit != no_object) {
    Piece& piece = objects.piece(hit);
    const bool closed =
        (piece.checks & machine::debug_shadow) != 0 && bytes == 1 && address - piece.address >= piece.open;
    if (closed) f.owe(ReportKind::out_of_bounds, 1, 1);
    if (bytes != 1) {
      f.owe(ReportKind::out_of_bounds, 0, 1);
      f.owe(ReportKind::use_after_free, 0, 1);
      return fatal(rule, frame, what + ", and is another object's");
    }
    if (!is_read(f)) piece.tainted = piece.broken = true;
    return crime(rule, frame, what + ", and is another object's");
  }
  Piece* grave = grave_of(held);
  if (grave == nullptr || object_ops != 0 || !same_block(*grave) || maybe_taken(*grave))
    return access_outside(f, nullptr, address, rule, what);
  const bool in_object = address >= grave->address && address - grave->address < grave->bytes;
  const std::uint64_t place = grave->address - grave->before;
  if (!in_object && (grave->buffer == 0 || address < place || address - place >= grave->buffer))
    return access_outside(f, grave, address, rule, what);
  if ((grave->checks & machine::debug_shadow) != 0) {
    if (in_object) f.owe(ReportKind::use_after_free, 1, 1);
    if (!in_object) {
      f.one_access_report = true;
      f.owe(ReportKind::use_after_free, 0, 1);
      f.owe(ReportKind::out_of_bounds, 0, 1);
    }
  }
  if (!is_read(f)) spoil(*grave, address, bytes, f.request.byte);
  return noticed_if_free(f, rule, frame, what);
}

// In the place of an object that lives.
Ruling Oracle::State::access_inside(Flight& f, Piece& piece, std::uint64_t address, RuleId rule, std::string what) {
  const std::uint64_t at = address - piece.address;  // in front of it: huge
  const bool shadow = (piece.checks & machine::debug_shadow) != 0;
  if (at < piece.bytes || (at < piece.usable && (!shadow || at < piece.open))) {
    if (is_read(f)) return Ruling::fine;
    if (at < piece.bytes) piece.broken = true;
    if (at < word) piece.link = 0;
    return Ruling::fine;
  }
  if (shadow) f.owe(ReportKind::out_of_bounds, 1, 1);
  if (!is_read(f)) smear(piece, address, f.request.byte);
  return crime(rule, frame_of(address), std::move(what));
}

// Whose memory that is cannot be known; whether K sees it can, in the slab of a watched object.
Ruling Oracle::State::access_outside(Flight& f, const Piece* of, std::uint64_t address, RuleId rule, std::string what) {
  using enum ReportKind;
  const Pfn frame = frame_of(address);
  const Ledger::Found found = geometry.reserved(frame) ? Ledger::Found{} : ledger.find(frame);
  const bool everywhere = (shape.slab_debug & machine::debug_shadow) != 0;
  const bool beside = of != nullptr && in_slab_of(*of, frame);
  const bool is_free = found.entry.holds() == Holds::free || found.entry.holds() == Holds::parked;
  if (object_ops != 0 || !allocating.empty()) return fatal(rule, frame, std::move(what));
  if (beside && (of->checks & machine::debug_shadow) != 0) {
    f.one_access_report = of->cache != 0;  // among kmalloc's objects are the layer's own, which are open
    f.owe(out_of_bounds, 0, 1);
    f.owe(use_after_free, 0, 1);
  } else if (everywhere && is_free) {
    owe_use_after_free(f);
  } else {
    f.owe(out_of_bounds, 0, 1);
    f.owe(use_after_free, 0, 1);
    if (!is_read(f)) return fatal(rule, frame, std::move(what));
  }
  f.last = !is_read(f);
  return noticed_if_free(f, rule, frame, std::move(what));
}

// The words stand directly before the object and behind it, rounded up to words.
void Oracle::State::smear(Piece& piece, std::uint64_t address, std::uint8_t byte) {
  if ((piece.checks & machine::debug_redzone) == 0) return;
  const std::uint64_t left = piece.address - word;
  const std::uint64_t right = piece.address + (piece.usable + word - 1) / word * word;
  const bool in_left = address >= left && address < piece.address,
             in_right = address >= right && address < right + word;
  if (!in_left && !in_right) return;
  const std::uint64_t at = in_left ? address - left : address - right;
  if (static_cast<std::uint8_t>(redzone_active >> 8 * at) == byte && !piece.smeared) {
    piece.maybe_smeared = true;  // the same byte, perhaps over another crime's
  } else {
    piece.smeared = true;
  }
}

void Oracle::State::spoil(Piece& grave, std::uint64_t address, std::uint64_t bytes, std::uint8_t byte) {
  if (grave.cache != 0 && (grave.checks & machine::debug_poison) == 0) caches[grave.cache - 1].unreliable = true;
  const std::uint64_t at = address - grave.address, size = (grave.usable + word - 1) / word * word;
  const bool in_poison = address >= grave.address && at < size;
  if (!in_poison) grave.maybe_smeared = true;
  if (!in_poison || (grave.checks & machine::debug_poison) == 0) return;
  // The last byte may stand behind what was asked for, where the object is rounded up to words.
  const bool ends_here = bytes == 1 && at + word >= grave.usable;
  const bool differs = bytes > 1 || (byte != poison_free && !(ends_here && byte == poison_end));
  const auto known = std::ranges::find(spoilt, grave.address, &Spoilt::address);
  if (known == spoilt.end()) {
    spoilt.push_back({grave.address, grave.usable, differs});
  } else {
    known->owed = known->owed && differs;  // one write may put right what another did
  }
}

bool Oracle::State::on_poison_report(std::uint64_t address) {
  return std::erase_if(spoilt, [&](const Spoilt& s) {
           return address >= s.address && address < s.address + s.bytes + word;
         }) != 0;
}

// Bytes are handed out, or given back: whatever was spoilt there has been told by now.
Ruling Oracle::State::poison_untold(std::uint64_t address, std::uint64_t bytes) {
  if (spoilt.empty()) return Ruling::fine;
  bool owed = false;
  std::erase_if(spoilt, [&](const Spoilt& s) {
    const bool here = s.address < address + bytes && address < s.address + s.bytes;
    owed = owed || (here && s.owed);
    return here;
  });
  if (!owed) return Ruling::fine;
  return broken("page.report.missing", frame_of(address),
                "object-poison: a free object was written, and nobody said so");
}

Ruling Oracle::State::judge_object_contents(const Event& event) {
  if (event.value == ~std::uint64_t{0}) return Ruling::fine;
  const ContextState& state = context(event.who);
  // After krealloc: what came along, under the new address; before that, whatever lies there.
  const bool moved = state.flight.active && state.flight.request.act == Act::obj_realloc;
  if (moved ? state.object.lent.tainted : frame_of(event.value2) == machine::no_pfn) return Ruling::fine;
  const std::uint32_t index = moved ? no_object : objects.at(event.value2);
  if (!moved && (index == no_object || objects.piece(index).tainted)) return Ruling::fine;
  return broken("object.content", event.pfn,
                fmt::format("byte {} of the object at {:#x} is not what its owner wrote", event.value, event.value2));
}

// --- the leak scan ---------------------------------------------------------------------------------------------------

// Objects that the roots lead to: what programs have not forgotten, and what those refer to.
std::vector<bool> Oracle::State::reachable_pieces() const {
  const auto& pieces = objects.pieces();
  std::vector<bool> reached(pieces.size());
  std::vector<std::size_t> rest;
  for (std::size_t i = 0; i != pieces.size(); ++i) {
    if (pieces[i].serial == 0 || pieces[i].forgotten) continue;
    reached[i] = true;
    rest.push_back(i);
  }
  while (!rest.empty()) {
    const std::uint64_t link = pieces[rest.back()].link;
    rest.pop_back();
    const auto to = std::ranges::find_if(pieces, [&](const Piece& p) { return p.serial != 0 && p.address == link; });
    const auto index = static_cast<std::size_t>(to - pieces.begin());
    if (link == 0 || to == pieces.end() || reached[index]) continue;
    reached[index] = true;
    rest.push_back(index);
  }
  return reached;
}

Ruling Oracle::State::call_leak_scan() {
  leaks_told.clear();
  return Ruling::fine;
}

Ruling Oracle::State::on_leak_report(const Event& event) {
  const std::uint32_t index = frame_of(event.value2) == machine::no_pfn ? no_object : objects.at(event.value2);
  if (index == no_object || reachable_pieces()[index] ||
      std::ranges::find(leaks_told, event.value2) != leaks_told.end())
    return broken("object.leak", event.pfn, fmt::format("{:#x} is called a leak", event.value2));
  leaks_told.push_back(event.value2);
  return Ruling::fine;
}

// A word that was left in memory by an earlier owner, or in an element that is set aside, may keep an object from being
// called a leak.
Ruling Oracle::State::judge_leak_scan(const Event& event) {
  const auto& pieces = objects.pieces();
  const std::vector<bool> reached = reachable_pieces();
  if (event.value != leaks_told.size())
    return broken("object.leak", machine::no_pfn, fmt::format("{} leaks, {} reports", event.value, leaks_told.size()));
  const bool all_poisoned = (shape.slab_debug & machine::debug_poison) != 0;
  if (has_linked && (!all_poisoned || !pools.empty())) return Ruling::fine;
  for (std::size_t i = 0; i != pieces.size(); ++i) {
    const bool lost = pieces[i].serial != 0 && !reached[i] && (pieces[i].checks & machine::debug_user) != 0 &&
                      (pieces[i].cache == 0 || (caches[pieces[i].cache - 1].flags & subject::SLAB_NOLEAKTRACE) == 0);
    if (lost && std::ranges::find(leaks_told, pieces[i].address) == leaks_told.end())
      return broken("object.leak", frame_of(pieces[i].address),
                    fmt::format("{:#x} is lost, and was not found", pieces[i].address));
  }
  return Ruling::fine;
}

}  // namespace memtorture::oracle
