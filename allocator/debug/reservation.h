// Host address space for an array as long as the largest machine needs it. The host backs what is touched; what is
// there in the beginning, and after forget(), is zero.
#pragma once

#include <cstddef>

namespace memtorture::debug {

class Reservation {
 public:
  explicit Reservation(std::size_t bytes);  // aborts with a message when the host refuses (harness fault)
  ~Reservation();
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;

  std::byte* at() const { return at_; }
  void forget();  // the host gets its memory back

 private:
  std::byte* at_;
  std::size_t bytes_;
};

}  // namespace memtorture::debug
