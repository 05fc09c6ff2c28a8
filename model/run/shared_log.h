// What a process tells before it dies: a log in memory that it shares with its parent.
//
// One writer, the child; the parent reads after the child's end. An entry is whole before the count covers it, so death
// at any moment leaves a good log. A full log goes on over its oldest entries: what matters is the end.
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <type_traits>
#include <vector>

namespace memtorture::run {

template <class T, std::uint64_t capacity>
class SharedLog {
 public:
  SharedLog() {
    void* memory =
        mmap(nullptr, sizeof(Memory), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
      std::perror("memtorture: cannot share memory with a child process");
      std::abort();
    }
    memory_ = static_cast<Memory*>(memory);
  }
  ~SharedLog() { munmap(memory_, sizeof(Memory)); }
  SharedLog(const SharedLog&) = delete;
  SharedLog& operator=(const SharedLog&) = delete;

  void add(const T& entry) {
    const std::uint64_t count = memory_->count.load(std::memory_order_relaxed);
    memory_->entries[count % capacity] = entry;
    memory_->count.store(count + 1, std::memory_order_release);
  }

  std::vector<T> entries() const {
    const std::uint64_t count = memory_->count.load(std::memory_order_acquire);
    std::vector<T> result;
    for (std::uint64_t i = count > capacity ? count - capacity : 0; i != count; ++i)
      result.push_back(memory_->entries[i % capacity]);
    return result;
  }

 private:
  static_assert(std::is_trivially_copyable_v<T>, "it survives its writer as bytes");
  struct Memory {
    std::atomic<std::uint64_t> count;  // its store never moves in front of the entry's
    T entries[capacity];
  };
  Memory* memory_;
};

}  // namespace memtorture::run
