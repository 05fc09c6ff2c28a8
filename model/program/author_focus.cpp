// Focused cases: all programs on one size of objects, or one cache, each on a CPU of its own.
//
// Most of an object allocator's races need two CPUs at the node's lists at once, and a CPU comes there only when its
// array runs over or dry. So sizes are drawn for short arrays (domain.md 10.5), objects come and go in runs of about a
// batch, go back on other CPUs than they came from, and caches are shrunk and destroyed beside that. In a flow program
// 1 gives back what all others take, so that the shared array is nearly empty, or nearly full, all the time.
//
// Innocence: the shared cache is destroyed by nobody; an object that is passed on is forgotten here, and its release by
// the other one is skipped where it is not there yet.
#include <algorithm>

#include "model/program/author.h"
#include "model/program/random_parts.h"

namespace memtorture::program {
namespace {

using namespace subject;

constexpr std::uint32_t limit_with_checks = 32;

std::uint32_t array_limit(std::uint64_t bytes, const machine::Shape& shape) {
  const std::uint32_t limit = bytes > shape.page_bytes() ? 8 : bytes > 1024 ? 24 : bytes > 256 ? 54 : 120;
  return shape.slab_debug != 0 ? std::min(limit, limit_with_checks) : limit;
}

}  // namespace

Focus random_focus(Random& random, const machine::Shape& shape) {
  const auto page = static_cast<std::uint32_t>(shape.page_bytes());
  const std::uint32_t dice = random.below(100);
  const std::uint32_t large = std::min(page, page / 2 + 1 + random.below(page / 4));
  Focus focus;
  focus.bytes = dice < 50                       ? std::max<std::uint32_t>(1025, large)
                : dice < 60                     ? 1025 + random.below(1000)
                : dice < 75 && shape.orders > 3 ? page + 1 + random.below(page)
                : dice < 90                     ? 300 + random.below(700)
                                                : 16 + random.below(200);
  focus.run = (array_limit(focus.bytes, shape) + 1) / 2;
  focus.dma = random.percent(20);
  focus.flow = random.percent(40);
  static constexpr std::uint32_t shrinks[] = {0, 3, 20};
  focus.shrink_percent = one_of(shrinks, random);
  return focus;
}

void Author::open_focus() {
  Focus& focus = *style_.focus;
  if (program_ == 0 && has_caches() && !focus.dma && random_.percent(70)) {
    create_cache(focus.bytes);
    focus.shared = caches_.back();
  } else if (focus.shared) {
    caches_.push_back(*focus.shared);
  }
  if (focus.shared) handed_out_.insert(focus.shared->slot);
}

void Author::act_in_focus() {
  const Focus& focus = *style_.focus;
  const auto some = [&] { return is_task() ? 1 + random_.below(random_.percent(50) ? 3 : 2 * focus.run) : 1; };
  const bool sleepable = is_sleepable();
  if (sleepable && focus.shared && random_.percent(focus.shrink_percent))
    return emit(CacheShrink{{focus.shared->slot}});
  if (sleepable && has_caches() && random_.percent(case_.shape.quarantine_bytes != 0 ? 15 : 5)) return short_life();
  if (random_.percent(10)) return act();
  const std::uint32_t dice = random_.below(100);
  if (focus.flow) {
    constexpr std::size_t sink = 1;
    if (program_ == sink) return give(some());
    take(some());
    return pass(some(), sink);
  }
  if (dice < 45) return take(some());
  if (dice < 70) return give(some());
  pass(some(), random_.below(static_cast<std::uint32_t>(case_.programs.size())));
}

void Author::take(std::uint32_t count) {
  const Focus& focus = *style_.focus;
  for (; count != 0; --count) {
    if (focus.shared) {
      const gfp_t flags = object_gfp(focus.bytes, focus.shared->dma) & ~gfp_zero;
      const Slot slot = fresh();
      emit(CacheAlloc{{slot}, {focus.shared->slot}, {flags}});
      objects_.push_back({.slot = slot,
                          .bytes = focus.shared->bytes,
                          .cache = focus.shared->slot,
                          .of_cache = true,
                          .constructed = focus.shared->constructed});
    } else {
      const Slot slot = fresh();
      emit(Kmalloc{{slot}, {focus.bytes}, {object_gfp(focus.bytes, focus.dma)}});
      objects_.push_back({.slot = slot, .bytes = focus.bytes, .exact = true});
    }
  }
}

void Author::give(std::uint32_t count) {
  const std::uint32_t order = random_.below(3);
  for (; count != 0 && !objects_.empty(); --count)
    release_object(order == 0 ? objects_.size() - 1 : order == 1 ? 0 : some_object());
}

// Others give back what is this one's, after whatever they have to do so far: what nobody has used, because when that
// comes is up to the schedule.
void Author::pass(std::uint32_t count, std::size_t to) {
  if (to == program_ || case_.programs[to].kind == machine::ContextKind::nmi) return give(count);
  for (; count != 0 && !objects_.empty(); --count) {
    const OwnObject object = objects_.front();
    objects_.erase(objects_.begin());
    if (object.used) {
      give_back(object);
    } else {
      case_.programs[to].ops.push_back(release_by_other(object));
    }
  }
}

// A cache with a few objects, which ends as soon as they are back: perhaps they are still on their way.
void Author::short_life() {
  create_cache(style_.focus->bytes);
  const Cache cache = caches_.back();
  caches_.pop_back();
  std::vector<Slot> slots(1 + random_.below(6));
  for (Slot& slot : slots) {
    slot = fresh();
    emit(CacheAlloc{{slot}, {cache.slot}, {(object_gfp(cache.bytes, cache.dma) | gfp_noretry) & ~gfp_zero}});
  }
  for (const Slot slot : slots) emit(CacheFree{{cache.slot}, {slot}});
  emit(CacheDestroy{{cache.slot}});
}

}  // namespace memtorture::program
