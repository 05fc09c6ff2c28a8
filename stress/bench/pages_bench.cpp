// The page layer under the oracle: lockstep, its parts, two CPUs, large machines, small runs, resets.
#include <benchmark/benchmark.h>

#include <memory>

#include "allocator/kernel/kernel.h"
#include "stress/bench/lockstep.h"
#include "stress/bench/silence.h"
#include "stress/bench/workload.h"

namespace memtorture::bench {
namespace {

void BM_lockstep_one_cpu(benchmark::State& state) {
  run::StraightChooser chooser;
  lockstep(state, mixed_case(shape("tiny-32"), {}), chooser);
}
BENCHMARK(BM_lockstep_one_cpu);

void BM_lockstep_two_cpus_random(benchmark::State& state) {
  run::RandomChooser chooser(1, {.switch_permille = 60, .fault_permille = 0});
  lockstep(state, mixed_case(shape("tiny-32", 2), {.operations = 25'000, .live = 32, .tasks = 2}), chooser);
}
BENCHMARK(BM_lockstep_two_cpus_random);

// --- the parts of the lockstep ---------------------------------------------------------------------------------------

// The same operations straight on the allocator: no executor, no events, no stamps.
struct Alone {
  kernel::Kernel& kernel;
  const program::Program& program;
  std::vector<machine::Pfn> pages;
  static void body(void* arg) {
    auto& self = *static_cast<Alone*>(arg);
    for (const program::Op& op : self.program.ops) {
      if (const auto* allocation = std::get_if<program::AllocPages>(&op)) {
        self.pages[allocation->out.slot] = self.kernel.alloc_pages(allocation->gfp.bits, allocation->order.value);
      } else if (const auto* release = std::get_if<program::FreePagesOf>(&op)) {
        self.kernel.free_pages_of(self.pages[release->in.slot], release->order.value);
      }
    }
  }
};

void BM_subject_alone(benchmark::State& state) {
  const program::Case the_case = mixed_case(shape("tiny-32"), {});
  kernel::Kernel kernel;
  Silence silence;
  run::StraightChooser chooser;
  for (auto _ : state) {
    kernel.boot(the_case.shape, {}, silence, silence);
    Alone alone{kernel, the_case.programs[0], std::vector<machine::Pfn>(the_case.slot_names.size())};
    const machine::Strand strand{
        .id = 0, .kind = machine::ContextKind::task, .cpu = 0, .flags = 0, .body = &Alone::body, .arg = &alone};
    kernel.machine().run({&strand, 1}, chooser, {.steps_budget = 1'000'000'000});
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(the_case.programs[0].ops.size()));
}
BENCHMARK(BM_subject_alone);

// The oracle folding the events of a recorded run.
void BM_oracle_alone(benchmark::State& state) {
  const program::Case the_case = mixed_case(shape("tiny-32"), {});
  run::StraightChooser chooser;
  run::Options options = fast;
  options.keep = run::Keep::history;
  const run::Outcome recorded = run::run(the_case, chooser, options);
  kernel::Kernel kernel;
  Silence silence;
  kernel.boot(the_case.shape, {}, silence, silence);
  oracle::Oracle oracle;
  for (auto _ : state) {
    bool fine = oracle.begin(the_case, kernel.zones(), kernel.promises()) == oracle::Ruling::fine;
    for (const oracle::Event& event : recorded.history) fine &= oracle.on(event) == oracle::Ruling::fine;
    if (!fine) state.SkipWithError("the oracle objects");
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(recorded.statistics.operations));
}
BENCHMARK(BM_oracle_alone);

// --- small runs and resets -------------------------------------------------------------------------------------------

void BM_runs_of_six_operations(benchmark::State& state) {
  run::Runner runner;
  run::RandomChooser chooser(1, {.switch_permille = 60, .fault_permille = 0});
  const program::Case the_case = six_operations();
  for (auto _ : state) benchmark::DoNotOptimize(runner.run(the_case, chooser, fast).verdict);
  state.SetItemsProcessed(state.iterations());  // runs
}
BENCHMARK(BM_runs_of_six_operations);

void BM_runs_of_fifty_operations(benchmark::State& state) {
  run::Runner runner;
  run::RandomChooser chooser(1, {.switch_permille = 60, .fault_permille = 20});
  const program::Case the_case = fifty_operations();
  for (auto _ : state) benchmark::DoNotOptimize(runner.run(the_case, chooser, fast).verdict);
  state.SetItemsProcessed(state.iterations());  // runs
}
BENCHMARK(BM_runs_of_fifty_operations);

// From nothing: address space, descriptors, zones, and nothing touched.
void BM_create_8_MiB(benchmark::State& state) {
  Silence silence;
  for (auto _ : state) {
    kernel::Kernel kernel;
    kernel.boot(shape("tiny-32"), {}, silence, silence);
    benchmark::DoNotOptimize(&kernel);
  }
}
BENCHMARK(BM_create_8_MiB);

void BM_boot(benchmark::State& state, std::string_view name, std::uint64_t ram_bytes) {
  machine::Shape machine = shape(name);
  if (ram_bytes != 0) machine.ram_bytes = ram_bytes;
  kernel::Kernel kernel;
  Silence silence;
  for (auto _ : state) kernel.boot(machine, {}, silence, silence);
}
BENCHMARK_CAPTURE(BM_boot, 8_MiB, "tiny-32", 0);
BENCHMARK_CAPTURE(BM_boot, 64_GiB, "x86-64", std::uint64_t{64} << 30);
BENCHMARK_CAPTURE(BM_boot, 1_TiB, "x86-64", machine::ram_bytes_max);

// --- many live pages -------------------------------------------------------------------------------------------------

// Cost of an operation on a 64 GiB machine that holds many pages: pages come and go in the middle of the crowd.
struct Crowd {
  run::Runner runner;
  program::Case the_case;
  explicit Crowd(std::uint32_t live) {
    the_case.shape = shape("x86-64");
    the_case.shape.ram_bytes = std::uint64_t{64} << 30;
    constexpr std::uint16_t churned = 1024;
    for (std::uint16_t i = 0; i != churned; ++i) the_case.slot_names.push_back("s" + std::to_string(i));
    program::Program program{.name = "t", .ops = {}};
    program.ops.push_back(program::ClientAdd{{subject::ClientKind::clean}, {live}, {subject::GFP_KERNEL}});
    for (std::uint32_t round = 0; round != 64; ++round) {
      for (std::uint16_t i = 0; i != churned; ++i)
        program.ops.push_back(program::AllocPage{{i}, {subject::GFP_KERNEL}});
      for (std::uint16_t i = 0; i != churned; ++i)
        program.ops.push_back(program::FreePageOf{{static_cast<std::uint16_t>(i * 389 % churned), 0}});
    }
    the_case.programs.push_back(std::move(program));
  }
};

void BM_live_pages(benchmark::State& state) {
  const auto live = static_cast<std::uint32_t>(state.range(0));
  Crowd crowd(live);
  const auto& ops = crowd.the_case.programs[0].ops;
  run::StraightChooser chooser;
  std::uint64_t operations = 0;
  for (auto _ : state) {
    const run::Outcome& outcome = crowd.runner.run(crowd.the_case, chooser, fast);
    if (outcome.verdict != program::Verdict::pass) state.SkipWithError("the run did not pass");
    operations += ops.size() - 1 + 2 * std::uint64_t{live};  // the crowd's own pages are allocated and freed too
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(operations));
}
BENCHMARK(BM_live_pages)->Arg(1'000)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace memtorture::bench
