// Runs the benchmarks and prints the ratios that matter, from the same run: the machine drifts, ratios hardly do. Of
// several repetitions the best one counts: whatever disturbs only makes it slower.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

namespace {

class Reporter final : public benchmark::ConsoleReporter {
 public:
  void ReportRuns(const std::vector<Run>& runs) override {
    ConsoleReporter::ReportRuns(runs);
    for (const Run& run : runs) {
      if (run.error_occurred || run.run_type != Run::RT_Iteration) continue;
      const std::string name = run.benchmark_name();
      const auto items = run.counters.find("items_per_second");
      if (items != run.counters.end()) rates_[name] = std::max(rates_[name], items->second.value);
      const auto iterations = static_cast<double>(run.iterations);
      keep_least(processor_seconds_, name, run.cpu_accumulated_time / iterations);
      keep_least(seconds_, name, run.real_accumulated_time / iterations);
    }
  }

  void print_ratios() const {
    fmt::print("\n{:<62} {:>14} {:>12}\n", "figure", "measured", "aim");
    rate("lockstep page operations/s, one CPU", "BM_lockstep_one_cpu", "5 M");
    rate("lockstep page operations/s, two CPUs, random schedule", "BM_lockstep_two_cpus_random", "2 M");
    rate("subject alone, operations/s", "BM_subject_alone", "");
    rate("oracle alone, operations/s", "BM_oracle_alone", "");
    rate("RapidCheck rc::state on a simpler problem, operations/s", "BM_rapidcheck_state", "");
    rate("complete runs/s, two tasks, six operations, reset included", "BM_runs_of_six_operations", "300 k");
    rate("complete runs/s, fifty operations, interrupt and faults", "BM_runs_of_fifty_operations", "");
    rate("points/s, nobody else to run", "BM_point_alone", "");
    rate("points/s, two tasks, no departure", "BM_point_two_tasks", "");
    rate("points/s, every other one a switch", "BM_point_with_decided_switch", "");
    rate("fiber switches/s, two tasks that give way", "BM_fiber_switch", "");
    rate("lockstep operations/s on locks of every form", "BM_locks_lockstep/watched", "");
    rate("lockstep operations/s, interrupts injected", "BM_interrupts/injected", "");
    rate("runs/s of a sweep, pairs and crossings included", "BM_sweep", "");
    rate("kmalloc + kfree, pairs/s", "BM_kmalloc_pairs", "");
    rate("kmalloc and kfree, 64 live objects, pairs/s", "BM_kmalloc_mix", "");
    rate("512 times kmalloc, then kfree in another order, pairs/s", "BM_kmalloc_batch", "");
    rate("kmem_cache_alloc + kmem_cache_free, pairs/s", "BM_kmem_cache_pairs", "");
    rate("lockstep object operations/s", "BM_objects_lockstep", "3 M");
    rate("... with all checks", "BM_objects_lockstep_all_checks", "0.5 M");
    rate("lockstep operations/s of generated cases", "BM_generated_lockstep", "");
    rate("... with all checks", "BM_generated_lockstep_all_checks", "");
    rate("thread engine, one CPU, pairs/s", "BM_threads_mix/1/process_time/real_time", "");
    rate("thread engine, two CPUs, pairs/s", "BM_threads_mix/2/process_time/real_time", "");
    time("creation of an 8 MiB machine from nothing", "BM_create_8_MiB", "30 us");
    time("one run of that sweep, replayed", "BM_replayed_run", "");
    time("a fork and the end of the child, in its place", "BM_fork", "");
    time("boot of an 8 MiB machine", "BM_boot/8_MiB", "");
    time("boot of a 64 GiB machine", "BM_boot/64_GiB", "");
    time("boot of a 1 TiB machine", "BM_boot/1_TiB", "");
    fmt::print("\n");
    ratio("lockstep / rc::state", "BM_lockstep_one_cpu", "BM_rapidcheck_state", "10");
    ratio("subject alone / lockstep", "BM_subject_alone", "BM_lockstep_one_cpu", "");
    ratio("oracle alone / lockstep", "BM_oracle_alone", "BM_lockstep_one_cpu", "");
    ratio("cost of an operation, 1 M live pages / 1 k (64 GiB)", "BM_live_pages/1000", "BM_live_pages/1000000", "<= 2");
    ratio("order of locks watched / not: lockstep on locks", "BM_locks_lockstep/unwatched", "BM_locks_lockstep/watched",
          "");
    ratio("... lockstep on pages", "BM_pages_lockstep/unwatched", "BM_pages_lockstep/watched", "");
    ratio("... pages alone, the zone's lock each time", "BM_zone_lock_pairs/unwatched", "BM_zone_lock_pairs/watched",
          "");
    ratio("injector armed / none: lockstep on pages", "BM_pages_lockstep/injector_none",
          "BM_pages_lockstep/injector_armed", "<= 1.02");
    ratio("interrupts injected / the same as tasks", "BM_interrupts/none", "BM_interrupts/injected", "");
    ratio("kmalloc + kfree / glibc", "BM_kmalloc_pairs", "BM_glibc_pairs", "> 1");
    ratio("kmalloc + kfree / mimalloc", "BM_kmalloc_pairs", "BM_mimalloc_pairs", ">= 0.5");
    ratio("64 live objects, kmalloc / glibc", "BM_kmalloc_mix", "BM_glibc_mix", "> 1");
    ratio("64 live objects, kmalloc / mimalloc", "BM_kmalloc_mix", "BM_mimalloc_mix", ">= 0.5");
    ratio("512 at once, kmalloc / glibc", "BM_kmalloc_batch", "BM_glibc_batch", "> 1");
    ratio("512 at once, kmalloc / mimalloc", "BM_kmalloc_batch", "BM_mimalloc_batch", ">= 0.5");
    const char *one_cpu = "BM_threads_mix/1/process_time/real_time",
               *two_cpus = "BM_threads_mix/2/process_time/real_time";
    ratio("thread engine, two CPUs / one", two_cpus, one_cpu, ">= 1.7 idle");
    if (processor_seconds_.contains(one_cpu) && processor_seconds_.contains(two_cpus))
      print_ratio("... by processor time", 4 * processor_seconds_.at(one_cpu) / processor_seconds_.at(two_cpus),
                  ">= 1.7");
  }

 private:
  static void keep_least(std::map<std::string, double>& times, const std::string& name, double seconds) {
    const auto [known, is_new] = times.emplace(name, seconds);
    if (!is_new) known->second = std::min(known->second, seconds);
  }
  double rate_of(const std::string& name) const {
    const auto found = rates_.find(name);
    return found == rates_.end() ? 0 : found->second;
  }
  void rate(const char* what, const char* name, const char* aim) const {
    if (const double value = rate_of(name); value != 0)
      fmt::print("{:<62} {:>12.3f} M {:>12}\n", what, value / 1e6, aim);
  }
  void time(const char* what, const char* name, const char* aim) const {
    const auto found = seconds_.find(name);
    if (found != seconds_.end()) fmt::print("{:<62} {:>11.2f} us {:>12}\n", what, found->second * 1e6, aim);
  }
  void ratio(const char* what, const char* above, const char* below, const char* aim) const {
    if (rate_of(above) == 0 || rate_of(below) == 0) return;
    print_ratio(what, rate_of(above) / rate_of(below), aim);
  }
  static void print_ratio(const char* what, double value, const char* aim) {
    fmt::print("{:<62} {:>13.2f}x {:>12}\n", what, value, aim);
  }
  std::map<std::string, double> rates_, seconds_, processor_seconds_;
};

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  Reporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  reporter.print_ratios();
  return 0;
}
