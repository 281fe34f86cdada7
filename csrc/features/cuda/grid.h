// How many blocks a kernel over features takes.
#pragma once
#include <cstdint>
#include "../../core/errors.h"

namespace anamorph {

enum : int { THREADS = 256 };

inline unsigned grid_of(int64_t count, int64_t each) {
    const int64_t blocks = (count + each - 1) / each;
    if (blocks > 0x7FFFFFFF)
        fail<ShapeError>("features: expected fewer values, given so many that they take ", blocks, " blocks");
    return unsigned(blocks);
}

}  // namespace anamorph
