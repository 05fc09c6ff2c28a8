// A machine shape: everything about the simulated hardware and the boot parameters that a run depends on.
//
// A shape is a named row of shape_table plus overrides; the machine line of a case spells exactly that. Sizes are in
// frames unless the name says bytes. validate() says in one line why an impossible machine is impossible; every other
// layer may assume a valid shape.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "allocator/machine/types.h"

namespace memtorture::machine {

enum class Toggle : std::uint8_t { off, on };

// Which layer serves kmalloc and caches of objects; booting it takes pages.
enum class ObjectLayer : std::uint8_t { none, slab, k12 };  // k12: buckets over pages, no caches (domain.md 11.5)
inline constexpr std::string_view object_layer_names[] = {"none", "slab", "k12"};

// Checks of the slab layer that are in force for every cache, by the letters of slub_debug.
enum SlabDebug : std::uint8_t {
  debug_sanity = 1,   // F  what is freed is an object of the cache, and in use
  debug_redzone = 2,  // Z  words before and after an object
  debug_poison = 4,   // P  patterns in free and in fresh objects
  debug_user = 8,     // U  who allocated and who freed
  debug_shadow = 16,  // K  every access is checked (as KASAN does); includes F
};
inline constexpr std::string_view slab_debug_letters = "FZPUK";  // bit i

struct Shape {
  std::uint8_t base = 0;             // row of shape_table that this began as (its name is what is printed)
  std::uint64_t ram_bytes = 0;       // a multiple of the page size; at most ram_bytes_max
  std::uint8_t page_shift = 12;      // 12 or 13
  std::uint8_t orders = orders_max;  // MAX_ORDER, exclusive: 1..orders_max
  std::uint8_t cpus = 1;             // 1..cpus_max
  std::uint8_t nodes = 1;            // 1..nodes_max; RAM is divided evenly, CPUs round-robin
  std::uint16_t hz = 100;            // 100, 250 or 1000 jiffies a second
  // First byte address above each zone; a zone whose end is not above the one before it is empty.
  // HighMem has everything above zone_end[normal]. zone_end_none: no limit.
  std::array<std::uint64_t, 3> zone_end_bytes{};
  std::uint32_t reserved_pages =
      0;  // frames at the bottom of RAM kept by the boot loader ("kernel image"): PG_reserved
  Pfn hole_start = 0, hole_end = 0;                  // frames that do not exist; empty when equal
  std::optional<std::uint32_t> min_free_kbytes;      // none: the formula of domain.md 5.2
  std::optional<std::uint16_t> pcp_high, pcp_batch;  // none: the formula of domain.md 6.2
  Toggle poison = Toggle::off;                       // page poisoning (domain.md 20.4)
  ObjectLayer objects = ObjectLayer::none;
  std::uint8_t slab_debug = 0;         // SlabDebug bits; slab only
  std::uint64_t quarantine_bytes = 0;  // freed objects that are held back, in bytes of buffers; with debug_shadow only
  Toggle reap = Toggle::off;           // the periodic reaper of every CPU runs (domain.md 10.5); slab only
  // Kernel stacks (domain.md 17).
  std::uint64_t stack_bytes = 0;     // THREAD_SIZE: 4, 8 or 16 KiB; 0: programs run on no stack of the machine's
  Toggle irq_stacks = Toggle::off;   // handlers have stacks of their CPU's; off: they use what they interrupt
  Toggle stack_cache = Toggle::off;  // K61: a CPU keeps a few freed stacks

  Toggle percpu = Toggle::off;  // there is per-CPU memory (domain.md 16): its first chunk takes pages; slab only

  std::uint64_t page_bytes() const { return std::uint64_t{1} << page_shift; }
  Pfn frames() const { return static_cast<Pfn>(ram_bytes >> page_shift); }
  std::string_view name() const;
  friend bool operator==(const Shape&, const Shape&) = default;
};

inline constexpr std::uint64_t zone_end_none = ~std::uint64_t{0};
inline constexpr std::uint64_t ram_bytes_max = std::uint64_t{1} << 40;  // 1 TiB

struct ShapeRow {
  std::string_view name;
  std::string_view meaning;
  std::uint64_t ram_bytes_limit;  // what its processors can address
  Shape shape;
};

std::span<const ShapeRow> shape_table();
std::optional<Shape> shape_named(std::string_view name);

// The reason why this machine cannot be built, in one line, or nothing.
std::optional<std::string> why_impossible(const Shape&);

}  // namespace memtorture::machine
