// The ledger: who owns which frame, and what the free frames imply.
//
// One 32-bit entry per frame; only the first frame ("head") of a thing has a non-zero entry, the frames behind it are
// 0:
//
//   frame:   [free 2]  0   0   0  [live #7]  0  [parked cpu1] [client anon] [bad 0] [limbo 1 of a]  0   0(reserved) ...
//
// so a block of any order costs one write, and whose a frame is follows from at most MAX_ORDER probes (a head of order
// o covers the frame iff frame & ~(2^o - 1) is that head). Free frames are kept as the maximally coalesced blocks that
// they form inside their zone; that the set of free frames determines these blocks is what lets the oracle know every
// nr_free exactly without knowing the subject's lists.
//
// "Limbo": a release was called and has not returned; the frames are nobody's, and may be anywhere between owner and
// list.
//
// Cost: memory is in chunks of one maximal block each. A chunk's entries are cleared and laid out at its first touch in
// a run (generation stamp), so begin() costs nothing per frame and a 1 TiB machine costs what is touched.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "model/oracle/geometry.h"
#include "model/oracle/lazy_array.h"

namespace memtorture::oracle {

enum class Holds : std::uint8_t { nothing, free, parked, live, limbo, client, bad };

class Entry {
 public:
  constexpr Entry() = default;
  constexpr Entry(Holds holds, std::uint32_t payload) : bits_(static_cast<std::uint32_t>(holds) << 28 | payload) {}
  Holds holds() const { return static_cast<Holds>(bits_ >> 28); }
  std::uint32_t payload() const { return bits_ & 0xfffffff; }
  friend bool operator==(Entry, Entry) = default;

 private:
  std::uint32_t bits_ = 0;
};
// Payloads. free, bad: order. parked: CPU. live: index of the object. client: kind | process << 4, or | being_written.
// limbo: order | releaser << 8.
constexpr Entry free_entry(unsigned order) { return {Holds::free, order}; }
inline constexpr std::uint32_t client_kind_mask = 0xf, being_written = 0x100;
constexpr Entry client_entry(unsigned kind, std::uint64_t process) {
  return {Holds::client, kind | static_cast<std::uint32_t>(process) << 4};
}
constexpr Entry limbo_entry(unsigned order, unsigned releaser) { return {Holds::limbo, order | releaser << 8}; }

struct Object {  // a live block
  Pfn first = machine::no_pfn;
  std::uint32_t references = 0;
  std::uint32_t serial = 0;  // its birth; parts of a split block keep it. 0: not in use
  std::uint8_t order = 0;
  bool compound = false;
  bool forgotten = false;
  bool layer = false;       // held by a layer of the subject, not by a program
  bool stack = false;       // of a layer's: it is a kernel stack
  std::uint32_t cache = 0;  // of a layer's: index + 1 of the program's cache that it is a slab of, as far as is known
};

struct ZoneState {
  std::uint64_t free = 0;  // NR_FREE_PAGES
  std::uint64_t limbo = 0, live = 0, clients = 0, bad = 0, parked = 0;
  std::array<std::uint32_t, machine::orders_max> nr_free{};
  std::uint32_t orders_free = 0;  // bit o: nr_free[o] != 0
  std::array<std::uint32_t, subject::client_kinds> client_pages{};
  // Pages that ever left the free set, or went to clients or became clean, in this run.
  std::uint64_t taken = 0, client_grants = 0;
  std::uint64_t being_written = 0;  // of clients
};

class Ledger {
 public:
  explicit Ledger(const Geometry& geometry) : geometry_(geometry) {}

  void begin(const machine::Shape& shape, bool same_shape);

  struct Found {
    Entry entry;
    Pfn head;
    unsigned order;
  };
  Found find(Pfn frame);  // what covers a frame below frames(); nothing: reserved or absent
  Entry at(Pfn frame) {
    touch(frame);
    return entries_[frame];
  }
  void set(Pfn frame, Entry entry) {
    touch(frame);
    entries_[frame] = entry;
  }
  unsigned order_of(Entry entry) const {
    switch (entry.holds()) {
      case Holds::live: return objects_[entry.payload()].order;
      case Holds::limbo: return entry.payload() & 0xff;
      case Holds::free:
      case Holds::bad: return entry.payload();
      default: return 0;
    }
  }

  // The free set. add: frames that are on no list join it. remove: an aligned block leaves it; returns the order of the
  // block that it was cut from, or nothing if not all of it is free.
  void add_free(Pfn first, unsigned order, unsigned zone);
  std::optional<unsigned> remove_free(Pfn first, unsigned order, unsigned zone);

  std::uint32_t new_object(Pfn first, unsigned order, std::uint32_t serial, bool compound);
  void drop_object(std::uint32_t index);
  Object& object(std::uint32_t index) { return objects_[index]; }
  const std::vector<Object>& objects() const { return objects_; }

  ZoneState& zone(unsigned z) { return zones_[z]; }
  const ZoneState& zone(unsigned z) const { return zones_[z]; }
  std::uint32_t& parked(unsigned zone, unsigned cpu) { return parked_[zone][cpu]; }
  const std::vector<std::uint32_t>& chunks_touched() const { return chunks_touched_; }  // in this run
  unsigned orders() const { return chunk_shift_ + 1; }
  std::uint32_t chunk_frames() const { return 1u << chunk_shift_; }

 private:
  void touch(Pfn frame) {
    if (chunk_run_[frame >> chunk_shift_] != run_) [[unlikely]]
      lay_out(frame >> chunk_shift_);
  }
  void lay_out(std::uint32_t chunk);
  template <class F>
  void for_each_run(Pfn from, Pfn to, F&& f) const;  // managed frames of one zone, between reserved ones and holes
  void count_initial();

  const Geometry& geometry_;
  machine::Shape shape_;
  unsigned chunk_shift_ = 0;
  std::uint32_t run_ = 0;
  LazyArray<Entry> entries_;
  LazyArray<std::uint32_t> chunk_run_;
  std::vector<std::uint32_t> chunks_touched_;
  std::vector<Object> objects_;
  std::vector<std::uint32_t> unused_;
  std::array<ZoneState, zones_max> zones_{};
  std::array<ZoneState, zones_max> initial_{};
  std::array<std::array<std::uint32_t, machine::cpus_max>, zones_max> parked_{};
};

}  // namespace memtorture::oracle
