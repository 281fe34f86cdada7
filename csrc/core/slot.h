// What a recipe's program is made of.
#pragma once
#include <cstdint>

namespace anamorph {

struct Slot {
    int32_t op;
    int32_t n;      // control: slots that belong to it
    int32_t k;      // control: branches; others: a small integer of their own
    int32_t flags;  // the family's
    double p[12];
};

}  // namespace anamorph
