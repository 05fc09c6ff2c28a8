// A record for each buffer of every checked cache: is it live, how much was asked for, who had it.
//
//   first frame of a slab -> number of its first record -> records of its buffers, by index
//
// Records are made with a slab and go with it. They come from one arena on the host: blocks of a power of two of them,
// those given back in a list by size, new ones from the top. A record is found from a slab that exists, so nothing of
// an earlier run is ever looked at: reset() forgets the arena at no cost per record.
//
// The state is what two contexts may fight for: of several that free an object only one gets its retire(). Everything
// else in a record is written by whoever has the buffer; what a report needs of it may be read at any time, because the
// loser of that fight reports while the winner goes on.
//
// Not here: how a buffer is found from an address; the slab layer knows its slabs.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "allocator/debug/host_lock.h"
#include "allocator/debug/reservation.h"
#include "allocator/machine/object_details.h"

namespace memtorture::debug {

enum class BufferState : std::uint8_t { fresh, live, freed, quarantined };

// machine::Life without its `known`, to fit.
struct Track {
  std::uint64_t jiffies = 0;
  std::uint32_t op = 0;
  machine::ContextId who = machine::no_context;
  machine::ContextKind kind = machine::ContextKind::task;
  std::uint8_t cpu = 0;
};
static_assert(sizeof(Track) == 16);

// A Track that somebody may read while its owner writes. Two words: a reader may get half of each of two lives.
class SharedTrack {
 public:
  void set(const Track& track);
  Track get() const;

 private:
  std::uint64_t word_[2] = {};
};

inline constexpr std::uint32_t no_record = ~0u;

struct alignas(64) Record {
  std::uint64_t object = 0;  // address
  std::uint64_t owner = 0;   // its cache, as the slab layer names it
  SharedTrack allocated, freed;
  std::uint32_t size_ = 0;         // bytes as requested
  std::uint32_t bytes = 0;         // of the buffer
  std::uint32_t next = no_record;  // on the list that it is on: free records, quarantine, scan
  BufferState state_ = BufferState::fresh;
  std::uint8_t lives_ = 0;  // 1: was allocated, 2: was freed since
  bool own = false;         // the layer's own object: no leak, and nothing in it counts as a reference
  bool reached = false;     // leak scan

  BufferState state() { return std::atomic_ref(state_).load(std::memory_order_acquire); }
  void set_state(BufferState to) { std::atomic_ref(state_).store(to, std::memory_order_release); }
  // Live no more. False: it was not live, and nothing changed.
  bool retire(BufferState to) {
    BufferState live = BufferState::live;
    return std::atomic_ref(state_).compare_exchange_strong(live, to, std::memory_order_acq_rel,
                                                           std::memory_order_acquire);
  }
  std::uint32_t size() const {
    return std::atomic_ref(const_cast<std::uint32_t&>(size_)).load(std::memory_order_relaxed);
  }
  void set_size(std::uint32_t requested) { std::atomic_ref(size_).store(requested, std::memory_order_relaxed); }
  void begin_life(std::uint32_t requested);  // the caller has the buffer
  void end_life();                           // ... and has retired it
  machine::Life life_allocated() const;
  machine::Life life_freed() const;
};
static_assert(sizeof(Record) == 64);

class Records {
 public:
  Records();
  void reset();

  // n fresh records for the slab that begins at frame `first`. Aborts when the arena is full (harness fault).
  std::span<Record> add_slab(machine::Pfn first, std::uint32_t n);
  void remove_slab(machine::Pfn first, std::uint32_t n);
  Record* of_slab(machine::Pfn first) {  // the slab is there
    return records_ + std::atomic_ref(first_record_[first]).load(std::memory_order_relaxed);
  }

  // Links between records are numbers.
  Record* at(std::uint32_t number) { return number != no_record ? records_ + number : nullptr; }
  std::uint32_t number_of(const Record& record) const { return static_cast<std::uint32_t>(&record - records_); }

 private:
  static constexpr unsigned sizes = 32;

  Reservation memory_, index_memory_;
  Record* records_;
  std::uint32_t* first_record_;  // by frame
  HostLock lock_;
  std::uint32_t used_ = 0;
  std::uint32_t free_[sizes];  // blocks of 1 << i records, linked by the `next` of their first
};

}  // namespace memtorture::debug
