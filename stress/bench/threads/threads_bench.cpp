// The thread engine: does a second CPU bring a second CPU's work? A program of its own, because a program has one
// engine.
//
// Each task does the same, with objects of its own: what two CPUs share is the allocator. Release flavour, without
// ThreadSanitizer: what is measured is how far the engine and the locks of the object layer let CPUs run side by side.
// A run includes the start and the end of its host threads.
//
// Real time needs as many idle host processors as CPUs: the engine yields often, and whoever else is there then runs
// for a while. Processor time does not. CPUs that wait for one another spin, so it counts that as well: two CPUs that
// do twice the work in r times the processor time, each on a processor of its own, are 4 / r times as fast as one. On a
// busy host they seldom run at the very same time, and what they do to one another's caches is then not seen.
#include <benchmark/benchmark.h>
#include <sched.h>

#include <array>

#include "allocator/kernel/kernel.h"
#include "stress/bench/silence.h"
#include "stress/bench/workload.h"

namespace memtorture::bench {
namespace {

constexpr unsigned rounds = 32;
constexpr std::uint32_t sequence_length = 1 << 12;

// Asked for the seeds of the CPUs only.
struct Seeds final : machine::Chooser {
  bool interested(const machine::Moment&) override { return false; }
  std::uint32_t choose(const machine::Moment&, std::span<const machine::Option>) override { return 0; }
  bool roll(const machine::Moment& moment, std::uint32_t) override { return moment.visit % 3 == 0; }
  void restart() override {}
};

// Each CPU on a processor of its own, as far as there are any: the host likes to put two threads that yield all the
// time on the same one. What this fails to do shows in the figures.
void settle_on_processor(unsigned cpu) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  for (unsigned processor = 0; processor != CPU_SETSIZE; ++processor) {
    if (!CPU_ISSET(processor, &allowed) || cpu-- != 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    sched_setaffinity(0, sizeof one, &one);
    return;
  }
}

struct Task {
  kernel::Kernel* kernel;
  const std::vector<Replacement>* sequence;
  static void body(void* arg) {
    const Task& self = *static_cast<Task*>(arg);
    settle_on_processor(machine::raw_smp_processor_id());
    std::array<std::uint64_t, blocks_live> blocks{};
    for (unsigned round = 0; round != rounds; ++round) {
      for (const Replacement& next : *self.sequence) {
        self.kernel->kfree(blocks[next.at]);
        blocks[next.at] = self.kernel->kmalloc(next.bytes, subject::GFP_KERNEL);
      }
    }
    for (const std::uint64_t block : blocks) self.kernel->kfree(block);
  }
};

// items = pairs of all CPUs
void BM_threads_mix(benchmark::State& state) {
  const auto cpus = static_cast<unsigned>(state.range(0));
  const std::vector<Replacement> sequence = replacements(sequence_length);
  machine::Shape machine = shape_with_objects("toy");
  machine.cpus = 2;  // the same machine for both
  kernel::Kernel kernel;
  Silence silence;
  Seeds seeds;
  kernel.boot(machine, {}, silence, silence);
  if (!kernel.boot_objects()) return state.SkipWithError("the object layer did not boot");
  Task task{&kernel, &sequence};
  std::vector<machine::Strand> strands;
  for (unsigned cpu = 0; cpu != cpus; ++cpu) {
    strands.push_back({.id = static_cast<machine::ContextId>(cpu),
                       .kind = machine::ContextKind::task,
                       .cpu = static_cast<std::uint8_t>(cpu),
                       .flags = 0,
                       .body = &Task::body,
                       .arg = &task});
  }
  for (auto _ : state) {
    const auto result = kernel.machine().run(strands, seeds, {.steps_budget = ~std::uint64_t{0}});
    if (result.reason != machine::StopReason::finished) state.SkipWithError("the run was stopped");
  }
  state.SetItemsProcessed(state.iterations() * cpus * rounds * sequence_length);
}
BENCHMARK(BM_threads_mix)->Arg(1)->Arg(2)->UseRealTime()->MeasureProcessCPUTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace memtorture::bench
