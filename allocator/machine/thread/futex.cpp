#include "allocator/machine/thread/futex.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

namespace memtorture::machine::thread {

static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t), "the kernel looks at the bare word");

void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t seen) {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
}

void futex_wake(std::atomic<std::uint32_t>& word, int sleepers) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, sleepers, nullptr, nullptr, 0);
}

void Baton::acquire() {
  const std::uint32_t ticket = next_.fetch_add(1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  for (;;) {
    const std::uint32_t serving = serving_.load(std::memory_order_acquire);
    if (serving == ticket) return;
    futex_wait(serving_, serving);
  }
}

// The fences on both sides: either the releaser sees the new ticket, or the newcomer sees the new number.
void Baton::release() {
  const std::uint32_t successor = serving_.load(std::memory_order_relaxed) + 1;
  serving_.store(successor, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (next_.load(std::memory_order_relaxed) != successor) futex_wake(serving_, INT_MAX);
}

bool Baton::contended() const {
  return next_.load(std::memory_order_relaxed) != serving_.load(std::memory_order_relaxed) + 1;
}

}  // namespace memtorture::machine::thread
