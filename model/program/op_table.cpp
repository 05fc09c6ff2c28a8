#include "model/program/op_table.h"

#include <algorithm>

namespace memtorture::program {
namespace {

template <class Op, std::size_t... I>
constexpr bool fields_distinct(std::index_sequence<I...>) {
  using Fields = decltype(Op::fields());
  constexpr auto count = []<class Member>() {
    return (std::size_t{0} + ... + std::is_same_v<Member, std::tuple_element_t<I, Fields>>);
  };
  return ((count.template operator()<std::tuple_element_t<I, Fields>>() == 1) && ...);
}

constexpr bool every_op_is_sound() {
  bool sound = true;
  for_each_op_type([&]<class O>() {
    sound = sound && fields_distinct<O>(std::make_index_sequence<std::tuple_size_v<decltype(O::fields())>>{});
  });
  for (std::size_t i = 0; i < op_kinds; ++i) {
    for (std::size_t j = 0; j < i; ++j) sound = sound && op_names[i] != op_names[j];
  }
  return sound;
}
static_assert(every_op_is_sound(), "names are unique, and no operation has two fields of one type");

}  // namespace

std::string_view name_of(const Op& op) { return op_names[op.index()]; }

Op default_op(std::size_t kind) {
  static constexpr auto makers = []<std::size_t... I>(std::index_sequence<I...>) {
    return std::array<Op (*)(), op_kinds>{+[] { return Op(std::in_place_index<I>); }...};
  }(std::make_index_sequence<op_kinds>{});
  return makers[kind]();
}

std::optional<std::size_t> find_op(std::string_view name) {
  const auto* found = std::ranges::find(op_names, name);
  if (found == op_names.end()) return std::nullopt;
  return static_cast<std::size_t>(found - op_names.begin());
}

}  // namespace memtorture::program
