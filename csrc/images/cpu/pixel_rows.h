// A row of output pixels from dense pictures of 16- and 32-bit floats on a CPU, under any map, after staged_rows.h has placed the
// windows: a pixel's lines at a time where they are short, else tap by tap.
#pragma once
#include "../../core/shuffles.h"
#include "staged_rows.h"

namespace anamorph { namespace AM_LEVEL {

typedef float Quad __attribute__((vector_size(16), aligned(4), may_alias));

AM_HD Quad load_quad(const float* p) { return *reinterpret_cast<const Quad*>(p); }
AM_HD Quad load_quad(const BFloat* p) { return Quad{to_float(p[0]), to_float(p[1]), to_float(p[2]), to_float(p[3])}; }
AM_HD Quad load_quad(const Half* p) {
#if defined(__F16C__)
    return (Quad)_mm_cvtph_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
#else
    return Quad{to_float(p[0]), to_float(p[1]), to_float(p[2]), to_float(p[3])};
#endif
}

// One tap of each window as floats, the C channels of a pixel in slots of four. They lie `plane` values apart in the picture: side
// by side, four are read at a time, where that stays inside.
template <int C, class T> void fetch_tap(const Dense& d, int64_t plane, int64_t tap, int most, int xa, int xb,
                                         const int32_t* __restrict__ at, float* __restrict__ slots) {
    const T* from = reinterpret_cast<const T*>(d.data) + tap;
    if (plane == 1 && most + tap + 4 <= d.span) {
#pragma GCC unroll 8
        for (int x = xa; x < xb; ++x) *reinterpret_cast<Quad*>(slots + 4 * x) = load_quad(from + at[x]);
    } else {
#pragma GCC unroll 4
        for (int x = xa; x < xb; ++x)
            for (int c = 0; c < C; ++c) slots[4 * x + c] = to_float(from[at[x] + c * plane]);
    }
}

// Windows of N taps a line, of packed pixels: each pixel's lines are summed up as they lie, a pack of its own, and the packs turned.
template <int C, int N, class T> void window_row(const Reading& r, const Dense& d, int xa, int xb, const Stage& s, float* buf) {
    enum : int { PACKS = (N * C + LANES - 1) / LANES };
    const T* data = reinterpret_cast<const T*>(d.data);
    const int64_t stride = d.stride_h;
    for (int x = xa; x < xb; x += LANES) {
        const Floats behind_x = Floats::load(s.x + x), behind_y = Floats::load(s.y + x);
        float down[N * LANES], sums[PACKS][LANES * LANES];
        Floats across[N], weights[N], out[C];
        const Floats total_x = axis_weights<N>(r, behind_x, r.inverse_x, across);
        const Floats total_y = axis_weights<N>(r, behind_y, r.inverse_y, weights, r.ny);
        for (int j = 0; j < r.ny; ++j) weights[j].store(down + j * LANES);
        for (int k = 0; k < LANES; ++k) {
            const T* from = data + s.at[x + k];
            Floats sum[PACKS];
            for (int q = 0; q < PACKS; ++q) sum[q] = Floats(down[k]) * load_pack(from + q * LANES);
            for (int j = 1; j < r.ny; ++j) {
                const Floats weight(down[j * LANES + k]);
                for (int q = 0; q < PACKS; ++q) sum[q] = sum[q] + weight * load_pack(from + j * stride + q * LANES);
            }
            for (int q = 0; q < PACKS; ++q) sum[q].store(sums[q] + k * LANES);
        }
        for (int c = 0; c < C; ++c) out[c] = Floats(0.0f);
        for (int q = 0; q < PACKS; ++q)
            transpose(sums[q], LANES, [&](int k, Floats column) {
                const int value = q * LANES + k;
                if (value < N * C) out[value % C] = out[value % C] + across[value / C] * column;
            });
        for (int c = 0; c < C; ++c) mean(r, out[c], total_x * total_y, r.fill[c], 1.0f).store(buf + c * s.pitch + x);
    }
}

// Pixels [xa, xb) of a row whose windows are placed, without the frame, into buf. `pixel`: values from one pixel to the next.
template <int C, class T> void pixel_row(const Reading& r, const Dense& d, int pixel, int64_t plane, int most, int xa, int xb,
                                         const Stage& s, float* buf) {
    // What window_row reads behind a window is still of the picture.
    const bool windows = plane == 1 && most + (r.ny - 1) * int64_t(d.stride_h) + (16 + LANES) <= d.span;
    // clang-format off
#define AM_WINDOW(N)                                                                              \
    if constexpr (N * C <= 16)                                                                    \
        if (windows && r.nx == N && r.ny <= N) return window_row<C, N, T>(r, d, xa, xb, s, buf);
    AM_WINDOW(2) AM_WINDOW(3) AM_WINDOW(4) AM_WINDOW(5)
#undef AM_WINDOW
    float* slots = reinterpret_cast<float*>(s.bytes);
    // clang-format on
    float* total = slots + 4 * s.pitch;
    for (int j = 0; j < r.ny; ++j)
        for (int i = 0; i < r.nx; ++i) {
            fetch_tap<C, T>(d, plane, j * int64_t(d.stride_h) + i * pixel, most, xa, xb, s.at, slots);
            bool first = i + j == 0;
            for (int x = xa; x < xb; x += LANES) {
                Floats weight =
                    axis_weight(r, Floats::load(s.x + x), i, r.inverse_x) * axis_weight(r, Floats::load(s.y + x), j, r.inverse_y);
                Ints words[4];
                deal<(C == 4 ? 4 : 3)>(reinterpret_cast<const uint8_t*>(slots + 4 * x), words);
                (first ? weight : Floats::load(total + x) + weight).store(total + x);
                for (int c = 0; c < C; ++c) {
                    float* at = buf + c * s.pitch + x;
                    Floats v = weight * Floats((FloatBits)words[c].v);
                    (first ? v : Floats::load(at) + v).store(at);
                }
            }
        }
    for (int x = xa; x < xb; x += LANES)
        for (int c = 0; c < C; ++c) {
            float* at = buf + c * s.pitch + x;
            mean(r, Floats::load(at), Floats::load(total + x), r.fill[c], 1.0f).store(at);
        }
}

}}  // namespace anamorph::AM_LEVEL
