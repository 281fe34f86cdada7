// Rows of views that lie square to their source (crops, resizes, flips) on a CPU: the weights of an axis are the same for all
// lines across it. An output row is first a weighted sum of source lines, then each of its pixels one along that sum, so the
// cost grows with the height of a window plus its width, not with their product. The arithmetic is taps.h's.
#pragma once
#include "../../core/shuffles.h"
#include "staged_rows.h"

namespace anamorph { namespace AM_LEVEL {

// What one axis of the windows reads: n taps of the reach at a time, whose pixels follow the border's rule.
struct Axis {
    const Reading& r;
    int rect0, rect1, reach0, reach1, taps, n;  // n: the taps of a window that the reach has room for
    float support, inverse, fold0, fold1;
    Axis(const Reading& reading, bool across)
        : r(reading), rect0(across ? r.rect.x0 : r.rect.y0), rect1(across ? r.rect.x1 : r.rect.y1),
          reach0(across ? r.reach.x0 : r.reach.y0), reach1(across ? r.reach.x1 : r.reach.y1),
          support(across ? r.reach_x : r.reach_y), inverse(across ? r.inverse_x : r.inverse_y),
          fold0(r.fold[across ? 0 : 1]), fold1(r.fold[across ? 2 : 3]) {
        taps = whole_above(2.0f * support);
        n = min_(taps, reach1 - reach0 + 1);
    }
    static int most(const Reading& r, bool across) { return Axis(r, across).n; }

    // The pixel that a tap of the reach reads.
    int pixel(int tap) const { return border_index(tap, rect0, rect1, r.border); }
    // Does it read the fill?
    bool padding(int tap) const { return r.padded && (tap < rect0 || tap > rect1); }

