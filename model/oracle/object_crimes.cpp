// Frees that are none, where somebody looks (domain.md 10.9, 20.1, 20.3).
//
// Owed is exactly one report, and nothing happens. Which one is known as long as the slab that the object was of is
// still there and nobody got its place; otherwise any of those that tell such a free will do, and only where the
// machine has the checks for every cache. Red zones alone see a second free (both words are the inactive ones), and
// only that.
//
// Rulings. While anybody else uses objects or pages nothing can be demanded: he may get the place, or may have. A place
// that is another live object's start is that object to everybody: the crime cannot be noticed.
#include <fmt/core.h>

#include <algorithm>

#include "model/oracle/state.h"

namespace memtorture::oracle {

namespace {

constexpr std::uint32_t no_object = ObjectLedger::nobody;

}  // namespace

// The object that a handle named, as it was given up; null: too long ago.
Piece* Oracle::State::grave_of(const Slot& held) {
  const auto found = std::ranges::find(graves, held.serial, &Piece::serial);
  return found == graves.end() ? nullptr : &*found;
}

// Do its pages still belong to the slab that they belonged to?
bool Oracle::State::same_block(const Piece& piece) {
  const Pfn frame = frame_of(piece.address);
  if (frame == machine::no_pfn || geometry.absent(frame) || geometry.reserved(frame)) return false;
  const Ledger::Found found = ledger.find(frame);
  return found.entry.holds() == Holds::live && ledger.object(found.entry.payload()).serial == piece.block;
}

// Is a frame one of the slab that the object is, or was, of?
bool Oracle::State::in_slab_of(const Piece& piece, Pfn frame) {
  if (geometry.absent(frame) || geometry.reserved(frame) || !same_block(piece)) return false;
  return ledger.find(frame).head == ledger.find(frame_of(piece.address)).head;
}

Ruling Oracle::State::noticed_free(ContextState& state, RuleId rule, Pfn frame, std::string what) {
  using enum ReportKind;
  if (object_ops > 1) return fatal(rule, frame, std::move(what));
  state.flight.one_free_report = true;
  for (const ReportKind kind : {object_double_free, object_invalid_free, object_wrong_cache, bad_object})
    state.flight.owe(kind, 0, 1);
  return noticed_if_free(state.flight, rule, frame, std::move(what));
}

Ruling Oracle::State::free_again(ContextState& state, const Slot& held) {
  const Request& r = state.flight.request;
  const RuleId rule = "object-double-free";
  const Pfn frame = frame_of(held.address);
  const std::string what = fmt::format("the object at {:#x} is given up again", held.address);
  const Piece* grave = grave_of(held);
  if (grave == nullptr || objects.owner(grave->address, grave->usable) != no_object || object_ops > 1 ||
      maybe_taken(*grave))
    return fatal(rule, frame, what);
  if (r.act == Act::obj_realloc) state.object.missing = true;
  if (!same_block(*grave)) {
    // kfree looks whether a slab lies there; a cache is believed unless it has checks.
    const bool looks = watched(shape.slab_debug);
    return looks ? noticed_free(state, rule, frame, what) : fatal(rule, frame, what);
  }
  const CacheRecord* named = state.object.cache != 0 ? &caches[state.object.cache - 1] : nullptr;
  const bool other_cache = named != nullptr && state.object.cache != grave->cache;
  if (watched(grave->checks) || (other_cache && watched(named->checks))) {
    if (other_cache) return noticed_free(state, rule, frame, what);
    state.flight.owe(ReportKind::object_double_free, 1, 1);
    return noticed_if_free(state.flight, rule, frame, what);
  }
  const bool plain_free = r.act == Act::obj_free && !r.zeroed && !other_cache;
  const bool words_intact = !grave->smeared && !grave->maybe_smeared;
  if ((grave->checks & machine::debug_redzone) == 0 || !plain_free || !words_intact) return fatal(rule, frame, what);
  state.flight.owe(ReportKind::object_double_free, 1, 1);
  return noticed_if_free(state.flight, rule, frame, what);
}

// An address that is no object's start, by way of one that was.
Ruling Oracle::State::free_inside(ContextState& state, const Slot& held, std::uint64_t address) {
  const RuleId rule = "object-invalid-free";
  const std::string what = fmt::format("{:#x} is freed, by way of the object at {:#x}", address, held.address);
  const Pfn frame = frame_of(address);
  const std::uint32_t index = owned(held);
  const Piece* piece = index != no_object ? &objects.piece(index) : grave_of(held);
  if (piece == nullptr || frame == machine::no_pfn || objects.at(address) != no_object || object_ops > 1 ||
      (index == no_object && maybe_taken(*piece)))
    return fatal(rule, frame, what);
  // Beyond its own place another object may start, and of kmalloc's some are the layer's.
  const bool in_its_place = address - (piece->address - piece->before) < piece->buffer;
  if (piece->cache == 0 && !in_its_place) return fatal(rule, frame, what);
  const bool seen = in_slab_of(*piece, frame) ? watched(piece->checks) : watched(shape.slab_debug);
  return seen ? noticed_free(state, rule, frame, what) : fatal(rule, frame, what);
}

Ruling Oracle::State::ksize_of_no_object(ContextState& state, const Slot& held) {
  const Request& r = state.flight.request;
  const std::uint64_t address = held.address + r.in.offset;
  const std::uint32_t index = owned(held);
  const Piece* piece = index != no_object ? &objects.piece(index) : grave_of(held);
  const Pfn frame = frame_of(address);
  const std::string what = "ksize of what is no live object";
  if (piece == nullptr || frame == machine::no_pfn || !in_slab_of(*piece, frame) || object_ops > 1 ||
      (index == no_object && maybe_taken(*piece)) || objects.at(address) != no_object)
    return fatal("object-use-after-free", frame, what);
  state.flight.unjudged = true;
  using enum ReportKind;
  if (r.in.offset != 0) {
    const bool in_its_place = address - (piece->address - piece->before) < piece->buffer;
    if (!watched(piece->checks)) {  // answered for the object that lies there
      state.flight.unjudged = !in_its_place || index == no_object;
      return Ruling::fine;
    }
    if (in_its_place) {
      state.flight.must_be_refused = true;
      state.flight.owe(object_invalid_free, 1, 1);
      return noticed_if_free(state.flight, "object-invalid-free", frame, what);
    }
    state.flight.owe(object_invalid_free, 0, 1);
    state.flight.owe(use_after_free, 0, 1);
    return noticed_if_free(state.flight, "object-use-after-free", frame, what);
  }
  const bool shadow = (piece->checks & machine::debug_shadow) != 0;
  state.flight.owe(use_after_free, shadow ? 1 : 0, shadow ? 1 : 0);
  return noticed_if_free(state.flight, "object-use-after-free", frame, what);
}

}  // namespace memtorture::oracle
