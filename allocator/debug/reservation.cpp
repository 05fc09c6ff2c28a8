#include "allocator/debug/reservation.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>

namespace memtorture::debug {

Reservation::Reservation(std::size_t bytes) : bytes_(bytes) {
  void* const at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) {
    std::perror("memtorture: cannot reserve address space for the checks of objects");
    std::abort();
  }
  at_ = static_cast<std::byte*>(at);
}

Reservation::~Reservation() { munmap(at_, bytes_); }

void Reservation::forget() { madvise(at_, bytes_, MADV_DONTNEED); }

}  // namespace memtorture::debug
