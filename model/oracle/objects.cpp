// Objects: kmalloc and kmem_cache_alloc, judged from the outside (domain.md 10, 11).
//
// An object is its owner's from the result of its allocation until the call of its release. While krealloc runs the old
// one is lent: nobody's, until it turns out to have stayed. Requests for pages in the middle of an operation are judged
// in layers.cpp; here counts whether one was refused: who asks for an object gets one unless a request for pages was
// refused meanwhile, or the failure was injected (P-SLAB-17).
//
// Rulings. Without checks nobody can notice a crime on an object, so it ends the run; but for an address that lies in
// no slab, which every release finds out. ksize of an address inside an object is answered for the object, or where
// checks know its start it is none.
//
// Not checked here: which free object is given, colours, which list a slab is on (object_audit.cpp).
#include <fmt/core.h>

#include <algorithm>

#include "model/oracle/state.h"

namespace memtorture::oracle {

using subject::zero_size_ptr;

namespace {

constexpr std::uint32_t no_object = ObjectLedger::nobody;
constexpr std::uint64_t as_it_should_be = ~std::uint64_t{0};

}  // namespace

// What the request must come to whatever memory there is: nothing, the address of nothing, or an object.
Oracle::State::Due Oracle::State::due(const Request& r, bool nothing_to_move) const {
  if (r.overflows) return Due::null;
  if (r.of != no_slot) return Due::object;
  // Buckets serve 0 bytes, too; but krealloc to 0 is kfree.
  if (buckets && (r.number != 0 || r.act != Act::obj_realloc || nothing_to_move))
    return r.number > (std::uint64_t{1} << 32) || bucket_usable(shape, r.number) == 0 ? Due::null : Due::object;
  if (r.number == 0) return Due::zero_size;
  return r.number > kmalloc_most(shape) ? Due::null : Due::object;
}

// --- calls -----------------------------------------------------------------------------------------------------------

Ruling Oracle::State::call_object(const Event&, ContextState& state) {
  const Request& r = state.flight.request;
  if (on_pools(r.act)) return call_pool(state);
  if (r.of != no_slot && r.act != Act::cache_destroy) {
    CacheRecord* cache = live_cache(r.of);
    if (cache == nullptr) {
      if (slot(r.of, Held::cache) == nullptr) return Ruling::fine;  // the harness skips it
      return fatal("dead-cache", machine::no_pfn, "a cache is used that was destroyed");
    }
    use_cache(state, static_cast<std::uint32_t>(cache - caches.data()) + 1);
  }
  switch (r.act) {
    case Act::obj_alloc: return call_obj_alloc(state);
    case Act::obj_realloc: {
      const Slot* held = slot(r.in.slot, Held::object);
      if (held == nullptr) return Ruling::fine;
      if (held->address != zero_size_ptr) {
        if (buckets && owned(*held) == no_object) {
          state.object.missing = true;
          return no_block(state, held->address, "object-double-free", "a freed object is to be moved");
        }
        if (const Ruling ruling = surrender(state, *held, 0); ruling != Ruling::fine) return ruling;
        state.object.old_usable = state.object.lent.usable;
      }
      return call_obj_alloc(state);
    }
    case Act::obj_free: return call_obj_free(state);
    case Act::obj_size: {
      const Slot* held = slot(r.in.slot, Held::object);
      if (held == nullptr || held->address == zero_size_ptr) return Ruling::fine;
      const std::uint32_t index = owned(*held);
      if (index != no_object && objects.piece(index).is_block)
        return fatal("object-invalid-free", frame_of(held->address), "ksize of a block of pages");
      if (index != no_object && r.in.offset == 0) {
        objects.piece(index).open = objects.piece(index).usable;
        return Ruling::fine;
      }
      if (buckets) {
        return no_block(state, held->address + r.in.offset, "object-use-after-free",
                        "ksize of what is no object's start");
      }
      return ksize_of_no_object(state, *held);
    }
    case Act::cache_create: return call_cache_create(state);
    case Act::cache_shrink:
    case Act::cache_destroy: return call_cache_end(state);
    default: return Ruling::fine;
  }
}

Ruling Oracle::State::call_obj_alloc(ContextState& state) {
  Flight& f = state.flight;
  const Request& r = f.request;
  const bool kept = r.act == Act::obj_realloc && state.object.old_usable >= r.number && state.object.old_usable != 0;
  const Due what = due(r, state.object.old_usable == 0);
  // Nothing is looked at where nothing is to be done; buckets look at flags first.
  const bool works = !kept && (what == Due::object || (buckets && what == Due::null && !r.overflows));
  if (works && what == Due::null) f.owe(ReportKind::k12_too_large, 1, 1);
  if (works && buckets) {
    f.owe(ReportKind::k12_no_page, 0, (r.gfp & subject::gfp_nowarn) != 0 ? 0 : 1);
    if (in_interrupt(f)) f.owe(ReportKind::k12_nonatomic, 0, may_sleep(r.gfp) ? 1 : 0);
  }
  Ruling ruling = Ruling::fine;
  const bool named = r.of != no_slot && state.object.cache != 0;  // krealloc is kmalloc, wherever the old one was from
  const CacheRecord* cache = named ? &caches[state.object.cache - 1] : nullptr;
  const bool dma = (r.gfp & subject::gfp_dma) != 0;  // kmalloc takes the cache that the flag names
  const bool dma_cache = cache != nullptr ? (cache->flags & subject::SLAB_CACHE_DMA) != 0 : dma;
  if (works && ((r.gfp & never_for_objects) != 0 || dma != dma_cache)) {
    ruling = crime("slab-gfp", machine::no_pfn, fmt::format("gfp {:#x} for an object", r.gfp));
    f.owe(ReportKind::slab_gfp, 1, many);
  }
  if (works && may_sleep(r.gfp) && !sleepable_at(f)) {
    f.atomic_crime = true;
    ruling = crime("sleep-in-atomic", machine::no_pfn, "a blocking request for an object in atomic context");
    // Buckets have a report of their own for interrupts, and withhold it after the fourth time.
    const bool own_report = buckets && in_interrupt(f);
    f.owe(ReportKind::sleeping, own_report ? 0 : 1, own_report ? 0 : many);
  }
  return ruling;
}

Ruling Oracle::State::call_obj_free(ContextState& state) {
  const Request& r = state.flight.request;
  if (const Slot* block = slot(r.in.slot)) {
    const Pfn frame = block->first + r.in.offset;
    if (geometry.absent(frame) || is_high(frame)) return Ruling::fine;  // the harness skips it
    const std::uint64_t address = machine::Ram::linear_base + (std::uint64_t{frame} << shape.page_shift);
    if (!buckets) return free_of_no_object(state, address);
    return no_block(state, address, "object-invalid-free", fmt::format("{:#x} is freed, a page", address));
  }
  if (buckets) return call_bucket_free(state);
  const Slot* held = slot(r.in.slot, Held::object);
  if (held == nullptr) return Ruling::fine;
  if (held->address == zero_size_ptr && r.of == no_slot && r.in.offset == 0) return Ruling::fine;
  if (held->address == zero_size_ptr) return free_of_no_object(state, zero_size_ptr + r.in.offset);
  if (r.in.offset != 0) return free_inside(state, *held, held->address + r.in.offset);
  return surrender(state, *held, state.object.cache);
}

// Every block has a header that says whether it is one in use: what is none is reported, and nothing happens (11.5).
// Believed only while nobody else can have a block come to lie there.
Ruling Oracle::State::no_block(ContextState& state, std::uint64_t address, RuleId rule, std::string what) {
  const Pfn frame = frame_of(address);
  if (frame != machine::no_pfn) {
    if (objects.at(address) != no_object) return fatal(rule, frame, what + ", and is another object's");
    const bool unreadable = geometry.absent(frame) || is_high(frame);
    const Holds holds = unreadable || geometry.reserved(frame) ? Holds::nothing : ledger.find(frame).entry.holds();
    if (unreadable || holds == Holds::client || holds == Holds::limbo) return fatal(rule, frame, what);
  }
  if (object_ops > 1) return fatal(rule, frame, what);
  state.flight.owe(ReportKind::k12_bad_free, 1, 1);
  return noticed_if_free(state.flight, rule, frame, std::move(what));
}

Ruling Oracle::State::call_bucket_free(ContextState& state) {
  const Request& r = state.flight.request;
  const Slot* held = slot(r.in.slot, Held::object);
  if (held == nullptr || r.of != no_slot) return Ruling::fine;  // there are no caches
  const std::uint64_t address = held->address + r.in.offset;
  if (address == zero_size_ptr) return Ruling::fine;
  const std::uint32_t index = r.in.offset == 0 ? owned(*held) : no_object;
  if (index == no_object) {
    const RuleId rule = r.in.offset == 0 ? RuleId("object-double-free") : RuleId("object-invalid-free");
    return no_block(state, address, rule, fmt::format("{:#x} is freed, which is no object's", address));
  }
  if (r.number != 0 && r.number != objects.piece(index).bytes) {
    state.flight.owe(ReportKind::k12_wrong_size, 1, 1);
    return crime("wrong-size-free", frame_of(address),
                 fmt::format("an object of {} bytes is freed as one of {}", objects.piece(index).bytes, r.number));
  }
  return surrender(state, *held, 0);
}

// May an object start there that the layer has for itself? Not in a slab of a caller's cache, not in front of the
// structs of caches, whose slabs begin with a descriptor (10.4), and not between the places of what is known to lie in
// the same block.
bool Oracle::State::maybe_layers_own(const Ledger::Found& found, std::uint64_t address) {
  const Object& block = ledger.object(found.entry.payload());
  if (block.cache != 0) return caches[block.cache - 1].pooled;
  const std::uint64_t base = machine::Ram::linear_base + (std::uint64_t{found.head} << shape.page_shift);
  const std::uint64_t bytes = std::uint64_t{shape.page_bytes()} << found.order;
  const auto is_in_block = [&](const CacheRecord& cache) { return cache.alive && cache.handle - base < bytes; };
  if (std::ranges::any_of(caches, is_in_block)) return address != base;
  const std::uint32_t index = objects.owner(base, bytes);
  if (index == no_object || objects.piece(index).buffer == 0) return true;
  const Piece& neighbour = objects.piece(index);
  return static_cast<std::int64_t>(address - neighbour.address) % static_cast<std::int64_t>(neighbour.buffer) == 0;
}

// A page, or no memory at all: found out as long as no slab comes to lie there.
Ruling Oracle::State::free_of_no_object(ContextState& state, std::uint64_t address) {
  const Pfn frame = frame_of(address);
  const std::string what = fmt::format("{:#x} is freed, which is no object's", address);
  if (frame != machine::no_pfn && !geometry.reserved(frame)) {
    const Ledger::Found found = ledger.find(frame);
    if (found.entry.holds() == Holds::live && ledger.object(found.entry.payload()).layer) {
      if (!watched(shape.slab_debug) || objects.at(address) != no_object || maybe_layers_own(found, address))
        return fatal("object-invalid-free", frame, what);
      return noticed_free(state, "object-invalid-free", frame, what);
    }
  }
  // Who frees to a cache without checks is believed: only NULL and what lies outside of memory is looked at.
  const bool believed = state.object.cache != 0 && !watched(caches[state.object.cache - 1].checks);
  if (believed && frame != machine::no_pfn) return fatal("object-invalid-free", frame, what);
  if (object_ops > 1) return fatal("object-invalid-free", frame, what);
  state.flight.owe(ReportKind::bad_object, 1, 1);
  return noticed_if_free(state.flight, "object-invalid-free", frame, what);
}

// The index of the object that the handle names, if it is still its own.
std::uint32_t Oracle::State::owned(const Slot& held) const {
  const auto& pieces = objects.pieces();
  return held.object < pieces.size() && pieces[held.object].serial == held.serial ? held.object : no_object;
}

// Its owner gives an object up by the function for objects of `cache` (index + 1; 0: kfree, which takes any).
Ruling Oracle::State::surrender(ContextState& state, const Slot& held, std::uint32_t cache) {
  const std::uint32_t index = owned(held);
  const Pfn frame = frame_of(held.address);
  if (index == no_object) return free_again(state, held);
  const Piece& piece = objects.piece(index);
  if (piece.pool != 0) return fatal("wrong-pool-free", frame, "an element of a pool is given up behind its back");
  if (cache != 0 && piece.cache != cache) {
    const std::string what = "an object is given to a cache that it is not of";
    if (!watched(piece.checks) && !watched(caches[cache - 1].checks)) return fatal("wrong-cache-free", frame, what);
    state.flight.owe(ReportKind::object_wrong_cache, 1, 1);
    return crime("wrong-cache-free", frame, what);
  }
  state.object.lent = piece;
  if ((piece.smeared || piece.maybe_smeared) && state.flight.request.act == Act::obj_free)
    state.flight.owe(ReportKind::object_redzone, piece.smeared ? 1 : 0, 1);
  bury(piece);
  if (piece.cache != 0) {
    CacheRecord& owner = caches[piece.cache - 1];
    --owner.live;
    // With poison the constructor runs at each allocation.
    const bool zeroed = state.flight.request.act == Act::obj_free && state.flight.request.zeroed;
    if ((piece.broken || zeroed) && (piece.checks & machine::debug_poison) == 0) owner.unreliable = true;
    if (state.object.cache == 0) {
      state.object.cache = piece.cache;
      ++owner.users;
    }
  }
  objects.remove(index);
  return Ruling::fine;
}

void Oracle::State::bury(const Piece& piece) {
  constexpr std::size_t graves_max = 256;
  if (graves.size() < graves_max) {
    graves.push_back(piece);
    graves.back().own = own_allocations;
    return;
  }
  graves[next_grave] = piece;
  graves[next_grave].own = own_allocations;
  next_grave = (next_grave + 1) % graves_max;
}

// --- results ---------------------------------------------------------------------------------------------------------

Ruling Oracle::State::judge_object(const Event& event, ContextState& state) {
  Ruling ruling = Ruling::fine;
  switch (state.flight.request.act) {
    case Act::obj_alloc: ruling = judge_obj_result(event, state); break;
    case Act::obj_realloc: ruling = judge_realloc(event, state); break;
    case Act::obj_size: ruling = judge_ksize(event, state.flight); break;
    case Act::cache_create: ruling = judge_cache_create(event, state); break;
    case Act::cache_size: ruling = judge_cache_size(event, state); break;
    case Act::cache_shrink:
    case Act::cache_destroy: ruling = judge_cache_end(event, state); break;
    default:
      if (on_pools(state.flight.request.act)) ruling = judge_pool(event, state);
      break;
  }
  if (state.object.cache != 0) --caches[state.object.cache - 1].users;
  // Whatever the layer took for itself on the way, it took by now.
  if (state.object.asked || state.flight.request.act == Act::cache_create) ++own_allocations;
  return ruling;
}

Ruling Oracle::State::judge_obj_result(const Event& event, ContextState& state) {
  const Flight& f = state.flight;
  const Request& r = f.request;
  const bool to_nothing = r.number == 0 && event.value == zero_size_ptr;  // kfree, and the address of nothing
  if (r.act == Act::obj_realloc && state.object.missing && !to_nothing)
    return event.value == 0 ? Ruling::fine : broken("object.null", event.pfn, "what is no object was moved");
  switch (due(r, state.object.old_usable == 0)) {
    case Due::null:
      if (event.value == 0) return Ruling::fine;
      return broken("object.null", event.pfn, fmt::format("{} bytes were granted", r.number));
    case Due::zero_size:
      if (event.value != zero_size_ptr)
        return broken("object.null", event.pfn, fmt::format("0 bytes are at {:#x}", event.value));
      fill_slot(r.out, {.what = Held::object, .address = zero_size_ptr, .object = no_object, .serial = ++serial});
      return Ruling::fine;
    case Due::object: break;
  }
  if (event.value == 0) {
    const bool no_such_node = r.node >= shape.nodes && (r.gfp & subject::gfp_thisnode) != 0;
    // Others may have given objects back while the request for pages was under way: he looks once more.
    if (state.object.free_beside == objects_moves() && !f.faulted)
      return broken("object.fail", machine::no_pfn, "an object was refused with free objects in reach");
    if (state.object.refused || f.faulted || no_such_node) return Ruling::fine;
    return broken("object.fail", machine::no_pfn, "an object was refused, though no request for pages was");
  }
  if (f.faulted && !state.object.asked)
    return broken("fault.honoured", event.pfn, "a request whose failure was injected got an object");
  if (r.of == no_slot || state.object.cache == 0) return grant_object(event, state, 0, r.number, 0);
  return grant_object(event, state, state.object.cache, caches[state.object.cache - 1].size, 0);
}

// of, pool: index + 1 of the cache and the pool that it is of; 0: of none. An element that was set aside is from
// wherever it was put there.
Ruling Oracle::State::grant_object(const Event& event, ContextState& state, std::uint32_t of, std::uint64_t bytes,
                                   std::uint32_t pool) {
  const Request& r = state.flight.request;
  CacheRecord* cache = of != 0 ? &caches[of - 1] : nullptr;
  const std::uint64_t usable = cache != nullptr ? bytes : buckets ? bucket_usable(shape, bytes) : kmalloc_class(bytes);
  const std::uint32_t flags = cache != nullptr ? cache->flags : std::uint32_t{subject::SLAB_HWCACHE_ALIGN};

  const std::uint32_t in_force = flags_in_force(shape, usable, flags);
  const auto layout = slab_layout(shape, usable, cache != nullptr ? cache->align : 0, in_force);
  // The flag names the general cache; a cache of its own it cannot change.
  const bool dma =
      cache != nullptr ? (flags & subject::SLAB_CACHE_DMA) != 0 : pool == 0 && (r.gfp & subject::gfp_dma) != 0;
  if (const Ruling ruling = judge_place(event.value, usable,
                                        buckets  ? 4
                                        : layout ? layout->align
                                                 : 1,
                                        dma);
      ruling != Ruling::fine)
    return ruling;
  // The node is known where it was named, and where the caller cannot have moved.
  const bool node_known = (r.node >= 0 && r.node < shape.nodes) || (r.node < 0 && shape.cpus == 1) ||
                          (r.node < 0 && !sleepable_at(state.flight));
  const unsigned node = r.node >= 0 ? static_cast<unsigned>(r.node) : state.flight.cpu % shape.nodes;
  if ((r.gfp & subject::gfp_thisnode) != 0 && !buckets && pool == 0 && node_known &&
      geometry.zone(geometry.zone_of(event.pfn)).node != node)
    return broken("object.node", event.pfn,
                  fmt::format("an object of node {}, with __GFP_THISNODE of node {}",
                              geometry.zone(geometry.zone_of(event.pfn)).node, node));
  const bool zeroed = r.zeroed || (r.gfp & subject::gfp_zero) != 0;  // of a pool: perhaps
  const bool judged = r.zeroed || (cache != nullptr && cache->ctor != 0 && !cache->unreliable && !zeroed);
  if (judged && event.value2 != as_it_should_be)
    return broken(r.zeroed ? RuleId("object.zero") : RuleId("object.construct"), event.pfn,
                  fmt::format("byte {} of the object at {:#x} is wrong", event.value2, event.value));
  ++serial;
  if (const Ruling ruling = poison_untold(event.value, usable); ruling != Ruling::fine) return ruling;
  const std::uint32_t index =
      objects.add({.address = event.value,
                   .bytes = bytes,
                   .usable = usable,
                   .serial = serial,
                   .block = ledger.object(ledger.find(event.pfn).entry.payload()).serial,
                   .buffer = buckets || !layout ? 0 : layout->buffer_bytes,
                   .before = buckets || !layout ? 0 : layout->object_at,
                   .open = bytes,
                   .checks = buckets || !layout ? std::uint8_t{0} : checks_in_force(shape, *layout, in_force),
                   .cache = of,
                   .pool = pool,
                   .broken = cache != nullptr && cache->ctor != 0 && zeroed});
  if (cache != nullptr) {
    ++cache->live;
    ledger.object(ledger.find(event.pfn).entry.payload()).cache = of;
  }
  fill_slot(r.out, {.what = Held::object, .address = event.value, .object = index, .serial = serial});
  return Ruling::fine;
}

Ruling Oracle::State::judge_place(std::uint64_t address, std::uint64_t usable, std::uint64_t align, bool dma) {
  const std::string what = fmt::format("{} bytes at {:#x}", usable, address);
  const Pfn frame = frame_of(address), last = frame_of(address + usable - 1);
  if (frame == machine::no_pfn || last == machine::no_pfn || geometry.absent(frame))
    return broken("object.place", machine::no_pfn, what + ": not in memory");
  if (address % align != 0) return broken("object.align", frame, fmt::format("{}, aligned to {}", what, align));
  const Ledger::Found found = ledger.find(frame);
  if (found.entry.holds() != Holds::live || !ledger.object(found.entry.payload()).layer)
    return broken("object.place", frame, fmt::format("{}, in a frame that is {}", what, whose(frame)));
  const Object& block = ledger.object(found.entry.payload());
  if (last - block.first >= 1u << block.order)
    return broken("object.place", frame, what + ": beyond the end of its block");
  const auto dma_kind = geometry.highest_kind(subject::gfp_dma);
  const unsigned kind = geometry.zone(geometry.zone_of(frame)).kind;
  if (is_high(frame) || (dma && dma_kind && kind > *dma_kind))
    return broken("object.zone", frame, fmt::format("{}, in {}", what, machine::zone_names[kind]));
  if (objects.owner(address, usable) != no_object) return broken("object.overlap", frame, what + ": somebody has them");
  return Ruling::fine;
}

Ruling Oracle::State::judge_realloc(const Event& event, ContextState& state) {
  const Request& r = state.flight.request;
  const Piece& old = state.object.lent;
  if (old.serial == 0 || r.number == 0 || state.object.missing)
    return judge_obj_result(event, state);  // kmalloc, or kfree
  if (r.number <= old.usable) {
    if (event.value == old.address) return keep_old(state, true);
    return broken("object.realloc", frame_of(old.address), "an object moved, or was lost, though it is large enough");
  }
  if (event.value == old.address)
    return broken("object.realloc", event.pfn,
                  fmt::format("{} bytes of {} are to be had in place", r.number, old.usable));
  if (event.value != 0) return judge_obj_result(event, state);
  if (const Ruling ruling = judge_obj_result(event, state); ruling != Ruling::fine) return ruling;
  return keep_old(state, false);
}

// The old object stayed. In place: under the name of the new one, and the old name is nothing's any more.
Ruling Oracle::State::keep_old(ContextState& state, bool in_place) {
  const Request& r = state.flight.request;
  Piece again = state.object.lent;
  if (objects.owner(again.address, again.usable) != no_object)
    return broken("object.overlap", frame_of(again.address), "an object was given away that stayed with its owner");
  if (again.cache != 0) ++caches[again.cache - 1].live;
  if (in_place) {  // its owner writes it anew
    again.bytes = again.open = r.number;
    again.tainted = false;
  }
  const std::uint64_t address = again.address;
  if (in_place) again.serial = ++serial;
  const std::uint32_t index = objects.add(again);
  fill_slot(in_place ? r.out : r.in.slot,
            {.what = Held::object, .address = address, .object = index, .serial = again.serial});
  return Ruling::fine;
}

Ruling Oracle::State::judge_ksize(const Event& event, Flight& f) {
  const Slot* held = slot(f.request.in.slot, Held::object);
  if (held == nullptr) return Ruling::fine;
  if (f.must_be_refused && event.value != 0)
    return broken("object.size", frame_of(held->address),
                  fmt::format("ksize of no object's start told {}", event.value));
  const std::uint32_t index = held->address == zero_size_ptr ? no_object : owned(*held);
  if (index == no_object && held->address != zero_size_ptr) return Ruling::fine;  // given up meanwhile
  const std::uint64_t least = index == no_object ? 0 : objects.piece(index).usable;
  const std::uint64_t most = index != no_object && objects.piece(index).cache != 0
                                 ? (least + 7) / 8 * 8  // words; with red zones 8 bytes
                                 : least;
  if (f.unjudged) return Ruling::fine;
  if (f.reports_used && f.most[static_cast<unsigned>(ReportKind::k12_bad_free)] != 0) return Ruling::fine;
  if (event.value >= least && event.value <= std::max(most, least)) return Ruling::fine;
  return broken("object.size", frame_of(held->address), fmt::format("ksize told {}, not {}", event.value, most));
}

// --- the end ---------------------------------------------------------------------------------------------------------

// The harness gives an object or a cache back: legal, and it must work.
Ruling Oracle::State::clean_up_of_object(const Event& event, ContextState& state) {
  state.object = {.changes = ++object_changes, .alone = object_ops == 0};
  state.flight.request.byte = event.detail;
  if (event.detail == clean_up_leak_scan) return call_leak_scan();
  if (event.detail == clean_up_cache) {
    for (CacheRecord& cache : caches) {
      if (cache.alive && cache.handle == event.value) cache.alive = false;
    }
    return Ruling::fine;
  }
  if (event.detail == clean_up_stacks) return Ruling::fine;
  if (event.detail == clean_up_task) {
    if (StackRecord* const stack = stack_at(event.value)) stack->alive = false;
    return Ruling::fine;
  }
  if (event.detail == clean_up_pool) {
    ++own_allocations;
    for (PoolRecord& pool : pools) {
      if (!pool.alive || pool.handle != event.value) continue;
      pool.alive = false;
      owe_smears(state.flight, pool);
    }
    return Ruling::fine;
  }
  if (event.detail == clean_up_percpu) {
    ++own_allocations;
    ++percpu_moves;
    if (const std::uint32_t area = area_at(event.value, 1); area != 0) areas[area - 1].serial = 0;
    return Ruling::fine;
  }
  const std::uint32_t index = objects.at(event.value);
  if (index == no_object) return Ruling::fine;
  if (objects.piece(index).pool != 0) {
    ++own_allocations;
    returns_to_pool(state.flight, objects.piece(index));
    one_came_back(pools[objects.piece(index).pool - 1]);
    objects.remove(index);
    return Ruling::fine;
  }
  if (objects.piece(index).cache != 0) --caches[objects.piece(index).cache - 1].live;
  const Piece& piece = objects.piece(index);
  if (piece.smeared || piece.maybe_smeared) state.flight.owe(ReportKind::object_redzone, piece.smeared ? 1 : 0, 1);
  objects.remove(index);
  return Ruling::fine;
}

Ruling Oracle::State::end_objects() {
  Ruling ruling = Ruling::fine;
  for (const Piece& piece : objects.pieces()) {
    if (piece.serial != 0 && !piece.forgotten)
      ruling =
          crime("leak", frame_of(piece.address), fmt::format("the object at {:#x} is live at the end", piece.address));
  }
  return ruling;
}

}  // namespace memtorture::oracle
