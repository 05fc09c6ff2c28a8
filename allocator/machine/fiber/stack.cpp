#include "allocator/machine/fiber/stack.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MT_ASAN 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#endif

namespace memtorture::machine::fiber {
namespace context = boost::context::detail;

namespace {
constexpr std::size_t guard_bytes = 4096;
}

Stack::Stack() {
  void* at = mmap(nullptr, guard_bytes + bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (at == MAP_FAILED || mprotect(at, guard_bytes, PROT_NONE) != 0) {
    std::perror("memtorture: cannot map a fiber's stack");
    std::abort();
  }
  base_ = static_cast<std::byte*>(at) + guard_bytes;
}

Stack::~Stack() {
  if (base_ != nullptr) munmap(base_ - guard_bytes, guard_bytes + bytes);
}

void Stack::forget_frames() {
#ifdef MT_ASAN
  __asan_unpoison_memory_region(base_, bytes);
#endif
}

// Only AddressSanitizer asks, and the host has to read a list of all its mappings for the answer.
void adopt_current_stack([[maybe_unused]] Strand& strand) {
#ifdef MT_ASAN
  pthread_attr_t attributes;
  void* bottom = nullptr;
  std::size_t size = 0;
  if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
    pthread_attr_getstack(&attributes, &bottom, &size);
    pthread_attr_destroy(&attributes);
  }
  strand.stack_bottom = bottom;
  strand.stack_bytes = size;
#endif
}

void make(Strand& strand, const Stack& stack, Entry entry) {
  strand.where = context::make_fcontext(stack.top(), Stack::bytes, entry);
  strand.stack_bottom = stack.bottom();
  strand.stack_bytes = Stack::bytes;
}

void arrived(context::transfer_t transfer) {
#ifdef MT_ASAN
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
  static_cast<Payload*>(transfer.data)->from->where = transfer.fctx;
}

void jump(Strand& from, Strand& to, void* payload) {
  Payload travelling{&from, payload};
#ifdef MT_ASAN
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, to.stack_bottom, to.stack_bytes);
#endif
  const context::transfer_t back = context::jump_fcontext(to.where, &travelling);
#ifdef MT_ASAN
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
  static_cast<Payload*>(back.data)->from->where = back.fctx;
}

}  // namespace memtorture::machine::fiber
