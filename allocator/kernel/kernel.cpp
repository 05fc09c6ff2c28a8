#include "allocator/kernel/kernel.h"

#include "allocator/machine/cpu_hotplug.h"

namespace memtorture::kernel {
namespace {

// A step of the boot, on a machine that nobody else runs on.
template <class Step>
bool alone(machine::Machine& machine, Step step) {
  struct Call {
    Step& step;
    bool done = false;
  } call{step};
  machine.run_alone(
      [](void* arg) {
        Call& self = *static_cast<Call*>(arg);
        self.done = self.step();
      },
      &call);
  return call.done;
}

constexpr std::size_t metadata_bytes_max = std::size_t{1} << 20;
// Zones and per-CPU lists of the largest machine, and what its caches live on during boot.
constexpr std::size_t zone_bytes_max = sizeof(page::Zone) + 64 + (machine::cpus_max + 1) * sizeof(page::Pcp);
constexpr std::size_t boot_cache_bytes_max =
    slab::ArrayCache::bytes_for(1) + machine::nodes_max * sizeof(slab::List3) + 64;
static_assert(page::zones_max * zone_bytes_max + (2 * slab::size_classes_max + 1) * boot_cache_bytes_max +
                  slab::KmemCache::bytes_for(machine::cpus_max) <
              metadata_bytes_max);

}  // namespace

Kernel::Kernel() : bank_(page::MemMap::bytes_max, metadata_bytes_max) {}

void Kernel::boot(const machine::Shape& shape, std::span<const fault::Rule> rules, subject::PagesTrace& trace,
                  machine::Witness& witness) {
  trace_ = &trace;
  rules_ = rules;
  machine_.boot(shape, witness);
  faults_.reset(rules, *this);
  let_the_machine_fail();
  pages_.boot(machine_, bank_, faults_, trace);
  slab_.reset();
  stacks_.reset();
  percpu_.reset();
  hotplug_.reset();
  k12_ = false;
}

// The machine lies below the injector, so it asks through a hook.
void Kernel::let_the_machine_fail() {
  std::uint64_t ruled = 0;
  for (const fault::Rule& rule : rules_) ruled |= std::uint64_t{1} << rule.site.index();
  const auto fails = [](void* faults, machine::Site site) {
    return static_cast<fault::Injector*>(faults)->should_fail(site, 1, 0, 0);
  };
  machine_.on_fault(fails, &faults_, ruled);
}

bool Kernel::boot_objects() {
  if (machine_.shape().objects == machine::ObjectLayer::k12) {
    buckets_.boot();
    return k12_ = true;
  }
  faults_.reset({}, *this);
  const bool done = alone(machine_, [this] { return slab_.boot(bank_) && pages_.register_shrinker(slab_shrinker_); });
  faults_.reset(rules_, *this);
  if (done && machine_.shape().reap == machine::Toggle::on) slab_.start_cpu_timers();
  return done;
}

bool Kernel::boot_percpu() {
  faults_.reset({}, *this);
  const bool done = alone(machine_, [this] { return percpu_.boot(percpu::KernelSection{}); });
  faults_.reset(rules_, *this);
  return done;
}

// Who may not sleep is reported by the mutex, and does not get it if it is taken.
template <class Move>
bool Kernel::one_at_a_time(unsigned cpu, Move move) {
  hotplug_.lock();
  if (!hotplug_.is_mine()) return false;
  const bool moved = cpu < machine_.shape().cpus && move();
  hotplug_.unlock();
  return moved;
}

// Pages come last: what the layers above them give back goes through lists, too (this CPU's).
bool Kernel::cpu_down(unsigned cpu) {
  return one_at_a_time(cpu, [&] {
    if (!machine::take_cpu_down(cpu)) return false;
    slab_.cpu_dead(cpu);
    stacks_.cpu_dead(cpu);
    pages_.cpu_dead(cpu);
    return true;
  });
}

bool Kernel::cpu_up(unsigned cpu) {
  return one_at_a_time(cpu, [cpu] { return machine::bring_cpu_up(cpu); });
}

std::uint64_t Kernel::kmalloc_late(std::uint64_t bytes, gfp_t gfp) {
  return k12_ ? buckets_.kmalloc(bytes, gfp) : slab_.kmalloc(bytes, gfp);
}

void Kernel::kfree_late(std::uint64_t object) { k12_ ? buckets_.kfree(object) : slab_.kfree(object); }

}  // namespace memtorture::kernel