    // The n weights of the taps from `first` on at position s, their sum 1, less what falls to the fill; `inside` is that sum.
    void weigh(float s, int& first, float* weights, float& inside) const {
        int begin;
        float behind, total = 0.0f, sum = 0.0f;
        if (r.folded) s = folded(s, fold0, fold1, r.folded);
        if (r.beyond == Beyond::DROPPED) s = clamp_(s, float(reach0), float(reach1 + 1));
        window(s, support, begin, behind);
        first = max_(reach0, min_(begin, reach1 - n + 1));
        for (int i = 0; i < n; ++i) weights[i] = 0.0f;
        // Of a window that is dropped beyond the reach only what lies in it is looked at: it may be much wider.
        int from = r.beyond == Beyond::DROPPED ? first : begin, count = r.beyond == Beyond::DROPPED ? n : taps;
        for (int i = 0; i < count; ++i) {
            int t = from + i;
            float w = tap_weight(r.kernel, r.cubic, behind - float(t - begin), inverse);
            total += w;
            if (r.beyond == Beyond::FILL && (t < reach0 || t > reach1)) continue;
            t = max_(reach0, min_(t, reach1));
            if (padding(t)) {
                if (!r.late || r.beyond == Beyond::DROPPED) continue;
                t = max_(rect0, min_(t, rect1));
            }
            weights[max_(0, min_(t - first, n - 1))] += w;
            sum += w;
        }
        // Where the fill is laid late a value has no share of it.
        float whole = r.late ? sum : total, scale = whole == 0.0f ? 0.0f : 1.0f / whole;
        for (int i = 0; i < n; ++i) weights[i] *= scale;
        inside = r.late ? 1.0f : sum * scale;
    }
};

// to[k] = the sum over n lines of weights[j] * lines[j][k], k < count. N: n, or 0.
template <int N, class T> void sum_lines(const T* const* lines, int n, const float* weights, int count, float* to) {
    int k = 0;
    for (; k + LANES <= count; k += LANES) {
        Floats sum = Floats(weights[0]) * load_pack(lines[0] + k);
        for (int j = 1; j < (N ? N : n); ++j) sum = sum + Floats(weights[j]) * load_pack(lines[j] + k);
        sum.store(to + k);
    }
    for (; k < count; ++k) {
        float sum = 0.0f;
        for (int j = 0; j < n; ++j) sum += weights[j] * to_float(lines[j][k]);
        to[k] = sum;
    }
}
template <class T> void sum_lines(const T* const* lines, int n, const float* weights, int count, float* to) {
    switch (n) {
        case 2: return sum_lines<2>(lines, n, weights, count, to);
        case 3: return sum_lines<3>(lines, n, weights, count, to);
        case 4: return sum_lines<4>(lines, n, weights, count, to);
        case 5: return sum_lines<5>(lines, n, weights, count, to);
        default: return sum_lines<0>(lines, n, weights, count, to);
    }
}

// The same of pixels whose C channels lie `plane` values apart: to[k * C + c], k < count.
template <int C, class T> void sum_planes(const T* const* lines, int64_t plane, int n, const float* weights, int count, float* to) {
    int k = 0;
    for (; k + LANES <= count; k += LANES) {
        Floats sum[C], pixels[C];
        for (int c = 0; c < C; ++c) {
            const int64_t at = c * plane + k;
            sum[c] = Floats(weights[0]) * load_pack(lines[0] + at);
            for (int j = 1; j < n; ++j) sum[c] = sum[c] + Floats(weights[j]) * load_pack(lines[j] + at);
        }
        put_together<C>(sum, pixels);
        for (int c = 0; c < C; ++c) pixels[c].store(to + k * C + c * LANES);
    }
    for (; k < count; ++k)
        for (int c = 0; c < C; ++c) {
            float sum = 0.0f;
            for (int j = 0; j < n; ++j) sum += weights[j] * to_float(lines[j][c * plane + k]);
            to[k * C + c] = sum;
        }
}

typedef float Quad __attribute__((vector_size(16), aligned(4), may_alias));

// Each pixel's channels, the first C of four floats: the sum over n taps of weights[x][i] * line[first[x] + i]. N: n, or 0. Four
// pixels at a time, as each waits for its own sums.
template <int C, int N> void sum_along(const float* line, int from, const int* first, const float* weights, int n, int xa, int xb,
                                       float* slots) {
    auto tap = [&](int x, int i) {
        return *reinterpret_cast<const Quad*>(line + (first[x] - from + i) * C) * weights[int64_t(x) * n + i];
    };
    int x = xa;
    for (; x + 4 <= xb; x += 4) {
        Quad a = tap(x, 0), b = tap(x + 1, 0), c = tap(x + 2, 0), d = tap(x + 3, 0);
        for (int i = 1; i < (N ? N : n); ++i) {
            a += tap(x, i);
            b += tap(x + 1, i);
            c += tap(x + 2, i);
            d += tap(x + 3, i);
        }
        Quad* to = reinterpret_cast<Quad*>(slots + 4 * x);
        to[0] = a;
        to[1] = b;
        to[2] = c;
        to[3] = d;
    }
    for (; x < xb; ++x) {
        Quad sum = tap(x, 0);
        for (int i = 1; i < (N ? N : n); ++i) sum += tap(x, i);
        *reinterpret_cast<Quad*>(slots + 4 * x) = sum;
    }
}

// The tables of a view's columns, and room for a row.
struct Square {
    bool fits = false;
    int n = 0;
    bool whole = true;            // no pixel has a share of the fill
    int* first = nullptr;         // [pitch]
    float* weights = nullptr;     // [pitch][n]
    float* inside = nullptr;      // [pitch]
    const void** lines = nullptr;  // [ny]
    float *down = nullptr, *line = nullptr, *slots = nullptr;

