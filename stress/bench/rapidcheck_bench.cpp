// The yardstick: RapidCheck's rc::state on a simpler problem, a bitmap of pages against a counter as its model.
#include <benchmark/benchmark.h>
#include <rapidcheck/state.h>

#include <rapidcheck.h>

#include <vector>

namespace memtorture::bench {
namespace {

struct Model {
  int taken = 0;
};
struct Bitmap {
  std::vector<bool> used = std::vector<bool>(1024);
  int taken = 0;
};

struct Take : rc::state::Command<Model, Bitmap> {
  void checkPreconditions(const Model& model) const override { RC_PRE(model.taken < 1024); }
  void apply(Model& model) const override { ++model.taken; }
  void run(const Model& model, Bitmap& bitmap) const override {
    std::size_t at = 0;
    while (bitmap.used[at]) ++at;
    bitmap.used[at] = true;
    RC_ASSERT(++bitmap.taken == model.taken + 1);
  }
};

struct Give : rc::state::Command<Model, Bitmap> {
  void checkPreconditions(const Model& model) const override { RC_PRE(model.taken > 0); }
  void apply(Model& model) const override { --model.taken; }
  void run(const Model& model, Bitmap& bitmap) const override {
    std::size_t at = 0;
    while (!bitmap.used[at]) ++at;
    bitmap.used[at] = false;
    RC_ASSERT(--bitmap.taken == model.taken - 1);
  }
};

void BM_rapidcheck_state(benchmark::State& state) {
  const Model initial;
  const auto commands = rc::state::gen::commands(initial, rc::state::gen::execOneOfWithArgs<Take, Give>());
  constexpr int size = 100;
  std::uint64_t seed = 0;
  std::size_t operations = 0;
  for (auto _ : state) {
    const auto shrinkable = commands(rc::Random(++seed), size);
    const auto sequence = shrinkable.value();
    Bitmap bitmap;
    rc::state::runAll(sequence, initial, bitmap);
    operations += sequence.size();
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(operations));
}
BENCHMARK(BM_rapidcheck_state);

}  // namespace
}  // namespace memtorture::bench
