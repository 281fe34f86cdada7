// One picture read by one map on a CPU, row by row: which columns of a row take which way to their taps.
#pragma once
#include <cstdlib>
#include <new>
#include "pixel_rows.h"

namespace anamorph { namespace AM_LEVEL {

// Room that grows and is used again.
struct Scratch {
    float* data = nullptr;
    size_t size = 0;
    float* need(size_t n) {
        if (n > size) {
            free(data);
            size = 0;
            data = static_cast<float*>(aligned_alloc(64, (n * sizeof(float) + 63) / 64 * 64));
            if (!data) throw std::bad_alloc();
            size = n;
        }
        return data;
    }
    ~Scratch() { free(data); }
};

inline int packs_below(int x) { return x / LANES * LANES; }
inline int packs_above(int x) { return packs_below(x + LANES - 1); }

template <int C> struct Sampler {
    Picture picture;
    Reading r;
    int pitch;
    bool dense, planes;    // the channels of a pixel lie side by side, or the pixels of a channel do
    Square square;         // square_rows.h
    Between inner, plain;  // where no window touches the rect's edge; where no fill shows

    Sampler(const Picture& p, const Reading& reading, int row_pitch)
        : picture(p), r(reading), pitch(row_pitch), dense(is_dense<C>(p)), planes(!dense && is_dense<1>(p)) {
        inner = between(r, r.taps.x0 + r.reach_x, r.taps.y0 + r.reach_y, r.taps.x1 - r.nx + r.reach_x,
                        r.taps.y1 - r.ny + r.reach_y);
        inner.everywhere = r.movable;
        inner.nowhere = inner.nowhere || r.folded;
        float clear[4];  // of the fill: from the frame's and from the paddings' sides
        for (int i = 0; i < 4; ++i) {
            float fade = r.kernel == NEAREST ? 0.0f : 0.5f / r.slope[i];
            float soft = r.kernel == NEAREST ? 0.0f : i % 2 ? r.reach_y : r.reach_x;
            float frame = r.framed ? r.frame[i] + (i < 2 ? fade : -fade) : i < 2 ? -FAR : FAR;
            float pad = r.pads[i] + (i < 2 ? soft : -soft);
            clear[i] = i < 2 ? max_(frame, pad) : min_(frame, pad);
        }
        plain = between(r, clear[0], clear[1], clear[2], clear[3]);
        plain.everywhere = !r.framed && !r.padded && !r.perspective;
        plain.nowhere = plain.nowhere || (r.padded && r.folded);
    }

    // Before the first row: the tables that square views need, in `room`, which is theirs.
    void open(Scratch& room) {
        if ((dense || planes) && Square::wanted(r, pitch)) square.open(r, pitch, room.need(Square::floats(r, pitch)));
    }

    // Columns [xa, xb) (xa on a pack's edge) of row y into buf[C][pitch], with the fill that is not laid late.
    void row(int y, int xa, int xb, const Stage& stage, float* buf) const {
        int a = xa, b = xa;  // what needs the fill laid
        bool pads = true;
        if (square.fits) {
            square_row(y, xa, xb, buf);
            pads = false;  // they are among its taps
            b = packs_above(xb);
        } else {
            if (dense || planes) {
                columns(inner, r, y, pitch, a, b);
                a = max_(xa, packs_above(a));
                b = max_(a, min_(packs_above(xb), packs_below(b)));
            }
            one_by_one(y, xa, min_(a, xb), buf);
            one_by_one(y, b, xb, buf);
            if (a == b) return;
            staged_row(y, a, b, stage, buf);
        }
        if (!r.late) lay(y, a, b, pads, buf);
    }

    // The fill that is laid late, over `from` into buf.
    void fill(int y, int xa, int xb, const float* from, float* buf) const {
        if (from != buf)
            for (int c = 0; c < C; ++c) std::memcpy(buf + c * pitch + xa, from + c * pitch + xa, size_t(xb - xa) * sizeof(float));
        lay(y, xa, packs_above(xb), true, buf);
    }

private:
    void staged_row(int y, int a, int b, const Stage& stage, float* buf) const {
        Dense d = dense_of(picture, 0, dense ? C : 1);
        int most = dense ? place<C>(r, d, y, a, b, stage) : place<1>(r, d, y, a, b, stage);
        by_dtype(picture.dtype, [&](auto value) {
            using T = decltype(value);
            if constexpr (sizeof(T) > 1)
                return pixel_row<C, T>(r, d, dense ? C : 1, dense ? 1 : picture.stride_c, most, a, b, stage, buf);
            else if (dense) return sample_row<C>(r, d, 0, most, a, b, stage, buf);
            else
                for (int c = 0; c < C; ++c) sample_row<1>(r, dense_of(picture, c, 1), c, most, a, b, stage, buf);
        });
    }
    void square_row(int y, int xa, int xb, float* buf) const {
        by_dtype(picture.dtype, [&](auto value) {
            auto data = reinterpret_cast<const decltype(value)*>(picture.data);
            if (dense) return square.row<C>(r, data, picture.stride_h, 0, y, xa, xb, pitch, buf);
            for (int c = 0; c < C; ++c) square.row<1>(r, data + c * picture.stride_c, picture.stride_h, c, y, xa, xb, pitch, buf);
        });
    }
    void one_by_one(int y, int xa, int xb, float* buf) const {
        by_dtype(picture.dtype, [&](auto value) {
            StridedSource<C, decltype(value)> source(picture);
            for (int x = xa; x < xb; x += LANES) {
                Floats v[C];
                sample<C>(source, r, Floats::iota() + Floats(float(x) + 0.5f), Floats(float(y) + 0.5f), v);
                for (int c = 0; c < C; ++c) v[c].store(buf + c * pitch + x);
            }
        });
    }
    // The fill over columns [a, b), where it shows.
    void lay(int y, int a, int b, bool pads, float* buf) const {
        int clear_a, clear_b;
        columns(plain, r, y, pitch, clear_a, clear_b);
        clear_a = min_(b, packs_above(clear_a));
        clear_b = max_(clear_a, packs_below(clear_b));
        lay_packs(y, a, clear_a, pads, buf);
        lay_packs(y, max_(a, clear_b), b, pads, buf);
    }
    void lay_packs(int y, int xa, int xb, bool pads, float* buf) const {
        for (int x = xa; x < xb; x += LANES) {
            Floats v[C], sx, sy, z;
            position(r, Floats::iota() + Floats(float(x) + 0.5f), Floats(float(y) + 0.5f), sx, sy, z);
            for (int c = 0; c < C; ++c) v[c] = Floats::load(buf + c * pitch + x);
            lay_fill<C>(r, pads, sx, sy, z, v);
            for (int c = 0; c < C; ++c) v[c].store(buf + c * pitch + x);
        }
    }
};

}}  // namespace anamorph::AM_LEVEL
