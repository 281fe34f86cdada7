// Rows of views that lie square to their source (crops, resizes, flips) on a CPU: the weights of an axis are the same for all
// lines across it. An output row is first a weighted sum of source lines, then each of its pixels one along that sum, so the
// cost grows with the height of a window plus its width, not with their product. The arithmetic is taps.h's.
#pragma once
#include "../../core/shuffles.h"
#include "staged_rows.h"

namespace anamorph { namespace AM_LEVEL {

// What one axis of the windows reads: taps [low, high], n of them at a time.
struct Axis {
    const Reading& r;
    int low, high, taps, n;  // n: the taps of a window that a picture has room for
    float reach, inverse;
    Axis(const Reading& reading, bool horizontal)
        : r(reading), low(horizontal ? r.tap_x0 : r.tap_y0), high(horizontal ? r.tap_x1 : r.tap_y1),
          taps(horizontal ? r.nx : r.ny), n(min_(taps, high - low + 1)), reach(horizontal ? r.reach_x : r.reach_y),
          inverse(horizontal ? r.inverse_x : r.inverse_y) {}

    // The n weights of the taps from `first` on at position s, their sum 1, less what falls to the fill; `inside` is that sum. False: they lie too
    // far apart for one window (a mirrored border).
    bool weigh(float s, int& first, float* weights, float& inside) const {
        int begin;
        float behind, total = 0.0f, sum = 0.0f;
        window(s, reach, begin, behind);
        first = max_(low, min_(begin, high - n + 1));
        for (int i = 0; i < n; ++i) weights[i] = 0.0f;
        bool paint = r.filled && r.kernel == CUBIC && !r.drop;  // a cubic tap beyond the frame reads the fill
        for (int i = 0; i < taps; ++i) {
            int t = (r.drop ? first : begin) + i;  // where the taps beyond are dropped, `taps` are those inside
            float w = tap_weight(r.kernel, r.cubic, behind - float(t - begin), inverse);
            total += w;
            if (t < low || t > high) {
                if (paint) continue;
                t = border_index(t, low, high, r.border);
            }
            if (t < first || t >= first + n) return false;
            weights[t - first] += w;
            sum += w;
        }
        if (total == 0.0f && !r.drop) return false;
        float scale = total == 0.0f ? 0.0f : 1.0f / total;
        for (int i = 0; i < n; ++i) weights[i] *= scale;
        inside = paint ? sum * scale : total == 0.0f ? 0.0f : 1.0f;
        return true;
    }
};

// to[k] = the sum over n lines of weights[j] * line_j[k], k < count.
template <class T> void sum_lines(const T* lines, int64_t stride, int n, const float* weights, int count, float* to) {
    int k = 0;
    for (; k + LANES <= count; k += LANES) {
        Floats sum = Floats(weights[0]) * load_pack(lines + k);
        for (int j = 1; j < n; ++j) sum = sum + Floats(weights[j]) * load_pack(lines + j * stride + k);
        sum.store(to + k);
    }
    for (; k < count; ++k) {
        float sum = 0.0f;
        for (int j = 0; j < n; ++j) sum += weights[j] * to_float(lines[j * stride + k]);
        to[k] = sum;
    }
}

// The same of pixels whose C channels lie `plane` values apart: to[k * C + c], k < count.
template <int C, class T> void sum_planes(const T* lines, int64_t plane, int64_t stride, int n, const float* weights, int count,
                                          float* to) {
    int k = 0;
    for (; k + LANES <= count; k += LANES) {
        Floats sum[C], pixels[C];
        for (int c = 0; c < C; ++c) {
            const T* from = lines + c * plane + k;
            sum[c] = Floats(weights[0]) * load_pack(from);
            for (int j = 1; j < n; ++j) sum[c] = sum[c] + Floats(weights[j]) * load_pack(from + j * stride);
        }
        put_together<C>(sum, pixels);
        for (int c = 0; c < C; ++c) pixels[c].store(to + k * C + c * LANES);
    }
    for (; k < count; ++k)
        for (int c = 0; c < C; ++c) {
            float sum = 0.0f;
            for (int j = 0; j < n; ++j) sum += weights[j] * to_float(lines[c * plane + j * stride + k]);
            to[k * C + c] = sum;
        }
}

typedef float Quad __attribute__((vector_size(16), aligned(4), may_alias));

// Each pixel's channels, the first C of four floats: the sum over n taps of weights[x][i] * line[first[x] + i]. N: n, or 0.
template <int C, int N> void sum_along(const float* line, int from, const int* first, const float* weights, int n, int xa, int xb,
                                       float* slots) {
    for (int x = xa; x < xb; ++x) {
        const float *v = line + (first[x] - from) * C, *w = weights + int64_t(x) * n;
        Quad sum = *reinterpret_cast<const Quad*>(v) * w[0];
        for (int i = 1; i < (N ? N : n); ++i) sum += *reinterpret_cast<const Quad*>(v + i * C) * w[i];
        *reinterpret_cast<Quad*>(slots + 4 * x) = sum;
    }
}

// The tables of a view's columns, and room for a row.
struct Square {
    bool fits = false;
    int n = 0;
    bool whole = true;         // no pixel has a share of the fill
    int* first = nullptr;      // [pitch]
    float* weights = nullptr;  // [pitch][n]
    float* inside = nullptr;   // [pitch]
    float *down = nullptr, *line = nullptr, *slots = nullptr;

    // A view that has two taps each way and few pixels in a row is better off without the sum of whole lines.
    static bool wanted(const Reading& r, int width) {
        bool square = !r.perspective && r.m[1] == 0.0f && r.m[3] == 0.0f;
        return square && (r.kernel >= TRIANGLE || (r.kernel == LINEAR && r.tap_x1 - r.tap_x0 <= 2 * width));
    }
    static size_t floats(const Reading& r, int pitch) {
        return size_t(pitch) * (r.nx + 2 + 4) + r.ny + size_t(r.tap_x1 - r.tap_x0 + 2) * 4 + 8;
    }
    void open(const Reading& r, int pitch, float* room) {
        Axis across(r, true);
        n = across.n;
        first = reinterpret_cast<int*>(room);
        inside = room + pitch;
        slots = inside + pitch;
        weights = slots + 4 * pitch;
        down = weights + size_t(pitch) * n;
        line = down + r.ny;
        fits = true;
        whole = true;
        for (int x = 0; x < pitch && fits; ++x) {
            fits = across.weigh(r.m[0] * (float(x) + 0.5f) + r.m[2], first[x], weights + size_t(x) * n, inside[x]);
            whole = whole && inside[x] == 1.0f;
        }
    }

    // Row y, columns [xa, xb), of pixels side by side in `data`, their channels too (plane 1) or `plane` values apart. False: not
    // its case.
    template <int C, class T> bool row(const Reading& r, const T* data, int64_t stride, int64_t plane, int y, int xa, int xb,
                                       int pitch, float* buf) const {
        int top;
        float inside_y;
        Axis lines(r, false);
        if (!lines.weigh(r.m[4] * (float(y) + 0.5f) + r.m[5], top, down, inside_y)) return false;
        if (r.bytes)
            for (int j = 0; j < lines.n; ++j) down[j] *= BYTE;
        int from = min_(first[xa], first[xb - 1]), end = max_(first[xa], first[xb - 1]) + n;
        const T* upper = data + top * stride;
        if (plane == 1) sum_lines(upper + int64_t(from) * C, stride, lines.n, down, (end - from) * C, line);
        else sum_planes<C>(upper + from, plane, stride, lines.n, down, end - from, line);
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
        return true;
    }
};

}}  // namespace anamorph::AM_LEVEL
