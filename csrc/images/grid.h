// A large antialiased window under a map that is not square to its source costs its height times its width for each pixel, and where
// something was shrunk and is shown enlarged, neighbours weigh nearly the same.
// Instead the part of the source that the pixels show is first filtered at the points of a grid, and the pixels are read between
// these, four each way (Catmull and Rom's cubic).
//
// GRID points lie in a filter's support, twice what the finest detail needs that passes it, and three times as many in a box.
// docs/architecture.md has the error.
#pragma once
#include "taps.h"

namespace anamorph { namespace AM_LEVEL {

struct Grid {
    enum : int { GRID = 2 };
    int w, h;              // points
    float x0, y0, dx, dy;  // the first one's position in the source, and their distances
    float per_x, per_y;    // points per source pixel
    bool exact;            // they are the pixels

    Grid() = default;
    // For output columns [left, right) of rows [top, bottom).
    AM_HD Grid(const Reading& r, int left, int top, int right, int bottom) {
        exact = !r.perspective && !r.folded && r.m[0] == 0.0f && r.m[4] == 0.0f;  // a quarter turn, not of shrunk and enlarged
        exact = exact && near(r.m[1], r.filter_x) && near(r.m[3], r.filter_y);
        if (exact) {
            pixels(r.m[1], r.m[2], top, bottom, w, x0, dx);
            pixels(r.m[3], r.m[5], left, right, h, y0, dy);
        } else {
            between(r, left, top, right, bottom);
        }
        per_x = 1.0f / dx;
        per_y = 1.0f / dy;
    }

    // Not where a square view enlarges what no filter has smoothed: between points there may be more of it, and its windows are small.
    static AM_HD bool smooth(const Reading& r) {
        bool square = !r.perspective && r.m[1] == 0.0f && r.m[3] == 0.0f;
        return !square || (smooth(r.m[0], r.filter_x) && smooth(r.m[4], r.filter_y));
    }

private:
    static AM_HD bool smooth(float step, float filter) { return filter > 1.0f || abs_(step) >= 1.0f; }
    // Are the pixels no nearer to one another than points need be, or is what they show the source's own?
    static AM_HD bool near(float step, float filter) { return filter <= 1.0f || float(GRID) * abs_(step) >= filter; }
    // How far points may lie apart. The edges of a box pass finer detail than the slopes of the other filters.
    static AM_HD float apart(const Reading& r, float filter) { return filter / float(r.kernel == AREA ? 3 * GRID : GRID); }
    // Points so near that what lies between them is known.
    AM_HD void between(const Reading& r, int left, int top, int right, int bottom) {
        float box[4] = {float(r.reach.x0), float(r.reach.y0), float(r.reach.x1 + 1), float(r.reach.y1 + 1)};
        if (!r.perspective && !r.folded)
            for (int axis = 0; axis < 2; ++axis) {
                const float* m = r.m + 3 * axis;
                float a = m[0] * float(right - left), b = m[1] * float(bottom - top);
                float at = m[0] * float(left) + (m[1] * float(top) + m[2]);
                float low = at + min_(a, 0.0f) + min_(b, 0.0f), high = at + max_(a, 0.0f) + max_(b, 0.0f);
                low = clamp_(low, box[axis], box[axis + 2]);
                box[axis + 2] = clamp_(high, low, box[axis + 2]);
                box[axis] = low;
            }
        points(box[0], box[2], apart(r, r.filter_x), w, x0, dx);
        points(box[1], box[3], apart(r, r.filter_y), h, y0, dy);
    }
    // Those of the pixels [from, to), and one more on either side.
    static AM_HD void pixels(float step, float shift, int from, int to, int& n, float& first, float& distance) {
        distance = abs_(step);
        first = min_(step * (float(from) + 0.5f), step * (float(to) - 0.5f)) + shift - distance;
        n = to - from + 2;
    }
    // So many that they end where the span does, and one more on either side.
    static AM_HD void points(float begin, float end, float most, int& n, float& first, float& distance) {
        float span = end - begin;
        int steps = upper(whole_above(span / most), 1);
        distance = span > 0.0f ? span / float(steps) : most;
        first = begin - distance;
        n = steps + 3;
    }
};

}}  // namespace anamorph::AM_LEVEL
