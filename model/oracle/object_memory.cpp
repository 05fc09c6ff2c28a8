// Who reads and writes the bytes of objects, and whether they are still there (P-SYS-4, P-SLAB-7).
//
// Rulings. A write to another live object spoils what its owner expects and harms nobody else: the run goes on, and
// that object's contents are no longer judged. A write to an object that was given up, while nobody has its place,
// lands in a free buffer: without poison nobody can tell. Any other write outside may hit what the layer keeps for
// itself: fatal. A read harms nobody.
#include <fmt/core.h>

#include "model/oracle/state.h"

namespace memtorture::oracle {

namespace {

constexpr std::uint32_t no_object = ObjectLedger::nobody;

}  // namespace

Ruling Oracle::State::call_object_memory(ContextState& state, const Slot& held) {
  Flight& f = state.flight;
  const std::uint32_t index = owned(held);
  const Pfn frame = frame_of(held.address);
  const bool empty = held.address == subject::zero_size_ptr;
  const bool skipped = f.request.in.offset != 0 && f.request.act != Act::poke && f.request.act != Act::peek;
  if (skipped || empty) return Ruling::fine;
  const std::string gone = fmt::format("the object at {:#x} was given up", held.address);
  switch (f.request.act) {
    case Act::fill:
    case Act::link:
      if (index == no_object) return fatal("object-use-after-free", frame, gone + " and is written");
      if (f.request.act == Act::link) objects.piece(index).broken = true;
      return Ruling::fine;
    case Act::check:
      return index == no_object ? fatal("object-use-after-free", frame, gone + " and is read") : Ruling::fine;
    case Act::forget:
      if (index == no_object) return Ruling::fine;
      objects.piece(index).forgotten = true;
      return crime("leak", frame, "the owner has lost its object");
    case Act::poke: return object_poke(f, held);
    default: return Ruling::fine;
  }
}

Ruling Oracle::State::object_poke(Flight& f, const Slot& held) {
  const std::uint64_t address = held.address + f.request.in.offset + f.request.number;
  const Pfn frame = frame_of(address);
  if (frame == machine::no_pfn || geometry.absent(frame) || is_high(frame)) return Ruling::fine;  // skipped
  const std::uint32_t own = owned(held), hit = objects.owner(address, 1);
  if (own != no_object && hit == own) {
    Piece& piece = objects.piece(own);
    if (address - piece.address < piece.bytes) {
      piece.broken = true;
      return Ruling::fine;
    }
    // Between what was asked for and what the class has: the owner may, if it asks ksize first.
    return Ruling::fine;
  }
  const std::string what = fmt::format("{:#x} is written by way of the object at {:#x}", address, held.address);
  const RuleId rule = own == no_object ? RuleId("object-use-after-free") : RuleId("object-write-outside");
  if (hit == no_object) return fatal(rule, frame, what + ", and is no object's");
  objects.piece(hit).tainted = true;
  objects.piece(hit).broken = true;
  return crime(rule, frame, what + ", and is another object's");
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

}  // namespace memtorture::oracle
