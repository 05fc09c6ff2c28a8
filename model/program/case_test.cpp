#include "model/program/case.h"

#include <gtest/gtest.h>

#include "model/program/text.h"

namespace memtorture::program {
namespace {

Case with_clients(std::string_view machine, unsigned adds) {
  Case the_case;
  the_case.shape = parse_shape(machine).value();
  the_case.programs.resize(2);
  for (unsigned i = 0; i != adds; ++i) the_case.programs[i % 2].ops.emplace_back(ClientAdd{});
  return the_case;
}

TEST(Case, AClientGetsAtMostTheMachine) { EXPECT_EQ(client_pages_most(with_clients("flat ram=256K", 3)), 64u); }

TEST(Case, TheClientsOfAHugeMachineHaveACommonLimit) {
  EXPECT_EQ(client_pages_most(with_clients("x86-64 ram=1T", 0)), 1u << 20);
  EXPECT_EQ(client_pages_most(with_clients("x86-64 ram=1T", 1)), 1u << 20);
  EXPECT_EQ(client_pages_most(with_clients("x86-64 ram=1T", 4)), 1u << 18);
}

}  // namespace
}  // namespace memtorture::program
