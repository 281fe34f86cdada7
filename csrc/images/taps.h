// From a position in the source to a value: texel loads for every layout and dtype, and the three interpolations.
#pragma once
#include <math.h>
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
    int32_t frames = 1;      // of a clip; one picture each
    int64_t stride_t;        // from frame to frame, where stride_n leads from clip to clip
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
        p.data += (i / im.frames * im.stride_n + i % im.frames * im.stride_t) * bytes_per_element;
    }
    return p;
}

enum : int { MAX_WINDOW = 256 };  // taps each way that are taken one by one: so many say what an average is
// LINEAR: TRIANGLE of support 1, by far the most common.
enum Kernel : int32_t { NEAREST, LINEAR, TRIANGLE, AREA, CUBIC, LANCZOS };

// Whole pixels, the first and the last of each axis.
struct Box {
    int x0, y0, x1, y1;
};

// What a tap beyond the reach is.
enum class Beyond : int32_t { REPEATED, DROPPED, FILL };

// How one row of the plan reads its picture: the numbers of program.h's words, ready to use.
struct Reading {
    float m[9];
    Box rect;                           // what may be read, inside the picture
    Box reach;                          // the taps that count
    Box taps;                           // those of them that may be read as they are
    float frame[4], slope[4], fold[4];  // x0 y0 x1 y1
    float pads[4];                      // beyond these sides a padding is the fill
    float filter_x, filter_y;
    float fill[4];
    int interp, border, folded, fill_step;
    bool perspective, antialias, framed, padded, bytes;
    bool late;  // colour steps come before the fill and must not touch it
    // The window of nx x ny taps around a position: all whose centres are less than `reach_x`, `reach_y` away.
    Kernel kernel;
    int nx, ny;                                    // no more than count, where those beyond the reach are dropped
    int step_x, step_y;                            // of a larger window than MAX_WINDOW every so many-th tap is taken
    float reach_x, reach_y, inverse_x, inverse_y;  // inverse: 1 / how much the kernel is widened
    float cubic;                                   // Keys' a
    Beyond beyond;
    bool paint;    // taps on a padding read the fill; else `frame` lays it over what the rect's edge repeats
    bool movable;  // a window moved inside `taps` says the same
};

AM_HD int upper(int a, int b) { return a > b ? a : b; }
AM_HD int lower(int a, int b) { return a < b ? a : b; }
AM_HD int kept_in(int x, int low, int high) { return upper(low, lower(x, high)); }
AM_HD int whole_above(float x) {
    int i = int(x);
    return float(i) < x ? i + 1 : i;
}

