// What an armed injector costs while nothing fails, and what a sweep costs.
//
// Armed: the case has a rule whose failures are used up, so every visit of the site is counted and asked about. Nobody
// else differs.
//
// A sweep replays the case for each failure. The other way would be to fork at each visit; what a fork and the end of
// the child cost is the least that this could cost, without the run.
#include <benchmark/benchmark.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stress/bench/lockstep.h"
#include "stress/bench/workload.h"
#include "stress/explore/sweep.h"

namespace memtorture::bench {
namespace {

enum class Injector : std::uint8_t { none, armed };

void BM_pages_lockstep(benchmark::State& state, Injector injector) {
  run::StraightChooser chooser;
  program::Case the_case = mixed_case(shape("tiny-32"), {});
  if (injector == Injector::armed) the_case.faults.push_back({.site = "page.alloc", .times = 0});
  lockstep(state, the_case, chooser);
}
BENCHMARK_CAPTURE(BM_pages_lockstep, injector_none, Injector::none);
BENCHMARK_CAPTURE(BM_pages_lockstep, injector_armed, Injector::armed);

// Six objects and a cache: some fifty visits of fault sites.
program::Case case_to_sweep() {
  using namespace program;
  Case the_case{.shape = shape_with_objects("tiny-64")};
  Program program{.name = "t", .ops = {}};
  for (Slot slot = 0; slot != 7; ++slot) the_case.slot_names.push_back("s" + std::to_string(slot));
  program.ops.push_back(CacheCreate{{6}, {200}, {0}, {0}, {0}});
  for (Slot slot = 0; slot != 3; ++slot) program.ops.push_back(CacheAlloc{{slot}, {6}, {subject::GFP_KERNEL}});
  for (Slot slot = 3; slot != 6; ++slot) program.ops.push_back(Kmalloc{{slot}, {100u << slot}, {subject::GFP_KERNEL}});
  the_case.programs.push_back(std::move(program));
  return the_case;
}

// items = runs
void BM_sweep(benchmark::State& state) {
  const program::Case the_case = case_to_sweep();
  explore::Sweep sweep({.pairs = 50, .crossed = 50});
  for (auto _ : state) sweep.run(the_case);
  std::uint64_t runs = 0;
  for (const std::uint64_t n : sweep.totals().runs) runs += n;
  state.SetItemsProcessed(static_cast<std::int64_t>(runs));
}
BENCHMARK(BM_sweep)->Unit(benchmark::kMillisecond);

void BM_replayed_run(benchmark::State& state) {
  const program::Case the_case = case_to_sweep();
  run::Runner runner;
  for (auto _ : state) benchmark::DoNotOptimize(runner.replay(the_case).verdict);
}
BENCHMARK(BM_replayed_run)->Unit(benchmark::kMicrosecond);

void BM_fork(benchmark::State& state) {
  const program::Case the_case = case_to_sweep();
  run::Runner runner;
  (void)runner.replay(the_case);  // the machine is mapped and touched
  for (auto _ : state) {
    const pid_t pid = fork();
    if (pid == 0) _exit(0);
    if (pid < 0 || waitpid(pid, nullptr, 0) != pid) state.SkipWithError("no process can be started");
  }
}
BENCHMARK(BM_fork)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace memtorture::bench
