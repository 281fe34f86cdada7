// A large antialiased window under a map that is not square to its source: taken tap by tap it costs its height times its width for
// each pixel. Instead the part of the source that the view shows is first filtered at the points of a grid, which square_rows.h does
// in two passes, and the view reads between them, four each way (Catmull and Rom's cubic).
//
// GRID points lie in a filter's support, twice what the finest detail needs that passes it. docs/performance.md has the error.
#pragma once
#include "square_rows.h"

namespace anamorph { namespace AM_LEVEL {

struct Strip {
    static constexpr float GRID = 2.0f;
    int w, h;              // points
    float x0, y0, dx, dy;  // the first one's position in the source, and their distances

    // Not for the small windows whose bytes staged_rows.h lays side by side.
    static bool allowed(const Reading& r) {
        bool small = r.bytes ? max_(r.nx, r.ny) <= Stage::MAX_TAPS : r.nx * r.ny <= 16;
        return r.beyond == Beyond::DROPPED && !small;
    }

    // For output rows [top, bottom) of `width` columns.
    Strip(const Reading& r, int top, int bottom, int width) {
        float box[4] = {float(r.reach.x0), float(r.reach.y0), float(r.reach.x1 + 1), float(r.reach.y1 + 1)};
        if (!r.perspective && !r.folded)
            for (int axis = 0; axis < 2; ++axis) {
                const float* m = r.m + 3 * axis;
                float a = m[0] * float(width), at = m[1] * float(top) + m[2], b = m[1] * float(bottom - top);
                float low = at + min_(a, 0.0f) + min_(b, 0.0f), high = at + max_(a, 0.0f) + max_(b, 0.0f);
                low = clamp_(low, box[axis], box[axis + 2]);
                box[axis + 2] = clamp_(high, low, box[axis + 2]);
                box[axis] = low;
            }
        x0 = box[0];
        y0 = box[1];
        points(box[2] - box[0], r.filter_x / GRID, w, dx);
        points(box[3] - box[1], r.filter_y / GRID, h, dy);
        x0 -= dx;
        y0 -= dy;
    }

    // Less work than the windows themselves? In products of those, which are gathered: a sum of lines is five times as fast, one
    // along a line twice, a small window of bytes too.
    bool pays(const Reading& r, int rows, int columns) const {
        double pixels = double(rows) * columns, source_w = double(w) * dx + 2.0 * r.reach_x;
        double grid = double(h) * (0.2 * r.ny * source_w + 0.5 * r.nx * double(w));
        return grid + (r.bytes ? 8.0 : 16.0) * pixels < pixels * r.nx * r.ny;
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
        return {nullptr, int64_t(w) * channels, channels, 1, h, w, bytes && LANES > 4 ? F16 : F32};
    }
    size_t floats(int channels) const { return size_t(w) * h * channels + channels * LANES; }

    // How the view reads that picture.
    Reading reading(const Reading& r, const Picture& drawn) const {
        Reading t = r;
        for (int i = 0; i < 3; ++i) {
            t.m[i] = (r.m[i] - (x0 - 0.5f * dx) * r.m[6 + i]) / dx;
            t.m[3 + i] = (r.m[3 + i] - (y0 - 0.5f * dy) * r.m[6 + i]) / dy;
        }
        for (int i = 0; i < 4; ++i) t.fold[i] = i % 2 ? (r.fold[i] - y0) / dy + 0.5f : (r.fold[i] - x0) / dx + 0.5f;
        t.rect = t.reach = t.taps = {0, 0, drawn.w - 1, drawn.h - 1};
        t.interp = 2;
        t.antialias = true;
        t.filter_x = t.filter_y = 1.0f;
        t.border = BORDER_CONSTANT;
        t.framed = t.padded = false;
        choose_window(t);
        return t;
    }

private:
    // So many points that they end where the span does, never further apart than `most`, and one more on either side.
    static void points(float span, float most, int& n, float& distance) {
        int steps = max_(whole_above(span / most), 1);
        distance = span > 0.0f ? span / float(steps) : most;
        n = steps + 3;
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
