// The object layer: by itself against allocators of the host on the same sizes, and under the oracle.
//
// Alone means one strand of a machine without checks: nobody else to run, no executor, no oracle. All bookkeeping of
// the engine is in the figure (contexts, interrupt flags, points). The others get the same requests in the same order;
// they come as they are in Debian, through a call into their library. Blocks are neither written nor read.
#include <benchmark/benchmark.h>
#include <dlfcn.h>

#include <array>
#include <cstdlib>

#include "allocator/kernel/kernel.h"
#include "model/run/run.h"
#include "stress/bench/silence.h"
#include "stress/bench/workload.h"

namespace memtorture::bench {
namespace {

using subject::GFP_KERNEL;

constexpr std::uint64_t steps_unlimited = ~std::uint64_t{0};
constexpr std::string_view all_checks = "FZPUK";
constexpr std::uint64_t quarantine_bytes = 64 << 10;

// --- allocators -----------------------------------------------------------------------------------------------------

struct Glibc {
  void* allocate(std::size_t bytes) { return std::malloc(bytes); }
  void release(void* block) { std::free(block); }
};

// Loaded when it is wanted, and by its own names: linked, Debian's library would become everybody's malloc.
class Mimalloc {
 public:
  Mimalloc() {
    void* const library = dlopen("libmimalloc.so", RTLD_NOW | RTLD_LOCAL);  // stays
    if (library == nullptr) return;
    malloc_ = reinterpret_cast<void* (*)(std::size_t)>(dlsym(library, "mi_malloc"));
    free_ = reinterpret_cast<void (*)(void*)>(dlsym(library, "mi_free"));
  }
  bool is_there() const { return malloc_ != nullptr && free_ != nullptr; }
  void* allocate(std::size_t bytes) { return malloc_(bytes); }
  void release(void* block) { free_(block); }

