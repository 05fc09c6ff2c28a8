// For tests of kernel stacks: the driver with the events of their layer, and a view of its structures.
//
// Stacks of 8 KiB on the toy machine: that of CPU 0's idle task is frames 1024 and 1025, those of the programs follow,
// two frames each. A view that says so stands for the subject's structures.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "model/oracle/driver_test.h"

namespace memtorture::oracle::test::kstacks {

using machine::ContextKind;
using machine::PanicKind;
using program::Of;
using subject::StackInfo;
using subject::StackUse;

inline constexpr std::uint64_t base = machine::Ram::linear_base, page = 4096, stack_bytes = 2 * page;
inline constexpr std::uint64_t clear = ~std::uint64_t{0};
inline constexpr std::uint64_t token = 0x123;
constexpr std::uint64_t at(machine::Pfn pfn) { return base + pfn * page; }

inline machine::Shape with_stacks(bool irq_stacks = false, bool cache = false) {
  machine::Shape shape = toy();
  shape.stack_bytes = stack_bytes;
  shape.irq_stacks = irq_stacks ? machine::Toggle::on : machine::Toggle::off;
  shape.stack_cache = cache ? machine::Toggle::on : machine::Toggle::off;
  return shape;
}

struct View final : subject::KstacksView {
  struct Stack {
    std::uint64_t at;
    StackUse use;
    std::uint32_t number = 0;
    bool listed = true;
    std::uint64_t magic = subject::stack_end_magic;
    std::uint64_t self = at;
  };
  std::vector<Stack> stacks;

  StackInfo stack_info(std::uint64_t where) override {
    const auto found = std::ranges::find(stacks, where, &Stack::at);
    return found == stacks.end() ? StackInfo{} : StackInfo{found->self, found->use, found->number, found->magic};
  }
  void for_each_stack(EachStack f, void* arg) override {
    for (const Stack& stack : stacks) {
      if (stack.listed) f(arg, stack.at, stack.use, stack.number);
    }
  }
  Stack& of(std::uint64_t where) { return *std::ranges::find(stacks, where, &Stack::at); }
};

class Stacks : public Driver {
 public:
  explicit Stacks(machine::Shape shape = with_stacks(), std::vector<ContextKind> kinds = {ContextKind::task},
                  bool begin = true)
      : Driver(shape, kinds.size()) {
    for (std::size_t i = 0; i != kinds.size(); ++i) the_case.programs[i].kind = kinds[i];
    make(StackUse::idle, 0);
    if (shape.irq_stacks == machine::Toggle::on) {
      make(StackUse::hardirq, 0);
      make(StackUse::softirq, 0);
    }
    for (std::uint32_t i = 0; i != kinds.size(); ++i) {
      if (kinds[i] == ContextKind::task) make(StackUse::program, i);
    }
    if (!begin) return;
    EXPECT_EQ(oracle.begin_stacks(view), Ruling::fine) << why();
    for (std::uint32_t i = 0; i != kinds.size(); ++i) {
      if (kinds[i] == ContextKind::task) {
        who = static_cast<machine::ContextId>(i);
        EXPECT_EQ(enters(top(StackUse::program, i)), Ruling::fine) << why();
      }
    }
    who = 0;
  }
  void make(StackUse use, std::uint32_t number) {
    boot_request(next_);
    view.stacks.push_back({.at = at(next_), .use = use, .number = number});
    next_ += 2;
  }
  void boot_request(machine::Pfn pfn, unsigned order = 1) {
    Event e;
    e.kind = EventKind::layer_requests;
    e.gfp = subject::GFP_NOWAIT;
    e.order = static_cast<std::uint8_t>(order);
    e.value = ~std::uint64_t{0};
    EXPECT_EQ(oracle.on(e), Ruling::fine) << why();
    e.kind = EventKind::layer_granted;
    e.pfn = pfn;
    e.value2 = clear;
    EXPECT_EQ(oracle.on(e), Ruling::fine) << why();
  }
  std::uint64_t top(StackUse use, std::uint32_t number = 0) const {
    const auto found =
        std::ranges::find_if(view.stacks, [&](const View::Stack& s) { return s.use == use && s.number == number; });
    return found->at + stack_bytes;
  }
  Ruling enters(std::uint64_t sp, machine::ContextId found = machine::no_context) {
    Event e = event(EventKind::entered);
    e.value = found;
    e.value2 = sp;
    return oracle.on(e);
  }
  Ruling leaves() { return oracle.on(event(EventKind::left)); }
  Ruling got(std::uint64_t value, std::uint64_t value2 = clear) {
    Event e = event(EventKind::result);
    e.value = value;
    e.value2 = value2;
    return oracle.on(e);
  }
  Ruling push(std::uint64_t bytes, std::uint64_t sp) {
    const Ruling ruling = call(program::PushFrame{{bytes}});
    return ruling != Ruling::fine ? ruling : got(sp, token);
  }
  Ruling pop(std::uint64_t return_address = token, std::uint64_t lowest = token) {
    EXPECT_EQ(call(program::PopFrame{}), Ruling::fine);
    return got(return_address, lowest);
  }
  Ruling not_used(std::uint64_t bytes) {
    EXPECT_EQ(call(program::StackNotUsed{}), Ruling::fine);
    return got(bytes);
  }
  Ruling panics(PanicKind kind) {
    Event e = event(EventKind::panicked);
    e.detail = static_cast<std::uint8_t>(kind);
    return oracle.on(e);
  }
  Ruling asks(machine::Pfn pfn, unsigned order = 1) {
    Event e = event(EventKind::layer_requests);
    e.gfp = subject::GFP_KERNEL | subject::gfp_zero;
    e.order = static_cast<std::uint8_t>(order);
    e.value = ~std::uint64_t{0};
    EXPECT_EQ(oracle.on(e), Ruling::fine) << why();
    e = event(EventKind::layer_granted);
    e.pfn = pfn;
    e.value2 = clear;
    return oracle.on(e);
  }
  Ruling gives_back(machine::Pfn pfn, unsigned order = 1) {
    Event e = event(EventKind::layer_releases);
    e.pfn = pfn;
    e.order = static_cast<std::uint8_t>(order);
    if (const Ruling ruling = oracle.on(e); ruling != Ruling::fine) return ruling;
    return oracle.on(event(EventKind::layer_released));
  }
  void fork(std::uint16_t slot, machine::Pfn pfn) {
    EXPECT_EQ(call(program::ForkTask{Out{slot}}), Ruling::fine) << crime();
    EXPECT_EQ(asks(pfn), Ruling::fine) << why();
    EXPECT_EQ(got(at(pfn)), Ruling::fine) << why();
    view.stacks.push_back({.at = at(pfn), .use = StackUse::forked, .listed = false});
  }
  void ends(std::uint16_t slot, machine::Pfn pfn) {
    EXPECT_EQ(call(program::ExitTask{Of{slot}}), Ruling::fine) << crime();
    EXPECT_EQ(gives_back(pfn), Ruling::fine) << why();
    EXPECT_EQ(returned(), Ruling::fine) << why();
    std::erase_if(view.stacks, [&](const View::Stack& s) { return s.at == at(pfn); });
  }
  machine::Pfn next() const { return next_; }

  View view;

 private:
  machine::Pfn next_ = 1024;
};

}  // namespace memtorture::oracle::test::kstacks
