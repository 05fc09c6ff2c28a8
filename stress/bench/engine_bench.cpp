// The fiber engine by itself: switches, points, locks.
#include <benchmark/benchmark.h>

#include "allocator/machine/machine.h"
#include "model/run/choosers.h"
#include "stress/bench/workload.h"

namespace memtorture::bench {
namespace {

struct Quiet final : machine::Witness {
  void reported(const machine::Context&, const machine::Report&) override {}
  void slept(const machine::Context&) override {}
};

constexpr unsigned rounds = 10'000;

template <class Body>
void on_machine(benchmark::State& state, unsigned tasks, machine::Chooser& chooser, Body) {
  machine::Machine machine;
  Quiet quiet;
  std::vector<machine::Strand> strands;
  for (unsigned i = 0; i != tasks; ++i) {
    strands.push_back({.id = static_cast<machine::ContextId>(i),
                       .kind = machine::ContextKind::task,
                       .cpu = static_cast<std::uint8_t>(i),
                       .flags = 0,
                       .body =
                           [](void*) {
                             for (unsigned k = 0; k != rounds; ++k) Body{}();
                           },
                       .arg = nullptr});
  }
  for (auto _ : state) {
    machine.boot(shape("flat", 2), quiet);
    machine.run(strands, chooser, {.steps_budget = 1'000'000'000});
  }
  state.SetItemsProcessed(state.iterations() * tasks * rounds);
}

struct AlwaysSwitch final : machine::Chooser {
  bool interested(const machine::Moment&) override { return again_ = !again_; }  // once a point: then go on over there
  std::uint32_t choose(const machine::Moment&, std::span<const machine::Option>) override { return 1; }
  bool roll(const machine::Moment&, std::uint32_t) override { return false; }
  void restart() override {}
  bool again_ = false;
};

struct Point {
  void operator()() const { machine::point("page.free"); }
};

void BM_point_alone(benchmark::State& state) {
  run::StraightChooser chooser;
  on_machine(state, 1, chooser, Point{});
}
BENCHMARK(BM_point_alone);

void BM_point_two_tasks(benchmark::State& state) {
  run::StraightChooser chooser;
  on_machine(state, 2, chooser, Point{});
}
BENCHMARK(BM_point_two_tasks);

// Every other visit of a point switches: listing the options, the choice, the record of the departure and the switch.
void BM_point_with_decided_switch(benchmark::State& state) {
  AlwaysSwitch chooser;
  on_machine(state, 2, chooser, Point{});
}
BENCHMARK(BM_point_with_decided_switch);

}  // namespace
}  // namespace memtorture::bench
