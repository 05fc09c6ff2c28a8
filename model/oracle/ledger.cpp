#include "model/oracle/ledger.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace memtorture::oracle {

void Ledger::begin(const machine::Shape& shape, bool same_shape) {
  if (!same_shape) {
    shape_ = shape;
    chunk_shift_ = shape.orders - 1u;
    const std::size_t frames = (std::size_t{geometry_.frames()} | ((std::size_t{1} << chunk_shift_) - 1)) + 1;
    entries_.reserve(frames);
    if (chunk_run_.reserve(frames >> chunk_shift_)) run_ = 0;  // new memory: all stamps are 0
    count_initial();
  }
  // A chunk stamped by an older run, or by one with other chunk sizes, never has this stamp.
  if (++run_ == 0) std::abort();
  std::copy_n(initial_.begin(), geometry_.count(), zones_.begin());
  for (unsigned z = 0; z != geometry_.count(); ++z) std::fill_n(parked_[z].begin(), shape.cpus, 0u);
  objects_.clear();
  unused_.clear();
  chunks_touched_.clear();
}

template <class F>
void Ledger::for_each_run(Pfn from, Pfn to, F&& f) const {
  for (unsigned z = 0; z != geometry_.count(); ++z) {
    const Zone& zone = geometry_.zone(z);
    Pfn start = std::max({from, zone.start, static_cast<Pfn>(shape_.reserved_pages)});
    const Pfn end = std::min(to, zone.end);
    if (start < end && shape_.hole_start < shape_.hole_end && start < shape_.hole_end && shape_.hole_start < end) {
      if (start < shape_.hole_start) f(z, start, shape_.hole_start);
      start = shape_.hole_end;
    }
    if (start < end) f(z, start, end);
  }
}

// How many blocks of each order an untouched machine has: long runs are maximal blocks, counted without walking.
void Ledger::count_initial() {
  initial_ = {};
  for_each_run(0, geometry_.frames(), [&](unsigned z, Pfn start, Pfn end) {
    ZoneState& zone = initial_[z];
    zone.free += end - start;
    for (Pfn at = start; at != end;) {
      unsigned order = std::min<unsigned>(chunk_shift_, at == 0 ? 31u : static_cast<unsigned>(std::countr_zero(at)));
      while (end - at < (1u << order)) --order;
      const std::uint32_t blocks = order == chunk_shift_ ? (end - at) >> order : 1;
      zone.nr_free[order] += blocks;
      zone.orders_free |= 1u << order;
      at += blocks << order;
    }
  });
}

void Ledger::lay_out(std::uint32_t chunk) {
  chunk_run_[chunk] = run_;
  chunks_touched_.push_back(chunk);
  const Pfn first = chunk << chunk_shift_;
  std::memset(static_cast<void*>(&entries_[first]), 0, sizeof(Entry) << chunk_shift_);
  for_each_run(first, first + chunk_frames(), [&](unsigned, Pfn start, Pfn end) {
    for (Pfn at = start; at != end;) {
      unsigned order = std::min<unsigned>(chunk_shift_, at == 0 ? 31u : static_cast<unsigned>(std::countr_zero(at)));
      while (end - at < (1u << order)) --order;
      entries_[at] = free_entry(order);
      at += 1u << order;
    }
  });
}

Ledger::Found Ledger::find(Pfn frame) {
  touch(frame);
  for (unsigned order = 0; order <= chunk_shift_; ++order) {
    const Pfn head = frame & ~((1u << order) - 1);
    const Entry entry = entries_[head];
    if (entry.holds() == Holds::nothing) continue;
    const unsigned size = order_of(entry);
    if (frame - head < (1u << size)) return {entry, head, size};
    break;  // a head that does not reach the frame: nothing larger can cover both
  }
  return {Entry{}, frame, 0};
}

void Ledger::add_free(Pfn first, unsigned order, unsigned z) {
  touch(first);
  const Zone& bounds = geometry_.zone(z);
  ZoneState& zone = zones_[z];
  zone.free += std::uint64_t{1} << order;
  entries_[first] = Entry{};
  while (order < chunk_shift_) {
    const Pfn buddy = first ^ (1u << order);
    if (buddy < bounds.start || buddy >= bounds.end || entries_[buddy] != free_entry(order)) break;
    entries_[buddy] = Entry{};
    if (--zone.nr_free[order] == 0) zone.orders_free &= ~(1u << order);
    first &= buddy;
    ++order;
  }
  entries_[first] = free_entry(order);
  ++zone.nr_free[order];
  zone.orders_free |= 1u << order;
}

std::optional<unsigned> Ledger::remove_free(Pfn first, unsigned order, unsigned z) {
  touch(first);
  unsigned from = order;
  Pfn head = first & ~((1u << order) - 1);
  while (true) {
    const Entry entry = entries_[head];
    if (entry.holds() == Holds::free && entry.payload() >= from) {
      from = entry.payload();
      break;
    }
    if (entry.holds() != Holds::nothing || from == chunk_shift_) return std::nullopt;
    ++from;
    head = first & ~((1u << from) - 1);
  }
  // The head found at alignment 2^from has order >= from, hence covers the block.
  ZoneState& zone = zones_[z];
  zone.free -= std::uint64_t{1} << order;
  zone.taken += std::uint64_t{1} << order;
  entries_[head] = Entry{};
  if (--zone.nr_free[from] == 0) zone.orders_free &= ~(1u << from);
  for (unsigned half = from; half != order;) {
    --half;
    const Pfn other = (first & ~((1u << half) - 1)) ^ (1u << half);
    entries_[other] = free_entry(half);
    ++zone.nr_free[half];
    zone.orders_free |= 1u << half;
  }
  return from;
}

std::uint32_t Ledger::new_object(Pfn first, unsigned order, std::uint32_t serial, bool compound) {
  std::uint32_t index;
  if (unused_.empty()) {
    index = static_cast<std::uint32_t>(objects_.size());
    objects_.emplace_back();
  } else {
    index = unused_.back();
    unused_.pop_back();
  }
  objects_[index] = {.first = first,
                     .references = 1,
                     .serial = serial,
                     .order = static_cast<std::uint8_t>(order),
                     .compound = compound};
  set(first, Entry(Holds::live, index));
  return index;
}

void Ledger::drop_object(std::uint32_t index) {
  objects_[index].serial = 0;
  unused_.push_back(index);
}

}  // namespace memtorture::oracle
