#include "model/examples/open_device.h"

#include <ranges>
#include <utility>

namespace memtorture::examples {

using subject::GFP_KERNEL;

bool Device::open() {
  const bool complete =
      (control_ = objects_.kzalloc(control_bytes, GFP_KERNEL)) != 0 &&
      (cache_ = objects_.kmem_cache_create(
           {.name = "device_request", .size = request_bytes, .flags = subject::SLAB_HWCACHE_ALIGN})) !=
          subject::no_cache &&
      make_requests() && (ring_ = pages_.get_free_pages(GFP_KERNEL, ring_order)) != 0 &&
      (command_table_ = objects_.kcalloc(commands, command_bytes, GFP_KERNEL)) != 0;
  if (!complete) close();
  return complete;
}

bool Device::make_requests() {
  for (std::uint64_t& request : request_) {
    request = objects_.kmem_cache_alloc(cache_, GFP_KERNEL);
    if (request == 0) return false;
  }
  return true;
}

void Device::close() {
  objects_.kfree(std::exchange(command_table_, 0));
  pages_.free_pages(std::exchange(ring_, 0), ring_order);
  for (std::uint64_t& request : request_ | std::views::reverse) {
    if (request != 0) objects_.kmem_cache_free(cache_, std::exchange(request, 0));
  }
  if (cache_ != subject::no_cache) objects_.kmem_cache_destroy(std::exchange(cache_, subject::no_cache));
  objects_.kfree(std::exchange(control_, 0));
}

}  // namespace memtorture::examples
