// From a position in the source to a value: texel loads for every layout and dtype, and the three interpolations.
#pragma once
#include "../core/simd.h"
#include "program.h"

namespace anamorph {

enum Dtype : int32_t { U8 = 0, F32 = 1, F16 = 2, BF16 = 3 };

// A batch of pictures: one strided block, or (offsets given) pictures of different sizes, each packed [H, W, C].
struct Images {
    const uint8_t* data;
    int64_t stride_n, stride_h, stride_w, stride_c;  // elements
    int32_t batch, h, w, channels, dtype;
    const int64_t* offsets;  // [B] bytes from data
    const int64_t* sizes;    // [B, 2]
};

// One picture of it.
struct Picture {
    const uint8_t* data;
    int64_t stride_h, stride_w, stride_c;
    int32_t h, w, dtype;
};

AM_HD Picture picture_of(const Images& im, int i, int bytes_per_element) {
    Picture p{im.data, im.stride_h, im.stride_w, im.stride_c, im.h, im.w, im.dtype};
    if (im.offsets) {
        p.h = int(im.sizes[2 * i]);
        p.w = int(im.sizes[2 * i + 1]);
        p.data += im.offsets[i];
        p.stride_h = int64_t(p.w) * im.channels;
        p.stride_w = im.channels;
        p.stride_c = 1;
    } else {
        p.data += i * im.stride_n * bytes_per_element;
    }
    return p;
}

// How one row of the plan reads its picture: the numbers of program.h's words, ready to use.
struct Reading {
    float m[9];
    float x0, y0, x1, y1;      // frame of the fill, and rect
    int tap_x0, tap_y0, tap_x1, tap_y1;  // taps allowed, inclusive
    float slope_x, slope_y, filter_x, filter_y;
    float fill[4];
    int interp, border;
    bool perspective, antialias, filled;
};

AM_HD Reading reading_of(const int32_t* row, const Picture& pic, float input_scale) {
    Reading r;
    for (int i = 0; i < 9; ++i) r.m[i] = word_float(row[W_MATRIX + i]);
    r.x0 = word_float(row[W_RECT]);
    r.y0 = word_float(row[W_RECT + 1]);
    r.x1 = word_float(row[W_RECT + 2]);
    r.y1 = word_float(row[W_RECT + 3]);
    // Whole pixels that the rect touches, and never one outside the picture, whatever the plan was drawn for.
    int ax = int(r.x0), ay = int(r.y0), bx = int(r.x1), by = int(r.y1);
    if (float(bx) < r.x1) ++bx;
    if (float(by) < r.y1) ++by;
    ax = ax < 0 ? 0 : ax > pic.w - 1 ? pic.w - 1 : ax;
    ay = ay < 0 ? 0 : ay > pic.h - 1 ? pic.h - 1 : ay;
    bx = bx - 1 > pic.w - 1 ? pic.w - 1 : bx - 1 < ax ? ax : bx - 1;
    by = by - 1 > pic.h - 1 ? pic.h - 1 : by - 1 < ay ? ay : by - 1;
    r.tap_x0 = ax; r.tap_y0 = ay; r.tap_x1 = bx; r.tap_y1 = by;
    r.slope_x = word_float(row[W_SLOPE]);
    r.slope_y = word_float(row[W_SLOPE + 1]);
    r.filter_x = word_float(row[W_FILTER]);
    r.filter_y = word_float(row[W_FILTER + 1]);
    for (int i = 0; i < 4; ++i) r.fill[i] = word_float(row[W_FILL + i]) * input_scale;
    int flags = row[W_FLAGS];
    r.interp = flags & ROW_INTERP;
    r.border = (flags >> ROW_BORDER_SHIFT) & 3;
    r.perspective = flags & ROW_PERSPECTIVE;
    r.antialias = flags & ROW_ANTIALIAS;
    r.filled = flags & ROW_FILL;
    return r;
}

// A view of the view: output x -> scale * x + shift first (ResizeMix shrinks the partner's whole view into a box).
AM_HD void shrink_reading(Reading& r, float sx, float tx, float sy, float ty) {
    for (int i = 0; i < 3; ++i) {
        float a = r.m[3 * i], b = r.m[3 * i + 1];
        r.m[3 * i] = a * sx;
        r.m[3 * i + 1] = b * sy;
        r.m[3 * i + 2] = a * tx + b * ty + r.m[3 * i + 2];
    }
    if (r.interp == 0) r.interp = 1;
    if (r.antialias) {
        r.filter_x = r.filter_x * sx < 1.0f ? 1.0f : r.filter_x * sx;
        r.filter_y = r.filter_y * sy < 1.0f ? 1.0f : r.filter_y * sy;
    }
}

namespace AM_LEVEL {

AM_HD float half_to_float(uint16_t h) {
    uint32_t sign = uint32_t(h & 0x8000u) << 16, e = (h >> 10) & 31u, m = h & 1023u;
    if (e == 0) {
        float v = float(m) * 5.9604644775390625e-08f;
        return sign ? -v : v;
    }
    return word_float(int32_t(sign | (e == 31 ? 0x7F800000u | (m << 13) : ((e + 112u) << 23) | (m << 13))));
}
AM_HD float load_scalar(const uint8_t* base, int64_t at, int dtype) {
    switch (dtype) {
        case U8: return float(base[at]) * (1.0f / 255.0f);
        case F32: return ((const float*)base)[at];
        case F16: return half_to_float(((const uint16_t*)base)[at]);
        default: return word_float(int32_t(uint32_t(((const uint16_t*)base)[at]) << 16));
    }
}

// Any dtype, any strides.
template <int C> struct AnySource {
    enum : bool { PAIRS = false };
    Picture p;
    AM_HD explicit AnySource(const Picture& pic) : p(pic) {}
    AM_HD void tap(int x, int y, float* out) const {
        int64_t at = y * p.stride_h + x * p.stride_w;
        for (int c = 0; c < C; ++c) out[c] = load_scalar(p.data, at + c * p.stride_c, p.dtype);
    }
#if !defined(__CUDACC__)
    AM_HD void tap(Ints x, Ints y, Floats* out) const {
        for (int i = 0; i < LANES; ++i) {
            float one[C];
            tap(x.v[i], y.v[i], one);
            for (int c = 0; c < C; ++c) out[c].v[i] = one[c];
        }
    }
#endif
};

// uint8 with the channels of a pixel side by side (three or four): one 32-bit read brings a whole pixel.
template <int C> struct ByteSource {
#if defined(__CUDACC__)
    enum : bool { PAIRS = false };
#else
    enum : bool { PAIRS = true };
#endif
    const uint8_t* data;
    int stride_h, stride_w, last;  // bytes; last: where the picture's final 32-bit read may begin
    AM_HD explicit ByteSource(const Picture& p)
        : data(p.data), stride_h(int(p.stride_h)), stride_w(int(p.stride_w)),
          last(int((p.h - 1) * p.stride_h + (p.w - 1) * p.stride_w) + C - 4) {}
    static AM_HD bool fits(const Picture& p) {
        int64_t reach = (p.h - 1) * p.stride_h + (p.w - 1) * p.stride_w;
        return C >= 3 && C <= 4 && p.dtype == U8 && p.stride_c == 1 && p.stride_h > 0 && p.stride_w >= C &&
               reach < 0x7FFFFFF0 && reach >= 4;
    }
#if defined(__CUDACC__)
    static AM_HD float load(const uint8_t* p) {
#if defined(__CUDA_ARCH__)
        return float(__ldg(p));  // through the read-only cache
#else
        return float(*p);
#endif
    }
    AM_HD void tap(int x, int y, float* out) const {
        const uint8_t* p = data + y * stride_h + x * stride_w;
        for (int c = 0; c < C; ++c) out[c] = load(p + c) * (1.0f / 255.0f);
    }
#else
    static AM_HD void unpack(Ints word, Floats* out) {
        out[0] = to_float(word & Ints(255));
        out[1] = to_float(shift_right<8>(word) & Ints(255));
        out[2] = to_float(shift_right<16>(word) & Ints(255));
        if constexpr (C == 4) out[3] = to_float(shift_right<24>(word));
    }
    AM_HD void bytes(Ints at, Floats* out) const {
        Ints from = min_(at, Ints(last));  // the last pixel is read from one byte earlier and shifted
        unpack(shift_right(gather_words(data, from), (at - from) * Ints(8)), out);
    }
    AM_HD void tap(Ints x, Ints y, Floats* out) const {
        bytes(y * Ints(stride_h) + x * Ints(stride_w), out);
        for (int c = 0; c < C; ++c) out[c] = out[c] * Floats(1.0f / 255.0f);
    }
    // Between the pixels x and x + 1 of line y, in 0..255: two neighbours come in one 64-bit read, wherever it stays
    // inside the picture.
    AM_HD void between(Ints x, Ints y, Floats share, Floats* out) const {
        Ints at = y * Ints(stride_h) + x * Ints(stride_w);
        Floats right[C];
        if (stride_w == C && !any(at > Ints(last - 4))) {
            Ints low, high;
            load_doubles(data, at, low, high);
            unpack(low, out);
            if constexpr (C == 4) {
                unpack(high, right);
            } else {
                right[0] = to_float(shift_right<24>(low));
                right[1] = to_float(high & Ints(255));
                right[2] = to_float(shift_right<8>(high) & Ints(255));
            }
        } else {
            bytes(at, out);
            bytes(at + Ints(stride_w), right);
        }
        for (int c = 0; c < C; ++c) out[c] = out[c] + share * (right[c] - out[c]);
    }
#endif
};

// An index outside [low, high] after the border's rule.
template <class I> AM_HD I border_index(I x, int low, int high, int border) {
    if (border == BORDER_REFLECT || border == BORDER_SYMMETRIC) {
        I below = I(2 * low - (border == BORDER_SYMMETRIC ? 1 : 0)) - x;
        x = select(x < I(low), below, x);
        I above = I(2 * high + (border == BORDER_SYMMETRIC ? 1 : 0)) - x;
        x = select(x > I(high), above, x);
    }
    return min_(max_(x, I(low)), I(high));
}

template <class F> AM_HD F cubic_weight(F d, float a) {  // Keys' kernel
    d = max_(d, F(0.0f) - d);
    F near = ((F(a + 2.0f) * d - F(a + 3.0f)) * d) * d + F(1.0f);
    F far = ((F(a) * d - F(5.0f * a)) * d + F(8.0f * a)) * d - F(4.0f * a);
    return select(d < F(1.0f), near, select(d < F(2.0f), far, F(0.0f)));
}
template <class F> AM_HD F triangle_weight(F d) { return max_(F(0.0f), F(1.0f) - max_(d, F(0.0f) - d)); }

// Bilinear taps beyond the frame would read the fill: the same as fading the repeated edge over one view pixel.
template <int C, class F> AM_HD void frame(const Reading& r, F sx, F sy, F* out) {
    if (!r.filled) return;
    F cover_x = unit_clamp(min_(sx - F(r.x0), F(r.x1) - sx) * F(r.slope_x) + F(0.5f));
    F cover_y = unit_clamp(min_(sy - F(r.y0), F(r.y1) - sy) * F(r.slope_y) + F(0.5f));
    F cover = cover_x * cover_y;
    for (int c = 0; c < C; ++c) out[c] = F(r.fill[c]) + cover * (out[c] - F(r.fill[c]));
}

template <int C, class F, class Source> AM_HD void bilinear(const Source& s, const Reading& r, F sx, F sy, F* out) {
    using I = typename IntOf<F>::type;
    if constexpr (Source::PAIRS) {
        // With an edge that repeats, the two pixels nearest inside and a share clamped to [0, 1] say the same.
        if (r.border <= BORDER_EDGE && r.tap_x1 > r.tap_x0 && r.tap_y1 > r.tap_y0) {
            F px = sx - F(0.5f), py = sy - F(0.5f), below[C];
            I ix = min_(max_(to_int(floor_(px)), I(r.tap_x0)), I(r.tap_x1 - 1));
            I iy = min_(max_(to_int(floor_(py)), I(r.tap_y0)), I(r.tap_y1 - 1));
            F ax = unit_clamp(px - to_float(ix)), ay = unit_clamp(py - to_float(iy));
            s.between(ix, iy, ax, out);
            s.between(ix, iy + I(1), ax, below);
            for (int c = 0; c < C; ++c) out[c] = (out[c] + ay * (below[c] - out[c])) * F(1.0f / 255.0f);
            return;
        }
    }
    F fx = floor_(sx - F(0.5f)), fy = floor_(sy - F(0.5f));
    F ax = sx - F(0.5f) - fx, ay = sy - F(0.5f) - fy;
    I ix = to_int(fx), iy = to_int(fy);
    I ix0 = border_index(ix, r.tap_x0, r.tap_x1, r.border), ix1 = border_index(ix + I(1), r.tap_x0, r.tap_x1, r.border);
    I iy0 = border_index(iy, r.tap_y0, r.tap_y1, r.border), iy1 = border_index(iy + I(1), r.tap_y0, r.tap_y1, r.border);
    F a[C], b[C], c0[C], d[C];
    s.tap(ix0, iy0, a);
    s.tap(ix1, iy0, b);
    s.tap(ix0, iy1, c0);
    s.tap(ix1, iy1, d);
    for (int c = 0; c < C; ++c) {
        F top = a[c] + ax * (b[c] - a[c]), bottom = c0[c] + ax * (d[c] - c0[c]);
        out[c] = top + ay * (bottom - top);
    }
}

// The value at output position (x, y) (edge coordinates), in [0, 1] for uint8 sources.
template <int C, class F, class Source> AM_HD void sample(const Source& s, const Reading& r, F x, F y, F* out) {
    using I = typename IntOf<F>::type;
    F sx = F(r.m[0]) * x + (F(r.m[1]) * y + F(r.m[2]));
    F sy = F(r.m[3]) * x + (F(r.m[4]) * y + F(r.m[5]));
    F behind = F(1.0f);
    if (r.perspective) {
        F z = F(r.m[6]) * x + (F(r.m[7]) * y + F(r.m[8]));
        behind = z;
        F inverse = F(1.0f) / select(z > F(1e-8f), z, F(1e-8f));
        sx = sx * inverse;
        sy = sy * inverse;
    }
    // Far outside is all the same, and the integers below must not overflow.
    sx = clamp_(sx, F(-1e6f), F(1e6f));
    sy = clamp_(sy, F(-1e6f), F(1e6f));

    if (r.interp == 0) {
        I ix = border_index(to_int(floor_(sx)), r.tap_x0, r.tap_x1, r.border);
        I iy = border_index(to_int(floor_(sy)), r.tap_y0, r.tap_y1, r.border);
        s.tap(ix, iy, out);
        if (r.filled) {
            auto inside = sx >= F(r.x0) && sx < F(r.x1) && sy >= F(r.y0) && sy < F(r.y1);
            for (int c = 0; c < C; ++c) out[c] = select(inside, out[c], F(r.fill[c]));
        }
    } else if (r.interp == 1 && !(r.antialias && (r.filter_x > 1.0f || r.filter_y > 1.0f))) {
        bilinear<C>(s, r, sx, sy, out);
    } else {
        // Separable weights over a box of taps: bicubic, and any antialiased shrinking. With `antialias` the taps beyond
        // the rect are dropped and the rest renormalised and cubic's a is -0.5, otherwise they repeat the edge and a is
        // -0.75: torchvision's two resamplers.
        bool cubic = r.interp == 2;
        float wide_x = r.antialias ? r.filter_x : 1.0f, wide_y = r.antialias ? r.filter_y : 1.0f;
        float reach_x = (cubic ? 2.0f : 1.0f) * wide_x, reach_y = (cubic ? 2.0f : 1.0f) * wide_y;
        float a = r.antialias ? -0.5f : -0.75f;
        bool drop = r.antialias && r.border == BORDER_CONSTANT;
        int nx = to_int(2.0f * reach_x) + 1, ny = to_int(2.0f * reach_y) + 1;
        F x_first = floor_(sx - F(0.5f + reach_x)) + F(1.0f), y_first = floor_(sy - F(0.5f + reach_y)) + F(1.0f);
        F total = F(0.0f), sum[C];
        for (int c = 0; c < C; ++c) sum[c] = F(0.0f);
        for (int j = 0; j < ny; ++j) {
            F ty = y_first + F(float(j)), dy = (ty + F(0.5f) - sy) * F(1.0f / wide_y);
            F wy = cubic ? cubic_weight(dy, a) : triangle_weight(dy);
            I iy = to_int(ty);
            auto y_in = iy >= I(r.tap_y0) && iy <= I(r.tap_y1);
            if (drop) wy = select(y_in, wy, F(0.0f));
            I jy = border_index(iy, r.tap_y0, r.tap_y1, r.border);
            for (int i = 0; i < nx; ++i) {
                F tx = x_first + F(float(i)), dx = (tx + F(0.5f) - sx) * F(1.0f / wide_x);
                F wx = cubic ? cubic_weight(dx, a) : triangle_weight(dx);
                I ix = to_int(tx);
                auto x_in = ix >= I(r.tap_x0) && ix <= I(r.tap_x1);
                if (drop) wx = select(x_in, wx, F(0.0f));
                F v[C], wgt = wx * wy;
                s.tap(border_index(ix, r.tap_x0, r.tap_x1, r.border), jy, v);
                bool paint = r.filled && cubic && !drop;  // a cubic tap beyond the frame reads the fill
                for (int c = 0; c < C; ++c)
                    sum[c] = sum[c] + wgt * (paint ? select(x_in && y_in, v[c], F(r.fill[c])) : v[c]);
                total = total + wgt;
            }
        }
        F inverse = F(1.0f) / select(total == F(0.0f), F(1.0f), total);
        // Where every tap lay outside there is only the fill (nothing else can be meant: a rect is never empty).
        for (int c = 0; c < C; ++c) out[c] = select(total == F(0.0f), F(r.fill[c]), sum[c] * inverse);
        if (cubic && !drop && r.filled) return;
    }
    if (r.interp != 0) frame<C>(r, sx, sy, out);
    if (r.perspective) {
        for (int c = 0; c < C; ++c) out[c] = select(behind > F(1e-8f), out[c], F(r.fill[c]));
    }
}

}}  // namespace anamorph::AM_LEVEL
