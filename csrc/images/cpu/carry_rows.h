// carry.h on a CPU, compiled once for each SIMD level (carry_*.cpp): planes row by row, boxes and points one by one.
#pragma once
#include <algorithm>
#include <vector>
#include "../carry.h"
#include "field_rows.h"

namespace anamorph { namespace AM_LEVEL {

// The maps of a sample with the coefficients of its field.
struct OpenMaps : Maps {
    FieldTable table{nullptr, 0};
    template <class Args> OpenMaps(const Args& a, const int32_t* rows, int i, bool partner, Scratch& room) {
        maps_of(a, rows, i, partner, *this);
        if (!field.moves) return;
        table.line = packs_above(field.count[0]);
        float* to = room.need(size_t(MOTIONS) * field.count[1] * table.line);
        table.at = to;
        for (int k = 0; k < MOTIONS; ++k)
            for (int y = 0; y < field.count[1]; ++y, to += table.line) {
                if (!field.has(k)) continue;
                const Philox4 keys = field_keys(field, k);
                for (int x = 0; x < table.line; x += LANES)
                    coefficient(keys, Words(to_int(Floats::iota() + Floats(float(x)))), Words(uint32_t(y))).store(to + x);
            }
    }
};

// Where a row's values come from: of each pixel the places (the first below 0: nowhere) and weights, and its position in the source.
struct CarryRow {
    int pitch;
    int32_t* at;
    float *weight, *sx, *sy;
    CarryRow(Scratch& room, int width) : pitch(packs_above(width)) {
        float* from = room.need(size_t(10) * pitch);
        at = reinterpret_cast<int32_t*>(from);
        weight = from + 4 * size_t(pitch);
        sx = weight + 4 * size_t(pitch);
        sy = sx + pitch;
    }
    // A pack of columns. Those before it have been used already, and those behind will be found anew.
    void store(int x, Ints first, const Values<Floats>& v, bool bilinear) {
        first.store(at + x);
        for (int k = 0; k < 4 && bilinear; ++k) {
            if (k > 0) v.at[k].store(at + k * pitch + x);
            v.weight[k].store(weight + k * pitch + x);
        }
    }
    Values<float> values(int x) const {
        Values<float> v;
        for (int k = 0; k < 4; ++k) {
            v.at[k] = at[k * pitch + x];
            v.weight[k] = weight[k * pitch + x];
        }
        return v;
    }
    void set(int x, const Values<float>& v) {
        for (int k = 0; k < 4; ++k) {
            at[k * pitch + x] = v.at[k];
            weight[k * pitch + x] = v.weight[k];
        }
    }
};

// Columns [xa, xb) of row y of the view.
inline void read_source(const CarryArgs& a, const Maps& m, FieldRows& field, int source_w, int y, int xa, int xb, CarryRow& row) {
    if (m.field.moves) field.move(y, packs_below(xa), xb);
    const Reading& r = m.reading;
    for (int x = packs_below(xa); x < xb; x += LANES) {
        Floats px = Floats::iota() + Floats(float(x) + 0.5f), py(float(y) + 0.5f), sx, sy, z;
        if (m.field.moves) {
            px = Floats::load(field.moved_x + x);
            py = Floats::load(field.moved_y + x);
        }
        position(r, px, py, sx, sy, z);
        Values<Floats> v;
        values_of_source(r, a.bilinear, sx, sy, source_w, v);
        row.store(x, select(cover_of(r, true, sx, sy, z) > Floats(0.5f), v.at[0], Ints(-1)), v, a.bilinear);
        if (!a.next_rows) continue;
        sx.store(row.sx + x);
        sy.store(row.sy + x);
    }
}

inline void read_view(const CarryArgs& a, const OpenMaps& m, int y, int width, CarryRow& row) {
    if (m.field.moves) {
        for (int x = 0; x < width; ++x) {
            Values<float> v{};
            if (!values_undone(a, m, m.table, x, y, v)) v.at[0] = -1;
            row.set(x, v);
        }
        return;
    }
    for (int x = 0; x < width; x += LANES) {
        Values<Floats> v;
        const Floats good = values_undone(a, m, Floats::iota() + Floats(float(x) + 0.5f), Floats(float(y) + 0.5f), v);
        row.store(x, select(good > Floats(0.0f), v.at[0], Ints(-1)), v, a.bilinear);
    }
}

// Loops of loads from anywhere: as gather and scatter instructions they are slower on most processors.
#if defined(__GNUC__) && !defined(__clang__)
#define AM_ONE_BY_ONE __attribute__((optimize("no-tree-vectorize")))
#else
#define AM_ONE_BY_ONE
#endif
template <class T> AM_ONE_BY_ONE void copy_values(const CarryRow& row, const uint8_t* from, uint64_t fill, int width,
                                                  uint8_t* to) {
    const T* values = reinterpret_cast<const T*>(from);
    T* __restrict__ out = reinterpret_cast<T*>(to);
    const int32_t* __restrict__ at = row.at;
    for (int x = 0; x < width; ++x) out[x] = at[x] < 0 ? T(fill) : values[at[x]];
}
// Where there is something, as bytes.
inline void mark(const CarryRow& row, int xa, int xb, uint8_t* valid) {
    if (!valid) return;
    const int32_t* __restrict__ at = row.at;
    for (int x = xa; x < xb; ++x) valid[x] = at[x] >= 0;
}
AM_ONE_BY_ONE inline void weigh_values(const CarryRow& row, const float* values, float fill, int width, float* __restrict__ out) {
    const int32_t* __restrict__ at = row.at;
    const float* __restrict__ weight = row.weight;
    const int pitch = row.pitch;
    for (int x = 0; x < width; ++x) {
        float sum = at[x] < 0 ? fill : 0.0f;  // a weight of 0 is for a value that may be anything, such as a hole's NaN
        for (int k = 0; k < 4 && at[x] >= 0; ++k)
            if (weight[k * pitch + x] != 0.0f) sum += weight[k * pitch + x] * values[at[k * pitch + x]];
        out[x] = sum;
    }
}
inline void copy_row(const CarryArgs& a, const CarryRow& row, const uint8_t* from, int width, uint8_t* to) {
    if (a.bilinear)
        return weigh_values(row, reinterpret_cast<const float*>(from), word_float(int32_t(a.fill)), width,
                            reinterpret_cast<float*>(to));
    switch (a.bytes) {
        case 1: return copy_values<uint8_t>(row, from, a.fill, width, to);
        case 2: return copy_values<uint16_t>(row, from, a.fill, width, to);
        case 4: return copy_values<uint32_t>(row, from, a.fill, width, to);
        default: return copy_values<uint64_t>(row, from, a.fill, width, to);
    }
}
inline void scatter_row(const CarryRow& row, bool bilinear, const float* from, int width, float* to) {
    for (int x = 0; x < width; ++x) {
        if (row.at[x] < 0) continue;
        if (!bilinear) {
            to[row.at[x]] += from[x];
            continue;
        }
        const Values<float> v = row.values(x);
        for (int k = 0; k < 4; ++k) to[v.at[k]] += v.weight[k] * from[x];
    }
}

// Of many masks most rows hold nothing: where an object's plane of bytes begins and ends to be more than 0.
class Filled {
public:
    Filled(const CarryArgs& a, const Planes& from) {
        if (a.bytes != 1 || from.planes < 4) return;
        const size_t size = size_t(from.w);
        for (int n = 0; n < from.planes; ++n) {
            const uint8_t* plane = from.data + n * size * from.h;
            int first = 0, last = from.h - 1;
            while (first < from.h && empty(plane + first * size, size)) ++first;
            while (last > first && empty(plane + last * size, size)) --last;
            rows.push_back({first, last});
        }
    }
    // Is plane n 0 in these rows of it?
    bool nothing(int n, int first, int last) const { return !rows.empty() && (last < rows[n].first || first > rows[n].last); }
    bool known() const { return !rows.empty(); }

private:
    static bool empty(const uint8_t* row, size_t size) { return row[0] == 0 && std::memcmp(row, row + 1, size - 1) == 0; }
    struct Span {
        int first, last;
    };
    std::vector<Span> rows;
};

void carry_task(const CarryArgs& a, int i, int y0, int y1) {
    static thread_local Scratch own_room, other_room, lines, drawn, other_drawn, next_room;
    const int32_t* words = plan_row_of(a.rows, a.info, i);
    const OpenMaps own(a, a.rows, i, false, own_room);
    const Planes known = planes_of(a.known, i), valid = planes_of(a.valid, i);
    Planes source = planes_of(a.source, i), view = planes_of(a.view, i);
    const Planes& to = a.undo ? source : view;
    const int width = to.w, planes = to.planes;
    CarryRow row(lines, width);
    const size_t from_plane = a.undo ? size_t(view.h) * view.w : size_t(source.h) * source.w, to_plane = size_t(to.h) * to.w;
    y1 = min_(y1, to.h);
    if (a.undo) {
        for (int y = y0; y < y1; ++y) {
            read_view(a, own, y, width, row);
            for (int x = 0; x < width && known.data; ++x) {
                if (row.at[x] < 0) continue;
                Values<float> v = row.values(x);
                if (!only_known(known.data, a.bilinear, v)) v.at[0] = -1;
                row.set(x, v);
            }
            for (int n = 0; n < planes; ++n) {
                uint8_t* line = source.data + (n * to_plane + size_t(y) * width) * a.bytes;
                uint8_t* other = view.data + n * from_plane * a.bytes;
                if (a.scatter)
                    scatter_row(row, a.bilinear, reinterpret_cast<float*>(line), width, reinterpret_cast<float*>(other));
                else copy_row(a, row, other, width, line);
            }
            mark(row, 0, width, valid.data ? valid.data + size_t(y) * width : nullptr);
        }
        return;
    }

    const int partner = partner_in(words, i, a.batch), rule = words[W_MIX];
    const bool mixed = rule != MIX_NONE && partner != i;
    const OpenMaps other = mixed ? OpenMaps(a, a.rows, i, true, other_room) : own;
    const Planes others = planes_of(a.source, partner), others_known = planes_of(a.known, partner);
    FieldRows field(own.field), other_field(other.field);
    if (own.field.moves) field.open(drawn, row.pitch);
    if (mixed && other.field.moves) other_field.open(other_drawn, row.pitch);
    const OpenMaps* next = nullptr;
    OpenMaps next_maps = own;
    if (a.next_rows) {
        next_maps = OpenMaps(a, a.next_rows, i, false, next_room);
        next = &next_maps;
    }
    const Filled own_filled(a, source), other_filled(a, mixed ? others : Planes{});
    // Of a row the columns that are the own view's, then those of the partner's, then again the own.
    auto part = [&](bool theirs, int y, int xa, int xb) {
        if (xa >= xb) return;
        if (a.part == (theirs ? PART_OWN : PART_PARTNER)) {
            std::fill(row.at, row.at + row.pitch, -1);
            for (int n = 0; n < planes; ++n)
                copy_row(a, row, nullptr, xb - xa, view.data + (n * to_plane + size_t(y) * width + xa) * a.bytes);
            if (valid.data) std::memset(valid.data + size_t(y) * width + xa, 0, size_t(xb - xa));
            return;
        }
        const OpenMaps& m = theirs ? other : own;
        const Planes& from = theirs ? others : source;
        const uint8_t* holes = theirs ? others_known.data : known.data;
        const size_t plane = size_t(from.h) * from.w;
        read_source(a, m, theirs ? other_field : field, from.w, y, xa, xb, row);
        for (int x = xa; x < xb && holes; ++x) {
            if (row.at[x] < 0) continue;
            Values<float> v = row.values(x);
            if (!only_known(holes, a.bilinear, v)) v.at[0] = -1;
            row.set(x, v);
        }
        CarryRow shifted = row;
        shifted.at += xa;
        shifted.weight += xa;
        const Filled& filled = theirs ? other_filled : own_filled;
        int low = from.h, high = -1;  // the rows of the source that this one reads
        if (filled.known()) {
            int least = INT32_MAX, most = -1;
            for (int x = xa; x < xb; ++x) {
                least = row.at[x] >= 0 ? min_(least, int(row.at[x])) : least;
                most = max_(most, int(row.at[x]));
            }
            if (most >= 0) {
                low = least / from.w;
                high = most / from.w;
            }
        }
        for (int n = 0; n < planes; ++n) {
            uint8_t* to_row = view.data + (n * to_plane + size_t(y) * width + xa) * a.bytes;
            if (!filled.nothing(n, low, high)) {
                copy_row(a, shifted, from.data + size_t(n) * plane * a.bytes, xb - xa, to_row);
            } else if (uint8_t(a.fill) == 0) {
                std::memset(to_row, 0, size_t(xb - xa));
            } else {
                for (int x = 0; x < xb - xa; ++x) to_row[x] = shifted.at[x] < 0 ? uint8_t(a.fill) : uint8_t(0);
            }
        }
        if (next) {
            float* u = reinterpret_cast<float*>(view.data) + size_t(y) * width;
            for (int x = xa; x < xb; ++x) {
                if (row.at[x] < 0) continue;
                const bool inside = holds(m.seen, row.sx[x], row.sy[x]);
                if (!flow_in_view(*next, next->table, row.sx[x], row.sy[x], float(x) + 0.5f, float(y) + 0.5f, u + x,
                                  u + to_plane + x) ||
                    !inside) {
                    row.at[x] = -1;
                    u[x] = u[to_plane + x] = word_float(int32_t(a.fill));
                }
            }
        }
        mark(row, xa, xb, valid.data ? valid.data + size_t(y) * width : nullptr);
    };
    for (int y = y0; y < y1; ++y) {
        int xa = 0, xb = 0;  // the partner's
        if (mixed && (rule == MIX_BOX || rule == MIX_RESIZED_BOX)) {
            if (y >= words[W_BOX + 1] && y < words[W_BOX + 3]) {
                xa = kept_in(words[W_BOX], 0, width);
                xb = kept_in(words[W_BOX + 2], xa, width);
            }
        } else if (mixed && shows_partner(words, a.part, 0, y)) {
            xb = width;
        }
        part(false, y, 0, xa);
        part(true, y, xa, xb);
        part(false, y, xb, width);
    }
}

void boxes_task(const BoxArgs& a, int i) {
    static thread_local Scratch own_room, other_room;
    const int per = a.info.most.mixes && !a.undo ? 2 * a.count : a.count;
    const int32_t* row = plan_row_of(a.rows, a.info, i);
    const int partner = partner_in(row, i, a.batch);
    const float source[4] = {0.0f, 0.0f, float(source_side(row, 1)), float(source_side(row, 0))};
    auto some = [&](const OpenMaps& m, int of, int first, bool there) {
        const int64_t count = a.counts ? a.counts[of] : a.count;
        for (int k = 0; k < a.count; ++k)
            carry_box(a, m, m.table, int64_t(of) * a.count + k, int64_t(i) * per + first + k, there && k < count, source);
    };
    const OpenMaps own(a, a.rows, i, false, own_room);
    some(own, i, 0, true);
    if (per > a.count)
        some(row[W_MIX] == MIX_NONE ? own : OpenMaps(a, a.rows, i, true, other_room), partner, a.count,
             row[W_MIX] != MIX_NONE && partner != i);
}

void points_task(const PointArgs& a, int i) {
    static thread_local Scratch own_room, other_room;
    const int per = a.info.most.mixes && !a.undo ? 2 * a.count : a.count;
    const int32_t* row = plan_row_of(a.rows, a.info, i);
    const int partner = partner_in(row, i, a.batch);
    auto some = [&](const OpenMaps& m, int of, int first, bool there) {
        const int64_t count = a.counts ? a.counts[of] : a.count;
        for (int k = 0; k < a.count; ++k)
            carry_point(a, m, m.table, int64_t(of) * a.count + k, int64_t(i) * per + first + k, there && k < count);
    };
    const OpenMaps own(a, a.rows, i, false, own_room);
    some(own, i, 0, true);
    if (per > a.count)
        some(row[W_MIX] == MIX_NONE ? own : OpenMaps(a, a.rows, i, true, other_room), partner, a.count,
             row[W_MIX] != MIX_NONE && partner != i);
}

}}  // namespace anamorph::AM_LEVEL
