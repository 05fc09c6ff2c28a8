// "Allocate everything at the top, unwind on failure" (domain.md 12.2): what a driver does when its device is opened.
//
// All that the device will ever need is allocated before anything is promised to anybody: afterwards no path of the
// driver can run out of memory, and a failure has one place where it is dealt with. Each step knows what the steps
// before it have got, because what was not got is 0; so giving back what there is, last first, is right after any
// failure and at the end of the device's life alike.
//
//   control block (kzalloc)  >  cache of requests  >  requests  >  DMA ring (two pages)  >  command table (kcalloc)
#pragma once

#include <array>
#include <cstdint>

#include "allocator/subject/objects.h"

namespace memtorture::examples {

class Device {
 public:
  static constexpr std::size_t requests = 8;
  static constexpr std::uint64_t control_bytes = 200, request_bytes = 120, command_bytes = 48;
  static constexpr std::uint64_t commands = 64;
  static constexpr unsigned ring_order = 1;

  Device(subject::Objects& objects, subject::Pages& pages) : objects_(objects), pages_(pages) {}
  ~Device() { close(); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // Sleepable process context. False: -ENOMEM, and nothing is held.
  bool open();
  void close();  // sleepable process context; nothing where there is nothing

  // Valid while open.
  std::uint64_t control() const { return control_; }
  std::uint64_t request(std::size_t i) const { return request_[i]; }
  std::uint64_t ring() const { return ring_; }
  std::uint64_t command_table() const { return command_table_; }

 private:
  bool make_requests();

  subject::Objects& objects_;
  subject::Pages& pages_;
  std::uint64_t control_ = 0;
  subject::CacheHandle cache_ = subject::no_cache;
  std::array<std::uint64_t, requests> request_{};
  std::uint64_t ring_ = 0, command_table_ = 0;
};

}  // namespace memtorture::examples
