// Stacks for fibers, and the switch between them, told to the sanitizers.
//
// A switch is boost.context's fcontext: six registers, about 5 ns. AddressSanitizer must know the bounds of the stack
// that runs, or it takes every frame for an overflow; it is told at every switch, with the real bounds also for the
// stack that the run was started from. ThreadSanitizer is not supported here: the thread engine is for it.
#pragma once

#include <cstddef>
#include <cstdint>

#include <boost/context/detail/fcontext.hpp>

namespace memtorture::machine::fiber {

class Stack {  // mmap'ed with a guard page below; pooled by the engine, never given back before its end
 public:
  static constexpr std::size_t bytes = 256 * 1024;
  Stack();
  ~Stack();
  Stack(Stack&& other) noexcept : base_(other.base_) { other.base_ = nullptr; }
  Stack& operator=(Stack&&) = delete;
  std::byte* bottom() const { return base_; }
  std::byte* top() const { return base_ + bytes; }
  void forget_frames();  // the frames on it were abandoned: their sanitizer redzones must not bite the next user

 private:
  std::byte* base_;
};

// A suspended or running strand of host execution.
struct Strand {
  boost::context::detail::fcontext_t where = nullptr;
  const void* stack_bottom = nullptr;
  std::size_t stack_bytes = 0;
};

// Bounds of the stack that the caller runs on.
void adopt_current_stack(Strand& strand);

using Entry = void (*)(boost::context::detail::transfer_t);
void make(Strand& strand, const Stack& stack, Entry entry);
// Leaves `from`, goes on in `to`; returns when somebody switches back. `payload` reaches a fresh strand's entry.
void jump(Strand& from, Strand& to, void* payload);
// First thing in an entry: completes the switch that led there.
void arrived(boost::context::detail::transfer_t transfer);

struct Payload {  // what travels with a jump
  Strand* from;
  void* payload;
};

}  // namespace memtorture::machine::fiber