    // A view that has two taps each way and few pixels in a row is better off without the sum of whole lines.
    static bool wanted(const Reading& r, int width) {
        bool square = !r.perspective && r.m[1] == 0.0f && r.m[3] == 0.0f;
        return square && (r.kernel >= TRIANGLE || (r.kernel == LINEAR && r.taps.x1 - r.taps.x0 <= 2 * width));
    }
    static size_t floats(const Reading& r, int pitch) {
        Axis across(r, true), down(r, false);
        return size_t(pitch) * (across.n + 2 + 4) + size_t(down.n) * 3 + size_t(across.reach1 - across.reach0 + 2) * 4 + 16;
    }
    void open(const Reading& r, int pitch, float* room) {
        Axis across(r, true), down_axis(r, false);
        n = across.n;
        lines = reinterpret_cast<const void**>(room);
        first = reinterpret_cast<int*>(room + 2 * down_axis.n);
        inside = reinterpret_cast<float*>(first) + pitch;
        slots = inside + pitch;
        weights = slots + 4 * pitch;
        down = weights + size_t(pitch) * n;
        line = down + down_axis.n;
        fits = true;
        whole = true;
        for (int x = 0; x < pitch; ++x) {
            across.weigh(r.m[0] * (float(x) + 0.5f) + r.m[2], first[x], weights + size_t(x) * n, inside[x]);
            whole = whole && inside[x] == 1.0f;
        }
    }

    // Row y, columns [xa, xb), of pixels side by side in `data`, their channels too (plane 1) or `plane` values apart, into buf.
    template <int C, class T> void row(const Reading& r, const T* data, int64_t stride, int64_t plane, int y, int xa, int xb,
                                       int pitch, float* buf) const {
        int top;
        float inside_y;
        Axis vertical(r, false), across(r, true);
        vertical.weigh(r.m[4] * (float(y) + 0.5f) + r.m[5], top, down, inside_y);
        if (r.bytes)
            for (int j = 0; j < vertical.n; ++j) down[j] *= BYTE;
        int from = min_(first[xa], first[xb - 1]), end = max_(first[xa], first[xb - 1]) + n;
        if (r.folded) {  // the columns' windows are in no order
            for (int x = xa; x < xb; ++x) from = min_(from, first[x]), end = max_(end, first[x] + n);
        }
        // The columns among [from, end) that are pixels as they stand, then those that a border makes of them.
        int a = max_(from, min_(end, across.rect0)), b = max_(a, min_(end, across.rect1 + 1));
        const int pixel = plane == 1 ? C : 1;
        const T** at = reinterpret_cast<const T**>(lines);
        for (int j = 0; j < vertical.n; ++j) at[j] = data + vertical.pixel(top + j) * stride + int64_t(a) * pixel;
        if (plane == 1) sum_lines(at, vertical.n, down, (b - a) * C, line + (a - from) * C);
        else sum_planes<C>(at, plane, vertical.n, down, b - a, line + (a - from) * C);
        auto border = [&](int t0, int t1) {
            for (int t = t0; t < t1; ++t) {
                int p = across.pixel(t);
                if (p >= a && p < b)
                    for (int c = 0; c < C; ++c) line[(t - from) * C + c] = line[(p - from) * C + c];
                else
                    for (int c = 0; c < C; ++c) {
                        float sum = 0.0f;
                        for (int j = 0; j < vertical.n; ++j) sum += down[j] * to_float(at[j][int64_t(p - a) * pixel + c * plane]);
                        line[(t - from) * C + c] = sum;
                    }
            }
        };
        border(from, a);
        border(b, end);
        switch (n) {
            case 2: sum_along<C, 2>(line, from, first, weights, n, xa, xb, slots); break;
            case 3: sum_along<C, 3>(line, from, first, weights, n, xa, xb, slots); break;
            case 4: sum_along<C, 4>(line, from, first, weights, n, xa, xb, slots); break;
            default: sum_along<C, 0>(line, from, first, weights, n, xa, xb, slots); break;
        }
        bool painted = !whole || inside_y != 1.0f;
        for (int x = xa; x < xb; x += LANES) {
            Ints words[4];
            deal<(C < 3 ? 3 : C)>(reinterpret_cast<const uint8_t*>(slots + 4 * x), words);
            Floats fill = Floats(1.0f) - Floats::load(inside + x) * Floats(inside_y);
            for (int c = 0; c < C; ++c) {
                Floats v((FloatBits)words[c].v);
                if (painted) v = v + fill * Floats(r.fill[c]);
                within(r, v).store(buf + c * pitch + x);
            }
        }
    }
};

}}  // namespace anamorph::AM_LEVEL
