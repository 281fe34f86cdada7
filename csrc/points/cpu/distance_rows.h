#pragma once
#include "../../core/simd.h"
#include "distances.h"

namespace anamorph { namespace AM_LEVEL {

void farthest_lines(const float* x, const float* y, const float* z, int n, int m, int start, double* distance, int32_t* chosen) {
    chosen[0] = start;
    for (int k = 1; k < m; ++k) {
        const double px = x[chosen[k - 1]], py = y[chosen[k - 1]], pz = z[chosen[k - 1]];
        double most = -1.0;
        for (int i = 0; i < n; ++i) {
            const double a = double(x[i]) - px, b = double(y[i]) - py, c = double(z[i]) - pz, d = a * a + b * b + c * c;
            distance[i] = k > 1 && distance[i] < d ? distance[i] : d;
        }
        for (int i = 0; i < n; ++i) most = distance[i] > most ? distance[i] : most;
        int at = 0;
        while (at < n - 1 && distance[at] != most) ++at;
        chosen[k] = at;
    }
}

void distance_keys(const float* x, const float* y, const float* z, int n, int center, uint64_t* key) {
    const float px = x[center], py = y[center], pz = z[center];
    for (int i = 0; i < n; ++i) {
        const float a = x[i] - px, b = y[i] - py, c = z[i] - pz;
        key[i] = uint64_t(float_bits(a * a + b * b + c * c)) << 32 | uint32_t(i);
    }
}

}}  // namespace anamorph::AM_LEVEL
