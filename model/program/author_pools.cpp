// What the actions on memory pools write. Elements are in the books of objects, with the pool that they go back to.
//
// Some pools are for all programs of the case: who comes before the pool was made is skipped, and only the harness
// destroys it, so no schedule makes that a crime. Blocking requests are rare where a program has all elements itself:
// if memory is refused then, it waits for ever, which is legal and tells little.
#include <algorithm>

#include "model/program/author.h"
#include "model/program/random_parts.h"

namespace memtorture::program {

using namespace subject;

bool Author::perform_on_pools() {
  const std::uint32_t dice = random_.below(100);
  if (!has_pool() || dice < 15) {
    if (!is_sleepable() || pools_.size() > 3) return false;
    create_pool();
    return true;
  }
  const bool shared = pools_.empty() || (!style_.shared_pools.empty() && random_.percent(60));
  auto& books = shared ? style_.shared_pools : pools_;
  const auto index = random_.below(static_cast<std::uint32_t>(books.size()));
  if (dice < 65 || !is_sleepable()) {
    take_elements(books[index]);
  } else if (dice < 85) {
    resize_pool(books[index]);
  } else if (!shared) {
    destroy_pool(index);
  } else {
    return false;
  }
  return true;
}

void Author::create_pool() {
  Pool made{.slot = fresh(), .min_nr = 1 + random_.below(random_.percent(80) ? 4 : 40)};
  const Out out{made.slot};
  const Count min_nr{random_.percent(4) ? 0 : made.min_nr};
  const bool of_cache = !caches_.empty() && random_.percent(45);
  const auto cache = of_cache ? random_.below(static_cast<std::uint32_t>(caches_.size())) : 0;
  if (of_cache && !caches_[cache].dma) {
    made.bytes = caches_[cache].bytes;
    made.cache = caches_[cache].slot;
    made.of_cache = true;
    made.constructed = caches_[cache].constructed;
    emit(PoolCreateSlab{out, min_nr, {made.cache}});
  } else if (random_.percent(55)) {
    made.bytes = std::max<std::uint64_t>(1, some_size());
    if (made.bytes > case_.shape.page_bytes() * 2) made.bytes = 200;
    emit(PoolCreateKmalloc{out, min_nr, {made.bytes}});
  } else {
    const auto order = static_cast<std::uint8_t>(
        random_.percent(80) ? 0 : random_.below(std::min<std::uint32_t>(3, case_.shape.orders)));
    made.bytes = case_.shape.page_bytes() << order;
    made.is_pages = true;
    emit(PoolCreatePages{out, min_nr, {order}});
  }
  // A cache that only its program may destroy has pools of that program.
  const bool shared = style_.shares_pools && !made.of_cache && random_.percent(50);
  (shared ? style_.shared_pools : pools_).push_back(made);
}

const Pool& Author::some_pool() {
  const auto own = static_cast<std::uint32_t>(pools_.size());
  const std::uint32_t index = random_.below(own + static_cast<std::uint32_t>(style_.shared_pools.size()));
  return index < own ? pools_[index] : style_.shared_pools[index - own];
}

void Author::take_element(const Pool& pool, gfp_t flags) {
  const Slot slot = fresh();
  emit(PoolAlloc{{slot}, {pool.slot}, {flags}});
  objects_.push_back({.slot = slot,
                      .bytes = pool.bytes,
                      .pool = pool.slot,
                      .of_pool = true,
                      .is_pages = pool.is_pages,
                      .constructed = pool.constructed});
}

void Author::take_elements(const Pool& pool) {
  const std::uint32_t count =
      1 + (random_.percent(40) ? random_.below(std::min<std::uint32_t>(2 * pool.min_nr + 2, 60)) : 0);
  const std::size_t before = objects_.size();
  for (std::uint32_t i = 0; i != count; ++i) {
    gfp_t flags = object_gfp(pool.bytes, false) & ~gfp_zero;
    if (i >= pool.min_nr || random_.percent(60)) flags = GFP_NOWAIT | (flags & gfp_high);
    take_element(pool, flags);
  }
  if (count == 1 || random_.percent(30)) return;
  while (objects_.size() > before) {
    const auto span = static_cast<std::uint32_t>(objects_.size() - before);
    release_object(random_.percent(60) ? objects_.size() - 1 : before + random_.below(span));
  }
}

void Author::resize_pool(Pool& pool) {
  pool.min_nr = 1 + random_.below(random_.percent(80) ? 6 : 60);
  emit(PoolResize{{pool.slot}, {pool.min_nr}, {object_gfp(pool.bytes, false) & ~gfp_zero}});
}

void Author::destroy_pool(std::size_t index) {
  const Pool chosen = pools_[index];
  if (handed_out_.contains(chosen.slot)) return resize_pool(pools_[index]);
  for (std::size_t i = objects_.size(); i-- != 0;) {
    if (objects_[i].of_pool && objects_[i].pool == chosen.slot) release_object(i);
  }
  emit(PoolDestroy{{chosen.slot}});
  pools_.erase(pools_.begin() + static_cast<std::ptrdiff_t>(index));
}

// False: another program has elements of one, so neither it nor its cache can go.
bool Author::destroy_pools_of(Slot cache) {
  for (std::size_t i = pools_.size(); i-- != 0;) {
    if (!pools_[i].of_cache || pools_[i].cache != cache) continue;
    if (handed_out_.contains(pools_[i].slot)) return false;
    destroy_pool(i);
  }
  return true;
}

}  // namespace memtorture::program
