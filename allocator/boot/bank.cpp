#include "allocator/boot/bank.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace memtorture::boot {

Bank::Bank(std::size_t kept_bytes, std::size_t piece_bytes_max)
    : kept_bytes_(kept_bytes), piece_bytes_max_(piece_bytes_max) {
  void* at = mmap(nullptr, kept_bytes + piece_bytes_max, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) {
    std::perror("memtorture: cannot reserve address space for the machine's metadata");
    std::abort();
  }
  bytes_ = static_cast<std::byte*>(at);
}

Bank::~Bank() { munmap(bytes_, kept_bytes_ + piece_bytes_max_); }

void Bank::forget_kept() { madvise(bytes_, kept_bytes_, MADV_DONTNEED); }

std::byte* Bank::take(std::size_t bytes, std::size_t align) {
  const std::size_t at = (used_ + align - 1) & ~(align - 1);
  if (at + bytes > piece_bytes_max_) {
    std::fputs("memtorture: boot memory is exhausted\n", stderr);
    std::abort();
  }
  used_ = at + bytes;
  std::byte* piece = bytes_ + kept_bytes_ + at;
  std::memset(piece, 0, bytes);
  return piece;
}

}  // namespace memtorture::boot
