// A row of output pixels from dense bytes (uint8, the channels of a pixel side by side) on a CPU, in three passes over
// buffers that stay in the first-level cache: where the taps are (packs), their bytes copied side by side (plain loads and
// stores: gather instructions are slow on many CPUs), and their weighing (packs). The arithmetic is taps.h's.
#pragma once
#include "../taps.h"

namespace anamorph { namespace AM_LEVEL {

constexpr float BYTE = 1.0f / 255.0f;

// The buffers of one row: `pitch` output pixels.
struct Stage {
    enum : int { MAX_SLOT = 16, MAX_TAPS = 5, SPARE = 64 };
    int pitch;
    int32_t* at;     // values from the picture's first to the window's first tap
    float *x, *y;    // how far the position lies behind that tap's centre; LINEAR: the share of the second tap
    uint8_t* bytes;  // ny lines of `pitch` slots
    static size_t floats(int pitch) { return size_t(pitch) * (3 + MAX_TAPS * MAX_SLOT / 4) + SPARE; }
    Stage(float* room, int p)
        : pitch(p), at(reinterpret_cast<int32_t*>(room)), x(room + p), y(room + 2 * p),
          bytes(reinterpret_cast<uint8_t*>(room + 3 * p)) {}
};

// A picture, or one channel plane of it, whose pixels are C values side by side without gaps.
struct Dense {
    const uint8_t* data;
    int stride_h;  // values, as the picture's span
    int span;
    int size;  // bytes of a value
};

template <int C> bool is_dense(const Picture& p) {
    int64_t span = (p.h - 1) * p.stride_h + int64_t(p.w) * C;
    return p.stride_w == C && (C == 1 || p.stride_c == 1) && p.stride_h >= 0 && span < 0x7FFFFF00;
}
inline Dense dense_of(const Picture& p, int channel, int pixel) {
    int size = dtype_bytes(p.dtype);
    return {p.data + channel * p.stride_c * size, int(p.stride_h), int((p.h - 1) * p.stride_h + p.w * pixel), size};
}

// Where the pixels of a row lie that a field has moved; null: where they stand.
struct Moved {
    const float *x, *y;
};

enum : int { AHEAD = 8 };  // rows between asking for bytes and needing them
// The windows of the pixels [xa, xb) of row y. Returns the furthest `at`. PLAIN: under an affine map without folds, by far the most
// common. Then KERNEL is TRIANGLE for all windows, and nothing in the loop asks what else a view could be.
template <int C, bool PLAIN, Kernel KERNEL> int place(Reading r, const Dense& d, int y, int xa, int xb, Moved moved,
                                                      const Stage& s) {
    if (PLAIN) {
        r.kernel = KERNEL;
        r.perspective = false;
        r.folded = BORDER_CONSTANT;
    }
    Floats fy(float(y) + 0.5f);
    Ints furthest(0), line(d.stride_h);
    int32_t* to = s.at;
    float *to_x = s.x, *to_y = s.y;
    // Where windows may not be moved the caller has kept away from the rect's edges.
    Floats fx = Floats::iota() + Floats(float(xa) + 0.5f);
    for (int x = xa; x < xb; x += LANES, fx = fx + Floats(float(LANES))) {
        Floats sx, sy, z, behind_x, behind_y;
        Ints ix, iy;
        if (moved.x) position(r, Floats::load(moved.x + x), Floats::load(moved.y + x), sx, sy, z);
        else position(r, fx, fy, sx, sy, z);
        fold(r, sx, sy);
        if (r.kernel == LINEAR) {
            pair(sx, r.taps.x0, r.taps.x1 - 1, ix, behind_x);
            pair(sy, r.taps.y0, r.taps.y1 - 1, iy, behind_y);
        } else {
            window(sx, r.reach_x, r.taps.x0, r.taps.x1 - r.nx + 1, ix, behind_x);
            window(sy, r.reach_y, r.taps.y0, r.taps.y1 - r.ny + 1, iy, behind_y);
        }
        Ints at = iy * line + ix * Ints(C);
        furthest = max_(furthest, at);
        at.store(to + x);
        behind_x.store(to_x + x);
        behind_y.store(to_y + x);
    }
    // The bytes that row y + AHEAD will want are on their way by then: the processor cannot guess a slanted path.
    const float far = MAX_SIDE;  // a row from a file may hold anything
    int64_t ahead = int64_t(clamp_(AHEAD * r.m[4], -far, far)) * d.stride_h + int64_t(clamp_(AHEAD * r.m[1], -far, far)) * C;
    for (int x = xa; x < xb; x += 8) __builtin_prefetch(d.data + (ahead + to[x]) * d.size);
    return highest(furthest);
}

template <int C> int place(const Reading& r, const Dense& d, int y, int xa, int xb, const Moved& moved, const Stage& s) {
    if (r.perspective || r.folded) return place<C, false, NEAREST>(r, d, y, xa, xb, moved, s);
    switch (r.kernel) {
        case NEAREST: return place<C, true, NEAREST>(r, d, y, xa, xb, moved, s);
        case LINEAR: return place<C, true, LINEAR>(r, d, y, xa, xb, moved, s);
        default: return place<C, true, TRIANGLE>(r, d, y, xa, xb, moved, s);
    }
}

// The bytes of each window's lines into slots. A slot holds more than the taps; where reading so much would leave the
// picture, only the taps are read.
template <int SLOT> void fetch(const Dense& d, int lines, int needed, int most, int xa, int xb, const Stage& s) {
    const int32_t* __restrict__ at = s.at;
    const size_t line = size_t(s.pitch) * SLOT;
    const int64_t step = d.stride_h;
    for (int j = 0; j < lines; ++j) {
        const uint8_t* __restrict__ from = d.data + j * step;
        uint8_t* __restrict__ to = s.bytes + size_t(j) * line;
        if (most + j * step + SLOT <= d.span)
#pragma GCC unroll 8
            for (int x = xa; x < xb; ++x) std::memcpy(to + x * SLOT, from + at[x], SLOT);
        else
            for (int x = xa; x < xb; ++x) std::memcpy(to + x * SLOT, from + at[x], size_t(needed));
    }
}

// N taps of C channels from the slots at p: v[tap][channel], 0..255.
template <int C, int N, int K = 0> AM_HD void unpack(const Ints* words, Floats (*v)[C]) {
    if constexpr (K < N * C) {
        v[K / C][K % C] = byte<K>(words);
        unpack<C, N, K + 1>(words, v);
    }
}

// The weight of tap i of an axis.
AM_HD Floats axis_weight(const Reading& r, Floats behind, int i, float inverse) {
    if (r.kernel == NEAREST) return Floats(1.0f);
    if (r.kernel == LINEAR) return i == 0 ? Floats(1.0f) - behind : behind;
    return tap_weight(r.kernel, r.cubic, behind - Floats(float(i)), inverse);
}

// Those of n taps, at most N; their sum. Four of a cubic as wide as itself, around the position, are polynomials of it, and their
// sum is 1.
template <int N>
AM_HD Floats axis_weights(const Reading& r, Floats behind, float inverse, Floats* weights, int n = N) {
    if constexpr (N == 4) {
        const Floats t = behind - Floats(1.0f), u = Floats(1.0f) - t;
        if (r.kernel == CUBIC && inverse == 1.0f && n == N && all(t >= Floats(0.0f) && u >= Floats(0.0f))) {
            const Floats a(r.cubic);
            weights[0] = a * t * u * u;
            weights[1] = t * t * (Floats(r.cubic + 2.0f) * t - Floats(r.cubic + 3.0f)) + Floats(1.0f);
            weights[3] = a * u * t * t;
            weights[2] = Floats(1.0f) - weights[1] - (weights[0] + weights[3]);
            return Floats(1.0f);
        }
    }
    Floats total(0.0f);
    for (int i = 0; i < n; ++i) {
        weights[i] = axis_weight(r, behind, i, inverse);
        total = total + weights[i];
    }
    return total;
}

// The windows' values, from slots of N taps a line, into buf's channels `channel` and on.
template <int C, int N, Kernel KERNEL> void weigh(Reading r, int channel, int xa, int xb, Stage s, float* buf) {
    enum : int { WORDS = (N * C + 3) / 4, SLOT = WORDS > 2 ? 16 : WORDS * 4 };
    r.kernel = KERNEL;
    const Floats scale(BYTE);
    const size_t line = size_t(s.pitch) * SLOT;
    for (int x = xa; x < xb; x += LANES) {
        const uint8_t* slots = s.bytes + x * SLOT;
        Floats v[N][C], out[C];
        Ints words[WORDS];
        deal<WORDS>(slots, words);
        unpack<C, N>(words, v);
        Floats behind_x = Floats::load(s.x + x), behind_y = Floats::load(s.y + x);
        if constexpr (KERNEL == NEAREST) {
            for (int c = 0; c < C; ++c) out[c] = v[0][c] * scale;
        } else if constexpr (KERNEL == LINEAR) {
            for (int c = 0; c < C; ++c) out[c] = lerp(v[0][c], v[1][c], behind_x);
            deal<WORDS>(slots + line, words);
            unpack<C, N>(words, v);
            for (int c = 0; c < C; ++c) out[c] = lerp(out[c], lerp(v[0][c], v[1][c], behind_x), behind_y) * scale;
        } else {
            Floats across[N], down[Stage::MAX_TAPS];
            const Floats total_x = axis_weights<N>(r, behind_x, r.inverse_x, across);
            const Floats total_y = axis_weights<N>(r, behind_y, r.inverse_y, down, r.ny);
            for (int c = 0; c < C; ++c) out[c] = Floats(0.0f);
            for (int j = 0;;) {
                for (int c = 0; c < C; ++c) {
                    Floats sum = across[0] * v[0][c];
                    for (int i = 1; i < N; ++i) sum = sum + across[i] * v[i][c];
                    out[c] = out[c] + down[j] * sum;
                }
                if (++j == r.ny) break;
                slots += line;
                deal<WORDS>(slots, words);
                unpack<C, N>(words, v);
            }
            for (int c = 0; c < C; ++c) out[c] = mean(r, out[c], total_x * total_y, r.fill[channel + c], BYTE);
        }
        for (int c = 0; c < C; ++c) out[c].store(buf + (channel + c) * s.pitch + x);
    }
}

// The same for windows of any size, a line and as many taps as fit into a slot at a time, summed up in buf.
template <int C> void weigh_wide(const Reading& r, const Dense& d, int channel, int most, int xa, int xb, const Stage& s,
                                 float* buf) {
    enum : int { TAPS = 16 / C };
    buf += channel * s.pitch;
    for (int j = 0; j < r.ny; ++j) {
        for (int from = 0; from < r.nx; from += TAPS) {
            int taps = min_(int(TAPS), r.nx - from);
            Dense line{d.data + int64_t(j) * d.stride_h + from * C, d.stride_h, d.span - j * d.stride_h - from * C, 1};
            fetch<16>(line, 1, taps * C, most, xa, xb, s);
            for (int x = xa; x < xb; x += LANES) {
                Floats v[TAPS][C], sum[C], behind_x = Floats::load(s.x + x), behind_y = Floats::load(s.y + x);
                Ints words[(TAPS * C + 3) / 4];
                deal<(TAPS * C + 3) / 4>(s.bytes + x * 16, words);
                unpack<C, TAPS>(words, v);
                for (int c = 0; c < C; ++c) sum[c] = Floats(0.0f);
                for (int i = 0; i < TAPS; ++i) {
                    if (i >= taps) break;
                    Floats w = tap_weight(r.kernel, r.cubic, behind_x - Floats(float(from + i)), r.inverse_x);
                    for (int c = 0; c < C; ++c) sum[c] = sum[c] + w * v[i][c];
                }
                Floats wy = tap_weight(r.kernel, r.cubic, behind_y - Floats(float(j)), r.inverse_y);
                for (int c = 0; c < C; ++c) {
                    float* at = buf + c * s.pitch + x;
                    (j + from == 0 ? wy * sum[c] : Floats::load(at) + wy * sum[c]).store(at);
                }
            }
        }
    }
    for (int x = xa; x < xb; x += LANES) {
        Floats behind_x = Floats::load(s.x + x), behind_y = Floats::load(s.y + x), total_x(0.0f), total_y(0.0f);
        for (int i = 0; i < r.nx; ++i)
            total_x = total_x + tap_weight(r.kernel, r.cubic, behind_x - Floats(float(i)), r.inverse_x);
        for (int j = 0; j < r.ny; ++j)
            total_y = total_y + tap_weight(r.kernel, r.cubic, behind_y - Floats(float(j)), r.inverse_y);
        for (int c = 0; c < C; ++c) {
            float* at = buf + c * s.pitch + x;
            mean(r, Floats::load(at), total_x * total_y, r.fill[channel + c], BYTE).store(at);
        }
    }
}

// Pixels [xa, xb) of row y, without the frame, into buf's channels `channel` and on.
template <int C> void sample_row(const Reading& r, const Dense& d, int channel, int most, int xa, int xb, const Stage& s,
                                 float* buf) {
    // clang-format off
#define AM_WINDOW(N, KERNEL)                                                                       \
    if constexpr (N * C <= Stage::MAX_SLOT)                                                        \
        if (r.nx == N && r.kernel == KERNEL && r.ny <= Stage::MAX_TAPS) {                          \
            fetch<(N * C > 8 ? 16 : N * C > 4 ? 8 : 4)>(d, r.ny, N * C, most, xa, xb, s);         \
            return weigh<C, N, KERNEL>(r, channel, xa, xb, s, buf);                                \
        }
    AM_WINDOW(1, NEAREST) AM_WINDOW(2, LINEAR)
    AM_WINDOW(2, TRIANGLE) AM_WINDOW(3, TRIANGLE) AM_WINDOW(4, TRIANGLE) AM_WINDOW(5, TRIANGLE)
    AM_WINDOW(4, CUBIC) AM_WINDOW(5, CUBIC)
#undef AM_WINDOW
    weigh_wide<C>(r, d, channel, most, xa, xb, s, buf);
    // clang-format on
}

// The columns of row y whose positions lie between (left, top) and (right, bottom), give or take a pixel inwards.
struct Between {
    double left, top, right, bottom, per_x, per_y;  // per: columns per source pixel, 0: the row runs along that edge
    bool everywhere, nowhere;
};
inline Between between(const Reading& r, double left, double top, double right, double bottom) {
    double mx = r.m[0], my = r.m[3];
    return {left, top, right, bottom, mx * mx > 1e-12 ? 1.0 / mx : 0.0, my * my > 1e-12 ? 1.0 / my : 0.0, false, r.perspective};
}
inline void columns(const Between& k, const Reading& r, int y, int width, int& a, int& b) {
    a = 0;
    b = k.everywhere ? width : 0;
    if (k.everywhere || k.nowhere) return;
    double low = 0.0, high = double(width), fy = double(y) + 0.5;
    auto cut = [&](double start, double per, double first, double last) {
        if (per == 0.0) {  // hardly changes along the row
            double slack = 1e-6 * double(width);
            if (!(start - slack >= first && start + slack <= last)) high = -1.0;
            return;
        }
        if (!(first <= last)) high = -1.0;
        double t = (first - start) * per, u = (last - start) * per;
        double begin = (t < u ? t : u) + 1.0, end = (t < u ? u : t) - 1.0;
        low = low > begin ? low : begin;
        high = high < end ? high : end;
    };
    cut(double(r.m[1]) * fy + r.m[2], k.per_x, k.left, k.right);
    cut(double(r.m[4]) * fy + r.m[5], k.per_y, k.top, k.bottom);
    if (!(high > low)) return;  // also where the map is no number
    a = int(low);
    b = int(high);
}

}}  // namespace anamorph::AM_LEVEL
