// Rows of views that show their source's pixels as they are: crops, flips and their like, and resizes to the same size. There is
// nothing to weigh: a row of the source is read forwards or backwards.
#pragma once
#include "../../core/shuffles.h"
#include "pixel_rows.h"

namespace anamorph { namespace AM_LEVEL {

// LANES pixels from `p` on, C channels side by side, in the engine's units: a pack for each channel.
template <int C, class T> AM_HD void load_pixels(const T* p, bool backwards, Floats* out) {
    Floats side_by_side[C];
    for (int c = 0; c < C; ++c) side_by_side[c] = load_pack(p + c * LANES);
    take_apart<C>(side_by_side, out);
    for (int c = 0; c < C; ++c) {
        if (backwards) out[c] = reversed(out[c]);
        if constexpr (SCALE_OF<T> != 1.0f) out[c] = out[c] * Floats(SCALE_OF<T>);
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
               whole(r.m[5]) && r.inverse_x == 1.0f && r.inverse_y == 1.0f;
        if (!fits) return;
        left = r.m[0] < 0.0f;
        up = r.m[4] < 0.0f;
        dx = int(r.m[2]) - (left ? 1 : 0);
        dy = int(r.m[5]) - (up ? 1 : 0);
    }

    // Columns [xa, xb) of row y, without the frame, of C channels side by side in `data`, into buf's channels `channel` and on.
    template <int C, class T> void row(const Reading& r, const T* data, int64_t stride, int channel, int y, int xa, int xb,
                                       int pitch, float* buf) const {
        buf += channel * pitch;
        int sy = up ? dy - y : y + dy;
        const T* line = data + border_index(sy, r.tap_y0, r.tap_y1, r.border) * stride;
        // The columns whose pixels lie in the rect.
        int a = left ? dx - r.tap_x1 : r.tap_x0 - dx, b = left ? dx - r.tap_x0 + 1 : r.tap_x1 - dx + 1;
        a = clamp_(a, xa, xb);
        b = clamp_(b, a, xb);
        if (r.drop && (sy < r.tap_y0 || sy > r.tap_y1)) a = b = xb;  // no tap is left, nor beside the rect below
        auto direct = [&](int x) {
            Floats v[C];
            load_pixels<C>(line + int64_t(left ? dx - x - (LANES - 1) : x + dx) * C, left, v);
            for (int c = 0; c < C; ++c) v[c].store(buf + c * pitch + x);
        };
        auto single = [&](int x) {
            int sx = left ? dx - x : x + dx, at = border_index(sx, r.tap_x0, r.tap_x1, r.border);
            bool none = r.drop && (x < a || x >= b);
            for (int c = 0; c < C; ++c)
                buf[c * pitch + x] = none ? r.fill[channel + c] : to_float(line[int64_t(at) * C + c]) * SCALE_OF<T>;
        };
        for (int x = xa; x < a; ++x) single(x);
        int x = a;
        for (; x + LANES <= b; x += LANES) direct(x);
        if (x < b && b - a >= LANES) direct(b - LANES);
        else
            for (; x < b; ++x) single(x);
        for (x = b; x < xb; ++x) single(x);
    }
};

}}  // namespace anamorph::AM_LEVEL
