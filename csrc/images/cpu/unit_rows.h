// Rows of views that show their source's pixels as they are: crops, flips and their like, and resizes to the same size. There is
// nothing to weigh: a row of the source is read forwards or backwards.
#pragma once
#include "../../core/shuffles.h"
#include "pixel_rows.h"

namespace anamorph { namespace AM_LEVEL {

// n pixels from `p` on, C channels side by side, in the engine's units to channels of `pitch` values from `to` on, in packs.
// BACKWARDS: the first comes last.
template <bool BACKWARDS, int C, class T> AM_HD void copy_packs(const T* p, int n, int pitch, float* to) {
    for (int x = 0; x < n; x += LANES) {
        Floats in[C], v[C];
        const T* from = p + int64_t(BACKWARDS ? n - x - LANES : x) * C;
        for (int c = 0; c < C; ++c) in[c] = load_pack(from + c * LANES);
        take_apart<C>(in, v);
        for (int c = 0; c < C; ++c) {
            if (BACKWARDS) v[c] = reversed(v[c]);
            if (SCALE_OF<T> != 1.0f) v[c] = v[c] * Floats(SCALE_OF<T>);
            v[c].store(to + c * pitch + x);
        }
    }
}

struct Unit {
    bool fits = false;
    bool left, up;  // mirrored
    int dx, dy;     // view column x shows source column x + dx, or dx - x

    Unit() = default;
    explicit Unit(const Reading& r) {
        const float far = MAX_SIDE * 4;  // a row from a file may hold anything; up to here positions are exact
        auto step = [](float m) { return m == 1.0f || m == -1.0f; };
        auto whole = [&](float m) { return m >= -far && m <= far && float(int(m)) == m; };
        fits = !r.perspective && r.m[1] == 0.0f && r.m[3] == 0.0f && step(r.m[0]) && step(r.m[4]) && whole(r.m[2]) &&
               whole(r.m[5]) && r.inverse_x == 1.0f && r.inverse_y == 1.0f && !r.folded && !r.paint;
        if (!fits) return;
        left = r.m[0] < 0.0f;
        up = r.m[4] < 0.0f;
        dx = int(r.m[2]) - (left ? 1 : 0);
        dy = int(r.m[5]) - (up ? 1 : 0);
    }

    // Columns [xa, xb) of row y, without the fill, of C channels side by side in `data`, into buf's channels `channel` and on.
    template <int C, class T> void row(const Reading& r, const T* data, int64_t stride, int channel, int y, int xa, int xb,
                                       int pitch, float* buf) const {
        buf += channel * pitch;
        int sy = up ? dy - y : y + dy;
        const T* line = data + tap_y(r, sy) * stride;
        // The columns whose pixels are read as they lie.
        int a = left ? dx - r.taps.x1 : r.taps.x0 - dx, b = left ? dx - r.taps.x0 + 1 : r.taps.x1 - dx + 1;
        a = clamp_(a, xa, xb);
        b = clamp_(b, a, xb);
        auto direct = [&](int x, int n) {
            if (left) copy_packs<true, C>(line + int64_t(dx - x - n + 1) * C, n, pitch, buf + x);
            else copy_packs<false, C>(line + int64_t(x + dx) * C, n, pitch, buf + x);
        };
        auto single = [&](int x) {
            int at = tap_x(r, left ? dx - x : x + dx);
            for (int c = 0; c < C; ++c) buf[c * pitch + x] = to_float(line[int64_t(at) * C + c]) * SCALE_OF<T>;
        };
        // The lines below will be on their way when they are wanted.
        const T* ahead = line + int64_t(up ? -AHEAD : AHEAD) * stride;
        for (int k = xa * C; k < xb * C; k += 64 / int(sizeof(T))) __builtin_prefetch(ahead + k);
        int end = b - a >= LANES ? b : a;
        for (int x = xa; x < a; ++x) single(x);
        if (end > a) {
            direct(a, packs_below(b - a));
            direct(b - LANES, LANES);
        }
        for (int x = end; x < xb; ++x) single(x);
    }
};

}}  // namespace anamorph::AM_LEVEL
