// Freed buffers that are held back, so that whoever still uses one is found (domain.md 20.1): first in, first out, up
// to a budget in bytes of buffers.
//
// A buffer that comes in and the ones that must leave for it change places under one lock, so the budget holds at every
// moment. Those that leave are handed to the caller as a list: to give them back for real takes other locks, has
// points inside, and is done after this lock is released. `leaves` is called for each of them while the lock is still
// held: that is how somebody who empties the quarantine of one cache can know of all that are on their way.
//
// A record is on the list exactly while its state is `quarantined`, save for the moment between a retire() and push().
#pragma once

#include <cstdint>
#include <mutex>

#include "allocator/debug/records.h"

namespace memtorture::debug {

class Quarantine {
 public:
  explicit Quarantine(Records& records) : records_(records) {}
  void reset(std::uint64_t budget_bytes) {
    budget_ = budget_bytes;
    bytes_ = 0;
    oldest_ = newest_ = no_record;
  }

  // A buffer that alone exceeds the budget is not for us.
  bool takes(std::uint64_t bytes) const { return bytes <= budget_; }

  // The caller has retired the record. Returns the first of those that leave, oldest first, linked by `next`.
  template <class Leaves>
  Record* push(Record& record, Leaves leaves) {
    const std::lock_guard locked(lock_);
    append(record);
    Record* first = nullptr;
    Record* last = nullptr;
    while (bytes_ > budget_) {
      Record& leaving = *records_.at(oldest_);
      unlink_oldest();
      link(first, last, leaving);
      leaves(leaving);
    }
    return first;
  }

  // All buffers of one cache leave.
  template <class Leaves>
  Record* take_of(std::uint64_t owner, Leaves leaves) {
    const std::lock_guard locked(lock_);
    Record* first = nullptr;
    Record* last = nullptr;
    std::uint32_t number = oldest_;
    oldest_ = newest_ = no_record;
    bytes_ = 0;
    while (Record* const record = records_.at(number)) {
      number = record->next;
      if (record->owner != owner) {
        append(*record);
        continue;
      }
      link(first, last, *record);
      leaves(*record);
    }
    return first;
  }

  std::uint64_t bytes() {
    const std::lock_guard locked(lock_);
    return bytes_;
  }

 private:
  void append(Record& record);
  void unlink_oldest();
  void link(Record*& first, Record*& last, Record& record);

  Records& records_;
  HostLock lock_;
  std::uint64_t budget_ = 0, bytes_ = 0;
  std::uint32_t oldest_ = no_record, newest_ = no_record;
};

}  // namespace memtorture::debug
