#include "model/oracle/object_ledger.h"

#include <algorithm>

#include "allocator/machine/ram.h"

namespace memtorture::oracle {

namespace {

constexpr std::uint64_t linear_base = machine::Ram::linear_base;

}  // namespace

void ObjectLedger::begin(unsigned page_shift, Pfn frames) {
  page_shift_ = page_shift;
  if (map_index_.reserve(frames)) run_ = 0;
  ++run_;
  maps_used_ = 0;
  pieces_.clear();
  unused_.clear();
}

ObjectLedger::FrameMap& ObjectLedger::map_of(Pfn frame) {
  std::uint64_t& known = map_index_[frame];
  if (known >> 32 != run_) {
    if (maps_used_ == maps_.size()) maps_.emplace_back();
    maps_[maps_used_].used.fill(0);
    known = std::uint64_t{run_} << 32 | maps_used_++;
  }
  return maps_[static_cast<std::uint32_t>(known)];
}

// f(map, word, mask) for every 64 granules that the range touches; stops when f says false.
template <class F>
void ObjectLedger::for_each_word(std::uint64_t address, std::uint64_t bytes, F&& f) {
  std::uint64_t granule = (address - linear_base) >> granule_shift;
  const std::uint64_t end = (address - linear_base + bytes + (1u << granule_shift) - 1) >> granule_shift;
  const unsigned frame_granules_shift = page_shift_ - granule_shift;
  while (granule < end) {
    FrameMap& map = map_of(static_cast<Pfn>(granule >> frame_granules_shift));
    const std::uint64_t in_frame = granule & ((std::uint64_t{1} << frame_granules_shift) - 1);
    const std::uint64_t bit = in_frame & 63;
    const std::uint64_t count = std::min<std::uint64_t>(64 - bit, end - granule);
    const std::uint64_t mask = (count == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1) << bit;
    if (!f(map, in_frame >> 6, mask)) return;
    granule += count;
  }
}

std::uint32_t ObjectLedger::owner(std::uint64_t address, std::uint64_t bytes) {
  bool taken = false;
  for_each_word(address, bytes, [&](FrameMap& map, std::uint64_t word, std::uint64_t mask) {
    taken = (map.used[word] & mask) != 0;
    return !taken;
  });
  if (!taken) return nobody;
  for (std::uint32_t i = 0; i != pieces_.size(); ++i) {  // something is wrong: no need for speed
    const Piece& piece = pieces_[i];
    if (piece.serial != 0 && piece.address < address + bytes && address < piece.address + piece.usable) return i;
  }
  return nobody;
}

std::uint32_t ObjectLedger::at(std::uint64_t address) {
  const std::uint64_t offset = address - linear_base;
  FrameMap& map = map_of(static_cast<Pfn>(offset >> page_shift_));
  const std::uint32_t index = map.starts[(offset & ((std::uint64_t{1} << page_shift_) - 1)) >> granule_shift];
  const bool right = index < pieces_.size() && pieces_[index].serial != 0 && pieces_[index].address == address;
  return right ? index : nobody;
}

std::uint32_t ObjectLedger::add(const Piece& piece) {
  std::uint32_t index = static_cast<std::uint32_t>(pieces_.size());
  if (unused_.empty()) {
    pieces_.push_back(piece);
  } else {
    index = unused_.back();
    unused_.pop_back();
    pieces_[index] = piece;
  }
  for_each_word(piece.address, piece.usable, [](FrameMap& map, std::uint64_t word, std::uint64_t mask) {
    map.used[word] |= mask;
    return true;
  });
  const std::uint64_t offset = piece.address - linear_base;
  FrameMap& map = map_of(static_cast<Pfn>(offset >> page_shift_));
  map.starts[(offset & ((std::uint64_t{1} << page_shift_) - 1)) >> granule_shift] = index;
  return index;
}

void ObjectLedger::remove(std::uint32_t index) {
  Piece& piece = pieces_[index];
  for_each_word(piece.address, piece.usable, [](FrameMap& map, std::uint64_t word, std::uint64_t mask) {
    map.used[word] &= ~mask;
    return true;
  });
  piece.serial = 0;
  unused_.push_back(index);
}

}  // namespace memtorture::oracle