// After open_reading and shrink_reading.
AM_HD void choose_window(Reading& r) {
    bool wider = r.antialias && (r.filter_x > 1.0f || r.filter_y > 1.0f);
    switch (r.interp) {
        case INTERP_NEAREST: r.kernel = NEAREST; break;
        case INTERP_BICUBIC: r.kernel = CUBIC; break;
        case INTERP_LANCZOS: r.kernel = LANCZOS; break;
        case INTERP_AREA: r.kernel = wider ? AREA : LINEAR; break;
        default: r.kernel = wider ? TRIANGLE : LINEAR; break;
    }
    // With `antialias` the taps beyond the reach are dropped and cubic's a is -0.5, otherwise they repeat its edge and a is
    // -0.75: torchvision's two resamplers. A warp's cubic taps beyond its frame read the fill, as grid_sample's.
    bool widened = r.antialias && r.kernel >= TRIANGLE, framed_taps = r.kernel == CUBIC && r.framed && !r.late;
    framed_taps = framed_taps && r.frame[0] == float(r.reach.x0) && r.frame[1] == float(r.reach.y0) &&
                  r.frame[2] == float(r.reach.x1 + 1) && r.frame[3] == float(r.reach.y1 + 1);
    AM_UNROLL
    for (int i = 0; i < 4; ++i) framed_taps = framed_taps && r.slope[i] == 1.0f;  // around the source's own pixels
    float wide_x = widened ? r.filter_x : 1.0f, wide_y = widened ? r.filter_y : 1.0f;
    float support = r.kernel == NEAREST || r.kernel == AREA ? 0.5f : r.kernel == LANCZOS ? 3.0f : r.kernel == CUBIC ? 2.0f : 1.0f;
    r.reach_x = support * wide_x + (r.kernel == AREA ? 0.5f : 0.0f);
    r.reach_y = support * wide_y + (r.kernel == AREA ? 0.5f : 0.0f);
    r.inverse_x = 1.0f / wide_x;
    r.inverse_y = 1.0f / wide_y;
    r.cubic = r.antialias ? -0.5f : -0.75f;
    r.beyond = widened ? Beyond::DROPPED : framed_taps ? Beyond::FILL : Beyond::REPEATED;
    r.paint = (r.kernel >= CUBIC && r.padded && !r.late) || r.beyond == Beyond::FILL;
    bool mirrors = r.border != BORDER_CONSTANT;
    r.nx = whole_above(2.0f * r.reach_x);
    r.ny = whole_above(2.0f * r.reach_y);
    if (widened) {  // no more taps than there are: such a window can always be moved inside
        bool beyond = mirrors || r.paint;
        r.nx = lower(r.nx, beyond ? r.reach.x1 - r.reach.x0 + 1 : r.taps.x1 - r.taps.x0 + 1);
        r.ny = lower(r.ny, beyond ? r.reach.y1 - r.reach.y0 + 1 : r.taps.y1 - r.taps.y0 + 1);
    }
    r.step_x = (r.nx + MAX_WINDOW - 1) / MAX_WINDOW;
    r.step_y = (r.ny + MAX_WINDOW - 1) / MAX_WINDOW;
    bool room = r.taps.x1 - r.taps.x0 >= r.nx - 1 && r.taps.y1 - r.taps.y0 >= r.ny - 1;
    r.movable = room && !r.paint && (r.kernel <= LINEAR ? r.border <= BORDER_EDGE : widened && !mirrors);
    // A frame fades over no less than what a pixel of the output averages.
    AM_UNROLL
    for (int i = 0; i < 4; ++i) {
        float averages = i % 2 ? r.filter_y : r.filter_x;
        if (r.antialias && averages > 1.0f && r.slope[i] > 1.0f / averages) r.slope[i] = 1.0f / averages;
    }
}

// A support that counts taps, whatever a row from a file holds.
AM_HD float filter_of(float f) { return f >= 1.0f ? (f <= 65536.0f ? f : 65536.0f) : 1.0f; }

// The pixels that a row's box touches.
AM_HD Box box_of(const int32_t* words) {
    int at[4];
    for (int i = 0; i < 4; ++i) {
        const float far = 4.0f * float(MAX_SIDE);
        float x = word_float(words[i]);
        x = x > -far ? (x < far ? x : far) : -far;  // also where it is no number
        at[i] = i < 2 ? -whole_above(-x) : whole_above(x) - 1;
    }
    return {at[0], at[1], upper(at[2], at[0]), upper(at[3], at[1])};
}

