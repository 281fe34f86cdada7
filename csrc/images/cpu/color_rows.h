// Colour steps along a row on a CPU, and the row's way to the output: the last step may write there itself, so that its
// arithmetic fills the time of the stores.
#pragma once
#include "../../core/shuffles.h"
#include "../color.h"
#include "../render_args.h"

namespace anamorph { namespace AM_LEVEL {

// Where the pixels of a step along a row go: back into the row's buffer, or normalised to a planar output.
template <int C> struct ToBuffer {
    int pitch;
    float* buf;
    AM_HD void operator()(int x, const Floats* v) const {
        for (int c = 0; c < C; ++c) v[c].store(buf + c * pitch + x);
    }
};
// A batch that no cache holds is written past them, or each line would first be read: in whole lines, since one that is written
// partly so and partly not costs as much as a hundred pixels.
enum : int { CACHE_LINE = 64 };
template <int C> bool past_caches(const RenderArgs& a) {
    return int64_t(a.batch) * C * a.out_h * a.out_w * dtype_bytes(a.out_dtype) > (4 << 20);
}
template <int C, class T> struct ToOutput {
    int width;
    T* to;
    int64_t plane;
    Floats scale[C], bias[C];
    bool streams;
    ToOutput(const RenderArgs& a, int i, int y)
        : width(a.out_w), to(reinterpret_cast<T*>(a.out) + i * a.out_n + y * a.out_y), plane(a.out_c),
          streams(past_caches<C>(a)) {
        for (int c = 0; c < C; ++c) {
            scale[c] = Floats(a.scale[c]);
            bias[c] = Floats(a.bias[c]);
        }
    }
    // Rows of which each begins on a line's edge, where that matters.
    static bool fits(const RenderArgs& a) {
        if (a.out_x != 1) return false;
        uintptr_t edges = reinterpret_cast<uintptr_t>(a.out) | uintptr_t((a.out_n | a.out_y | a.out_c) * sizeof(T));
        return edges % CACHE_LINE == 0 || !past_caches<C>(a);
    }
    AM_HD void operator()(int x, const Floats* v) const {
        for (int c = 0; c < C; ++c) {
            Floats u = v[c] * scale[c] + bias[c];
            T* p = to + c * plane + x;
            if (x + LANES > width) {
                auto last = narrowed(u, p);
                std::memcpy(p, &last, size_t(width - x) * sizeof(T));
            } else if (streams) {
                stream_pack(u, p);
            } else {
                store_pack(u, p);
            }
        }
    }
};

// One step along a row: `OP` is known here, so that its code alone is in the loop.
template <int C, int OP, class To> void color_row(const Step& step, int xa, int xb, int pitch, const float* buf, const To& out) {
    const To to = out;  // of its own: what is stored might else be taken for a part of it
    for (int x = xa; x < xb; x += LANES) {
        Floats v[C];
        for (int c = 0; c < C; ++c) v[c] = Floats::load(buf + c * pitch + x);
        color_step<C>(OP, step, v);
        to(x, v);
    }
}

// The same with the op found once for the row. An op that is not of this version changes nothing.
template <int C, class To> void color_row(const Step& step, int xa, int xb, int pitch, const float* buf, const To& to) {
    switch (step.op()) {
#define AM_COLOR(name) \
    case OP_##name: color_row<C, OP_##name>(step, xa, xb, pitch, buf, to); break;
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
        default: color_row<C, 0>(step, xa, xb, pitch, buf, to); break;
    }
}

// Pixels of N channels side by side in the output: normalise, cast, store.
template <int N, class T> struct Line {
    T* to;
    const float* buf;
    int pitch;
    Floats scale[N], bias[N];
    Line(T* out, const float* from, int row_pitch, const float* s, const float* b) : to(out), buf(from), pitch(row_pitch) {
        for (int c = 0; c < N; ++c) {
            scale[c] = Floats(s[c]);
            bias[c] = Floats(b[c]);
        }
    }

    // The N packs of LANES pixels from `from` on, whose channels lie `plane` values apart.
    AM_HD void load(const float* from, int plane, Floats* out) const {
        Floats v[N];
        for (int c = 0; c < N; ++c) v[c] = Floats::load(from + c * plane) * scale[c] + bias[c];
        put_together<N>(v, out);
    }
    void some(int x, int end) const {
        for (int n; x < end; x += n) {
            n = min_(end - x, int(LANES));
            float in[N * LANES] = {};
            T room[N * LANES];
            Floats v[N];
            for (int c = 0; c < N; ++c) std::memcpy(in + c * LANES, buf + c * pitch + x, size_t(n) * 4);
            load(in, LANES, v);
            for (int k = 0; k < N; ++k) store_pack(v[k], room + k * LANES);
            std::memcpy(to + int64_t(x) * N, room, sizeof(T) * N * n);
        }
    }
    // STREAMS: whole packs, past the caches. Else at least one, the last of them over the one before.
    template <bool STREAMS> AM_HD void packs(int x, int end) const {
        const Line line = *this;  // what is stored might else be taken for a part of it
        for (; x < end; x += LANES) {
            if (!STREAMS) x = min_(x, end - LANES);
            Floats v[N];
            line.load(line.buf + x, line.pitch, v);
            T* p = line.to + int64_t(x) * N;
            for (int k = 0; k < N; ++k, p += LANES) {
                if (STREAMS) stream_pack(v[k], p);
                else store_pack(v[k], p);
            }
        }
    }
    void all(int width, bool streams) const {
        int head = 0;
        const int whole = max_(int(CACHE_LINE / sizeof(T)), int(LANES));  // pixels that fill lines
        if (streams) {                                                    // up to a line's edge
            auto edge = [&](int x) { return reinterpret_cast<uintptr_t>(to + int64_t(x) * N) % CACHE_LINE == 0; };
            while (head < whole && !edge(head)) ++head;
            streams = head < whole && head <= width;
        }
        if (streams) {
            const int end = head + (width - head) / whole * whole;
            some(0, head);
            packs<true>(head, end);
            some(end, width);
        } else if (width >= LANES) {
            packs<false>(0, width);
        } else {
            some(0, width);
        }
    }
};

template <int C, class T> void store_row(const RenderArgs& a, T* out, int pitch, const float* buf) {
    if (a.out_x == 1) {
        for (int c = 0; c < C; ++c)
            Line<1, T>(out + c * a.out_c, buf + c * pitch, pitch, a.scale + c, a.bias + c).all(a.out_w, past_caches<C>(a));
    } else if (a.out_c == 1 && a.out_x == C) {  // channels last
        Line<C, T>(out, buf, pitch, a.scale, a.bias).all(a.out_w, past_caches<C>(a));
    } else {
        for (int c = 0; c < C; ++c)
            for (int x = 0; x < a.out_w; ++x)
                store_value(buf[c * pitch + x] * a.scale[c] + a.bias[c], out + c * a.out_c + x * a.out_x);
    }
}
template <int C> void store_row(const RenderArgs& a, int i, int y, int pitch, const float* buf) {
    by_dtype(a.out_dtype, [&](auto value) {
        store_row<C>(a, reinterpret_cast<decltype(value)*>(a.out) + i * a.out_n + y * a.out_y, pitch, buf);
    });
}

}}  // namespace anamorph::AM_LEVEL
