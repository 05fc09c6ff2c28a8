// Operations on memory pools. An element is used as an object is, whatever it is made of, so its owner's books are
// those of executor_objects.cpp; what is new is who it goes back to.
#include "model/run/executor_objects.h"

namespace memtorture::run {

using namespace program;  // the operations
using oracle::EventKind;

void Executor::use_pools(subject::Mempools& pools, subject::MempoolsView* view) {
  pools_ = &pools;
  pools_view_ = view;
}

Holding* Executor::pool(Of of) {
  Holding& holding = slots_[of.slot];
  return holding.what == Held::pool && pools_ != nullptr ? &holding : nullptr;
}

// `element` says what the pool's elements are like: their bytes, their constructed state, whether they are pages.
void Executor::create_pool(Out out, Count min_nr, const subject::PoolBackend& backend, const Holding& element) {
  begin();
  const subject::PoolHandle handle =
      pools_->mempool_create({.min_nr = static_cast<int>(min_nr.value), .backend = backend});
  Event event = Tape::here(EventKind::result);
  event.value = handle;
  finish(event);
  if (handle != subject::no_pool) {
    pool_handles_[machine::current().id].push_back(handle);
    Holding fresh = element;
    fresh.what = Held::pool;
    fresh.address = handle;
    refill(out, fresh);
  }
  audit_if_due();
}

void Executor::operator()(const PoolCreateSlab& op) {
  const Holding* cache = this->cache(op.cache);
  if (cache == nullptr || pools_ == nullptr) return skip();
  create_pool(op.out, op.min_nr, subject::slab_backend(cache->address), {.ctor = cache->ctor, .bytes = cache->bytes});
}
void Executor::operator()(const PoolCreateKmalloc& op) {
  if (pools_ == nullptr) return skip();
  create_pool(op.out, op.min_nr, subject::kmalloc_backend(op.bytes.value), {.bytes = op.bytes.value});
}
void Executor::operator()(const PoolCreatePages& op) {
  if (pools_ == nullptr) return skip();
  const std::uint64_t bytes =
      op.order.value < machine_->shape().orders ? machine_->shape().page_bytes() << op.order.value : 0;
  create_pool(op.out, op.min_nr, subject::page_backend(op.order.value), {.is_pages = true, .bytes = bytes});
}

void Executor::operator()(const PoolAlloc& op) {
  const Holding* pool = this->pool(op.pool);
  if (pool == nullptr) return skip();
  allocate_object(op.out, {.bytes = pool->bytes, .ctor = pool->ctor, .is_pages = pool->is_pages},
                  [&] { return pools_->mempool_alloc(pool->address, op.gfp.bits); });
}
void Executor::operator()(const PoolFree& op) {
  const Holding* pool = this->pool(op.pool);
  if (pool == nullptr) return skip();
  release_object(op.in, [&](std::uint64_t address) { pools_->mempool_free(address, pool->address); });
}
void Executor::operator()(const PoolResize& op) {
  const Holding* pool = this->pool(op.pool);
  if (pool == nullptr) return skip();
  begin();
  const int min_nr = static_cast<int>(op.min_nr.value);
  end(static_cast<std::uint64_t>(std::int64_t{pools_->mempool_resize(pool->address, min_nr, op.gfp.bits)}));
}
void Executor::operator()(const PoolDestroy& op) {
  const Holding* pool = this->pool(op.pool);
  if (pool == nullptr) return skip();
  begin();
  end(static_cast<std::uint64_t>(std::int64_t{pools_->mempool_destroy(pool->address)}));
}

// A pool of which an element was lost on purpose stays.
void Executor::clean_up_pools() {
  for (const auto& handles : pool_handles_) {
    for (const subject::PoolHandle handle : handles) {
      if (!oracle_.is_idle_pool(handle)) continue;
      Event event = Tape::here(EventKind::call);
      event.detail = oracle::clean_up_pool;
      event.value = handle;
      tape_.emit(event);
      event = Tape::here(EventKind::result);
      event.value = static_cast<std::uint64_t>(std::int64_t{pools_->mempool_destroy(handle)});
      tape_.emit(event);
    }
  }
}

}  // namespace memtorture::run