AM_HD void open_reading(const int32_t* __restrict__ row, const Picture& pic, Reading& __restrict__ r) {
    const float far = 1e9f;
    float input_scale = pic.dtype == U8 ? 1.0f / 255.0f : 1.0f;  // of the fill
    for (int i = 0; i < 9; ++i) r.m[i] = word_float(row[W_MATRIX + i]);
    // Never a pixel outside the picture, whatever the plan was drawn for.
    Box b = box_of(row + W_RECT);
    b.x0 = kept_in(b.x0, 0, pic.w - 1);
    b.y0 = kept_in(b.y0, 0, pic.h - 1);
    r.rect = {b.x0, b.y0, kept_in(b.x1, b.x0, pic.w - 1), kept_in(b.y1, b.y0, pic.h - 1)};
    r.reach = box_of(row + W_REACH);
    r.taps = {kept_in(r.reach.x0, r.rect.x0, r.rect.x1), kept_in(r.reach.y0, r.rect.y0, r.rect.y1),
              kept_in(r.reach.x1, r.rect.x0, r.rect.x1), kept_in(r.reach.y1, r.rect.y0, r.rect.y1)};
    for (int i = 0; i < 4; ++i) {
        r.frame[i] = word_float(row[W_FRAME + i]);
        r.slope[i] = word_float(row[W_SLOPE + i]);
        r.fold[i] = word_float(row[W_FOLD + i]);
        r.fill[i] = word_float(row[W_FILL + i]) * input_scale;
    }
    r.filter_x = filter_of(word_float(row[W_FILTER]));
    r.filter_y = filter_of(word_float(row[W_FILTER + 1]));
    int flags = row[W_FLAGS];
    r.interp = flags & ROW_INTERP;
    r.perspective = flags & ROW_PERSPECTIVE;
    r.antialias = flags & ROW_ANTIALIAS;
    r.framed = flags & ROW_FRAME;
    r.folded = (flags >> ROW_FOLD_SHIFT) & 3;
    r.border = (flags >> ROW_BORDER_SHIFT) & 3;
    bool left = r.reach.x0<r.rect.x0, top = r.reach.y0<r.rect.y0, right = r.reach.x1> r.rect.x1, bottom = r.reach.y1> r.rect.y1;
    if (!(left || top || right || bottom)) r.border = BORDER_CONSTANT;
    r.padded = r.border == BORDER_CONSTANT && (left || top || right || bottom);
    bool apart = r.reach.x1 < r.rect.x0 || r.reach.x0 > r.rect.x1 || r.reach.y1 < r.rect.y0 || r.reach.y0 > r.rect.y1;
    r.pads[0] = apart ? far : left ? float(r.rect.x0) : -far;
    r.pads[1] = top ? float(r.rect.y0) : -far;
    r.pads[2] = right ? float(r.rect.x1 + 1) : far;
    r.pads[3] = bottom ? float(r.rect.y1 + 1) : far;
    r.fill_step = row[W_FILL_STEP];
    r.late = r.fill_step > 0;
    r.bytes = pic.dtype == U8;
}

// Which place of a view an output pixel shows: output (x, y) -> view (sx * x + tx, sy * y + ty).
struct Place {
    float sx, tx, sy, ty;
};

// What a pixel of the output averages along an axis of the source (m's row there): all that it covers.
AM_HD float shrink_support(const Reading& r, const float* m, int row) {
    float covers = sqrtf(m[row] * m[row] + m[row + 1] * m[row + 1]);
    float before = r.antialias ? (row ? r.filter_y : r.filter_x) : 1.0f;
    return filter_of(covers > before ? covers : before);
}

// m, output pixel -> anywhere, of a view that is shown at the place.
AM_HD void place_map(float* m, const Place& p) {
    for (int i = 0; i < 3; ++i) {
        float a = m[3 * i], b = m[3 * i + 1];
        m[3 * i] = a * p.sx;
        m[3 * i + 1] = b * p.sy;
        m[3 * i + 2] = a * p.tx + b * p.ty + m[3 * i + 2];
    }
}

// The reading of the view whose pixels `m` maps to the source there, smaller, as an antialiased resize shrinks it.
AM_HD void shrink_reading(Reading& r, const float* m) {
    if (r.interp == INTERP_NEAREST) r.interp = INTERP_BILINEAR;
    const float across = shrink_support(r, m, 0), down = shrink_support(r, m, 3);
    r.filter_x = across;
    r.filter_y = down;
    r.antialias = true;
}

