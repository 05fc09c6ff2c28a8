// What a checked cache does besides (domain.md 10.8): KmemCache::checks says which checks are in force.
//
//   F  give_back refuses what is no object, or is free already; a slab is looked over before it changes lists
//   Z  words beside an object: `active` while it is handed out
//   P  a free object is filled with 6b...a5, a fresh one with 5a...a5, so its constructor runs at each allocation
//   U  a word that names the last user; and the object takes part in the leak scan
//   K  the shadow says what may be touched, freed objects stay in quarantine for a while; refuses what F refuses
//
// An object's life is in its record (debug/records.h). Whoever ends it must win Record::retire, and only the winner
// touches words, patterns, shadow and lists: so two contexts that free one object, in whatever interleaving, are one
// free and one report. Without F and K nobody can tell the second free from the first, and what it does to the arrays
// is what it does in a cache without checks.
//
// No lock is held here over a report, a constructor or a free. Buffers that leave the quarantine on somebody else's
// account are counted in their cache until they are freed, so that a cache is neither destroyed under them nor called
// busy for their sake (empty_quarantine).
//
// Not checked: the words beside a free object when it is handed out (K26 looks), rounding of an object up to the word
// beside it (without K), the red zones after the constructor.
#include <atomic>
#include <cstring>

#include "allocator/slab/slab.h"

