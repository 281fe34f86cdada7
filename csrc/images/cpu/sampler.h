// One picture read by one map on a CPU, row by row: which columns of a row take which way to their taps.
#pragma once
#include <cstdlib>
#include <new>
#include "unit_rows.h"

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

template <int C> struct Sampler {
    Picture picture;
    Reading r;
    int pitch;
    bool dense, planes;    // the channels of a pixel lie side by side, or the pixels of a channel do
    Unit unit;             // unit_rows.h
    Square square;         // square_rows.h
    Between inner, plain;  // where no window touches the rect's edge; where no fill shows

    Sampler(const Picture& p, const Reading& reading, int row_pitch)
        : picture(p), r(reading), pitch(row_pitch), dense(is_dense<C>(p)), planes(!dense && is_dense<1>(p)) {
        if (dense || planes) unit = Unit(r);
        inner = between(r, r.tap_x0 + r.reach_x, r.tap_y0 + r.reach_y, r.tap_x1 - r.nx + r.reach_x, r.tap_y1 - r.ny + r.reach_y);
        inner.everywhere = r.movable;
        bool soft = r.kernel != NEAREST;
        float fade_x = soft ? 0.5f / r.slope_x : 0.0f, fade_y = soft ? 0.5f / r.slope_y : 0.0f;
        plain = between(r, r.x0 + fade_x, r.y0 + fade_y, r.x1 - fade_x, r.y1 - fade_y);
        plain.everywhere = !r.filled && !r.perspective;
    }

    // Before the first of `rows` rows: the tables that square views need, or where windows are to be fetched pixel by pixel the
    // channels of a planar picture side by side; in `room`, which is theirs.
    void open(Scratch& room, int rows) {
        bool squared = Square::wanted(r, pitch);
        int64_t width = r.tap_x1 - r.tap_x0 + 1, pixels = width * (r.tap_y1 - r.tap_y0 + 1);
        bool few = pixels <= 4 * int64_t(rows) * pitch && (r.tap_y1 + 2) * width * C < 0x7FFFFF00;
        if (C > 1 && planes && !unit.fits && !squared && few) {
            by_dtype(picture.dtype, [&](auto value) {
                using T = decltype(value);
                pack(reinterpret_cast<T*>(room.need((size_t(pixels) * C * sizeof(T) + 3) / 4)));
            });
            return;
        }
        if ((dense || planes) && !unit.fits && squared) square.open(r, pitch, room.need(Square::floats(r, pitch)));
    }

    // Columns [xa, xb) (xa on a pack's edge) of row y into buf[C][pitch].
    void row(int y, int xa, int xb, const Stage& stage, float* buf) const {
        int a = xa, b = xa;  // what needs the frame
        if (unit.fits) {
            unit_row(y, xa, xb, buf);
            b = packs_above(xb);
        } else if (square.fits && square_row(y, xa, xb, buf)) {
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
        int clear_a, clear_b;
        columns(plain, r, y, pitch, clear_a, clear_b);
        clear_a = min_(b, packs_above(clear_a));
        clear_b = max_(clear_a, packs_below(clear_b));
        framed(y, a, clear_a, buf);
        framed(y, max_(a, clear_b), b, buf);
    }

private:
    // What may be read of the picture, packed. Its pixels keep their places.
    template <class T> void pack(T* to) {
        const T* from = reinterpret_cast<const T*>(picture.data);
        int width = r.tap_x1 - r.tap_x0 + 1;
        for (int y = r.tap_y0; y <= r.tap_y1; ++y, to += width * C) {
            const T* line = from + y * picture.stride_h + r.tap_x0;
            for (int x = 0; x < width; ++x)
                for (int c = 0; c < C; ++c) to[x * C + c] = line[x + c * picture.stride_c];
        }
        picture.h = r.tap_y1 + 1;
        picture.w = r.tap_x1 + 1;
        picture.stride_h = int64_t(width) * C;
        picture.stride_w = C;
        picture.stride_c = 1;
        picture.data = reinterpret_cast<const uint8_t*>(to - (r.tap_y1 + 1) * picture.stride_h - int64_t(r.tap_x0) * C);
        dense = true;
        planes = false;
    }
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
    void unit_row(int y, int xa, int xb, float* buf) const {
        by_dtype(picture.dtype, [&](auto value) {
            auto data = reinterpret_cast<const decltype(value)*>(picture.data);
            if (dense) return unit.row<C>(r, data, picture.stride_h, 0, y, xa, xb, pitch, buf);
            for (int c = 0; c < C; ++c) unit.row<1>(r, data + c * picture.stride_c, picture.stride_h, c, y, xa, xb, pitch, buf);
        });
    }
    bool square_row(int y, int xa, int xb, float* buf) const {
        return by_dtype(picture.dtype, [&](auto value) {
            auto data = reinterpret_cast<const decltype(value)*>(picture.data);
            return square.row<C>(r, data, picture.stride_h, dense ? 1 : picture.stride_c, y, xa, xb, pitch, buf);
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
    void framed(int y, int xa, int xb, float* buf) const {
        for (int x = xa; x < xb; x += LANES) {
            Floats v[C], sx, sy, z;
            position(r, Floats::iota() + Floats(float(x) + 0.5f), Floats(float(y) + 0.5f), sx, sy, z);
            for (int c = 0; c < C; ++c) v[c] = Floats::load(buf + c * pitch + x);
            frame<C>(r, sx, sy, z, v);
            for (int c = 0; c < C; ++c) v[c].store(buf + c * pitch + x);
        }
    }
};

}}  // namespace anamorph::AM_LEVEL
