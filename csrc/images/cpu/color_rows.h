// Colour steps along a row on a CPU, and the row's way to the output: the last step may write there itself, so that its
// arithmetic fills the time of the stores.
#pragma once
#include "../color.h"
#include "../render_args.h"

namespace anamorph { namespace AM_LEVEL {

// Where the pixels of a step along a row go: back into the row's buffer, or normalised to a float32 output.
template <int C> struct ToBuffer {
    int pitch;
    float* buf;
    AM_HD void operator()(int x, const Floats* v) const {
        for (int c = 0; c < C; ++c) v[c].store(buf + c * pitch + x);
    }
};
template <int C> struct ToOutput {
    int width;
    float* to;
    int64_t plane;
    float scale[C], bias[C];
    bool streams;  // a batch that no cache holds is written past them, or each line would first be read
    ToOutput(const RenderArgs& a, int i, int y)
        : width(a.out_w), to(reinterpret_cast<float*>(a.out) + i * a.out_n + y * a.out_y), plane(a.out_c) {
        for (int c = 0; c < C; ++c) {
            scale[c] = a.scale[c];
            bias[c] = a.bias[c];
        }
        uintptr_t aligned = reinterpret_cast<uintptr_t>(to) | uintptr_t(plane * 4);
        streams = aligned % (LANES * 4) == 0 && int64_t(a.in.batch) * C * a.out_h * a.out_w > (1 << 20);
    }
    static bool fits(const RenderArgs& a) { return a.out_dtype == F32 && a.out_x == 1; }
    AM_HD void operator()(int x, const Floats* v) const {
        for (int c = 0; c < C; ++c) {
            Floats u = v[c] * Floats(scale[c]) + Floats(bias[c]);
            float* p = to + c * plane + x;
            if (x + LANES > width) std::memcpy(p, &u.v, size_t(width - x) * 4);
            else if (streams) stream(u, p);
            else u.store(p);
        }
    }
};

// One colour step along a row: `OP` is known here, so that its code alone is in the loop.
template <int C, int OP, class To> void color_row(float p, float mean, bool bytes, int xa, int xb, int pitch, const float* buf,
                                                  To to) {
    for (int x = xa; x < xb; x += LANES) {
        Floats v[C];
        for (int c = 0; c < C; ++c) v[c] = Floats::load(buf + c * pitch + x);
        color_step<C>(OP, p, mean, bytes, v);
        to(x, v);
    }
}

// The same with the op found once for the row. An op that is not of this version changes nothing.
template <int C, class To> void color_row(int op, float p, float mean, bool bytes, int xa, int xb, int pitch, const float* buf,
                                          To to) {
    switch (op) {
#define AM_COLOR(name) \
    case OP_##name: color_row<C, OP_##name>(p, mean, bytes, xa, xb, pitch, buf, to); break;
#define AM_CONTROL(name)
#define AM_GEOMETRY(name)
#define AM_ERASE(name)
#define AM_MIX(name)
#define AM_OP(name, code, kind, ...) AM_##kind(name)
        AM_OPS(AM_OP)
#undef AM_OP
#undef AM_MIX
#undef AM_ERASE
#undef AM_GEOMETRY
#undef AM_CONTROL
#undef AM_COLOR
        default: color_row<C, 0>(p, mean, bytes, xa, xb, pitch, buf, to); break;
    }
}

// Normalise, cast, store.
template <int C, class T> void store_row(const RenderArgs& a, T* out, int pitch, const float* buf) {
    alignas(64) T v[C][LANES];
    for (int x = 0; x < a.out_w; x += LANES) {
        int n = min_(int(LANES), a.out_w - x);
        for (int c = 0; c < C; ++c) {
            Floats u = Floats::load(buf + c * pitch + x) * Floats(a.scale[c]) + Floats(a.bias[c]);
            bool side_by_side = a.out_x == 1 && n == LANES;
            store_pack(u, side_by_side ? out + c * a.out_c + x : v[c]);
        }
        if (a.out_x == 1 && n == LANES) continue;
        if (a.out_c == 1 && a.out_x == C && n == LANES) {  // channels last
            T* to = out + int64_t(x) * C;
            for (int k = 0; k < LANES; ++k)
                for (int c = 0; c < C; ++c) to[k * C + c] = v[c][k];
        } else {
            for (int c = 0; c < C; ++c)
                for (int k = 0; k < n; ++k) out[c * a.out_c + (x + k) * a.out_x] = v[c][k];
        }
    }
}
template <int C> void store_row(const RenderArgs& a, int i, int y, int pitch, const float* buf) {
    if (ToOutput<C>::fits(a)) {
        color_row<C, 0>(0.0f, 0.0f, false, 0, a.out_w, pitch, buf, ToOutput<C>(a, i, y));
        return;
    }
    by_dtype(a.out_dtype, [&](auto value) {
        store_row<C>(a, reinterpret_cast<decltype(value)*>(a.out) + i * a.out_n + y * a.out_y, pitch, buf);
    });
}

// The sum of a row's grey.
template <int C> double gray_sum(int width, int pitch, const float* buf) {
    Floats part(0.0f);
    int x = 0;
    for (; x + LANES <= width; x += LANES) {
        Floats v[C];
        for (int c = 0; c < C; ++c) v[c] = Floats::load(buf + c * pitch + x);
        part = part + gray<C>(v);
    }
    float lanes[LANES];
    part.store(lanes);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int k = 0; k < half; ++k) lanes[k] += lanes[k + half];
    double sum = lanes[0];
    for (; x < width; ++x) {
        float v[C];
        for (int c = 0; c < C; ++c) v[c] = buf[c * pitch + x];
        sum += gray<C>(v);
    }
    return sum;
}

}}  // namespace anamorph::AM_LEVEL
