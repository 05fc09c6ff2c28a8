// The object-debug facet: what a subject offers whose objects are watched (domain.md 20.1, 20.6).
//
// check_access is what a compiler would insert before each access of the program. Which crimes are seen depends on the
// checks in force (Shape::slab_debug, SLAB_* flags of a cache); what is seen is reported (machine::Report).
#pragma once

#include <cstdint>
#include <span>

#include "allocator/machine/object_details.h"

namespace memtorture::subject {

using machine::Access;

class ObjectDebug {
 public:
  virtual ~ObjectDebug() = default;
  // The program is about to touch [address, address + bytes). True: no check objects. Reports at most once. Objects are
  // checked in caches with SLAB_KASAN; free pages and addresses outside of RAM when the machine has the letter K. Any
  // context.
  virtual bool check_access(std::uint64_t address, std::uint64_t bytes, Access kind) = 0;
  // Live objects of caches with SLAB_STORE_USER that no root and no reachable object refers to; each is reported.
  // Returns how many. A reference is an 8-byte word, counted from the object's start, with an address inside of another
  // object as requested; the objects of every checked cache are searched. Quiescent use: alone on the machine.
  virtual std::uint32_t scan_leaks(std::span<const std::uint64_t> roots) = 0;
  virtual std::uint64_t quarantined_bytes() = 0;  // of buffers
};

}  // namespace memtorture::subject