 private:
  void* (*malloc_)(std::size_t) = nullptr;
  void (*free_)(void*) = nullptr;
};

struct Kmalloc {
  kernel::Kernel& kernel;
  std::uint64_t allocate(std::size_t bytes) { return kernel.kmalloc(bytes, GFP_KERNEL); }
  void release(std::uint64_t object) { kernel.kfree(object); }
};

struct OfCache {
  kernel::Kernel& kernel;
  subject::CacheHandle cache;
  std::uint64_t allocate(std::size_t) { return kernel.kmem_cache_alloc(cache, GFP_KERNEL); }
  void release(std::uint64_t object) { kernel.kmem_cache_free(cache, object); }
};

// --- what they do. items = pairs ------------------------------------------------------------------------------------

template <class Allocator>
void pairs(benchmark::State& state, Allocator& allocator) {
  const std::vector<Replacement> sequence = replacements(1 << 10);
  for (auto _ : state) {
    for (const Replacement& next : sequence) {
      auto block = allocator.allocate(next.bytes);
      benchmark::DoNotOptimize(block);
      allocator.release(block);
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(sequence.size()));
}

template <class Allocator>
void mix(benchmark::State& state, Allocator& allocator) {
  const std::vector<Replacement> sequence = replacements(1 << 14);
  std::array<decltype(allocator.allocate(0)), blocks_live> blocks;
  for (std::uint32_t i = 0; i != blocks_live; ++i) blocks[i] = allocator.allocate(sequence[i].bytes);
  for (auto _ : state) {
    for (const Replacement& next : sequence) {
      allocator.release(blocks[next.at]);
      blocks[next.at] = allocator.allocate(next.bytes);
      benchmark::DoNotOptimize(blocks[next.at]);
    }
  }
  for (const auto& block : blocks) allocator.release(block);
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(sequence.size()));
}

// More than arrays hold, so that slabs and lists take part.
template <class Allocator>
void batch(benchmark::State& state, Allocator& allocator) {
  constexpr std::uint32_t count = 512;
  const std::vector<Replacement> sequence = replacements(count);
  const std::vector<std::uint32_t> order = shuffled(count);
  std::array<decltype(allocator.allocate(0)), count> blocks;
  for (auto _ : state) {
    for (std::uint32_t i = 0; i != count; ++i) blocks[i] = allocator.allocate(sequence[i].bytes);
    benchmark::DoNotOptimize(blocks);
    for (const std::uint32_t i : order) allocator.release(blocks[i]);
  }
  state.SetItemsProcessed(state.iterations() * count);
}

// Runs f(state, kernel) as the only strand of a machine.
template <class F>
void on_machine(benchmark::State& state, F f) {
  kernel::Kernel kernel;
  Silence silence;
  run::StraightChooser chooser;
  kernel.boot(shape_with_objects("toy"), {}, silence, silence);
  if (!kernel.boot_objects()) return state.SkipWithError("the object layer did not boot");
  struct Body {
    benchmark::State& state;
    kernel::Kernel& kernel;
    F f;
  } body{state, kernel, f};
  const machine::Strand strand{.id = 0,
                               .kind = machine::ContextKind::task,
                               .cpu = 0,
                               .flags = 0,
                               .body =
                                   [](void* arg) {
                                     Body& self = *static_cast<Body*>(arg);
                                     self.f(self.state, self.kernel);
                                   },
                               .arg = &body};
  const auto result = kernel.machine().run({&strand, 1}, chooser, {.steps_budget = steps_unlimited});
  if (result.reason != machine::StopReason::finished) state.SkipWithError("the run was stopped");
}

void BM_kmalloc_pairs(benchmark::State& state) {
  on_machine(state, [](benchmark::State& s, kernel::Kernel& kernel) {
    Kmalloc allocator{kernel};
    pairs(s, allocator);
  });
}
BENCHMARK(BM_kmalloc_pairs);

void BM_glibc_pairs(benchmark::State& state) {
  Glibc allocator;
  pairs(state, allocator);
}
BENCHMARK(BM_glibc_pairs);

void BM_mimalloc_pairs(benchmark::State& state) {
  Mimalloc allocator;
  if (!allocator.is_there()) return state.SkipWithError("no libmimalloc: ci/setup installs it");
  pairs(state, allocator);
}
BENCHMARK(BM_mimalloc_pairs);

void BM_kmalloc_mix(benchmark::State& state) {
  on_machine(state, [](benchmark::State& s, kernel::Kernel& kernel) {
    Kmalloc allocator{kernel};
    mix(s, allocator);
  });
}
BENCHMARK(BM_kmalloc_mix);

void BM_glibc_mix(benchmark::State& state) {
  Glibc allocator;
  mix(state, allocator);
}
BENCHMARK(BM_glibc_mix);

void BM_mimalloc_mix(benchmark::State& state) {
  Mimalloc allocator;
  if (!allocator.is_there()) return state.SkipWithError("no libmimalloc: ci/setup installs it");
  mix(state, allocator);
}
BENCHMARK(BM_mimalloc_mix);

void BM_kmalloc_batch(benchmark::State& state) {
  on_machine(state, [](benchmark::State& s, kernel::Kernel& kernel) {
    Kmalloc allocator{kernel};
    batch(s, allocator);
  });
}
BENCHMARK(BM_kmalloc_batch);

void BM_glibc_batch(benchmark::State& state) {
  Glibc allocator;
  batch(state, allocator);
}
BENCHMARK(BM_glibc_batch);

void BM_mimalloc_batch(benchmark::State& state) {
  Mimalloc allocator;
  if (!allocator.is_there()) return state.SkipWithError("no libmimalloc: ci/setup installs it");
  batch(state, allocator);
}
BENCHMARK(BM_mimalloc_batch);

void BM_kmem_cache_pairs(benchmark::State& state) {
  on_machine(state, [](benchmark::State& s, kernel::Kernel& kernel) {
    OfCache allocator{kernel, kernel.kmem_cache_create({.name = "bench", .size = 120})};
    pairs(s, allocator);
  });
}
BENCHMARK(BM_kmem_cache_pairs);

// --- under the oracle. items = operations of programs ---------------------------------------------------------------

void lockstep(benchmark::State& state, std::span<const program::Case> cases) {
  run::Runner runner;
  run::StraightChooser chooser;
  std::uint64_t operations = 0;
  for (auto _ : state) {
    for (const program::Case& the_case : cases) {
      const run::Outcome& outcome =
          runner.run(the_case, chooser, {.audit_every = run::audit_never, .steps_budget = 1'000'000'000});
      if (outcome.verdict == program::Verdict::finding) state.SkipWithError("the oracle objects");
      operations += outcome.statistics.operations;
    }
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(operations));
}

void BM_objects_lockstep(benchmark::State& state) {
  const program::Case the_case = objects_case(shape_with_objects("toy"));
  lockstep(state, {&the_case, 1});
}
BENCHMARK(BM_objects_lockstep);

void BM_objects_lockstep_all_checks(benchmark::State& state) {
  const program::Case the_case = objects_case(shape_with_objects("toy", all_checks, quarantine_bytes));
  lockstep(state, {&the_case, 1});
}
BENCHMARK(BM_objects_lockstep_all_checks);

// Reset, boot, pages, several tasks, odd requests: everything that a fuzzer pays for.
void BM_generated_lockstep(benchmark::State& state) { lockstep(state, generated_object_cases(64, "", 0)); }
BENCHMARK(BM_generated_lockstep);

void BM_generated_lockstep_all_checks(benchmark::State& state) {
  lockstep(state, generated_object_cases(64, all_checks, quarantine_bytes));
}
BENCHMARK(BM_generated_lockstep_all_checks);

}  // namespace
}  // namespace memtorture::bench
