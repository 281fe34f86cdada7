// From a position in the source to a value: texel loads for every layout and dtype, and the three interpolations.
#pragma once
#include "../core/simd.h"
#include "program.h"

namespace anamorph {

enum Dtype : int32_t { U8 = 0, F32 = 1, F16 = 2, BF16 = 3 };
AM_HD int dtype_bytes(int dtype) { return dtype == U8 ? 1 : dtype == F32 ? 4 : 2; }
// On the host: f with a value of the dtype's type, whose type is what counts.
template <class F> auto by_dtype(int dtype, const F& f) {
    switch (dtype) {
        case U8: return f(uint8_t{});
        case F32: return f(float{});
        case F16: return f(Half{});
        default: return f(BFloat{});
    }
}

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

enum Kernel : int32_t { NEAREST, LINEAR, TRIANGLE, CUBIC };  // LINEAR: TRIANGLE of support 1, by far the most common

// How one row of the plan reads its picture: the numbers of program.h's words, ready to use.
struct Reading {
    float m[9];
    float x0, y0, x1, y1;                // frame of the fill, and rect
    int tap_x0, tap_y0, tap_x1, tap_y1;  // taps allowed, inclusive
    float slope_x, slope_y, filter_x, filter_y;
    float fill[4];
    int interp, border;
    bool perspective, antialias, filled, bytes;
    // The window of nx x ny taps around a position: all whose centres are less than `reach` away.
    Kernel kernel;
    int nx, ny;                                    // no more than the rect holds, where those beyond it are dropped
    float reach_x, reach_y, inverse_x, inverse_y;  // inverse: 1 / how much the kernel is widened
    float cubic;                                   // Keys' a
    bool drop;     // taps beyond the rect weigh nothing and the others are renormalised; else they read by the border's rule
    bool movable;  // a window moved inside the rect says the same
};

AM_HD void choose_window(Reading& r) {
    bool wider = r.antialias && (r.filter_x > 1.0f || r.filter_y > 1.0f);
    r.kernel = r.interp == 0 ? NEAREST : r.interp == 2 ? CUBIC : wider ? TRIANGLE : LINEAR;
    // With `antialias` the taps beyond the rect are dropped and cubic's a is -0.5, otherwise they repeat the edge and a
    // is -0.75: torchvision's two resamplers.
    bool widened = r.antialias && r.kernel >= TRIANGLE;
    float wide_x = widened ? r.filter_x : 1.0f, wide_y = widened ? r.filter_y : 1.0f;
    float support = r.kernel == NEAREST ? 0.5f : r.kernel == CUBIC ? 2.0f : 1.0f;
    r.reach_x = support * wide_x;
    r.reach_y = support * wide_y;
    r.inverse_x = 1.0f / wide_x;
    r.inverse_y = 1.0f / wide_y;
    r.nx = int(2.0f * r.reach_x);
    r.ny = int(2.0f * r.reach_y);
    if (float(r.nx) < 2.0f * r.reach_x) ++r.nx;
    if (float(r.ny) < 2.0f * r.reach_y) ++r.ny;
    r.cubic = r.antialias ? -0.5f : -0.75f;
    r.drop = widened && r.border == BORDER_CONSTANT;
    if (r.drop) {  // no more taps than there are: such a window can always be moved inside
        r.nx = r.nx < r.tap_x1 - r.tap_x0 + 1 ? r.nx : r.tap_x1 - r.tap_x0 + 1;
        r.ny = r.ny < r.tap_y1 - r.tap_y0 + 1 ? r.ny : r.tap_y1 - r.tap_y0 + 1;
    }
    bool room = r.tap_x1 - r.tap_x0 >= r.nx - 1 && r.tap_y1 - r.tap_y0 >= r.ny - 1;
    r.movable = room && (r.drop || (r.kernel <= LINEAR && r.border <= BORDER_EDGE));
}

// A support that counts taps, whatever a row from a file holds.
AM_HD float filter_of(float f) { return f >= 1.0f ? (f <= 65536.0f ? f : 65536.0f) : 1.0f; }

AM_HD Reading reading_of(const int32_t* row, const Picture& pic) {
    Reading r;
    float input_scale = pic.dtype == U8 ? 1.0f / 255.0f : 1.0f;  // of the fill
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
    r.tap_x0 = ax;
    r.tap_y0 = ay;
    r.tap_x1 = bx;
    r.tap_y1 = by;
    r.slope_x = word_float(row[W_SLOPE]);
    r.slope_y = word_float(row[W_SLOPE + 1]);
    r.filter_x = filter_of(word_float(row[W_FILTER]));
    r.filter_y = filter_of(word_float(row[W_FILTER + 1]));
    for (int i = 0; i < 4; ++i) r.fill[i] = word_float(row[W_FILL + i]) * input_scale;
    int flags = row[W_FLAGS];
    r.interp = flags & ROW_INTERP;
    r.border = (flags >> ROW_BORDER_SHIFT) & 3;
    r.perspective = flags & ROW_PERSPECTIVE;
    r.antialias = flags & ROW_ANTIALIAS;
    r.filled = flags & ROW_FILL;
    r.bytes = pic.dtype == U8;
    choose_window(r);
    return r;
}

// Which place of a view an output pixel shows: output (x, y) -> view (sx * x + tx, sy * y + ty).
struct Place {
    float sx, tx, sy, ty;
};

// The reading of the view at that place.
AM_HD void shrink_reading(Reading& r, const Place& p) {
    for (int i = 0; i < 3; ++i) {
        float a = r.m[3 * i], b = r.m[3 * i + 1];
        r.m[3 * i] = a * p.sx;
        r.m[3 * i + 1] = b * p.sy;
        r.m[3 * i + 2] = a * p.tx + b * p.ty + r.m[3 * i + 2];
    }
    if (r.interp == 0) r.interp = 1;
    if (r.antialias) {
        r.filter_x = filter_of(r.filter_x * p.sx);
        r.filter_y = filter_of(r.filter_y * p.sy);
    }
    choose_window(r);
}

namespace AM_LEVEL {

// A source's taps are as they lie in memory; times SCALE they are in the engine's units.
template <class T> constexpr float SCALE_OF = sizeof(T) == 1 ? 1.0f / 255.0f : 1.0f;

// Any strides.
template <int C, class T> struct StridedSource {
    static constexpr float SCALE = SCALE_OF<T>;
    const T* data;
    int64_t stride_h, stride_w, stride_c;
    AM_HD explicit StridedSource(const Picture& p)
        : data(reinterpret_cast<const T*>(p.data)), stride_h(p.stride_h), stride_w(p.stride_w), stride_c(p.stride_c) {}
    AM_HD void tap(int x, int y, float* out) const {
        const T* p = data + y * stride_h + x * stride_w;
        for (int c = 0; c < C; ++c) out[c] = to_float(p[c * stride_c]);
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

// uint8 with the channels of a pixel side by side. On a CPU staged_rows.h reads such pictures.
template <int C> struct ByteSource {
    static constexpr float SCALE = SCALE_OF<uint8_t>;
    const uint8_t* data;
    int stride_h, stride_w;  // bytes
    AM_HD explicit ByteSource(const Picture& p) : data(p.data), stride_h(int(p.stride_h)), stride_w(int(p.stride_w)) {}
    static AM_HD bool fits(const Picture& p) {
        int64_t reach = (p.h - 1) * p.stride_h + p.w * p.stride_w;
        return p.dtype == U8 && p.stride_c == 1 && p.stride_h > 0 && p.stride_w >= C && reach < 0x7FFFFF00;
    }
    static AM_HD float load(const uint8_t* p) {
#if defined(__CUDA_ARCH__)
        return float(__ldg(p));  // through the read-only cache
#else
        return float(*p);
#endif
    }
    AM_HD void tap(int x, int y, float* out) const {
        const uint8_t* p = data + y * stride_h + x * stride_w;
        for (int c = 0; c < C; ++c) out[c] = load(p + c);
    }
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
    d = abs_(d);
    F near = ((F(a + 2.0f) * d - F(a + 3.0f)) * d) * d + F(1.0f);
    F far = ((F(a) * d - F(5.0f * a)) * d + F(8.0f * a)) * d - F(4.0f * a);
    return select(d < F(1.0f), near, select(d < F(2.0f), far, F(0.0f)));
}
template <class F> AM_HD F triangle_weight(F d) { return max_(F(0.0f), F(1.0f) - abs_(d)); }
// Of a tap at the distance d * inverse from the position.
template <class F> AM_HD F tap_weight(Kernel kernel, float cubic, F d, float inverse) {
    d = d * F(inverse);
    return kernel == CUBIC ? cubic_weight(d, cubic) : triangle_weight(d);
}

// Where output pixel (x, y) (edge coordinates) lies in the source. z: below 1e-8 it lies behind the viewer.
template <class F> AM_HD void position(const Reading& r, F x, F y, F& sx, F& sy, F& z) {
    sx = F(r.m[0]) * x + (F(r.m[1]) * y + F(r.m[2]));
    sy = F(r.m[3]) * x + (F(r.m[4]) * y + F(r.m[5]));
    z = F(1.0f);
    if (r.perspective) {
        z = F(r.m[6]) * x + (F(r.m[7]) * y + F(r.m[8]));
        F inverse = F(1.0f) / select(z > F(1e-8f), z, F(1e-8f));
        sx = sx * inverse;
        sy = sy * inverse;
    }
}

// The first tap of the window around position s, and how far s lies behind its centre.
template <class F, class I> AM_HD void window(F s, float reach, I& first, F& behind) {
    F t = floor_(clamp_(s + F(0.5f - reach), F(-1e6f), F(1e6f)));  // far outside is all the same
    first = to_int(t);
    behind = s - (t + F(0.5f));
}
// The same kept inside [low, last], neither below 0.
template <class F, class I> AM_HD void window(F s, float reach, int low, int last, I& first, F& behind) {
    first = to_int(clamp_(s + F(0.5f - reach), F(float(low)), F(float(last))));
    behind = s - (to_float(first) + F(0.5f));
}
// The two taps of LINEAR inside [low, last + 1]: the share of the second is `behind` within [0, 1].
template <class F, class I> AM_HD void pair(F s, int low, int last, I& first, F& share) {
    F t = clamp_(s - F(0.5f), F(float(low)), F(float(last + 1)));
    first = min_(to_int(t), I(last));
    share = t - to_float(first);
}

template <class F> AM_HD F lerp(F a, F b, F share) { return a + share * (b - a); }

// What lies beyond the frame is the fill. Bilinear taps beyond it would read the fill: the same as fading the repeated edge
// over one view pixel.
template <int C, class F> AM_HD void frame(const Reading& r, F sx, F sy, F z, F* out) {
    if (r.filled && r.kernel == NEAREST) {
        auto inside = sx >= F(r.x0) && sx < F(r.x1) && sy >= F(r.y0) && sy < F(r.y1);
        for (int c = 0; c < C; ++c) out[c] = select(inside, out[c], F(r.fill[c]));
    } else if (r.filled && (r.kernel != CUBIC || r.drop)) {  // else the cubic's taps have read the fill
        F cover_x = unit_clamp(min_(sx - F(r.x0), F(r.x1) - sx) * F(r.slope_x) + F(0.5f));
        F cover_y = unit_clamp(min_(sy - F(r.y0), F(r.y1) - sy) * F(r.slope_y) + F(0.5f));
        F cover = cover_x * cover_y;
        for (int c = 0; c < C; ++c) out[c] = lerp(F(r.fill[c]), out[c], cover);
    }
    if (r.perspective) {
        for (int c = 0; c < C; ++c) out[c] = select(z > F(1e-8f), out[c], F(r.fill[c]));
    }
}

// Bilinear: the nearest two taps each way.
template <int C, class F, class Source> AM_HD void bilinear(const Source& s, const Reading& r, F sx, F sy, F* out) {
    using I = typename IntOf<F>::type;
    I x0, y0, x1, y1;
    F share_x, share_y, a[C], b[C], c[C], d[C];
    if (r.movable) {
        pair(sx, r.tap_x0, r.tap_x1 - 1, x0, share_x);
        pair(sy, r.tap_y0, r.tap_y1 - 1, y0, share_y);
        x1 = x0 + I(1);
        y1 = y0 + I(1);
    } else {
        window(sx, 1.0f, x1, share_x);
        window(sy, 1.0f, y1, share_y);
        share_x = unit_clamp(share_x);
        share_y = unit_clamp(share_y);
        x0 = border_index(x1, r.tap_x0, r.tap_x1, r.border);
        y0 = border_index(y1, r.tap_y0, r.tap_y1, r.border);
        x1 = border_index(x1 + I(1), r.tap_x0, r.tap_x1, r.border);
        y1 = border_index(y1 + I(1), r.tap_y0, r.tap_y1, r.border);
    }
    s.tap(x0, y0, a);
    s.tap(x1, y0, b);
    s.tap(x0, y1, c);
    s.tap(x1, y1, d);
    for (int k = 0; k < C; ++k) out[k] = lerp(lerp(a[k], b[k], share_x), lerp(c[k], d[k], share_x), share_y) * F(Source::SCALE);
}

// A cubic overshoots, and a byte cannot.
template <class F> AM_HD F within(const Reading& r, F v) { return r.kernel == CUBIC && r.bytes ? unit_clamp(v) : v; }

// The mean from the sum of weighed values, times `scale`. Where nothing weighs anything there is only the fill (nothing else can
// be meant: a rect is never empty).
template <class F> AM_HD F mean(const Reading& r, F sum, F total, float fill, float scale) {
    auto none = total == F(0.0f);
    F inverse = reciprocal(select(none, F(1.0f), total)) * F(scale);
    return select(none, F(fill), within(r, sum * inverse));
}

// The weighed taps of a window from (x0, y0) on, and the sum of their weights. INSIDE: none lies beyond the rect, as always where
// such taps would be dropped.
template <bool INSIDE, int C, class F, class I, class Source>
AM_HD void sum_window(const Source& s, const Reading& r, I x0, I y0, F behind_x, F behind_y, F* sum, F& total) {
    bool paint = r.filled && r.kernel == CUBIC && !r.drop;  // a cubic tap beyond the frame reads the fill
    for (int c = 0; c < C; ++c) sum[c] = F(0.0f);
    total = F(0.0f);
    for (int j = 0; j < r.ny; ++j) {
        I iy = y0 + I(j), y = INSIDE ? iy : border_index(iy, r.tap_y0, r.tap_y1, r.border);
        F wy = tap_weight(r.kernel, r.cubic, behind_y - F(float(j)), r.inverse_y);
        for (int i = 0; i < r.nx; ++i) {
            I ix = x0 + I(i), x = INSIDE ? ix : border_index(ix, r.tap_x0, r.tap_x1, r.border);
            F weight = wy * tap_weight(r.kernel, r.cubic, behind_x - F(float(i)), r.inverse_x), v[C];
            s.tap(x, y, v);
            if (!INSIDE && paint) {
                auto in = ix >= I(r.tap_x0) && ix <= I(r.tap_x1) && iy >= I(r.tap_y0) && iy <= I(r.tap_y1);
                for (int c = 0; c < C; ++c) v[c] = select(in, v[c], F(r.fill[c] * (1.0f / Source::SCALE)));
            }
            for (int c = 0; c < C; ++c) sum[c] = sum[c] + weight * v[c];
            total = total + weight;
        }
    }
}

// Separable weights over the window: bicubic, and any antialiased shrinking.
template <int C, class F, class Source> AM_HD void weighed(const Source& s, const Reading& r, F sx, F sy, F* out) {
    using I = typename IntOf<F>::type;
    I x0, y0;
    F behind_x, behind_y, total, sum[C];
    if (r.movable) {
        window(sx, r.reach_x, r.tap_x0, r.tap_x1 - r.nx + 1, x0, behind_x);
        window(sy, r.reach_y, r.tap_y0, r.tap_y1 - r.ny + 1, y0, behind_y);
        sum_window<true, C>(s, r, x0, y0, behind_x, behind_y, sum, total);
    } else {
        window(sx, r.reach_x, x0, behind_x);
        window(sy, r.reach_y, y0, behind_y);
        sum_window<false, C>(s, r, x0, y0, behind_x, behind_y, sum, total);
    }
    for (int c = 0; c < C; ++c) out[c] = mean(r, sum[c], total, r.fill[c], Source::SCALE);
}

// The value at output position (x, y) (edge coordinates), in [0, 1] for uint8 sources.
template <int C, class F, class Source> AM_HD void sample(const Source& s, const Reading& r, F x, F y, F* out) {
    using I = typename IntOf<F>::type;
    F sx, sy, z;
    position(r, x, y, sx, sy, z);
    if (r.kernel == NEAREST) {
        I ix, iy;
        F behind;
        window(sx, 0.5f, ix, behind);
        window(sy, 0.5f, iy, behind);
        s.tap(border_index(ix, r.tap_x0, r.tap_x1, r.border), border_index(iy, r.tap_y0, r.tap_y1, r.border), out);
        for (int c = 0; c < C; ++c) out[c] = out[c] * F(Source::SCALE);
    } else if (r.kernel == LINEAR) {
        bilinear<C>(s, r, sx, sy, out);
    } else {
        weighed<C>(s, r, sx, sy, out);
    }
    frame<C>(r, sx, sy, z, out);
}

}  // namespace AM_LEVEL
}  // namespace anamorph
