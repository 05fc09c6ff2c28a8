// Classes of locks: what the rules of lock order are about. All locks that protect the same kind of thing are of one
// class, and an order that was wrong once between two classes is a deadlock that some schedule has.
//
// As with sites the name is the identity outside, the index in the table below is it inside; spelling a name that is
// not in the table does not compile. A layer that adds a lock adds a row. Which order is right is not said here: the
// machine only tells what it saw (lock_watch.h), and the specification knows the reference (domain.md 1.5).
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>

namespace memtorture::machine {

enum class LockKind : std::uint8_t { spin, mutex, phase };  // phase: no lock, but something that is waited for

struct LockRow {
  std::string_view name;
  LockKind kind;
  std::string_view meaning;
};

inline constexpr LockRow lock_table[] = {
    {"cache_chain", LockKind::mutex, "the chain of caches: creation, destruction, shrinking, reaping"},
    {"cpu_hotplug", LockKind::mutex, "which CPUs are there: one comes or goes at a time"},
    {"fs_reclaim", LockKind::phase, "direct reclaim that may call filesystems"},
    {"io_reclaim", LockKind::phase, "direct reclaim that may start I/O"},
    {"k12", LockKind::spin, "the buckets of K12's kmalloc"},
    {"lru", LockKind::spin, "the lists of clients' pages"},
    {"mempool", LockKind::spin, "the elements that a memory pool sets aside"},
    {"pcp", LockKind::spin, "one CPU's list of pages of a zone"},
    {"pcpu_alloc_mutex", LockKind::mutex, "per-CPU memory: who looks for an area, or backs and frees chunks"},
    {"pcpu_lock", LockKind::spin, "maps and lists of chunks of per-CPU memory"},
    {"program.mutex0", LockKind::mutex, "mutex l0 of a case"},
    {"program.mutex1", LockKind::mutex, "mutex l1 of a case"},
    {"program.mutex2", LockKind::mutex, "mutex l2 of a case"},
    {"program.mutex3", LockKind::mutex, "mutex l3 of a case"},
    {"program.spin0", LockKind::spin, "spinlock l0 of a case"},
    {"program.spin1", LockKind::spin, "spinlock l1 of a case"},
    {"program.spin2", LockKind::spin, "spinlock l2 of a case"},
    {"program.spin3", LockKind::spin, "spinlock l3 of a case"},
    {"reclaim", LockKind::phase, "direct reclaim"},
    {"shrinker_rwsem", LockKind::mutex, "the list of shrinkers"},
    {"slab.alien", LockKind::spin, "objects of other nodes, on their way home"},
    {"slab.array", LockKind::spin, "one CPU's array of objects"},
    {"slab.list", LockKind::spin, "the slabs of a cache on one node"},
    {"test.a", LockKind::spin, "for tests of the machine"},
    {"test.b", LockKind::spin, "for tests of the machine"},
    {"test.m", LockKind::mutex, "for tests of the machine"},
    {"zone", LockKind::spin, "the free lists of a zone"},
};
inline constexpr unsigned lock_classes = std::size(lock_table);
static_assert(std::ranges::is_sorted(lock_table, {}, &LockRow::name), "lock_table is sorted: lookups are binary");
static_assert(lock_classes <= 64, "sets of classes are 64 bits");

using LockSet = std::uint64_t;  // bit i = class i

class LockClass {
 public:
  consteval explicit LockClass(std::string_view name) : index_(find(name).value()) {}
  static constexpr LockClass at(unsigned index) { return LockClass(index, 0); }  // index < lock_classes
  static constexpr std::optional<LockClass> named(std::string_view name) {
    const auto index = find(name);
    return index ? std::optional<LockClass>(LockClass(*index, 0)) : std::nullopt;
  }
  constexpr unsigned index() const { return index_; }
  constexpr LockSet bit() const { return LockSet{1} << index_; }
  constexpr std::string_view name() const { return lock_table[index_].name; }
  constexpr LockKind kind() const { return lock_table[index_].kind; }
  friend constexpr bool operator==(LockClass, LockClass) = default;

 private:
  constexpr LockClass(unsigned index, int) : index_(static_cast<std::uint8_t>(index)) {}
  static constexpr std::optional<std::uint8_t> find(std::string_view name) {
    const auto row = std::ranges::lower_bound(lock_table, name, {}, &LockRow::name);
    if (row == std::end(lock_table) || row->name != name) return std::nullopt;
    return static_cast<std::uint8_t>(row - lock_table);
  }
  std::uint8_t index_;
};

// How a class was taken, as a bit set: what decides whether an interrupt may wait for itself (domain.md 1.5).
enum LockUse : std::uint8_t {
  lock_in_hardirq = 1,
  lock_in_softirq = 2,
  lock_irqs_on = 4,  // taken, or kept, while this CPU admitted interrupts
  lock_bh_on = 8,    // ... softirqs
};

}  // namespace memtorture::machine
