// One picture read by one map on a CPU, row by row: which columns of a row take which way to their taps.
#pragma once
#include "field_rows.h"
#include "strip.h"
#include "unit_rows.h"

namespace anamorph { namespace AM_LEVEL {

template <int C> struct Sampler {
    Reading view;     // what the row says: where its fill is laid
    Picture picture;  // what is read, by
    Reading r;
    int pitch;
    bool dense, planes;    // the channels of a pixel lie side by side, or the pixels of a channel do
    bool pads = true;      // is a padding's fill laid over the taps? Else they hold it
    Unit unit;             // unit_rows.h
    Square square;         // square_rows.h
    FieldRows field;       // field_rows.h
    Between inner, plain;  // where no window touches the rect's edge; where no fill shows

    Sampler(const Picture& p, const Reading& reading, const Field& its_field, int row_pitch)
        : view(reading), pitch(row_pitch), field(its_field) {
        read(p, reading);
        if (!field.moves()) unit = Unit(r);
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
        plain.nowhere = plain.nowhere || field.moves() || (r.padded && r.folded);
    }

    // How a view of height x width is made ready, before its first row: by tables, where it is square; by the strip from which large
    // windows are read; of other windows by a planar picture's channels side by side. Of pictures of any strides the pixels are laid
    // side by side first, where most of them are read or the windows are large.
    struct Ways {
        bool packs = false, table = false, strip = false;
        bool costly() const { return packs || strip; }  // so that it should be done once for a view
    };
    Ways ways(int height, int width) const {
        Ways k;
        const Box& b = r.rect;
        const int64_t wide = b.x1 - b.x0 + 1, pixels = wide * (b.y1 - b.y0 + 1);
        const bool fits = (b.y1 + 2) * wide * C < 0x7FFFFF00, few = pixels <= 4 * int64_t(height) * width;
        k.packs = !lies() && fits && (r.kernel >= TRIANGLE || few);
        if (unit.fits || (!lies() && !k.packs)) return k;
        const Strip s(r, height, width);
        const bool square = !field.moves() && Square::wanted(r, pitch);
        k.strip = !field.moves() && s.allowed(r) && (square ? s.pays_square(r, height, width) : s.pays(r, height, width));
        k.table = square && !k.strip;
        k.packs = k.packs || (!square && !k.strip && C > 1 && planes && fits && few);
        return k;
    }
    // In rooms that are the view's own.
    void open(Scratch& table, Scratch& strip, Scratch& packed, Scratch& fields, int height, int width) {
        field.open(fields, pitch);
        const Ways k = ways(height, width);
        if (k.packs) pack(packed);
        if (k.table) {
            square.open(r, C, pitch, height, table.need(Square::floats(r, C, pitch)));
            pads = false;
        }
        if (k.strip) {
            const Strip s(r, height, width);
            Picture drawn = s.picture(C, picture.dtype == U8);
            uint8_t* points = reinterpret_cast<uint8_t*>(strip.need(s.floats(C)));
            drawn.data = points;
            by_dtype(drawn.dtype, [&](auto value) { draw_strip(s, reinterpret_cast<decltype(value)*>(points), table); });
            read(drawn, s.reading(r, drawn));
            pads = false;
        }
    }

    // Columns [xa, xb) (xa on a pack's edge) of row y into buf[C][pitch], with the fill that is not laid late.
    void row(int y, int xa, int xb, const Stage& stage, float* buf) const {
        int a = xa, b = xa;  // what needs the fill laid
        if (field.moves()) field.move(y, xa, xb);
        if (unit.fits && lies()) {
            unit_row(y, xa, xb, buf);
            b = packs_above(xb);
        } else if (square.fits) {
            square_row(square, r, y, xa, xb, pitch, buf);
            b = packs_above(xb);
        } else {
            if (lies()) {
                columns(inner, r, y, pitch, a, b);
                a = max_(xa, packs_above(a));
                b = max_(a, min_(packs_above(xb), packs_below(b)));
            }
            one_by_one(y, xa, min_(a, xb), buf);
            one_by_one(y, b, xb, buf);
            if (a == b) return;
            staged_row(y, a, b, stage, buf);
        }
        if (!view.late) lay(y, a, b, pads, buf);
    }

    // The fill that is laid late, over `from` into buf.
    void fill(int y, int xa, int xb, const float* from, float* buf) const {
        if (from != buf)
            for (int c = 0; c < C; ++c) std::memcpy(buf + c * pitch + xa, from + c * pitch + xa, size_t(xb - xa) * sizeof(float));
        if (field.moves()) field.move(y, xa, xb);
        lay(y, xa, packs_above(xb), true, buf);
    }

    // How much of each pixel of row y is no fill.
    void cover(int y, int width, float* buf) const {
        if (field.moves()) field.move(y, 0, width);
        for (int x = 0; x < width; x += LANES) {
            Floats fx, fy;
            at(x, y, fx, fy);
            sample_cover(view, fx, fy).store(buf + x);
        }
    }

private:
    // Where in the view that `m` is of columns x .. of the row lie.
    void at(int x, int y, Floats& fx, Floats& fy) const {
        fx = field.moves() ? Floats::load(field.moved_x + x) : Floats::iota() + Floats(float(x) + 0.5f);
        fy = field.moves() ? Floats::load(field.moved_y + x) : Floats(float(y) + 0.5f);
    }
    bool lies() const { return dense || planes; }
    void read(const Picture& p, const Reading& reading) {
        picture = p;
        r = reading;
        dense = is_dense<C>(p);
        planes = !dense && is_dense<1>(p);
        inner =
            between(r, r.taps.x0 + r.reach_x, r.taps.y0 + r.reach_y, r.taps.x1 - r.nx + r.reach_x, r.taps.y1 - r.ny + r.reach_y);
        inner.everywhere = r.movable;
        inner.nowhere = inner.nowhere || r.folded || field.moves();
    }
    // The strip's picture: rows of a view that lies square to the source.
    template <class T> void draw_strip(const Strip& s, T* to, Scratch& table) const {
        Reading q = s.square(r);
        int width = packs_above(s.w);
        size_t row = size_t(width) * C;
        float* room = table.need(Square::floats(q, C, width) + row);
        Square rows;
        rows.open(q, C, width, s.h, room + row);
        for (int y = 0; y < s.h; ++y) {
            square_row(rows, q, y, 0, s.w, width, room);
            pack_row<C>(room, width, s.w, to + int64_t(y) * s.w * C);
        }
    }
    template <class T> AM_HD static void pack_line(const T* line, int64_t step, int64_t plane, int width, T* __restrict__ to) {
        for (int x = 0; x < width; ++x)
            for (int c = 0; c < C; ++c) to[x * C + c] = line[x * step + c * plane];
    }
    // What may be read of the picture, packed. Its pixels keep their places.
    void pack(Scratch& room) {
        const int width = r.rect.x1 - r.rect.x0 + 1, height = r.rect.y1 - r.rect.y0 + 1;
        by_dtype(picture.dtype, [&](auto value) {
            using T = decltype(value);
            pack(reinterpret_cast<T*>(room.need((size_t(width) * height * C * sizeof(T) + 3) / 4)), width);
        });
    }
    template <class T> void pack(T* to, int width) {
        const T* from = reinterpret_cast<const T*>(picture.data);
        for (int y = r.rect.y0; y <= r.rect.y1; ++y, to += width * C) {
            const T* line = from + y * picture.stride_h + r.rect.x0 * picture.stride_w;
            // Colours among others, as those of RGBA, are taken by shuffles, if the compiler knows where they lie.
            if (picture.stride_c == 1 && picture.stride_w == 4) pack_line(line, 4, 1, width, to);
            else pack_line(line, picture.stride_w, picture.stride_c, width, to);
        }
        picture.h = r.rect.y1 + 1;
        picture.w = r.rect.x1 + 1;
        picture.stride_h = int64_t(width) * C;
        picture.stride_w = C;
        picture.stride_c = 1;
        picture.data = reinterpret_cast<const uint8_t*>(to - (r.rect.y1 + 1) * picture.stride_h - int64_t(r.rect.x0) * C);
        dense = true;
        planes = false;
    }
    void staged_row(int y, int a, int b, const Stage& stage, float* buf) const {
        Dense d = dense_of(picture, 0, dense ? C : 1);
        const Moved moved{field.moves() ? field.moved_x : nullptr, field.moved_y};
        int most = dense ? place<C>(r, d, y, a, b, moved, stage) : place<1>(r, d, y, a, b, moved, stage);
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
    void square_row(const Square& rows, const Reading& q, int y, int xa, int xb, int width, float* buf) const {
        by_dtype(picture.dtype, [&](auto value) {
            auto data = reinterpret_cast<const decltype(value)*>(picture.data);
            rows.template row<C>(q, data, picture.stride_h, dense ? 1 : picture.stride_c, y, xa, xb, width, buf);
        });
    }
    void one_by_one(int y, int xa, int xb, float* buf) const {
        by_dtype(picture.dtype, [&](auto value) {
            StridedSource<C, decltype(value)> source(picture);
            for (int x = xa; x < xb; x += LANES) {
                Floats v[C], fx, fy;
                at(x, y, fx, fy);
                sample<C>(source, r, fx, fy, v);
                for (int c = 0; c < C; ++c) v[c].store(buf + c * pitch + x);
            }
        });
    }
    // The fill over columns [a, b), where it shows.
    void lay(int y, int a, int b, bool pads, float* buf) const {
        int clear_a, clear_b;
        columns(plain, view, y, pitch, clear_a, clear_b);
        clear_a = min_(b, packs_above(clear_a));
        clear_b = max_(clear_a, packs_below(clear_b));
        lay_packs(y, a, clear_a, pads, buf);
        lay_packs(y, max_(a, clear_b), b, pads, buf);
    }
    void lay_packs(int y, int xa, int xb, bool pads, float* buf) const {
        for (int x = xa; x < xb; x += LANES) {
            Floats v[C], fx, fy, sx, sy, z;
            at(x, y, fx, fy);
            position(view, fx, fy, sx, sy, z);
            for (int c = 0; c < C; ++c) v[c] = Floats::load(buf + c * pitch + x);
            lay_fill<C>(view, pads, sx, sy, z, v);
            for (int c = 0; c < C; ++c) v[c].store(buf + c * pitch + x);
        }
    }
};

}}  // namespace anamorph::AM_LEVEL
