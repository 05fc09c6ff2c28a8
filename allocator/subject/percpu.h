// The facet of per-CPU memory: one copy for each possible CPU (domain.md 16).
//
// An area is named by a cookie, which is no address: per_cpu_ptr and its relations make addresses of it, in the linear
// map of the simulated kernel. Nothing keeps a CPU from another's copy; whoever uses a copy keeps to the rules himself,
// and what a debug build notices of it is said below.
//
// Contexts: "flags" = may sleep if the flags allow blocking, else any but NMI.
#pragma once

#include <cstdint>
#include <string_view>

#include "allocator/machine/types.h"
#include "allocator/subject/gfp.h"

namespace memtorture::subject {

using PercpuPtr = std::uint64_t;  // a cookie; 0: none
inline constexpr PercpuPtr no_percpu = 0;

// How chunks are cut. A unit is what one CPU has of a chunk: a whole number of pages, the same for all chunks.
//
//   first chunk, each unit:  | static | reserved | dynamic ...                    |
//   later chunks:            | dynamic ...                                        |
//   address of CPU c's copy = chunk + c * unit_bytes + offset, the same offset for all c
struct PercpuLayout {
  std::uint64_t unit_bytes = 0;      // 0: there is no per-CPU memory
  std::uint32_t units = 0;           // possible CPUs
  std::uint64_t size_max = 0;        // bytes that can be asked for at a time
  std::uint64_t static_bytes = 0;    // variables that the kernel was linked with
  std::uint64_t reserved_bytes = 0;  // for variables of modules
  std::uint64_t first_chunk = 0;     // address of its first unit; its static area is at cookie `static_cookie`
  PercpuPtr static_cookie = 0;
};

struct StaticVariable {
  std::string_view name;
  PercpuPtr cookie;
  std::uint32_t bytes;
  std::uint64_t initial;  // value of its first min(bytes, 8) bytes on every CPU
};

class Percpu {
 public:
  virtual ~Percpu() = default;
  virtual PercpuLayout percpu_layout() = 0;

  // Every copy is zeroed. no_percpu: refused; a size of 0 or above size_max, or an alignment that is above a page or no
  // power of two, with a report. Sleepable process context.
  virtual PercpuPtr alloc_percpu(std::uint64_t bytes, std::uint64_t align) = 0;
  // Without __GFP_WAIT: from what is there and backed by memory already, or not at all. Context: flags.
  virtual PercpuPtr alloc_percpu_gfp(std::uint64_t bytes, std::uint64_t align, gfp_t gfp) = 0;
  // For the per-CPU variables of a module that is being loaded: from the reserved area only. Sleepable process context.
  virtual PercpuPtr alloc_reserved_percpu(std::uint64_t bytes, std::uint64_t align) = 0;
  virtual void free_percpu(PercpuPtr area) = 0;  // all copies; no_percpu: no-op. Any context but NMI

  // --- addresses. Any context, NMI too; nothing is checked about the cookie
  virtual std::uint64_t per_cpu_ptr(PercpuPtr area, unsigned cpu) = 0;  // protects nothing
  virtual std::uint64_t this_cpu_ptr(PercpuPtr area) = 0;               // reported when preemptible
  virtual std::uint64_t get_cpu_ptr(PercpuPtr area) = 0;                // disables preemption
  virtual void put_cpu_ptr(PercpuPtr area) = 0;                         // enables it again

  // Adds to the first `width` (1, 2, 4, 8) bytes of this CPU's copy, and nobody comes in between. Any context. Tells on
  // which CPU that was, for comparisons. (__this_cpu_add is a load and a store at this_cpu_ptr.)
  virtual unsigned this_cpu_add(PercpuPtr area, std::uint64_t value, unsigned width) = 0;

  // --- static variables (DEFINE_PER_CPU)
  virtual unsigned static_variables() = 0;
  virtual StaticVariable static_variable(unsigned index) = 0;  // index < static_variables()
};

// --- white box ------------------------------------------------------------------------------------------------------

enum class PercpuRole : std::uint8_t { reserved, first, later };  // the reserved one is of the first chunk's units

struct PercpuChunkInfo {
  PercpuRole role;
  std::uint64_t base;        // address of its first unit
  machine::Pfn first;        // its block of pages ...
  std::uint8_t order;        // ... which a reserved chunk shares with the first
  std::uint64_t free_bytes;  // of a unit
  std::uint32_t map_used, map_alloc;
  std::uint32_t slot;  // among lists by free size; of the reserved chunk: 0
  std::uint64_t descriptor, map;
  std::uint32_t empty_pages;  // of a unit: backed by memory, without an area
};

struct PercpuAreaInfo {
  std::uint64_t offset, bytes;
  bool used;
};

struct PercpuCounts {
  std::uint32_t empty_pages;  // in all chunks but the reserved one
  std::uint32_t failures_told;
  bool work_pending;
};

// Quiescent use only; callbacks must not call the subject.
class PercpuView {
 public:
  virtual ~PercpuView() = default;
  virtual PercpuCounts percpu_counts() = 0;
  using EachPercpuChunk = void (*)(void* arg, const PercpuChunkInfo& chunk);
  virtual void for_each_percpu_chunk(EachPercpuChunk f,
                                     void* arg) = 0;  // in the order in which they are tried, fullest first
  using EachPercpuArea = void (*)(void* arg, const PercpuAreaInfo& area);
  virtual void for_each_percpu_area(std::uint64_t descriptor, EachPercpuArea f,
                                    void* arg) = 0;                                   // by offset, without gaps
  virtual bool populated(std::uint64_t descriptor, unsigned cpu, unsigned page) = 0;  // of a unit
};

}  // namespace memtorture::subject
