// The white-box view of memory pools. Reads without locks: nothing may run.
#include "allocator/kernel/kernel.h"

namespace memtorture::kernel {

subject::PoolInfo Kernel::pool_info(PoolHandle handle) {
  const slab::MemPool& pool = mempools_.pool_at(handle);
  return {.min_nr = pool.min_nr,
          .curr_nr = pool.stock(),
          .capacity = pool.capacity,
          .out = pool.outside(),
          .waiters = pool.wait.waiters(),
          .backend = pool.backend};
}

void Kernel::for_each_element(PoolHandle handle, EachElement f, void* arg) {
  const slab::MemPool& pool = mempools_.pool_at(handle);
  for (std::uint32_t i = 0; i != pool.stock(); ++i) f(arg, mempools_.elements_of(pool)[i]);
}

}  // namespace memtorture::kernel
