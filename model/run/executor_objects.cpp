// Operations on objects and caches: resolve the slots, call the subject, tell the tape; and what an owner of objects
// keeps of them.
//
// Contents: an object gets a stamp at both ends of what was asked for, or after `fill` one byte everywhere; they are
// verified before it is given up, and after krealloc as far as they had to come along. Objects of a cache with a
// constructor hold their constructed state instead: it is verified when they come, and put back before they go.
#include <algorithm>
#include <cstring>

#include "model/run/executor_objects.h"

namespace memtorture::run {

using namespace program;  // the operations
using machine::Pfn;
using oracle::EventKind;

namespace {

constexpr std::uint64_t whole = ~std::uint64_t{0};

std::int64_t first_unlike(std::span<const std::byte> bytes, std::byte right) {
  const auto wrong = std::ranges::find_if(bytes, [right](std::byte b) { return b != right; });
  return wrong == bytes.end() ? -1 : wrong - bytes.begin();
}

}  // namespace

void Executor::use_objects(subject::Objects& objects, subject::ObjectDebug* debug, subject::ObjectsView* view) {
  objects_ = &objects;
  debug_ = debug;
  objects_view_ = view;
  watches_blocks_ = debug != nullptr && (machine_->shape().slab_debug & machine::debug_shadow) != 0;
  if (watches_blocks_) oracle_.begin_watching();
  if (view != nullptr && options_.audit_every != audit_never) oracle_.begin_objects(*view);
}

// --- slots -----------------------------------------------------------------------------------------------------------

Holding* Executor::object(In in) {
  Holding& holding = slots_[in.slot];
  return holding.what == Held::object && objects_ != nullptr ? &holding : nullptr;
}

Holding* Executor::cache(Of of) {
  Holding& holding = slots_[of.slot];
  return holding.what == Held::cache && objects_ != nullptr ? &holding : nullptr;
}

// What a subject hands out is looked at only where there is memory.
bool Executor::in_memory(std::uint64_t address, std::uint64_t bytes) const {
  const std::uint64_t offset = address - machine::Ram::linear_base;
  return address >= machine::Ram::linear_base && offset < machine_->shape().ram_bytes &&
         bytes <= machine_->shape().ram_bytes - offset;
}

std::span<std::byte> Executor::bytes_at(std::uint64_t address, std::uint64_t bytes) {
  machine::Ram& ram = machine_->ram();
  for (Pfn pfn = ram.pfn_of(address); pfn <= ram.pfn_of(address + std::max<std::uint64_t>(bytes, 1) - 1); ++pfn)
    (void)ram.frame(pfn);
  return {ram.at(address), bytes};
}

// --- contents --------------------------------------------------------------------------------------------------------

// What a compiler would put in front of each access of the program.
void Executor::watch(std::uint64_t address, std::uint64_t bytes, subject::Access kind) {
  if (debug_ != nullptr && bytes != 0) (void)debug_->check_access(address, bytes, kind);
}

// The same for blocks of pages, as far as they have addresses.
void Executor::watch_frames(Pfn first, std::uint32_t frames, subject::Access kind) {
  if (!watches_blocks_ || is_high(first)) return;
  watch(machine_->ram().address_of(first), frames * machine_->shape().page_bytes(), kind);
}

// Where there is no memory an access can only be watched.
bool Executor::watched_outside(std::uint64_t address) const {
  return debug_ != nullptr && (machine_->shape().slab_debug & machine::debug_shadow) != 0 && !in_memory(address, 1);
}

void Executor::fill_object(Holding& holding, std::byte byte) {
  watch(holding.address, holding.bytes, subject::Access::write);
  std::ranges::fill(bytes_at(holding.address, holding.bytes), byte);
  if (holding.references == 0) return;
  holding.written = Written::byte;
  holding.byte = byte;
}

void Executor::stamp_object(Holding& holding) {
  const machine::Context& me = machine::current();
  holding.stamp = Random(std::uint64_t{me.id} << 32 | me.op).next();
  holding.written = Written::stamp;
  watch(holding.address, holding.bytes, subject::Access::write);
  const auto bytes = bytes_at(holding.address, holding.bytes);
  const std::size_t n = std::min(bytes.size(), sizeof holding.stamp);
  std::memcpy(bytes.last(n).data(), &holding.stamp, n);
  std::memcpy(bytes.data(), &holding.stamp, n);
}

// Where the first `bytes` bytes at `address` are not what the owner wrote to the object before it came there; -1:
// nowhere.
std::int64_t Executor::damage_of(const Holding& holding, std::uint64_t address, std::uint64_t bytes) {
  const auto seen = std::span<const std::byte>(bytes_at(address, std::min(holding.bytes, bytes)));
  if (holding.written == Written::byte) return first_unlike(seen, holding.byte);
  if (holding.written != Written::stamp) return -1;
  const std::size_t n = std::min<std::size_t>(holding.bytes, sizeof holding.stamp);
  if (std::memcmp(seen.data(), &holding.stamp, std::min(n, seen.size())) != 0) return 0;
  const bool has_tail = seen.size() == holding.bytes && holding.bytes >= 2 * n;
  if (!has_tail || std::memcmp(seen.last(n).data(), &holding.stamp, n) == 0) return -1;
  return static_cast<std::int64_t>(seen.size() - n);
}

void Executor::tell_object_contents(std::uint64_t address, std::int64_t damage) {
  Event event = Tape::here(EventKind::contents);
  event.detail = 1;
  event.pfn = machine_->ram().pfn_of(address);
  event.value = static_cast<std::uint64_t>(damage);
  event.value2 = address;
  tape_.emit(event);
}

void Executor::verify_object(const Holding& holding) {
  watch(holding.address, holding.bytes, subject::Access::read);
  tell_object_contents(holding.address, damage_of(holding, holding.address, whole));
}

void Executor::restore_constructed(const Holding& holding) {
  if (holding.ctor != 0 && holding.written != Written::unknown)
    std::ranges::fill(bytes_at(holding.address, holding.bytes), std::byte{holding.ctor});
}

// --- allocation ------------------------------------------------------------------------------------------------------

void Executor::finish(Event event) {
  if (!machine::Machine::concurrent()) --operations_in_flight_;
  tape_.emit(event);
}

void Executor::granted_object(Out out, std::uint64_t address, const Asked& asked) {
  Event event = Tape::here(EventKind::result);
  event.value = address;
  event.value2 = whole;
  const bool is_object = address != 0 && address != subject::zero_size_ptr;
  const bool inside = is_object && in_memory(address, asked.bytes);
  if (is_object) event.pfn = machine_->ram().pfn_of(address);
  if (inside && (asked.zeroed || asked.ctor != 0)) {
    const std::byte right{asked.zeroed ? std::uint8_t{0} : asked.ctor};
    event.value2 = static_cast<std::uint64_t>(first_unlike(bytes_at(address, asked.bytes), right));
  }
  finish(event);
  if (address != 0 && (inside || !is_object)) {
    Holding& holding = refill(out, {.what = Held::object,
                                    .ctor = asked.ctor,
                                    .is_pages = asked.is_pages,
                                    .address = address,
                                    .bytes = is_object ? asked.bytes : 0,
                                    .references = 1,
                                    .written = asked.ctor == 0         ? Written::nothing
                                               : event.value2 == whole ? Written::byte
                                                                       : Written::unknown,
                                    .byte = std::byte{asked.zeroed ? std::uint8_t{0} : asked.ctor}});
    if (is_object && asked.ctor == 0) stamp_object(holding);
  }
  audit_if_due();
}

void Executor::operator()(const Kmalloc& op) {
  allocate_object(op.out, {op.bytes.value, (op.gfp.bits & subject::gfp_zero) != 0},
                  [&] { return objects_->kmalloc(op.bytes.value, op.gfp.bits); });
}
void Executor::operator()(const Kzalloc& op) {
  allocate_object(op.out, {op.bytes.value, true}, [&] { return objects_->kzalloc(op.bytes.value, op.gfp.bits); });
}
void Executor::operator()(const KmallocNode& op) {
  allocate_object(op.out, {op.bytes.value, (op.gfp.bits & subject::gfp_zero) != 0},
                  [&] { return objects_->kmalloc_node(op.bytes.value, op.gfp.bits, op.node.value); });
}
void Executor::operator()(const Kcalloc& op) {
  std::uint64_t bytes = 0;
  if (__builtin_mul_overflow(op.bytes.value, std::uint64_t{op.n.value}, &bytes)) bytes = whole;
  allocate_object(op.out, {bytes, true}, [&] { return objects_->kcalloc(op.n.value, op.bytes.value, op.gfp.bits); });
}
void Executor::operator()(const CacheAlloc& op) {
  const Holding* cache = this->cache(op.cache);
  if (cache == nullptr) return skip();
  allocate_object(op.out, {cache->bytes, (op.gfp.bits & subject::gfp_zero) != 0, cache->ctor},
                  [&] { return objects_->kmem_cache_alloc(cache->address, op.gfp.bits); });
}
void Executor::operator()(const CacheAllocNode& op) {
  const Holding* cache = this->cache(op.cache);
  if (cache == nullptr) return skip();
  allocate_object(op.out, {cache->bytes, (op.gfp.bits & subject::gfp_zero) != 0, cache->ctor},
                  [&] { return objects_->kmem_cache_alloc_node(cache->address, op.gfp.bits, op.node.value); });
}
void Executor::operator()(const CacheZalloc& op) {
  const Holding* cache = this->cache(op.cache);
  if (cache == nullptr) return skip();
  allocate_object(op.out, {cache->bytes, true, cache->ctor},
                  [&] { return objects_->kmem_cache_zalloc(cache->address, op.gfp.bits); });
}

// The old object is nobody's while the call runs; it is its owner's again when the call refuses.
void Executor::operator()(const Krealloc& op) {
  Holding* held = object(op.in);
  if (held == nullptr || op.in.offset != 0) return skip();
  const bool live = add_references(*held, 0) != 0;
  if (live && held->bytes != 0 && held->written != Written::unknown) verify_object(*held);
  if (live) add_references(*held, -1);
  const Holding old = *held;
  begin();
  const std::uint64_t address = objects_->krealloc(old.address, op.bytes.value, op.gfp.bits);
  const bool moved_contents =
      live && address != 0 && address != subject::zero_size_ptr && in_memory(address, op.bytes.value) && old.bytes != 0;
  if (moved_contents) tell_object_contents(address, damage_of(old, address, op.bytes.value));
  if (address == 0 && live) add_references(*held, 1);
  // An object of 0 bytes (buckets have such) brings along what lies in it.
  const bool nothing_moved = old.address == subject::zero_size_ptr;
  granted_object(op.out, address, {op.bytes.value, (op.gfp.bits & subject::gfp_zero) != 0 && nothing_moved});
}

// --- release ---------------------------------------------------------------------------------------------------------

void Executor::give_up_object(Holding& holding) {
  if (add_references(holding, 0) == 0 || add_references(holding, -1) != 1) return;
  if (holding.bytes == 0 || holding.written == Written::unknown) return;
  verify_object(holding);
  restore_constructed(holding);
}

void Executor::operator()(const Kfree& op) {
  release_object(op.in, [&](std::uint64_t address) { objects_->kfree(address); });
}
void Executor::operator()(const Kzfree& op) {
  release_object(op.in, [&](std::uint64_t address) { objects_->kzfree(address); });
}
void Executor::operator()(const KfreeS& op) {
  release_object(op.in, [&](std::uint64_t address) { objects_->kfree_s(address, op.bytes.value); });
}
void Executor::operator()(const KfreeNull&) {
  if (objects_ == nullptr) return skip();
  begin();
  objects_->kfree(0);
  end();
}
void Executor::operator()(const CacheFree& op) {
  const Holding* cache = this->cache(op.cache);
  if (cache == nullptr) return skip();
  release_object(op.in, [&](std::uint64_t address) { objects_->kmem_cache_free(cache->address, address); });
}
void Executor::operator()(const Ksize& op) {
  const Holding* held = object(op.in);
  if (held == nullptr) return skip();
  begin();
  end(objects_->ksize(held->address + op.in.offset));
}

// --- caches ----------------------------------------------------------------------------------------------------------

// What a cache's constructor needs to know; it stays until the next run, because slabs can be made as long as the cache
// lives.
subject::Ctor Executor::constructor_of(const CacheCreate& op) {
  if (op.ctor.value == 0) return {};
  auto& mine = constructors_[machine::current().id];
  mine.push_back({this, op.bytes.value, std::byte{op.ctor.value}});
  return {.run =
              [](void* arg, std::uint64_t object) {
                const Constructor& ctor = *static_cast<Constructor*>(arg);
                if (ctor.executor->in_memory(object, ctor.bytes))
                  std::ranges::fill(ctor.executor->bytes_at(object, ctor.bytes), ctor.byte);
              },
          .arg = &mine.back()};
}

void Executor::operator()(const CacheCreate& op) {
  if (objects_ == nullptr) return skip();
  begin();
  const std::uint64_t handle = objects_->kmem_cache_create({.name = case_->slot_names[op.out.slot],
                                                            .size = op.bytes.value,
                                                            .align = op.align.value,
                                                            .flags = op.flags.bits,
                                                            .ctor = constructor_of(op)});
  Event event = Tape::here(EventKind::result);
  event.value = handle;
  finish(event);
  if (handle != subject::no_cache) {
    caches_[machine::current().id].push_back(handle);
    refill(op.out, {.what = Held::cache, .ctor = op.ctor.value, .address = handle, .bytes = op.bytes.value});
  }
  audit_if_due();
}
void Executor::operator()(const CacheDestroy& op) {
  const Holding* cache = this->cache(op.cache);
  if (cache == nullptr) return skip();
  begin();
  end(static_cast<std::uint64_t>(static_cast<std::int64_t>(objects_->kmem_cache_destroy(cache->address))));
}
void Executor::operator()(const CacheShrink& op) {
  const Holding* cache = this->cache(op.cache);
  if (cache == nullptr) return skip();
  begin();
  end(static_cast<std::uint64_t>(static_cast<std::int64_t>(objects_->kmem_cache_shrink(cache->address))));
}
void Executor::operator()(const CacheSize& op) {
  const Holding* cache = this->cache(op.cache);
  if (cache == nullptr) return skip();
  begin();
  end(objects_->kmem_cache_size(cache->address));
}

// --- what an owner does with its bytes, rightly or not ---------------------------------------------------------------

// Null: not a byte that a program can reach.
std::byte* Executor::byte_at(std::uint64_t address) {
  if (!in_memory(address, 1)) return nullptr;
  const Pfn pfn = machine_->ram().pfn_of(address);
  const auto& shape = machine_->shape();
  if ((pfn >= shape.hole_start && pfn < shape.hole_end) || is_high(pfn)) return nullptr;
  return bytes_at(address, 1).data();
}

void Executor::poke_object(Holding& holding, const Poke& op) {
  const std::uint64_t address = holding.address + op.in.offset + static_cast<std::uint64_t>(op.at.value);
  std::byte* const byte = byte_at(address);
  if (holding.bytes == 0 || (byte == nullptr && !watched_outside(address))) return skip();
  begin();
  watch(address, 1, subject::Access::write);
  if (byte != nullptr) *byte = std::byte{op.byte.value};
  if (address - holding.address < holding.bytes) holding.written = Written::unknown;
  end();
}

void Executor::operator()(const Peek& op) {
  const Holding& holding = slots_[op.in.slot];
  std::uint64_t base = 0;
  if (holding.what == Held::object && holding.bytes != 0 && objects_ != nullptr) base = holding.address + op.in.offset;
  if (holding.what == Held::block && exists(frame_of(holding, op.in), 1) && !is_high(frame_of(holding, op.in)))
    base = machine_->ram().address_of(frame_of(holding, op.in));
  const std::uint64_t address = base + static_cast<std::uint64_t>(op.at.value);
  const std::byte* const byte = base == 0 ? nullptr : byte_at(address);
  const bool object = holding.what == Held::object;
  if (base == 0 || (byte == nullptr && !(object && watched_outside(address)))) return skip();
  begin();
  if (object || watches_blocks_) watch(address, 1, subject::Access::read);
  end(byte == nullptr ? 0 : std::to_integer<std::uint64_t>(*byte));
}

void Executor::operator()(const Link& op) {
  Holding* held = object(op.in);
  const Holding* to = object({op.to.slot, 0});
  if (held == nullptr || to == nullptr || op.in.offset != 0 || held->references == 0 || held->ctor != 0 ||
      held->is_pages || held->bytes < sizeof to->address)
    return skip();
  begin();
  watch(held->address, sizeof to->address, subject::Access::write);
  std::memcpy(bytes_at(held->address, sizeof to->address).data(), &to->address, sizeof to->address);
  held->written = Written::unknown;
  end();
}

// --- clean-up --------------------------------------------------------------------------------------------------------

// What no program has a name for, and no object that one has a name for leads to, is lost: the subject must say so.
void Executor::scan_leaks() {
  if (debug_ == nullptr || (machine_->shape().slab_debug & machine::debug_user) == 0) return;
  std::vector<std::uint64_t> roots;
  const auto add = [&](std::uint64_t address) {
    if (oracle_.live_object(address)) roots.push_back(address);
  };
  for (const Holding& holding : slots_) {
    if (holding.what == Held::object) add(holding.address);
  }
  for (const auto& lost : lost_) std::ranges::for_each(lost, add);
  for (const auto& handles : pool_handles_)
    std::ranges::copy_if(handles, std::back_inserter(roots), [&](auto handle) { return oracle_.is_pool(handle); });
  if (percpu_view_ != nullptr) {  // what the layer keeps for itself leads to its maps
    percpu_view_->for_each_percpu_chunk(
        [](void* arg, const subject::PercpuChunkInfo& chunk) {
          static_cast<std::vector<std::uint64_t>*>(arg)->push_back(chunk.descriptor);
        },
        &roots);
  }
  Event event = Tape::here(EventKind::call);
  event.detail = oracle::clean_up_leak_scan;
  tape_.emit(event);
  event = Tape::here(EventKind::result);
  event.value = debug_->scan_leaks(roots);
  tape_.emit(event);
}

// Objects before the pools and caches that they are of. A cache with an object that was lost on purpose stays.
void Executor::clean_up_objects() {
  if (objects_ == nullptr) return;
  scan_leaks();
  const auto call = [&](std::uint8_t what, std::uint64_t value) {
    Event event = Tape::here(EventKind::call);
    event.detail = what;
    event.value = value;
    tape_.emit(event);
  };
  const auto free_one = [&](std::uint64_t address) {
    const auto live = oracle_.live_object(address);
    if (!live) return;
    call(oracle::clean_up_object, address);
    if (live->pool != 0) {
      pools_->mempool_free(address, live->pool);
    } else {
      live->cache != 0 ? objects_->kmem_cache_free(live->cache, address) : objects_->kfree(address);
    }
    tape_.emit(Tape::here(EventKind::result));
  };
  for (const Holding& holding : slots_) {
    if (holding.what == Held::object) free_one(holding.address);
  }
  for (const auto& lost : lost_) std::ranges::for_each(lost, free_one);
  clean_up_pools();
  for (const auto& handles : caches_) {
    for (const std::uint64_t handle : handles) {
      if (!oracle_.is_empty_cache(handle)) continue;
      call(oracle::clean_up_cache, handle);
      Event event = Tape::here(EventKind::result);
      event.value = static_cast<std::uint64_t>(static_cast<std::int64_t>(objects_->kmem_cache_destroy(handle)));
      tape_.emit(event);
    }
  }
}

}  // namespace memtorture::run
