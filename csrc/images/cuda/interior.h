// Pixels whose taps all lie inside the picture, under the whole of its frame: nearly all of a view. What is left there of taps.h's
// sample() is a sum with no border, padding or fill to look for, and of a packed picture whole words are read, not bytes.
#pragma once
#include "../taps.h"

namespace anamorph { namespace cuda {

// N bytes that lie side by side, at any address, read as the words that they touch: up to three bytes before and after them too.
template <int N> struct Bytes {
    enum : int { WORDS = (N + 3) / 4, BITS = 8 };
    uint32_t words[WORDS];
    AM_D explicit Bytes(const uint8_t* p) {
        const int before = int(reinterpret_cast<uintptr_t>(p) & 3);
        const uint32_t* at = reinterpret_cast<const uint32_t*>(p - before);
        uint32_t word = __ldg(at);
        AM_UNROLL
        for (int k = 0; k < WORDS; ++k) {
            const bool more = k + 1 < WORDS || before + N > 4 * WORDS;
            const uint32_t next = more ? __ldg(at + k + 1) : 0;
            words[k] = __funnelshift_r(word, next, unsigned(BITS * before));
            word = next;
        }
    }
    // 2^23 and a byte are a float whose last bits are the byte.
    AM_D float operator[](int k) const {
        return word_float(int32_t(__byte_perm(words[k / 4], 0x4B000000u, 0x7440u + unsigned(k % 4)))) - 8388608.0f;
    }
};

// `n` of up to N neighbouring taps of a line; of the others something finite.
template <int N, int C, class Source> struct Line;
template <int N, int C, class T> struct Line<N, C, StridedSource<C, T>> {
    const StridedSource<C, T>& s;
    const T* first;
    int n;
    AM_D Line(const StridedSource<C, T>& source, int x, int y, int count)
        : s(source), first(s.data + y * s.stride_h + x * s.stride_w), n(count) {}
    AM_D float at(int k, int c) const { return k < n ? to_float(first[k * s.stride_w + c * s.stride_c]) : 0.0f; }
};
template <int N, int C> struct Line<N, C, ByteSource<C>> {
    Bytes<N * C> bytes;
    AM_D Line(const ByteSource<C>& s, int x, int y, int) : bytes(s.at(x, y)) {}
    AM_D float at(int k, int c) const { return bytes[k * C + c]; }
};

// Those of a view's taps that may be read so: not the first line of a picture nor its last, for what a packed one's words hold too
// much lies in its other lines then. The same of every picture, so that a view's bits are the same however its picture lies.
AM_D Box whole_lines(const Picture& p, int channels, Box taps) {
    taps.y0 = max_(taps.y0, 1);
    taps.y1 = p.w * channels >= 16 ? min_(taps.y1, p.h - 2) : -1;
    return taps;
}

// Where the positions of such pixels lie.
struct Interior {
    float x0, y0, x1, y1;

    Interior() = default;
    AM_D Interior(const Reading& r, const Box& taps) {
        side(r, 0, taps.x0, taps.x1, r.nx, r.reach_x, x0, x1);
        side(r, 1, taps.y0, taps.y1, r.ny, r.reach_y, y0, y1);
        if (r.perspective || r.folded != BORDER_CONSTANT || r.step_x > 1 || r.step_y > 1) x1 = x0;
    }
    AM_D bool has(float x, float y) const { return x >= x0 && x < x1 && y >= y0 && y < y1; }

private:
    static constexpr float ROUNDING = 1.0f / 32.0f;  // of positions up to MAX_SIDE
    static AM_D void side(const Reading& r, int axis, int low, int high, int n, float reach, float& from, float& to) {
        from = float(low) + reach - (0.5f - ROUNDING);
        to = float(high - n + 2) + reach - (0.5f + ROUNDING);
        if (!r.framed || r.beyond == Beyond::FILL) return;
        // Where the nearest tap is taken a frame is hard, and a tie with it is the general path's to decide.
        const bool hard = r.kernel == NEAREST;
        from = max_(from, r.frame[axis] + (hard ? ROUNDING : 0.5f / r.slope[axis]));
        to = min_(to, r.frame[axis + 2] - (hard ? ROUNDING : 0.5f / r.slope[axis + 2]));
    }
};

template <int C, class Source> AM_D void nearest_inside(const Source& s, float sx, float sy, float* out) {
    s.tap(to_int(sx), to_int(sy), out);
    AM_UNROLL
    for (int c = 0; c < C; ++c) out[c] *= Source::SCALE;
}

template <int C, class Source> AM_D void linear_inside(const Source& s, float sx, float sy, float* out) {
    const int x = to_int(sx - 0.5f), y = to_int(sy - 0.5f);
    const float share_x = sx - 0.5f - float(x), share_y = sy - 0.5f - float(y);
    const Line<2, C, Source> above(s, x, y, 2), below(s, x, y + 1, 2);
    AM_UNROLL
    for (int c = 0; c < C; ++c)
        out[c] = Source::SCALE *
                 lerp(lerp(above.at(0, c), above.at(1, c), share_x), lerp(below.at(0, c), below.at(1, c), share_x), share_y);
}

enum : int { CHUNK = 4 };  // taps of a line that are read at a time

// Of the taps at `behind`, behind - 1 .. ; the first n of them count.
template <Kernel KERNEL> AM_D void weights_of(const Reading& r, float behind, float inverse, int n, float* out) {
    AM_UNROLL
    for (int k = 0; k < CHUNK; ++k) out[k] = k < n ? tap_weight(KERNEL, r.cubic, behind - float(k), inverse) : 0.0f;
}
AM_D void tap_weights(const Reading& r, float behind, float inverse, int n, float* out) {
    switch (r.kernel) {
        case CUBIC: return weights_of<CUBIC>(r, behind, inverse, n, out);
        case LANCZOS: return weights_of<LANCZOS>(r, behind, inverse, n, out);
        case AREA: return weights_of<AREA>(r, behind, inverse, n, out);
        default: return weights_of<TRIANGLE>(r, behind, inverse, n, out);
    }
}

template <int C, class Source> AM_D void weighed_inside(const Source& s, const Reading& r, float sx, float sy, float* out) {
    int x, y;
    float behind_x, behind_y, total = 0.0f, wx[CHUNK];
    window(sx, r.reach_x, 0, int(MAX_SIDE), x, behind_x);
    window(sy, r.reach_y, 0, int(MAX_SIDE), y, behind_y);
    AM_UNROLL
    for (int c = 0; c < C; ++c) out[c] = 0.0f;
    for (int i = 0; i < r.nx; i += CHUNK) {
        tap_weights(r, behind_x - float(i), r.inverse_x, r.nx - i, wx);
        const float across = wx[0] + wx[1] + (wx[2] + wx[3]);
        AM_UNROLL_BY(1)  // a short program: a multiprocessor keeps little of it at hand
        for (int j = 0; j < r.ny; ++j) {
            const Line<CHUNK, C, Source> line(s, x + i, y + j, r.nx - i);
            const float wy = tap_weight(r.kernel, r.cubic, behind_y - float(j), r.inverse_y);
            total += across * wy;
            AM_UNROLL
            for (int c = 0; c < C; ++c)
                out[c] += wy * (wx[0] * line.at(0, c) + wx[1] * line.at(1, c) + (wx[2] * line.at(2, c) + wx[3] * line.at(3, c)));
        }
    }
    const float scale = Source::SCALE / total;
    AM_UNROLL
    for (int c = 0; c < C; ++c) out[c] = within(r, out[c] * scale);
}

}}  // namespace anamorph::cuda
