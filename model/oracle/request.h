// What an operation asks of the pages facet, in one flat form: the variant of a program is taken apart once, at its
// call.
#pragma once

#include <cstdint>

#include "model/program/ops.h"

namespace memtorture::oracle {

enum class Act : std::uint8_t {
  none,  // says nothing to the oracle
  alloc,
  alloc_exact,
  wild,
  release,
  put,
  release_exact,  // release: by page or by address, with an order
  get,
  split,
  count,
  address,
  fill,
  check,
  poke,
  blemish,
  forget,
  peek,
  link,
  drain_local,
  drain_all,
  nr_free,
  set_min_free,
  client_add,
  client_drop,
  client_touch,
  set_process,
  preempt_disable,
  preempt_enable,
  irq_save,
  irq_restore,
  bh_disable,
  bh_enable,
  spin_lock,
  spin_unlock,
  spin_trylock,
  mutex_trylock,
  spin_unlock_unheld,
  mutex_unlock_unheld,
  shrinker,  // registers or unregisters one
  do_exit,
  irq_exit,
  mutex_lock,
  mutex_unlock,
  wait_event,
  processor_id,
  might_sleep,
  schedule,
  cond_resched,
  msleep,
  cpu_down,
  cpu_up,
  set_mems,
  get_cpu,
  percpu_var,
  percpu_alloc,
  percpu_free,
  percpu_work,  // of the worker; no operation
  copy_get,
  copy_this,
  copy_of,    // a pointer to the copy of CPU `count`
  copy_add,   // through a pointer
  index_add,  // to the copy of the CPU whose number is in slot `in`
  this_add,
  raw_add,
  percpu_sum,
  clean_up,  // the harness gives a block, an object or a cache back
  // kernel stacks
  fork,
  exit,
  push,
  pop,
  array,  // alloca
  recurse,
  not_used,
  obj_alloc,
  obj_realloc,
  obj_free,
  obj_size,
  cache_create,
  cache_destroy,
  cache_shrink,
  cache_size,
  pool_create,
  pool_destroy,
  pool_resize,
  pool_alloc,
  pool_free,
};

enum SpinForm : std::uint32_t { spin_plain, spin_irqsave, spin_bh };

inline constexpr std::uint16_t no_slot = 0xffff;

struct Request {
  Act act = Act::none;
  std::uint8_t order = 0;
  std::int8_t node = -1;
  bool by_address = false;  // the function deals in addresses
  std::uint8_t byte = 0;    // poke; kind of client or of flaw; trait; lock; set of nodes
  std::uint16_t out = 0;
  program::In in{};
  std::uint32_t gfp = 0;
  std::uint64_t number = 0;  // bytes, count, or offset (two's complement)
  // Objects and caches.
  std::uint16_t of = no_slot;  // the cache or pool; or what a link leads to
  std::uint32_t count =
      0;  // process; pools: min_nr; their kind is `byte`, and a block's order `order`; spinlocks: SpinForm
  bool zeroed = false;           // what comes has to be
  bool overflows = false;        // the product of an array's count and size
  std::uint32_t slab_flags = 0;  // cache_create; the byte of its constructor is `byte`
  std::uint64_t align = 0;
  bool reserved = false;  // percpu_alloc: for a module
};

Request request_of(const program::Op& op);

// Takes, drops or splits what a handle names.
constexpr bool handles_blocks(Act act) {
  return act == Act::release || act == Act::put || act == Act::release_exact || act == Act::get || act == Act::split;
}

// Which acts may change which frames are free; while one is in flight nobody else's view of free memory is exact.
constexpr bool changes_free_memory(Act act) {
  switch (act) {
    case Act::alloc:
    case Act::alloc_exact:
    case Act::release:
    case Act::put:
    case Act::release_exact:
    case Act::drain_local:
    case Act::drain_all:
    case Act::cpu_down:
    case Act::set_min_free:
    case Act::client_add:
    case Act::client_drop:
    case Act::clean_up: return true;
    default: return false;
  }
}
constexpr bool allocates(Act act) { return act == Act::alloc || act == Act::alloc_exact || act == Act::client_add; }
constexpr bool releases(Act act) {
  return act == Act::release || act == Act::put || act == Act::release_exact || act == Act::clean_up;
}
constexpr bool on_stacks(Act act) { return act >= Act::fork && act <= Act::not_used; }
constexpr bool makes_frames(Act act) { return act == Act::push || act == Act::array || act == Act::recurse; }
constexpr bool on_objects(Act act) { return act >= Act::obj_alloc; }
constexpr bool on_percpu(Act act) { return act >= Act::percpu_var && act <= Act::percpu_sum; }
constexpr bool manages_percpu(Act act) {  // as opposed to: uses it
  return act >= Act::percpu_alloc && act <= Act::percpu_work;
}
constexpr bool adds_percpu(Act act) { return act >= Act::copy_add && act <= Act::raw_add; }
// May move objects about, its own or those of its layer.
constexpr bool moves_objects(Act act) { return on_objects(act) || manages_percpu(act) || act == Act::cpu_down; }
constexpr bool moves_cpus(Act act) { return act == Act::cpu_down || act == Act::cpu_up; }
constexpr bool on_the_chain(Act act) {  // may sleep, whatever it does
  return act == Act::cache_create || act == Act::cache_destroy || act == Act::cache_shrink;
}
constexpr bool on_pools(Act act) { return act >= Act::pool_create; }
constexpr bool manages_pools(Act act) {  // may sleep, whatever it does
  return act == Act::pool_create || act == Act::pool_destroy || act == Act::pool_resize;
}
// Is it a function of the allocator (as opposed to one of the machine, or an access to memory)?
constexpr bool enters_allocator(Act act) {
  return changes_free_memory(act) || act == Act::get || act == Act::split || act == Act::count || act == Act::address ||
         act == Act::nr_free || act == Act::client_touch || act == Act::set_process || act == Act::fork ||
         act == Act::exit || moves_objects(act);
}

}  // namespace memtorture::oracle
