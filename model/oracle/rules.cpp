// The façade's view of the table in rules.h.
#include "model/oracle/rules.h"

namespace memtorture::oracle {

std::span<const RuleRow> rule_table() { return rule_rows; }

}  // namespace memtorture::oracle