namespace memtorture::slab {

using debug::BufferState;
using debug::Record;
using machine::ReportKind;

// What is in force: the flags, but words only where the geometry has a place for them. The leak scan needs none.
void SlabAllocator::check_cache(KmemCache& cache, const subject::CacheSpec& spec) {
  const auto checked = [&](slab_flags_t flags, slab_flags_t flag, machine::SlabDebug check) {
    if ((flags & flag) != 0) cache.checks |= check;
  };
  cache.checks = 0;
  checked(cache.flags, subject::SLAB_DEBUG_FREE, machine::debug_sanity);
  checked(cache.flags, subject::SLAB_RED_ZONE, machine::debug_redzone);
  checked(cache.flags, subject::SLAB_POISON, machine::debug_poison);
  checked(spec.flags, subject::SLAB_STORE_USER, machine::debug_user);
  checked(cache.flags, subject::SLAB_KASAN, machine::debug_shadow);
  if ((letters_ & machine::debug_user) != 0) cache.checks |= machine::debug_user;
  checks_seen_.fetch_or(cache.checks, std::memory_order_relaxed);
}

Record* SlabAllocator::record_of(KmemCache& cache, Address object) {
  if (cache_of_object(object) != &cache) return nullptr;
  const Slab& slab = slab_at(ram().pfn_of(object));
  const std::uint64_t offset = object - cache.object_offset - ram().address_of(slab.first) - slab.s_mem;
  const std::uint32_t index = cache.index_of(offset);
  return index != cache.num ? books_.records.of_slab(slab.first) + index : nullptr;
}

Record* SlabAllocator::record_at(Address object) {
  KmemCache* const cache = cache_of_object(object);
  return cache != nullptr && cache->checks != 0 ? record_of(*cache, object) : nullptr;
}

// An object that this layer keeps for itself.
void SlabAllocator::claim(Address object) {
  if (!checked_anywhere()) return;
  if (Record* const record = record_at(object)) record->own = true;
}

// --- out and back ---------------------------------------------------------------------------------------------------

// The caller has taken the buffer from an array or a slab. What a wrong caller put there is handed out as it is.
Address SlabAllocator::hand_out(KmemCache& cache, Address buffer, std::uint64_t bytes, gfp_t gfp) {
  const Address object = buffer + cache.object_offset;
  if (Record* const record = record_of(cache, object)) {
    const unsigned checks = cache.checks;
    if ((checks & machine::debug_poison) != 0) {
      check_poison(cache, *record);
      debug::fill_poison(at(object), cache.object_size, debug::poison_fresh);
    }
    record->begin_life(static_cast<std::uint32_t>(bytes));
    if ((checks & machine::debug_redzone) != 0) set_redzones(cache, object, debug::redzone_active);
    if ((checks & machine::debug_user) != 0) set_user(cache, object);
    if ((checks & machine::debug_shadow) != 0)
      books_.shadow.open(object - machine::Ram::linear_base, bytes, cache.object_size);
    if ((checks & machine::debug_poison) != 0 && cache.ctor) cache.ctor.run(cache.ctor.arg, object);
  }
  if ((gfp & subject::gfp_zero) != 0) std::memset(at(object), 0, cache.object_size);
  return object;
}

// kmem_cache_free on a machine with checked caches: the object may be of another one. Its page decides before its
// state.
void SlabAllocator::free_to_cache(KmemCache& cache, Address object) {
  KmemCache* const own = cache_of_object(object);
  const std::uint8_t checks = static_cast<std::uint8_t>(cache.checks | (own != nullptr ? own->checks : 0));
  if (own == &cache) return free_object(cache, object);
  if ((checks & strict_checks) == 0) return free(cache, object - cache.object_offset);
  if (own == nullptr) return bad_object(object);
  accuse({.kind = ReportKind::object_wrong_cache, .address = object, .check = strict_check_of(checks)}, own,
         own->checks != 0 ? record_of(*own, object) : nullptr);
}

// An object of a checked cache ends its life, or what is wrong with that is reported.
void SlabAllocator::give_back(KmemCache& cache, Address object, Route route) {
  Record* const record = record_of(cache, object);
  if (record == nullptr) {
    if (!strict(cache)) return free(cache, object - cache.object_offset);
    return accuse({.kind = ReportKind::object_invalid_free, .address = object, .check = strict_check_of(cache.checks)},
                  &cache, nullptr);
  }
  const bool held = route == Route::quarantine && (cache.checks & machine::debug_shadow) != 0 &&
                    books_.quarantine.takes(cache.buffer_size);
  if (!retire(cache, *record, held ? BufferState::quarantined : BufferState::freed)) return;
  record->end_life();
  leave_free(cache, *record);
  if (!held) return free(cache, object - cache.object_offset);
  free_evicted(books_.quarantine.push(*record, [&](const Record& leaving) {
    std::atomic_ref(cache_at(leaving.owner).evicting).fetch_add(1, std::memory_order_relaxed);
  }));
}

// False: it was free already, as far as the checks in force can tell. One report, by the first that sees it.
bool SlabAllocator::retire(KmemCache& cache, Record& record, BufferState to) {
  const auto already_free = [&](std::uint8_t check) {
    accuse({.kind = ReportKind::object_double_free, .address = record.object, .check = check}, &cache, &record);
    return false;
  };
  if (strict(cache) && !record.retire(to)) return already_free(strict_check_of(cache.checks));
  if ((cache.checks & machine::debug_redzone) != 0) {
    if (!strict(cache) && redzones_inactive(cache, record.object)) return already_free(machine::debug_redzone);
    check_redzones(cache, record);
  }
  if (!strict(cache)) record.set_state(to);
  return true;
}

// What memory looks like while nobody has the object.
void SlabAllocator::leave_free(KmemCache& cache, const Record& record) {
  const Address object = record.object;
  if ((cache.checks & machine::debug_redzone) != 0) set_redzones(cache, object, debug::redzone_inactive);
  if ((cache.checks & machine::debug_user) != 0) set_user(cache, object);
  if ((cache.checks & machine::debug_poison) != 0)
    debug::fill_poison(at(object), cache.object_size, debug::poison_free);
  if ((cache.checks & machine::debug_shadow) != 0)
    books_.shadow.fill(object - machine::Ram::linear_base, cache.object_size, debug::shadow_freed);
}

// --- questions about an object that goes on living ------------------------------------------------------------------

// Before something is done to what a caller calls his object; false: it is none, and that is reported.
bool SlabAllocator::admits(KmemCache& cache, Address object) {
  if (!strict(cache)) return true;
  Record* const record = record_of(cache, object);
  if (record != nullptr && record->state() == BufferState::live) return true;
  accuse({.kind = record != nullptr ? ReportKind::object_double_free : ReportKind::object_invalid_free,
          .address = object,
          .check = strict_check_of(cache.checks)},
         &cache, record);
  return false;
}

// krealloc in place.
void SlabAllocator::resize(KmemCache& cache, Address object, std::uint64_t bytes) {
  Record* const record = record_of(cache, object);
  if (record == nullptr) return;
  record->set_size(static_cast<std::uint32_t>(bytes));
  if ((cache.checks & machine::debug_shadow) != 0)
    books_.shadow.open(object - machine::Ram::linear_base, bytes, cache.object_size);
}

// ksize: who asks may use it all. Of a freed object KASAN says so, as the kernel does (kasan_check_byte).
std::uint64_t SlabAllocator::open_whole(KmemCache& cache, Address object) {
  if (!strict(cache)) return cache.object_size;
  Record* const record = record_of(cache, object);
  if (record == nullptr) {
    accuse({.kind = ReportKind::object_invalid_free, .address = object, .check = strict_check_of(cache.checks)}, &cache,
           nullptr);
    return 0;
  }
  if ((cache.checks & machine::debug_shadow) == 0) return cache.object_size;
  if (record->state() != BufferState::live) {
    accuse({.kind = ReportKind::use_after_free, .address = object, .check = machine::debug_shadow, .bytes = 1}, &cache,
           record);
    return 0;
  }
  books_.shadow.open(object - machine::Ram::linear_base, cache.object_size, cache.object_size);
  return cache.object_size;
}

// --- quarantine -----------------------------------------------------------------------------------------------------

// A record is its slab's again, and may be gone, as soon as its buffer is freed.
void SlabAllocator::free_evicted(Record* leaving) {
  while (leaving != nullptr) {
    KmemCache& cache = cache_at(leaving->owner);
    const Address buffer = leaving->object - cache.object_offset;
    leaving = books_.records.at(leaving->next);
    free(cache, buffer);
    std::atomic_ref(cache.evicting).fetch_sub(1, std::memory_order_release);
  }
}

// Nothing of the cache is in quarantine or on its way from there, so that it is not kept busy by what its users gave
// back. False: something still is, and this context may not wait.
bool SlabAllocator::empty_quarantine(KmemCache& cache) {
  if ((cache.checks & machine::debug_shadow) == 0) return true;
  const std::atomic_ref evicting(cache.evicting);
  free_evicted(
      books_.quarantine.take_of(cache.self, [&](const Record&) { evicting.fetch_add(1, std::memory_order_relaxed); }));
  while (evicting.load(std::memory_order_acquire) != 0) {
    if (!machine::preemptible()) return false;
    machine::sleep_jiffies(1);
  }
  return true;
}

}  // namespace memtorture::slab
