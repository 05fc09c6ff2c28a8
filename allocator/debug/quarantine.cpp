#include "allocator/debug/quarantine.h"

namespace memtorture::debug {

void Quarantine::append(Record& record) {
  const std::uint32_t number = records_.number_of(record);
  record.next = no_record;
  if (Record* const newest = records_.at(newest_)) {
    newest->next = number;
  } else {
    oldest_ = number;
  }
  newest_ = number;
  bytes_ += record.bytes;
}

void Quarantine::unlink_oldest() {
  const Record& record = *records_.at(oldest_);
  bytes_ -= record.bytes;
  oldest_ = record.next;
  if (oldest_ == no_record) newest_ = no_record;
}

// To the end of those that leave.
void Quarantine::link(Record*& first, Record*& last, Record& record) {
  record.next = no_record;
  record.set_state(BufferState::freed);
  if (last != nullptr) {
    last->next = records_.number_of(record);
  } else {
    first = &record;
  }
  last = &record;
}

}  // namespace memtorture::debug
