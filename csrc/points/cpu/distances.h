// Distances that decide which points there are: compiled without fused multiply-add, so that all machines decide alike.
#pragma once
#include <cstdint>
#include "../../core/macros.h"

namespace anamorph { namespace AM_LEVEL {

// `m` of n points from `start` on, each the farthest from those before it, of equally far ones the first. distance: room for n.
void farthest_lines(const float* x, const float* y, const float* z, int n, int m, int start, double* distance, int32_t* chosen);

// Squared distances to a point as numbers that are in order as the distances are, those of equally far points as the points.
void distance_keys(const float* x, const float* y, const float* z, int n, int center, uint64_t* key);

}}  // namespace anamorph::AM_LEVEL
