// Per-CPU variables that the kernel is linked with (domain.md 16.3).
//
// A section is a struct: its members are the variables, its default member initialisers what every CPU's copy begins
// with, and offsetof is the linker. So the image is a constant, a variable's place is known when compiling, and there
// is no global anywhere. The first chunk's static area has one copy of the section for each CPU.
//
//   struct Section { DEFINE_PER_CPU(std::uint64_t, packets) = 0; };
//   DECLARE_PER_CPU(Section, packets);                  // per_cpu_var__packets: its name outside of the section
//   ++get_cpu_var(percpu, packets);                     // preemption off
//   put_cpu_var(percpu, packets);                       // ... and on again
//   per_cpu(percpu, packets, 3)                         // anybody's copy: no protection, needs a lock
//   __get_cpu_var(percpu, packets)                      // this CPU's, reported where preemption is on
//
// The old form (2.4) is an array with an element for each CPU. It has neither the cache lines nor the check:
//
//   T a[NR_CPUS];  const unsigned cpu = get_cpu();  ++a[cpu];  put_cpu();
//
// Sections hold trivially copyable types only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "allocator/machine/context.h"

namespace memtorture::percpu {

// Where a variable is in its section, and of which type it is.
template <class T>
struct StaticPercpu {
  std::uint32_t offset;
};

// What the kernel itself has. The first three are for programs of operations, which count in them.
struct KernelSection {
  std::uint64_t events = 0;
  std::uint32_t packets = 7;
  std::uint8_t ticks = 250;  // wraps soon
  std::uint64_t spare[2] = {};
};
static_assert(std::is_trivially_copyable_v<KernelSection> && alignof(KernelSection) <= 16);

inline unsigned get_cpu() {  // disables preemption, then tells the CPU
  machine::preempt_disable();
  return machine::raw_smp_processor_id();
}
inline void put_cpu() { machine::preempt_enable(); }

// A dynamic or static variable as our own layers use it: indexing demands a permit, so there is no stale CPU.
template <class Allocator, class T>
class PerCpu {
 public:
  PerCpu(Allocator& allocator, std::uint64_t cookie) : allocator_(&allocator), cookie_(cookie) {}
  T& operator[](const machine::Pinned& proof) const { return on(proof.cpu()); }
  T& operator[](const machine::Masked& proof) const { return on(proof.cpu()); }
  T& on(unsigned cpu) const {  // protects nothing
    return *reinterpret_cast<T*>(allocator_->at(allocator_->per_cpu_ptr(cookie_, cpu)));
  }
  std::uint64_t cookie() const { return cookie_; }

 private:
  Allocator* allocator_;
  std::uint64_t cookie_;
};

}  // namespace memtorture::percpu

// NOLINTBEGIN: the kernel's names.
#define DEFINE_PER_CPU(type, name) type name
#define DECLARE_PER_CPU(section, name)                                                             \
  inline constexpr memtorture::percpu::StaticPercpu<decltype(section::name)> per_cpu_var__##name { \
    static_cast<std::uint32_t>(offsetof(section, name))                                            \
  }
#define per_cpu(percpu, name, cpu) ((percpu).variable(per_cpu_var__##name).on(cpu))
#define get_cpu_var(percpu, name) (*(percpu).get_cpu_variable(per_cpu_var__##name))
#define put_cpu_var(percpu, name) ((percpu).put_cpu_variable(per_cpu_var__##name))
#define __get_cpu_var(percpu, name) (*(percpu).this_cpu_variable(per_cpu_var__##name))
// NOLINTEND
