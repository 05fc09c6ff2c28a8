#include "allocator/debug/records.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>

#include "allocator/machine/context.h"
#include "allocator/machine/shape.h"

namespace memtorture::debug {
namespace {

constexpr std::uint64_t records_max = std::uint64_t{1} << 30;
constexpr std::uint64_t frames_max = machine::ram_bytes_max >> 12;
constexpr std::uint32_t used_max = (256u << 20) / sizeof(Record);  // more than this is not kept for the next run

constexpr std::uint8_t was_allocated = 1, was_freed = 2;

machine::Life life_of(const SharedTrack& shared, bool known) {
  if (!known) return {};
  const Track track = shared.get();
  return {
      .who = track.who, .kind = track.kind, .cpu = track.cpu, .op = track.op, .jiffies = track.jiffies, .known = true};
}

Track track_now() {
  const machine::Context& me = machine::current();
  return {.jiffies = machine::jiffies_now(), .op = me.op, .who = me.id, .kind = me.kind, .cpu = me.cpu};
}

std::atomic_ref<std::uint8_t> atomic(const std::uint8_t& lives) {
  return std::atomic_ref(const_cast<std::uint8_t&>(lives));
}

}  // namespace

void SharedTrack::set(const Track& track) {
  const auto words = std::bit_cast<std::array<std::uint64_t, 2>>(track);
  for (unsigned i = 0; i != 2; ++i) std::atomic_ref(word_[i]).store(words[i], std::memory_order_relaxed);
}

Track SharedTrack::get() const {
  std::array<std::uint64_t, 2> words;
  for (unsigned i = 0; i != 2; ++i)
    words[i] = std::atomic_ref(const_cast<std::uint64_t&>(word_[i])).load(std::memory_order_relaxed);
  return std::bit_cast<Track>(words);
}

void Record::begin_life(std::uint32_t requested) {
  allocated.set(track_now());
  set_size(requested);
  atomic(lives_).store(was_allocated, std::memory_order_relaxed);
  own = false;
  set_state(BufferState::live);
}

void Record::end_life() {
  freed.set(track_now());
  atomic(lives_).store(was_allocated | was_freed, std::memory_order_relaxed);
}

machine::Life Record::life_allocated() const {
  return life_of(allocated, (atomic(lives_).load(std::memory_order_relaxed) & was_allocated) != 0);
}
machine::Life Record::life_freed() const {
  return life_of(freed, (atomic(lives_).load(std::memory_order_relaxed) & was_freed) != 0);
}

Records::Records()
    : memory_(records_max * sizeof(Record)),
      index_memory_(frames_max * sizeof(std::uint32_t)),
      records_(reinterpret_cast<Record*>(memory_.at())),
      first_record_(reinterpret_cast<std::uint32_t*>(index_memory_.at())) {
  std::ranges::fill(free_, no_record);
}

void Records::reset() {
  if (used_ > used_max) {
    memory_.forget();
    index_memory_.forget();
  }
  used_ = 0;
  std::ranges::fill(free_, no_record);
}

std::span<Record> Records::add_slab(machine::Pfn first, std::uint32_t n) {
  const unsigned size = static_cast<unsigned>(std::countr_zero(std::bit_ceil(n)));
  std::uint32_t number;
  {
    const std::lock_guard locked(lock_);
    number = free_[size];
    if (number != no_record) {
      free_[size] = records_[number].next;
    } else {
      number = used_;
      used_ += 1u << size;
    }
  }
  if (number + (std::uint64_t{1} << size) > records_max) {
    std::fputs("memtorture: too many objects in checked caches\n", stderr);
    std::abort();
  }
  std::atomic_ref(first_record_[first]).store(number, std::memory_order_relaxed);
  std::uninitialized_default_construct_n(records_ + number, n);
  return {records_ + number, n};
}

void Records::remove_slab(machine::Pfn first, std::uint32_t n) {
  const unsigned size = static_cast<unsigned>(std::countr_zero(std::bit_ceil(n)));
  Record& record = *of_slab(first);
  const std::lock_guard locked(lock_);
  record.next = free_[size];
  free_[size] = number_of(record);
}

}  // namespace memtorture::debug
