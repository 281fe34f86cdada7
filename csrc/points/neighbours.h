// Neighbourhoods in point clouds: farthest point sampling, k nearest neighbours, balls.
//
// Distances are *defined* in doubles: with dx, dy, dz the differences of the float32 coordinates as doubles,
// d = (dx*dx + dy*dy) + dz*dz, without a fused multiply-add; of equal ones the point of the lowest index comes first. So a result is
// the same, index for index, on every device and at every SIMD level, and equal to a plain loop over float64. (Of float32
// coordinates such a d is neither infinite nor, of two different points, zero.)
//
// The work is nevertheless done in float32. A distance computed in floats (rough) is off by at most five roundings, 5 * 2^-24 of
// it, or, where products are subnormal or flushed to zero, by less than TINY. Therefore: where rough > upper(float(d)), the exact
// distance is larger than d, too, and nobody has to compute it; elsewhere it is computed, and doubles are compared. Conversion to float
// keeps the order, so the largest d is among the points with the largest float(d). Overflow changes nothing: an infinite rough
// distance is only above a finite bound, and a finite bound whose rough distance overflows is really exceeded.
#pragma once
#include <cstdint>

#include "../core/macros.h"

namespace anamorph {

// Clouds [B, N, 3], of which counts[b] points are there, or all. What lies beyond is not read.
struct Clouds {
    const float* data;
    const int64_t* counts;  // [B] or null
    int32_t batch, size;

    AM_HD const float* of(int b) const { return data + int64_t(b) * size * 3; }
    AM_HD int count(int b) const {  // whatever a tensor on a GPU holds
        if (!counts) return size;
        const int64_t n = counts[b];
        return n < 0 ? 0 : n < size ? int(n) : size;
    }
};

// FARTHEST_LEAF: how many points a CPU keeps together. FARTHEST_HELD: of how many a GPU needs no order.
enum : int { FARTHEST_LEAF = 64, FARTHEST_HELD = 8192 };
struct FarthestArgs {
    Clouds points;
    const int64_t* start;  // [B]
    int64_t* index;        // [B, m]
    int32_t m;
    double* exact;         // [B, rooms()]: memory to work in
    float* rough;          // likewise
    const int64_t* order;  // [B, N] for large clouds on a GPU: their points, neighbours near each other
    float* placed;         // [B, N, 4], likewise: memory to work in

    AM_HD int64_t rooms() const { return (int64_t(points.size) + FARTHEST_LEAF - 1) / FARTHEST_LEAF * FARTHEST_LEAF; }
};

struct NearestArgs {
    Clouds query, points;
    int32_t k;
    float* distance;  // [B, M, k]
    int64_t* index;   // [B, M, k]
};

enum Pad : int32_t { PAD_FIRST = 0, PAD_NONE = 1 };
struct BallArgs {
    Clouds query, points;
    int32_t k;
    double radius;
    int32_t pad;     // Pad
    int64_t* index;  // [B, M, k]
};

constexpr float ABOVE = 1.0f + 1.0f / (1 << 20), BELOW = 1.0f - 1.0f / (1 << 20);
constexpr float TINY = 7.52316385e-37f;  // 2^-120
// The longest list of neighbours that a warp of a GPU keeps.
enum : int { MAX_NEAREST_CUDA = 1024 };

AM_HD double exact_distance(const float* a, const float* b) {
    const double dx = double(a[0]) - double(b[0]), dy = double(a[1]) - double(b[1]), dz = double(a[2]) - double(b[2]);
    return (dx * dx + dy * dy) + dz * dz;
}
// No exact distance that floats show above this is d or less.
AM_HD float upper(float d) { return d * ABOVE + TINY; }

// The row of a query that finds too few points: index -1, which `group` reads as zeros, or the first hit.
AM_HD int64_t padding_of(const BallArgs& a, int found, int first) {
    if (a.pad == PAD_NONE) return -1;
    return found > 0 ? first : 0;
}

// CPU
void farthest_cpu(const FarthestArgs& a, int threads);
void farthest_of(const float* points, int n, int m, int start, int64_t* index);  // of one cloud [n, 3], on this thread
void nearest_cpu(const NearestArgs& a, int threads);
void ball_cpu(const BallArgs& a, int threads);
// CUDA
void farthest_cuda(const FarthestArgs& a, void* stream);
void nearest_cuda(const NearestArgs& a, void* stream);
void ball_cuda(const BallArgs& a, void* stream);

}  // namespace anamorph
