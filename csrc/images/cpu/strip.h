// The points of grid.h on a CPU: the part of the source that a view shows becomes a picture of them, a strip, which square_rows.h
// makes in two passes and the view reads as any other.
#pragma once
#include "../grid.h"
#include "square_rows.h"

namespace anamorph { namespace AM_LEVEL {

struct Strip : Grid {
    // Not for the small windows whose bytes staged_rows.h lays side by side, unless the points are the pixels.
    bool allowed(const Reading& r) const {
        bool small = r.bytes ? max_(r.nx, r.ny) <= Stage::MAX_TAPS : r.nx * r.ny <= 16;
        return r.beyond == Beyond::DROPPED && (exact || !small) && smooth(r);
    }

    // Of a whole view, whatever part of it is drawn: a point is the same for all.
    Strip(const Reading& r, int height, int width) : Grid(r, 0, 0, width, height) {}

    // Less work than the windows themselves? In products of those, which are gathered: a sum of lines is five times as fast, one
    // along a line twice, a small window of bytes too.
    bool pays(const Reading& r, int rows, int columns) const {
        double pixels = double(rows) * columns, source_w = double(w) * dx + 2.0 * r.reach_x;
        double grid = double(h) * (0.2 * r.ny * source_w + 0.5 * r.nx * double(w));
        return grid + (exact ? 4.0 : r.bytes ? 8.0 : 16.0) * pixels < pixels * r.nx * r.ny;
    }

    // The same for a square view, whose rows and columns have tables of weights. So much less that it is worth the error.
    bool pays_square(const Reading& r, int rows, int columns) const {
        const double source_w = double(columns) * abs_(r.m[0]) + 2.0 * r.reach_x, pixels = double(rows) * columns;
        auto cost = [&](double lines, double across) {
            return lines * (0.2 * r.ny * source_w + 0.5 * r.nx * across) + 2.0 * (r.nx * across + r.ny * lines);
        };
        return (4 * h < rows || 4 * w < columns) && 2.0 * (cost(h, w) + 8.0 * pixels) < cost(rows, columns);
    }

    // How the source is read at the points.
    Reading square(const Reading& r) const {
        Reading q = r;
        const float m[9] = {dx, 0.0f, x0 - 0.5f * dx, 0.0f, dy, y0 - 0.5f * dy, 0.0f, 0.0f, 1.0f};
        for (int i = 0; i < 9; ++i) q.m[i] = m[i];
        q.perspective = false;
        q.folded = BORDER_CONSTANT;
        return q;
    }
    // Their picture, without its memory. Of bytes halves are near enough and need half the room, if a processor knows them.
    Picture picture(int channels, bool bytes) const {
        return {nullptr, int64_t(w) * channels, channels, 1, h, w, bytes && !exact && LANES > 4 ? F16 : F32};
    }
    size_t floats(int channels) const { return size_t(w) * h * channels + channels * LANES; }

    // How the view reads that picture.
    Reading reading(const Reading& r, const Picture& drawn) const {
        Reading t = r;
        for (int i = 0; i < 3; ++i) {
            t.m[i] = (r.m[i] - (x0 - 0.5f * dx) * r.m[6 + i]) * per_x;
            t.m[3 + i] = (r.m[3 + i] - (y0 - 0.5f * dy) * r.m[6 + i]) * per_y;
        }
        for (int i = 0; i < 4; ++i) t.fold[i] = i % 2 ? (r.fold[i] - y0) * per_y + 0.5f : (r.fold[i] - x0) * per_x + 0.5f;
        t.rect = t.reach = t.taps = {0, 0, drawn.w - 1, drawn.h - 1};
        t.interp = exact ? INTERP_NEAREST : INTERP_BICUBIC;
        t.antialias = true;
        t.filter_x = t.filter_y = 1.0f;
        t.border = BORDER_CONSTANT;
        t.framed = t.padded = false;
        choose_window(t);
        return t;
    }
};

// A row of [C][pitch] as pixels whose channels lie side by side, in packs: what it writes behind them comes before the next row.
template <int C, class T> void pack_row(const float* row, int pitch, int width, T* to) {
    for (int x = 0; x < width; x += LANES) {
        Floats in[C], out[C];
        for (int c = 0; c < C; ++c) in[c] = Floats::load(row + c * pitch + x);
        put_together<C>(in, out);
        for (int c = 0; c < C; ++c) store_pack(out[c], to + x * C + c * LANES);
    }
}

}}  // namespace anamorph::AM_LEVEL
