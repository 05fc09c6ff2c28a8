// A flat array over address space: as long as the largest machine needs, costing host memory only where it was written.
//
// A page that was never written reads as zeros without existing, so a terabyte machine with a few touched frames costs
// a few pages. reserve() may move the array when it grows; contents are lost then (it only happens between runs).
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <type_traits>

namespace memtorture::oracle {

template <class T>
class LazyArray {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  LazyArray() = default;
  ~LazyArray() { release(); }
  LazyArray(const LazyArray&) = delete;
  LazyArray& operator=(const LazyArray&) = delete;

  // True: the array was made anew and is all zeros.
  bool reserve(std::size_t entries) {
    if (entries <= entries_) return false;
    release();
    void* memory =
        mmap(nullptr, entries * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) std::abort();  // harness fault: no address space
    data_ = static_cast<T*>(memory);
    entries_ = entries;
    return true;
  }
  T& operator[](std::size_t i) { return data_[i]; }
  const T& operator[](std::size_t i) const { return data_[i]; }

 private:
  void release() {
    if (data_ != nullptr) munmap(data_, entries_ * sizeof(T));
    data_ = nullptr;
    entries_ = 0;
  }
  T* data_ = nullptr;
  std::size_t entries_ = 0;
};

}  // namespace memtorture::oracle
