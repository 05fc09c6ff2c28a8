#include "allocator/machine/ram.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "allocator/machine/shape.h"

namespace memtorture::machine {
namespace {

constexpr std::size_t generation_bytes = (ram_bytes_max >> 12) * sizeof(std::uint32_t);
constexpr std::size_t mapped_bytes = generation_bytes + ram_bytes_max;
constexpr std::uint64_t resident_max = std::uint64_t{256} << 20;

// Free in plain, AddressSanitizer and ThreadSanitizer builds. A fifth machine of a process is put wherever the host
// likes.
constexpr std::uintptr_t slot_bytes = 0x110'0000'0000;
constexpr std::uintptr_t slots[] = {0x7b20'0000'0000, 0x7b20'0000'0000 + slot_bytes, 0x7b20'0000'0000 - slot_bytes,
                                    0x7b20'0000'0000 - 2 * slot_bytes};
static_assert(mapped_bytes <= slot_bytes);

[[noreturn]] void host_refused(const char* what) {
  std::perror(what);
  std::abort();
}

void* map_ram(int fd) {
  const int flags = MAP_SHARED | MAP_NORESERVE;
  for (const std::uintptr_t slot : slots) {
    void* at =
        mmap(reinterpret_cast<void*>(slot), mapped_bytes, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, fd, 0);
    if (at == reinterpret_cast<void*>(slot)) return at;
    if (at != MAP_FAILED) munmap(at, mapped_bytes);
  }
  return mmap(nullptr, mapped_bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
}

// The generations must not be shared: what a forked child's runs did to the frames would pass for the parent's.
bool make_private(void* at, std::size_t bytes) {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  return mmap(at, bytes, PROT_READ | PROT_WRITE, flags, -1, 0) == at;
}

}  // namespace

Ram::Ram() {
  fd_ = memfd_create("memtorture-ram", MFD_CLOEXEC);
  if (fd_ < 0 || ftruncate(fd_, static_cast<off_t>(mapped_bytes)) != 0)
    host_refused("memtorture: cannot create the simulated RAM");
  void* const at = map_ram(fd_);
  if (at == MAP_FAILED || !make_private(at, generation_bytes))
    host_refused("memtorture: cannot map the simulated RAM (1 TiB of address space)");
  generation_ = static_cast<std::uint32_t*>(at);
  bytes_ = static_cast<std::byte*>(at) + generation_bytes;
}

Ram::~Ram() {
  munmap(generation_, mapped_bytes);
  close(fd_);
}

void Ram::power_on(unsigned page_shift, Pfn frames) {
  page_shift_ = page_shift;
  frames_ = frames;
  if (touched_bytes_.load(std::memory_order_relaxed) > resident_max || generation_now_ == ~std::uint32_t{0}) trim();
  ++generation_now_;
}

void Ram::trim() {
  if (ftruncate(fd_, 0) != 0 || ftruncate(fd_, static_cast<off_t>(mapped_bytes)) != 0)
    host_refused("memtorture: cannot trim the simulated RAM");
  madvise(generation_, generation_bytes, MADV_DONTNEED);
  touched_bytes_.store(0, std::memory_order_relaxed);
  generation_now_ = 0;
}

std::span<std::byte> Ram::bytes_of(Pfn pfn) {
  return {bytes_ + (std::uint64_t{pfn} << page_shift_), std::size_t{1} << page_shift_};
}

// Marks the frame as this run's; says whether it was not yet.
bool Ram::claim(Pfn pfn) {
  if (generation_[pfn] == generation_now_) [[likely]]
    return false;
  // Host memory that this frame has used in an earlier run is resident already.
  if (generation_[pfn] == 0) touched_bytes_.fetch_add(std::uint64_t{1} << page_shift_, std::memory_order_relaxed);
  generation_[pfn] = generation_now_;
  return true;
}

std::span<std::byte> Ram::frame(Pfn pfn) {
  const auto bytes = bytes_of(pfn);
  if (claim(pfn)) [[unlikely]]
    std::memset(bytes.data(), std::to_integer<int>(power_on_byte), bytes.size());
  return bytes;
}

void Ram::clear_frame(Pfn pfn) { fill(pfn, 1, std::byte{0}); }

void Ram::fill(Pfn first, std::uint32_t frames, std::byte value) {
  for (Pfn pfn = first; pfn != first + frames; ++pfn) {
    claim(pfn);
    const auto bytes = bytes_of(pfn);
    std::memset(bytes.data(), std::to_integer<int>(value), bytes.size());
  }
}

std::int64_t Ram::find_not(Pfn first, std::uint32_t frames, std::byte value) {
  for (std::uint32_t i = 0; i != frames; ++i) {
    const auto bytes = frame(first + i);
    // A run of one value: the first byte is it, and the run equals itself shifted by one.
    if (bytes[0] == value && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0) continue;
    std::size_t at = 0;
    while (bytes[at] == value) ++at;
    return (std::int64_t{i} << page_shift_) + static_cast<std::int64_t>(at);
  }
  return -1;
}

}  // namespace memtorture::machine