// A view that was made ready is a picture of floats, as large as the output, which is read as it lies.
AM_HD void open_ready(const Picture& pic, Reading& r) {
    const float far = 1e9f;
    for (int i = 0; i < 9; ++i) r.m[i] = i % 4 == 0 ? 1.0f : 0.0f;
    r.rect = r.reach = r.taps = {0, 0, pic.w - 1, pic.h - 1};
    for (int i = 0; i < 4; ++i) r.pads[i] = i < 2 ? -far : far;
    r.filter_x = r.filter_y = 1.0f;
    r.interp = INTERP_NEAREST;
    r.border = r.folded = BORDER_CONSTANT;
    r.perspective = r.antialias = r.framed = r.padded = r.late = r.bytes = false;
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

// uint8 with the bytes of a row side by side, the last pixel within 4 GiB of the first: every packed picture.
// On a CPU staged_rows.h reads such pictures.
template <int C> struct ByteSource {
    static constexpr float SCALE = SCALE_OF<uint8_t>;
    static constexpr int64_t REACH = int64_t(1) << 32;
    static_assert(int64_t(MAX_SIDE) * MAX_SIDE * C <= REACH, "a packed picture's bytes are counted by 32 bits");
    const uint8_t* data;
    uint32_t stride_h;  // bytes
    AM_HD explicit ByteSource(const Picture& p) : data(p.data), stride_h(uint32_t(p.stride_h)) {}
    static AM_HD bool fits(const Picture& p) {
        int64_t reach = (p.h - 1) * p.stride_h + int64_t(p.w) * C;
        bool apart = p.h == 1 || p.stride_h >= int64_t(p.w) * C;  // rows may overlap in a window that slides over a buffer
        return p.dtype == U8 && p.stride_c == 1 && p.stride_w == C && apart && reach <= REACH;
    }
    AM_HD const uint8_t* at(int x, int y) const { return data + (uint32_t(y) * stride_h + uint32_t(x) * uint32_t(C)); }
    static AM_HD float load(const uint8_t* p) {
#if defined(__CUDA_ARCH__)
        return float(__ldg(p));  // through the read-only cache
#else
        return float(*p);
#endif
    }
    AM_HD void tap(int x, int y, float* out) const {
        const uint8_t* p = at(x, y);
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
// sinc(d) sinc(d / 3). With s = sin(t), t = pi d / 3, it is s * s (3 - 4 s * s) / (3 t * t), for sin(3 t) = s (3 - 4 s * s).
template <class F> AM_HD F lanczos_weight(F d) {
    F t = F(1.04719755f) * min_(abs_(d), F(3.0f)), q = t * t;
    F p(2.8114573e-15f);  // Taylor's series of sin(t) / t, which is 1e-7 off at most
    p = p * q + F(-7.6471637e-13f);
    p = p * q + F(1.6059044e-10f);
    p = p * q + F(-2.5052108e-8f);
    p = p * q + F(2.7557319e-6f);
    p = p * q + F(-1.9841270e-4f);
    p = p * q + F(8.3333333e-3f);
    p = p * q + F(-0.16666667f);
    p = p * q + F(1.0f);
    return p * p * (F(1.0f) - F(4.0f / 3.0f) * q * p * p);
}
template <class F> AM_HD F triangle_weight(F d) { return max_(F(0.0f), F(1.0f) - abs_(d)); }
// How much of a tap a pixel covers that is 1 / inverse wide, over that width.
template <class F> AM_HD F area_weight(F d, float inverse) {
    return clamp_(F(0.5f + 0.5f * inverse) - abs_(d), F(0.0f), F(inverse));
}
// Of a tap at the distance d * inverse from the position.
template <class F> AM_HD F tap_weight(Kernel kernel, float cubic, F d, float inverse) {
    d = d * F(inverse);
    switch (kernel) {
        case CUBIC: return cubic_weight(d, cubic);
        case LANCZOS: return lanczos_weight(d);
        case AREA: return area_weight(d, inverse);
        default: return triangle_weight(d);
    }
}

constexpr float FAR = 1e6f;  // far outside is all the same
// Where output pixel (x, y) (edge coordinates) lies in the source, but for a perspective.
template <class F> AM_HD void affine(const Reading& r, F x, F y, F& sx, F& sy) {
    sx = F(r.m[0]) * x + (F(r.m[1]) * y + F(r.m[2]));
    sy = F(r.m[3]) * x + (F(r.m[4]) * y + F(r.m[5]));
}
// The same with each product rounded everywhere: where the nearest tap is taken a tie would fall to whoever rounds last.
template <class F> AM_HD void affine_to_nearest(const Reading& r, F x, F y, F& sx, F& sy) {
    sx = product(F(r.m[0]), x) + (product(F(r.m[1]), y) + F(r.m[2]));
    sy = product(F(r.m[3]), x) + (product(F(r.m[4]), y) + F(r.m[5]));
}
// Of any map. z: below 1e-8 it lies behind the viewer.
template <class F> AM_HD void position(const Reading& r, F x, F y, F& sx, F& sy, F& z) {
    if (r.kernel == NEAREST) affine_to_nearest(r, x, y, sx, sy);
    else affine(r, x, y, sx, sy);
    z = F(1.0f);
    if (r.perspective) {
        z = product(F(r.m[6]), x) + (product(F(r.m[7]), y) + F(r.m[8]));
        F inverse = F(1.0f) / select(z > F(1e-8f), z, F(1e-8f));
        sx = clamp_(product(sx, inverse), F(-FAR), F(FAR));
        sy = clamp_(product(sy, inverse), F(-FAR), F(FAR));
    }
}

// A position after a padding of pixels that are not the source's own: mirrored once, then the edge.
template <class F> AM_HD F folded(F s, float low, float high, int border) {
    if (border != BORDER_EDGE) {
        s = select(s < F(low), F(2.0f * low) - s, s);
        s = select(s > F(high), F(2.0f * high) - s, s);
    }
    return clamp_(s, F(low), F(high));
}
// The position whose taps are taken. Where those beyond the reach are dropped, what lies beyond it is its edge.
template <class F> AM_HD void fold(const Reading& r, F& sx, F& sy) {
    if (r.folded != BORDER_CONSTANT) {
        sx = folded(sx, r.fold[0], r.fold[2], r.folded);
        sy = folded(sy, r.fold[1], r.fold[3], r.folded);
    }
    if (r.beyond == Beyond::DROPPED) {
        sx = clamp_(sx, F(float(r.reach.x0)), F(float(r.reach.x1 + 1)));
        sy = clamp_(sy, F(float(r.reach.y0)), F(float(r.reach.y1 + 1)));
    }
}

// The first tap of the window around position s, kept inside [low, last], and how far s lies behind its centre.
template <class F, class I> AM_HD void window(F s, float reach, float low, float last, I& first, F& behind) {
    F t = floor_(clamp_(s + F(0.5f - reach), F(low), F(last)));
    first = to_int(t);
    behind = s - (t + F(0.5f));
}
// The same without bounds, and where neither is below 0.
template <class F, class I> AM_HD void window(F s, float reach, I& first, F& behind) {
    window(s, reach, -FAR, FAR, first, behind);
}
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

// The share of a position's taps on one axis that a padding has not made.
template <class F> AM_HD F tap_cover(const Reading& r, F s, float support, float inverse, int rect0, int rect1, int reach0,
                                     int reach1) {
    using I = typename IntOf<F>::type;
    I first;
    F behind, total(0.0f), inside(0.0f);
    int n = whole_above(2.0f * support);
    if (r.beyond == Beyond::DROPPED) {  // moved inside, where all count
        n = min_(n, reach1 - reach0 + 1);
        window(s, support, float(reach0), float(reach1 - n + 1), first, behind);
    } else {
        window(s, support, first, behind);
    }
    for (int i = 0; i < n; ++i) {
        I t = min_(max_(first + I(i), I(reach0)), I(reach1));
        F weight = tap_weight(r.kernel, r.cubic, behind - F(float(i)), inverse);
        total = total + weight;
        inside = inside + select(t >= I(rect0) && t <= I(rect1), weight, F(0.0f));
    }
    return unit_clamp(inside / select(total == F(0.0f), F(1.0f), total));
}

// How much of the position's value is no padding: 1 inside, 0 outside.
template <class F> AM_HD F pad_cover(const Reading& r, F sx, F sy) {
    F x = min_(sx - F(r.pads[0]), F(r.pads[2]) - sx), y = min_(sy - F(r.pads[1]), F(r.pads[3]) - sy);
    if (r.kernel == NEAREST)
        return select(sx >= F(r.pads[0]) && sx < F(r.pads[2]) && sy >= F(r.pads[1]) && sy < F(r.pads[3]), F(1.0f), F(0.0f));
    if (r.kernel == LINEAR) return unit_clamp(x + F(0.5f)) * unit_clamp(y + F(0.5f));
    return tap_cover(r, sx, r.reach_x, r.inverse_x, r.rect.x0, r.rect.x1, r.reach.x0, r.reach.x1) *
           tap_cover(r, sy, r.reach_y, r.inverse_y, r.rect.y0, r.rect.y1, r.reach.y0, r.reach.y1);
}

// How much of the value at a position is the picture's: the rest is the fill, where the frame ends, and, with `pads`, where a padding
// begins. Bilinear taps beyond a frame would read the fill: the same as fading the repeated edge over one view pixel.
template <class F> AM_HD F cover_of(const Reading& r, bool pads, F sx, F sy, F z) {
    F cover(1.0f);
    if (pads && r.padded && !r.paint) {
        F tx = sx, ty = sy;
        fold(r, tx, ty);
        cover = pad_cover(r, tx, ty);
    }
    if (r.framed && r.kernel == NEAREST) {
        auto inside = sx >= F(r.frame[0]) && sx < F(r.frame[2]) && sy >= F(r.frame[1]) && sy < F(r.frame[3]);
        cover = select(inside, cover, F(0.0f));
    } else if (r.framed && r.beyond != Beyond::FILL) {
        F x = min_((sx - F(r.frame[0])) * F(r.slope[0]), (F(r.frame[2]) - sx) * F(r.slope[2]));
        F y = min_((sy - F(r.frame[1])) * F(r.slope[1]), (F(r.frame[3]) - sy) * F(r.slope[3]));
        cover = cover * (unit_clamp(x + F(0.5f)) * unit_clamp(y + F(0.5f)));
    }
    if (r.perspective) cover = select(z > F(1e-8f), cover, F(0.0f));
    return cover;
}

template <int C, class F> AM_HD void lay_fill(const Reading& r, bool pads, F sx, F sy, F z, F* out) {
    F cover = cover_of(r, pads, sx, sy, z);
    for (int c = 0; c < C; ++c) {
        F some = select(cover > F(0.0f), lerp(F(r.fill[c]), out[c], cover), F(r.fill[c]));
        out[c] = select(cover < F(1.0f), some, out[c]);
    }
}

// The pixel of the source that a tap reads.
template <class I> AM_HD I tap_index(const Reading& r, I t, int rect0, int rect1, int reach0, int reach1) {
    return border_index(min_(max_(t, I(reach0)), I(reach1)), rect0, rect1, r.border);
}
template <class I> AM_HD I tap_x(const Reading& r, I t) { return tap_index(r, t, r.rect.x0, r.rect.x1, r.reach.x0, r.reach.x1); }
template <class I> AM_HD I tap_y(const Reading& r, I t) { return tap_index(r, t, r.rect.y0, r.rect.y1, r.reach.y0, r.reach.y1); }

// Bilinear: the nearest two taps each way.
template <int C, class F, class Source> AM_HD void bilinear(const Source& s, const Reading& r, F sx, F sy, F* out) {
    using I = typename IntOf<F>::type;
    I x0, y0, x1, y1;
    F share_x, share_y, a[C], b[C], c[C], d[C];
    if (r.movable) {
        pair(sx, r.taps.x0, r.taps.x1 - 1, x0, share_x);
        pair(sy, r.taps.y0, r.taps.y1 - 1, y0, share_y);
        x1 = x0 + I(1);
        y1 = y0 + I(1);
    } else {
        window(sx, 1.0f, x1, share_x);
        window(sy, 1.0f, y1, share_y);
        share_x = unit_clamp(share_x);
        share_y = unit_clamp(share_y);
        x0 = tap_x(r, x1);
        y0 = tap_y(r, y1);
        x1 = tap_x(r, x1 + I(1));
        y1 = tap_y(r, y1 + I(1));
    }
    s.tap(x0, y0, a);
    s.tap(x1, y0, b);
    s.tap(x0, y1, c);
    s.tap(x1, y1, d);
    for (int k = 0; k < C; ++k) out[k] = lerp(lerp(a[k], b[k], share_x), lerp(c[k], d[k], share_x), share_y) * F(Source::SCALE);
}

// A cubic overshoots, as does Lanczos' kernel, and a byte cannot.
template <class F> AM_HD F within(const Reading& r, F v) { return r.kernel >= CUBIC && r.bytes ? unit_clamp(v) : v; }

// The mean from the sum of weighed values, times `scale`. Where nothing weighs anything there is only the fill (nothing else can
// be meant: a rect is never empty).
template <class F> AM_HD F mean(const Reading& r, F sum, F total, float fill, float scale) {
    auto none = total == F(0.0f);
    F inverse = reciprocal(select(none, F(1.0f), total)) * F(scale);
    return select(none, F(fill), within(r, sum * inverse));
}

// The weighed taps of a window from (x0, y0) on, and the sum of their weights. INSIDE: all of them are among `taps`.
template <bool INSIDE, int C, class F, class I, class Source>
AM_HD void sum_window(const Source& s, const Reading& r, I x0, I y0, F behind_x, F behind_y, F* sum, F& total) {
    for (int c = 0; c < C; ++c) sum[c] = F(0.0f);
    total = F(0.0f);
    for (int j = 0; j < r.ny; j += r.step_y) {
        I iy = y0 + I(j), y = INSIDE ? iy : tap_y(r, iy);
        F wy = tap_weight(r.kernel, r.cubic, behind_y - F(float(j)), r.inverse_y);
        for (int i = 0; i < r.nx; i += r.step_x) {
            I ix = x0 + I(i), x = INSIDE ? ix : tap_x(r, ix);
            F weight = wy * tap_weight(r.kernel, r.cubic, behind_x - F(float(i)), r.inverse_x), v[C];
            s.tap(x, y, v);
            if (!INSIDE && r.paint) {
                const Box& shown = r.padded ? r.rect : r.reach;
                I tx = min_(max_(ix, I(r.reach.x0)), I(r.reach.x1)), ty = min_(max_(iy, I(r.reach.y0)), I(r.reach.y1));
                auto in = tx >= I(shown.x0) && tx <= I(shown.x1) && ty >= I(shown.y0) && ty <= I(shown.y1);
                if (r.beyond == Beyond::FILL) in = in && ix == tx && iy == ty;
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
        window(sx, r.reach_x, r.taps.x0, r.taps.x1 - r.nx + 1, x0, behind_x);
        window(sy, r.reach_y, r.taps.y0, r.taps.y1 - r.ny + 1, y0, behind_y);
        sum_window<true, C>(s, r, x0, y0, behind_x, behind_y, sum, total);
    } else {
        bool drop = r.beyond == Beyond::DROPPED;  // then the reach bounds the window
        window(sx, r.reach_x, drop ? float(r.reach.x0) : -FAR, drop ? float(r.reach.x1 - r.nx + 1) : FAR, x0, behind_x);
        window(sy, r.reach_y, drop ? float(r.reach.y0) : -FAR, drop ? float(r.reach.y1 - r.ny + 1) : FAR, y0, behind_y);
        sum_window<false, C>(s, r, x0, y0, behind_x, behind_y, sum, total);
    }
    for (int c = 0; c < C; ++c) out[c] = mean(r, sum[c], total, r.fill[c], Source::SCALE);
}

// The value at a position after fold(), in [0, 1] for uint8 sources.
template <int C, class F, class Source> AM_HD void read(const Source& s, const Reading& r, F sx, F sy, F* out) {
    using I = typename IntOf<F>::type;
    if (r.kernel == NEAREST) {
        I ix, iy;
        F behind;
        window(sx, 0.5f, ix, behind);
        window(sy, 0.5f, iy, behind);
        s.tap(tap_x(r, ix), tap_y(r, iy), out);
        for (int c = 0; c < C; ++c) out[c] = out[c] * F(Source::SCALE);
    } else if (r.kernel == LINEAR) {
        bilinear<C>(s, r, sx, sy, out);
    } else {
        weighed<C>(s, r, sx, sy, out);
    }
}

// The value at output position (x, y) (edge coordinates); with its fill, where that is not laid late.
template <int C, class F, class Source> AM_HD void sample(const Source& s, const Reading& r, F x, F y, F* out) {
    F sx, sy, z;
    position(r, x, y, sx, sy, z);
    F tx = sx, ty = sy;
    fold(r, tx, ty);
    read<C>(s, r, tx, ty, out);
    if (!r.late) lay_fill<C>(r, true, sx, sy, z, out);
}

// The fill that is laid late, over the value at output position (x, y).
template <int C, class F> AM_HD void sample_fill(const Reading& r, F x, F y, F* out) {
    F sx, sy, z;
    position(r, x, y, sx, sy, z);
    lay_fill<C>(r, true, sx, sy, z, out);
}
// How much of that is not the fill.
template <class F> AM_HD F sample_cover(const Reading& r, F x, F y) {
    F sx, sy, z;
    position(r, x, y, sx, sy, z);
    return cover_of(r, true, sx, sy, z);
}

}  // namespace AM_LEVEL
}  // namespace anamorph
