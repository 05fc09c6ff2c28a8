// The operations as a table, derived from the variant: names in the variant's order, and loops over an operation's
// fields. Everything generic (text, bytes, mutation, lists) goes through here, so that an operation is described once.
#pragma once

#include <array>
#include <optional>
#include <tuple>
#include <type_traits>

#include "model/program/ops.h"

namespace memtorture::program {

inline constexpr auto op_names = []<std::size_t... I>(std::index_sequence<I...>) {
  return std::array<std::string_view, op_kinds>{std::variant_alternative_t<I, Op>::name...};
}(std::make_index_sequence<op_kinds>{});

// The index of an operation type in the variant: its number in the byte form.
template <class T>
constexpr std::size_t op_index() {
  std::size_t index = 0, found = op_kinds;
  for_each_op_type([&]<class O>() {
    if (std::is_same_v<O, T>) found = index;
    ++index;
  });
  return found;
}

// Is it about objects and caches? They stand together in the variant.
inline bool is_for_objects(const Op& op) {
  return op.index() >= op_index<Kmalloc>() && op.index() < op_index<PreemptDisable>();
}

inline bool makes_pool(const Op& op) {
  return op.index() >= op_index<PoolCreateSlab>() && op.index() <= op_index<PoolCreatePages>();
}
inline bool is_for_pools(const Op& op) {
  return op.index() >= op_index<PoolCreateSlab>() && op.index() <= op_index<PoolFree>();
}

inline bool is_for_stacks(const Op& op) {
  return op.index() >= op_index<ForkTask>() && op.index() <= op_index<StackNotUsed>();
}

// Of per-CPU memory, or a CPU's number. They stand together, too.
inline bool is_for_percpu(const Op& op) {
  return op.index() >= op_index<PerCpuVar>() && op.index() <= op_index<PerCpuSum>();
}
inline bool makes_percpu(const Op& op) {  // its slot holds an area
  return op.index() >= op_index<PerCpuVar>() && op.index() <= op_index<AllocPercpuReserved>();
}
inline bool makes_copy(const Op& op) {  // its slot holds a pointer to one copy
  return std::holds_alternative<GetCpuPtr>(op) || std::holds_alternative<ThisCpuPtr>(op) ||
         std::holds_alternative<PerCpuPtr>(op);
}

Op default_op(std::size_t kind);  // kind < op_kinds; all fields at their defaults
std::optional<std::size_t> find_op(std::string_view name);

// Calls f(field) for each field, in the order in which they are written.
template <class F>
void for_each_field(Op& op, F&& f) {
  std::visit([&](auto& o) { std::apply([&](auto... member) { (f(o.*member), ...); }, o.fields()); }, op);
}
template <class F>
void for_each_field(const Op& op, F&& f) {
  std::visit([&](const auto& o) { std::apply([&](auto... member) { (f(o.*member), ...); }, o.fields()); }, op);
}

// The field of that type, or nothing. No operation has two fields of one type (asserted in op_table.cpp).
template <class Field>
const Field* field_of(const Op& op) {
  const Field* found = nullptr;
  for_each_field(op, [&]<class T>(const T& field) {
    if constexpr (std::is_same_v<T, Field>) found = &field;
  });
  return found;
}
template <class Field>
Field* field_of(Op& op) {
  return const_cast<Field*>(field_of<Field>(static_cast<const Op&>(op)));
}

}  // namespace memtorture::program
