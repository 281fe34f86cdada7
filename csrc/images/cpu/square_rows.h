// Rows of views that lie square to their source (crops, resizes, flips) on a CPU: the weights of an axis are the same for all
// lines across it. An output row is first a weighted sum of source lines, then each of its pixels one along that sum, so the
// cost grows with the height of a window plus its width, not with their product. LANES rows are made at a time: the sums of lines
// are turned so that a pack holds a column of them, and a sum along the rows is one of packs. The arithmetic is taps.h's.
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
          support(across ? r.reach_x : r.reach_y), inverse(across ? r.inverse_x : r.inverse_y), fold0(r.fold[across ? 0 : 1]),
          fold1(r.fold[across ? 2 : 3]) {
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

// to[k] = the sum over n lines of weights[j] * lines[j][at + k], for PACKS packs.
template <int PACKS, class T>
AM_HD void sum_packs(const T* const* lines, const float* weights, int n, int64_t at, float* to) {
    Floats sum[PACKS];
    for (int p = 0; p < PACKS; ++p) sum[p] = Floats(weights[0]) * load_pack(lines[0] + at + p * LANES);
    for (int j = 1; j < n; ++j) {
        const T* line = lines[j] + at;
        const Floats weight(weights[j]);
        for (int p = 0; p < PACKS; ++p) sum[p] = sum[p] + weight * load_pack(line + p * LANES);
    }
    for (int p = 0; p < PACKS; ++p) sum[p].store(to + p * LANES);
}
// For k < count, at least a pack: the last one may lie over the one before.
template <class T> AM_HD void sum_lines(const T* const* lines, const float* weights, int n, int64_t at, int count, float* to) {
    int k = 0;
    for (; k + 4 * LANES <= count; k += 4 * LANES) sum_packs<4>(lines, weights, n, at + k, to + k);
    for (; k < count; k += LANES) {
        k = min_(k, count - LANES);
        sum_packs<1>(lines, weights, n, at + k, to + k);
    }
}

// The tables of a view's columns, and room for LANES rows.
struct Square {
    // TILE: values of a line that are summed before they are turned: what a block needs of them fits into the first-level cache.
    // MANY: lines of a window, up to which they are turned into floats first.
    enum : int { TILE = 128, MANY = 64 };
    bool fits = false;
    int n = 0, ny = 0, bottom = 0;
    bool whole = true;             // no pixel has a share of the fill
    int* first = nullptr;          // [pitch]
    float* weights = nullptr;      // [pitch][n]
    float* inside = nullptr;       // [pitch]
    const void** lines = nullptr;  // [2][LANES][ny]
    float* down = nullptr;         // [LANES][ny]
    float* inside_y = nullptr;     // [LANES]
    int* top = nullptr;            // [LANES]
    float* sums = nullptr;         // [columns of the source][channels][LANES]
    float* rows = nullptr;         // [LANES][channels][pitch]
    float* wide_lines = nullptr;   // [shared()][TILE]
    struct Block {
        int y0, y1, xa, xb;
    };
    mutable Block block = {0, 0, 0, 0};  // what is in `rows`

    // A view that has two taps each way and few pixels in a row is better off without the sum of whole lines.
    static bool wanted(const Reading& r, int width) {
        bool square = !r.perspective && r.m[1] == 0.0f && r.m[3] == 0.0f;
        return square && (r.kernel >= TRIANGLE || (r.kernel == LINEAR && r.taps.x1 - r.taps.x0 <= 2 * width));
    }
    static size_t floats(const Reading& r, int channels, int pitch) {
        Axis across(r, true), down(r, false);
        return size_t(pitch) * (across.n + 2 + LANES * channels) + LANES * (size_t(down.n) * 5 + 2) +
               size_t(across.reach1 - across.reach0 + 1) * channels * LANES + size_t(shared(down.n)) * TILE;
    }
    // So many lines at most are turned into floats first.
    static int shared(int ny) { return LANES * min_(ny, int(MANY)) / 2; }
    // For rows up to `bottom`, in general.
    void open(const Reading& r, int channels, int pitch, int end, float* room) {
        Axis across(r, true);
        n = across.n;
        ny = Axis::most(r, false);
        bottom = end;
        rows = room;
        sums = rows + size_t(pitch) * channels * LANES;
        wide_lines = sums + size_t(across.reach1 - across.reach0 + 1) * channels * LANES;
        lines = reinterpret_cast<const void**>(wide_lines + size_t(shared(ny)) * TILE);
        down = reinterpret_cast<float*>(lines) + 4 * LANES * ny;
        inside_y = down + LANES * ny;
        top = reinterpret_cast<int*>(inside_y + LANES);
        first = top + LANES;
        inside = reinterpret_cast<float*>(first + pitch);
        weights = inside + pitch;
        fits = true;
        whole = true;
        block = {0, 0, 0, 0};
        for (int x = 0; x < pitch; ++x) {
            across.weigh(r.m[0] * (float(x) + 0.5f) + r.m[2], first[x], weights + size_t(x) * n, inside[x]);
            whole = whole && inside[x] == 1.0f;
        }
    }

    // Row y, columns [xa, xb), of pixels side by side in `data`, their channels too (plane 1) or `plane` values apart, into buf.
    template <int C, class T> void row(const Reading& r, const T* data, int64_t stride, int64_t plane, int y, int xa, int xb,
                                       int pitch, float* buf) const {
        if (y < block.y0 || y >= block.y1) {
            block = {y, y < bottom ? min_(y + LANES, bottom) : y + LANES, xa, xb};
            draw<C>(r, data, stride, plane, pitch);
        } else if (xa < block.xa || xb > block.xb) {
            block.xa = min_(xa, block.xa);
            block.xb = max_(xb, block.xb);
            draw<C>(r, data, stride, plane, pitch);
        }
        const float* from = rows + size_t(y - block.y0) * C * pitch;
        float share = inside_y[y - block.y0];
        bool painted = !whole || share != 1.0f;
        for (int x = xa; x < xb; x += LANES) {
            Floats fill = Floats(1.0f) - Floats::load(inside + x) * Floats(share);
            for (int c = 0; c < C; ++c) {
                Floats v = Floats::load(from + c * pitch + x);
                if (painted) v = v + fill * Floats(r.fill[c]);
                within(r, v).store(buf + c * pitch + x);
            }
        }
    }

private:
    // The rows of the block, without the fill.
    template <int C, class T> void draw(const Reading& r, const T* data, int64_t stride, int64_t plane, int pitch) const {
        Axis vertical(r, false), across(r, true);
        const int count = block.y1 - block.y0, xb = packs_above(block.xb), pixel = plane == 1 ? C : 1;
        int from = min_(first[block.xa], first[xb - 1]), end = max_(first[block.xa], first[xb - 1]) + n;
        if (r.folded) {  // the columns' windows are in no order
            for (int x = block.xa; x < xb; ++x) from = min_(from, first[x]), end = max_(end, first[x] + n);
        }
        // The columns among [from, end) that are pixels as they stand, then those that a border makes of them.
        int a = max_(from, min_(end, across.rect0)), b = max_(a, min_(end, across.rect1 + 1));
        const T** at = reinterpret_cast<const T**>(lines);
        int low = r.reach.y1, high = r.reach.y0;
        for (int k = 0; k < count; ++k) {
            float* w = down + k * ny;
            vertical.weigh(r.m[4] * (float(block.y0 + k) + 0.5f) + r.m[5], top[k], w, inside_y[k]);
            low = min_(low, top[k]);
            high = max_(high, top[k] + ny);
            for (int j = 0; j < ny; ++j) {
                if (r.bytes) w[j] *= BYTE;
                at[k * ny + j] = data + vertical.pixel(top[k] + j) * stride + int64_t(a) * pixel;
            }
        }
        auto sums_at = [&](int column, int c) { return sums + (size_t(column - from) * C + c) * LANES; };
        const int width = (b - a) * pixel, apart = C / pixel * LANES;
        // Where rows share their lines these are turned into floats once.
        const bool share = sizeof(T) < 4 && high - low <= shared(ny) && 5 * (high - low) <= 2 * count * ny;
        const float** wide = reinterpret_cast<const float**>(lines + LANES * ny);
        for (int k = 0; share && k < count; ++k)
            for (int j = 0; j < ny; ++j) wide[k * ny + j] = wide_lines + size_t(top[k] - low + j) * TILE;
        for (int c = 0; c < C / pixel; ++c)
            for (int i = 0; i < width; i += TILE) {
                const int tile = min_(int(TILE), width - i);
                const int64_t place = c * plane + i;
                float* to = sums_at(a, c) + size_t(i) * apart;
                if (tile < LANES) {
                    for (int k = 0; k < tile; ++k) sum_column(at, place + k, count, to + k * apart);
                } else if (share) {
                    for (int t = low; t < high; ++t) {
                        const T* line = data + vertical.pixel(t) * stride + int64_t(a) * pixel + place;
                        float* room = wide_lines + size_t(t - low) * TILE;
                        for (int k = 0; k < tile; k += LANES) {
                            k = min_(k, tile - LANES);
                            __builtin_prefetch(line + k + TILE);
                            load_pack(line + k).store(room + k);
                        }
                    }
                    sum_columns(wide, 0, count, tile, apart, to);
                } else {
                    sum_columns(at, place, count, tile, apart, to);
                }
            }
        for (int t = from; t < end; ++t) {
            if (t == a) t = b;
            if (t >= end) break;
            int p = across.pixel(t);
            for (int c = 0; c < C; ++c) {
                if (p >= a && p < b) Floats::load(sums_at(p, c)).store(sums_at(t, c));
                else sum_column(at, int64_t(p - a) * pixel + c * plane, count, sums_at(t, c));
            }
        }
        for (int x = block.xa; x < xb; x += LANES) {
            float out[C][LANES * LANES];
            for (int k = 0; k < LANES; ++k) {
                const float *line = sums_at(first[x + k], 0), *w = weights + size_t(x + k) * n;
                Floats sum[C];
                for (int c = 0; c < C; ++c) sum[c] = Floats(w[0]) * Floats::load(line + c * LANES);
                for (int i = 1; i < n; ++i)
                    for (int c = 0; c < C; ++c) sum[c] = sum[c] + Floats(w[i]) * Floats::load(line + (i * C + c) * LANES);
                for (int c = 0; c < C; ++c) sum[c].store(out[c] + k * LANES);
            }
            for (int c = 0; c < C; ++c)
                transpose(out[c], LANES, [&](int k, Floats row) { row.store(rows + (size_t(k) * C + c) * pitch + x); });
        }
    }
    // The sums of the lines' `width` values from `at` on: those of a column go to a pack of their own, `apart` values from the last.
    template <class T> void sum_columns(const T* const* lines, int64_t at, int count, int width, int apart, float* to) const {
        float turned[LANES * TILE];
        for (int k = 0; k < LANES; ++k) {
            if (k >= count) {
                std::memset(turned + k * TILE, 0, size_t(width) * 4);
                continue;
            }
            sum_lines(lines + k * ny, down + k * ny, ny, at, width, turned + k * TILE);
        }
        for (int i = 0; i < width; i += LANES) {
            i = min_(i, width - LANES);
            transpose(turned + i, TILE, [&](int k, Floats column) { column.store(to + (i + k) * apart); });
        }
    }
    template <class T> void sum_column(const T* const* lines, int64_t at, int count, float* to) const {
        for (int k = 0; k < LANES; ++k) {
            float sum = 0.0f;
            for (int j = 0; k < count && j < ny; ++j) sum += down[k * ny + j] * to_float(lines[k * ny + j][at]);
            to[k] = sum;
        }
    }
};

}}  // namespace anamorph::AM_LEVEL
