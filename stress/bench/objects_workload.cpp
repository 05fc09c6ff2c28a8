// Programs on objects, and the sequence of sizes that every allocator gets.
#include <string>

#include "model/program/edits.h"
#include "model/program/generate.h"
#include "stress/bench/workload.h"

namespace memtorture::bench {

using namespace program;

namespace {

// Even over the powers of two, as sizes of real programs are: half of all blocks are of 16..128 bytes.
std::uint32_t some_bytes(Random& random) {
  const std::uint32_t power = block_bytes_min << random.below(6);
  return power + random.below(power + 1);
}
static_assert((block_bytes_min << 5) * 2 == block_bytes_max);

void check_by(machine::Shape& shape, std::string_view letters, std::uint64_t quarantine_bytes) {
  shape.objects = machine::ObjectLayer::slab;
  shape.slab_debug = 0;
  for (const char letter : letters)
    shape.slab_debug |= static_cast<std::uint8_t>(1u << machine::slab_debug_letters.find(letter));
  shape.quarantine_bytes = quarantine_bytes;
}

}  // namespace

machine::Shape shape_with_objects(std::string_view name, std::string_view letters, std::uint64_t quarantine_bytes) {
  machine::Shape made = shape(name);
  check_by(made, letters, quarantine_bytes);
  return made;
}

std::vector<Replacement> replacements(std::uint32_t count) {
  Random random(1);
  std::vector<Replacement> all;
  for (std::uint32_t i = 0; i != count; ++i) {
    const std::uint32_t at = random.below(blocks_live);
    all.push_back({.at = at, .bytes = some_bytes(random)});
  }
  return all;
}

std::vector<std::uint32_t> shuffled(std::uint32_t count) {
  Random random(2);
  std::vector<std::uint32_t> order(count);
  for (std::uint32_t i = 0; i != count; ++i) {
    const std::uint32_t at = random.below(i + 1);
    order[i] = order[at];
    order[at] = i;
  }
  return order;
}

Case objects_case(const machine::Shape& shape, std::uint32_t operations) {
  Case the_case;
  the_case.shape = shape;
  for (std::uint32_t slot = 0; slot != blocks_live + 2; ++slot)
    the_case.slot_names.push_back("s" + std::to_string(slot));
  constexpr Slot caches[] = {blocks_live, blocks_live + 1};
  constexpr Slot no_cache = 0xffff;
  Program program{.name = "t", .ops = {}};
  program.ops.push_back(CacheCreate{{caches[0]}, {120}, {0}, {0}, {0}});
  program.ops.push_back(CacheCreate{{caches[1]}, {700}, {0}, {subject::SLAB_HWCACHE_ALIGN}, {0}});
  Random random(1);
  std::vector<bool> live(blocks_live);
  std::vector<Slot> cache_of(blocks_live, no_cache);
  while (program.ops.size() < operations) {
    const auto at = static_cast<Slot>(random.below(blocks_live));
    const Gfp gfp{subject::GFP_KERNEL | subject::gfp_noretry};
    if (live[at] && cache_of[at] != no_cache) {
      program.ops.push_back(CacheFree{{cache_of[at]}, {at}});
    } else if (live[at]) {
      program.ops.push_back(Kfree{{at}});
    } else if (random.percent(25)) {
      cache_of[at] = caches[random.below(2)];
      program.ops.push_back(CacheAlloc{{at}, {cache_of[at]}, gfp});
    } else {
      cache_of[at] = no_cache;
      program.ops.push_back(Kmalloc{{at}, {some_bytes(random)}, gfp});
    }
    live[at] = !live[at];
  }
  the_case.programs.push_back(std::move(program));
  return the_case;
}

std::vector<Case> generated_object_cases(std::size_t count, std::string_view letters, std::uint64_t quarantine_bytes) {
  std::vector<Case> cases;
  for (std::uint64_t seed = 1; cases.size() != count; ++seed) {
    Case made = generate(seed, {.faults = 0, .ops_max = 1'000});
    if (made.shape.objects != machine::ObjectLayer::slab) continue;
    check_by(made.shape, letters, quarantine_bytes);
    if (!machine::why_impossible(made.shape)) cases.push_back(std::move(made));
  }
  return cases;
}

}  // namespace memtorture::bench
