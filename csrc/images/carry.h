// What travels with a picture: planes of values (masks, depth, flow), boxes and points, taken into its view by the plan's row, or back.
#pragma once
#include "maps.h"

namespace anamorph {

// Planes of values of each sample: one block, or (table given) of different sizes and numbers, each packed [planes, h, w].
struct Planes {
    uint8_t* data;
    int64_t stride;        // bytes from sample to sample
    const int64_t* table;  // [B, 4]: address, planes, h, w
    int32_t planes, h, w;
};

AM_HD Planes planes_of(const Planes& p, int i) {
    if (!p.table) return {p.data ? p.data + i * p.stride : nullptr, 0, nullptr, p.planes, p.h, p.w};
    const int64_t* t = p.table + 4 * int64_t(i);
    return {reinterpret_cast<uint8_t*>(t[0]), 0, nullptr, int32_t(t[1]), int32_t(t[2]), int32_t(t[3])};
}

// Of a view that is mixed: whose values it shows.
enum Part : int32_t { PART_BOTH = 0, PART_OWN = 1, PART_PARTNER = 2 };

struct CarryArgs {
    const int32_t* rows;
    RecipeInfo info;
    int32_t batch, out_h, out_w;  // of the views
    Planes source, view;          // one of them is read, the other one written
    Planes known;                 // bytes of what is read, one plane: 0 where it holds nothing; or none
    Planes valid;                 // bytes of what is written, one plane: 0 where it is the fill; or none
    bool undo;                    // from the view to the source
    bool bilinear;                // of floats; else the nearest value, whatever its bits
    bool scatter;                 // with undo: what is in `source` is added to where it would have been read (its gradient)
    int32_t bytes;                // of a value
    uint64_t fill;                // its bits
    int32_t part;                 // Part; of one of them the rest of the view is the fill
    const int32_t* next_rows;     // flow: the rows of the frame that it leads to; or null
};

struct BoxArgs {
    const int32_t* rows;
    RecipeInfo info;
    int32_t batch, out_h, out_w, count;  // boxes of a sample, of which counts[i] are some
    const int64_t* counts;               // [B] or null: all
    const float* in;                     // [B, count, 4]: x0 y0 x1 y1
    float* out;                          // [B, count or, of recipes that mix, 2 count, 4]
    uint8_t* keep;
    bool undo, tight;
    float min_size, min_area, min_visible;
    bool middles;  // must a box's middle be in the view?
};

struct PointArgs {
    const int32_t* rows;
    RecipeInfo info;
    int32_t batch, out_h, out_w, count;
    const int64_t* counts;
    const float* in;  // [B, count, 2]
    float* out;       // as BoxArgs
    uint8_t* seen;    // does it lie in the view, and does the view show it; null
    bool undo;
    float shift;  // added before, taken off after: 0.5 where points are indices of pixels
};

AM_HD const int32_t* plan_row_of(const int32_t* rows, const RecipeInfo& info, int i) {
    return rows + int64_t(i) * info.row_words;
}
AM_HD int partner_in(const int32_t* row, int i, int batch) {
    return row[W_PARTNER] >= 0 && row[W_PARTNER] < batch ? row[W_PARTNER] : i;
}
// A side that a row says, whatever a row from a file holds.
AM_HD int source_side(const int32_t* row, int axis) { return kept_in(row[W_SOURCE + axis], 1, MAX_SIDE); }

// The maps of sample i, or of its partner as it is mixed in.
template <class Args> AM_HD void maps_of(const Args& a, const int32_t* rows, int i, bool partner, Maps& m) {
    const int32_t *own = plan_row_of(rows, a.info, i), *row = own;
    if (partner) row = plan_row_of(rows, a.info, partner_in(own, i, a.batch));
    open_maps(a.info, row, partner ? own : nullptr, source_side(row, 0), source_side(row, 1), a.out_h, a.out_w, m);
}

// Whose pixel (x, y) of the output is: false the own, true the partner's. Of two pictures laid over each other it is both's, and
// where one value must do the one's with the larger share.
AM_HD bool shows_partner(const int32_t* row, int part, int x, int y) {
    const int32_t* box = row + W_BOX;
    switch (row[W_MIX]) {
        case MIX_BOX:
        case MIX_RESIZED_BOX: return x >= box[0] && x < box[2] && y >= box[1] && y < box[3];
        case MIX_CONSTANT: return part == PART_PARTNER || (part == PART_BOTH && word_float(row[W_LAM]) < 0.5f);
        default: return false;
    }
}

namespace AM_LEVEL {

// The values that one is made of: their places among a plane's, and their weights.
template <class F> struct Values {
    typename IntOf<F>::type at[4];
    F weight[4];
};

// Of the source, around a position before fold(). `w`: its width.
template <class F> AM_HD void values_of_source(const Reading& r, bool bilinear, F sx, F sy, int w, Values<F>& v) {
    using I = typename IntOf<F>::type;
    I x, y;
    F share_x, share_y;
    fold(r, sx, sy);
    window(sx, bilinear ? 1.0f : 0.5f, x, share_x);
    window(sy, bilinear ? 1.0f : 0.5f, y, share_y);
    // Where no border mirrors, a tap beyond is the edge's.
    auto column = [&](I t) { return r.movable ? min_(max_(t, I(r.taps.x0)), I(r.taps.x1)) : tap_x(r, t); };
    auto line = [&](I t) { return (r.movable ? min_(max_(t, I(r.taps.y0)), I(r.taps.y1)) : tap_y(r, t)) * I(w); };
    const I left = column(x), top = line(y);
    v.at[0] = top + left;
    if (!bilinear) return;
    share_x = unit_clamp(share_x);
    share_y = unit_clamp(share_y);
    const I right = column(x + I(1)), bottom = line(y + I(1));
    v.at[1] = top + right;
    v.at[2] = bottom + left;
    v.at[3] = bottom + right;
    const F one(1.0f);
    v.weight[0] = (one - share_x) * (one - share_y);
    v.weight[1] = share_x * (one - share_y);
    v.weight[2] = (one - share_x) * share_y;
    v.weight[3] = share_x * share_y;
}

// 1 where what a view shows of position (sx, sy) is the picture alone. At the edge of a frame or a padding it is a mixture with the
// fill.
template <class F> AM_HD F pure(const Maps& m, F sx, F sy) {
    const Reading& r = m.reading;
    F least(1.0f);
    for (int i = 0; i < 4; ++i) {
        const F in(i < 2 ? 1.0f : -1.0f), at = i % 2 ? sy : sx;
        if (r.framed) least = min_(least, in * (at - F(r.frame[i])) * F(r.slope[i]));
        if (r.padded) least = min_(least, in * (at - F(r.pads[i])));
    }
    const auto seen = sx >= F(m.seen[0]) && sx < F(m.seen[2]) && sy >= F(m.seen[1]) && sy < F(m.seen[3]);
    return select(seen && least > F(0.499f), F(1.0f), F(0.0f));
}

// Of a view of w x h, around position (x, y) in it: 0 where one of them shows something else than the picture. at_source(x, y, sx,
// sy): where that is.
template <class F, class AtSource>
AM_HD F values_of_view(const Maps& m, bool bilinear, F x, F y, int w, int h, const AtSource& at_source, Values<F>& v) {
    using I = typename IntOf<F>::type;
    auto place = [&](F px, F py) {
        const I column = to_int(clamp_(px, F(0.0f), F(float(w - 1)))), line = to_int(clamp_(py, F(0.0f), F(float(h - 1))));
        return line * I(w) + column;
    };
    if (!bilinear) {
        const F px = floor_(x), py = floor_(y);
        v.at[0] = place(px, py);
        if (!m.reading.framed && !m.reading.padded) return F(1.0f);
        F sx, sy;
        at_source(px + F(0.5f), py + F(0.5f), sx, sy);
        return pure(m, sx, sy);
    }
    const F left = floor_(x - F(0.5f)), top = floor_(y - F(0.5f)), one(1.0f), zero(0.0f);
    const F share_x = x - F(0.5f) - left, share_y = y - F(0.5f) - top;
    F good(1.0f);
    for (int k = 0; k < 4; ++k) {
        const F px = k % 2 ? left + one : left, py = k / 2 ? top + one : top;
        v.weight[k] = (k % 2 ? share_x : one - share_x) * (k / 2 ? share_y : one - share_y);
        v.at[k] = place(px, py);
        F shown = select(px >= zero && px < F(float(w)) && py >= zero && py < F(float(h)), one, zero);
        if (m.reading.framed || m.reading.padded) {
            F sx, sy;
            at_source(px + F(0.5f), py + F(0.5f), sx, sy);
            shown = min_(shown, pure(m, sx, sy));
        }
        good = min_(good, select(v.weight[k] == zero, one, shown));
    }
    return good;
}

// Where the value at a position of the source is read in the view: 0 where it is not.
template <class F> AM_HD F values_undone(const CarryArgs& a, const Maps& m, F sx, F sy, Values<F>& v) {
    const F z = F(m.back[6]) * sx + (F(m.back[7]) * sy + F(m.back[8])), inverse = F(1.0f) / z;
    const F x = (F(m.back[0]) * sx + (F(m.back[1]) * sy + F(m.back[2]))) * inverse;
    const F y = (F(m.back[3]) * sx + (F(m.back[4]) * sy + F(m.back[5]))) * inverse;
    const F good = values_of_view(
        m, a.bilinear, x, y, a.out_w, a.out_h,
        [&](F px, F py, F& qx, F& qy) {
            F behind;
            position(m.reading, px, py, qx, qy, behind);
        },
        v);
    const auto there = z > F(1e-8f) && sx >= F(m.seen[0]) && sx < F(m.seen[2]) && sy >= F(m.seen[1]) && sy < F(m.seen[3]) &&
                       x >= F(m.region[0]) && x < F(m.region[2]) && y >= F(m.region[1]) && y < F(m.region[3]);
    return select(there, good, F(0.0f));
}
// The same of one pixel, of any map.
AM_HD bool values_undone(const CarryArgs& a, const Maps& m, const FieldTable& table, int px, int py, Values<float>& v) {
    const float sx = float(px) + 0.5f, sy = float(py) + 0.5f;
    if (!m.field.moves) return values_undone(a, m, sx, sy, v) > 0.0f;
    float x, y;
    if (!holds(m.seen, sx, sy) || !to_view(m, table, sx, sy, x, y) || !holds(m.region, x, y)) return false;
    return values_of_view(
               m, a.bilinear, x, y, a.out_w, a.out_h,
               [&](float vx, float vy, float& qx, float& qy) {
                   float behind;
                   to_source(m, table, vx, vy, qx, qy, behind);
               },
               v) > 0.0f;
}

// Of those that are known alone; false where they are less than half.
AM_HD bool only_known(const uint8_t* known, bool bilinear, Values<float>& v) {
    if (!known) return true;
    if (!bilinear) return known[v.at[0]] != 0;
    float sum = 0.0f;
    for (int k = 0; k < 4; ++k) {
        if (!known[v.at[k]]) v.weight[k] = 0.0f;
        sum += v.weight[k];
    }
    for (int k = 0; k < 4; ++k) v.weight[k] = sum > 0.0f ? v.weight[k] / sum : 0.0f;
    return sum >= 0.5f;
}

AM_HD float weighed(const float* plane, const Values<float>& v) {
    float sum = 0.0f;  // a weight of 0 is for a value that may be anything, such as a hole's NaN
    for (int k = 0; k < 4; ++k) sum += v.weight[k] != 0.0f ? v.weight[k] * plane[v.at[k]] : 0.0f;
    return sum;
}

// A vector at a position of the source, as the views of both frames show it at (x, y); false where the second one shows it nowhere.
AM_HD bool flow_in_view(const Maps& next, const FieldTable& table, float sx, float sy, float x, float y, float* u, float* v) {
    float tx, ty;
    const bool there = to_view(next, table, sx + *u, sy + *v, tx, ty);
    *u = there ? tx - x : 0.0f;
    *v = there ? ty - y : 0.0f;
    return there;
}

// ---- boxes ----

// A polygon that is cut by lines and mapped. Of a box's four corners, or of points along its sides.
struct Polygon {
    enum : int { MOST = 48, ON_A_SIDE = 8 };
    float x[MOST], y[MOST];
    int n;

    AM_HD void of_box(const float* box, int on_a_side) {
        n = 0;
        for (int side = 0; side < 4; ++side)
            for (int k = 0; k < on_a_side; ++k, ++n) {
                const float t = float(k) / float(on_a_side);
                const float along_x = box[0] + t * (box[2] - box[0]), along_y = box[1] + t * (box[3] - box[1]);
                const float back_x = box[2] + t * (box[0] - box[2]), back_y = box[3] + t * (box[1] - box[3]);
                x[n] = side == 0 ? along_x : side == 1 ? box[2] : side == 2 ? back_x : box[0];
                y[n] = side == 0 ? box[1] : side == 1 ? along_y : side == 2 ? box[3] : back_y;
            }
    }
    // What lies where a x + b y + c is not below 0 (Sutherland and Hodgman 1974).
    AM_HD void cut(float a, float b, float c) {
        Polygon kept;
        kept.n = 0;
        for (int k = 0; k < n; ++k) {
            const int next = k + 1 < n ? k + 1 : 0;
            const float here = a * x[k] + b * y[k] + c, there = a * x[next] + b * y[next] + c;
            if (here >= 0.0f && kept.n < MOST) kept.add(x[k], y[k]);
            if ((here >= 0.0f) != (there >= 0.0f) && kept.n < MOST) {
                const float t = here / (here - there);
                kept.add(x[k] + t * (x[next] - x[k]), y[k] + t * (y[next] - y[k]));
            }
        }
        *this = kept;
    }
    AM_HD void cut(const float* box) {
        cut(1.0f, 0.0f, -box[0]);
        cut(0.0f, 1.0f, -box[1]);
        cut(-1.0f, 0.0f, box[2]);
        cut(0.0f, -1.0f, box[3]);
    }
    // What map m (3 x 3) brings into a box, and, in any case, before the viewer.
    AM_HD void cut_before(const float* m, const float* box) {
        if (m[6] != 0.0f || m[7] != 0.0f) cut(m[6], m[7], m[8] - 1e-6f);
        for (int i = 0; i < 4 && box; ++i) {
            const float* line = m + 3 * (i % 2);
            const float sign = i < 2 ? 1.0f : -1.0f;
            cut(sign * (line[0] - box[i] * m[6]), sign * (line[1] - box[i] * m[7]), sign * (line[2] - box[i] * m[8]));
        }
    }
    AM_HD void map(const float* m) {
        for (int k = 0; k < n; ++k) project(m, x[k], y[k], x[k], y[k]);
    }
    AM_HD float area() const {  // about the first corner, where large coordinates cost nothing
        float sum = 0.0f;
        for (int k = 1; k + 1 < n; ++k) sum += (x[k] - x[0]) * (y[k + 1] - y[0]) - (x[k + 1] - x[0]) * (y[k] - y[0]);
        return abs_(sum) * 0.5f;
    }
    AM_HD void bounds(float* box) const {
        for (int i = 0; i < 4; ++i) box[i] = n == 0 ? 0.0f : i % 2 ? y[0] : x[0];
        for (int k = 1; k < n; ++k) {
            box[0] = min_(box[0], x[k]);
            box[1] = min_(box[1], y[k]);
            box[2] = max_(box[2], x[k]);
            box[3] = max_(box[3], y[k]);
        }
    }

private:
    AM_HD void add(float px, float py) {
        x[n] = px;
        y[n++] = py;
    }
};

// What is left of a box where another one lies on it: its bounds, and how much of its area.
AM_HD float left_of(float* box, const float* hole) {
    float meet[4];
    for (int i = 0; i < 4; ++i) meet[i] = i < 2 ? max_(box[i], hole[i]) : min_(box[i], hole[i]);
    if (meet[0] >= meet[2] || meet[1] >= meet[3]) return 1.0f;
    const float area = (box[2] - box[0]) * (box[3] - box[1]);
    const float share = area > 0.0f ? 1.0f - (meet[2] - meet[0]) * (meet[3] - meet[1]) / area : 0.0f;
    for (int axis = 0; axis < 2; ++axis) {  // it ends where the other one covers a whole side
        const int other = 1 - axis;
        if (meet[other] > box[other] || meet[other + 2] < box[other + 2]) continue;
        if (meet[axis] <= box[axis]) box[axis] = meet[axis + 2];
        else if (meet[axis + 2] >= box[axis + 2]) box[axis + 2] = meet[axis];
    }
    return share;
}

// The box of what is shown of a box, and how much of it that is. `from`: what may be shown of where it is; `into`: where it goes.
AM_HD double carried_box(const Maps& m, const FieldTable& table, const float* box, bool undo, bool tight, const float* source,
                         float* out) {
    const float *from = undo ? m.region : m.seen, *into = undo ? source : m.region;
    // A box may be as large as float32 is, and its area is then not of float32.
    const double whole = (double(box[2]) - double(box[0])) * (double(box[3]) - double(box[1]));
    float kept[4];
    for (int i = 0; i < 4; ++i) kept[i] = i < 2 ? max_(box[i], from[i]) : min_(box[i], from[i]);
    for (int i = 0; i < 4; ++i) out[i] = 0.0f;
    if (!(whole > 0.0) || !(kept[0] < kept[2] && kept[1] < kept[3])) return 0.0;
    double share;
    Polygon p;
    if (!m.field.moves) {  // a line stays one: it can be cut before it is mapped, where the areas are
        const float* map = undo ? m.reading.m : m.back;
        p.of_box(kept, 1);
        p.cut_before(map, into);
        share = double(p.area()) / whole;
        if (!tight) {
            p.of_box(kept, 1);
            p.cut_before(map, nullptr);
        }
        p.map(map);
    } else {
        Polygon mapped;
        p.of_box(kept, Polygon::ON_A_SIDE);
        mapped.n = 0;
        for (int k = 0; k < p.n; ++k) {
            float x, y, z = 1.0f;
            bool there = true;
            if (undo) to_source(m, table, p.x[k], p.y[k], x, y, z);
            else there = to_view(m, table, p.x[k], p.y[k], x, y);
            if (!there || !(z > 1e-8f) || !(x == x && y == y)) continue;
            mapped.x[mapped.n] = x;
            mapped.y[mapped.n++] = y;
        }
        p = mapped;
        const float before = p.area();
        mapped.cut(into);
        share = before > 0.0f ? double(mapped.area() / before) : 0.0;
        share = share * (double((kept[2] - kept[0]) * (kept[3] - kept[1])) / whole);
        if (tight) p = mapped;
    }
    if (p.n < 3 || !(share > 0.0)) return 0.0;
    p.bounds(out);
    for (int i = 0; i < 4; ++i) out[i] = clamp_(out[i], into[i % 2], into[i % 2 + 2]);
    if (!undo) share = share * double(left_of(out, m.hole));
    return share;
}

// Box k of sample i; of recipes that mix the partner's are behind the own ones.
AM_HD void carry_box(const BoxArgs& a, const Maps& m, const FieldTable& table, int64_t in, int64_t to, bool there,
                     const float* source) {
    float out[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    double share = 0.0;
    if (there) share = carried_box(m, table, a.in + 4 * in, a.undo, a.tight, source, out);
    const float w = out[2] - out[0], h = out[3] - out[1];
    bool keep = share > 0.0 && float(share) >= a.min_visible && w >= a.min_size && h >= a.min_size && w * h >= a.min_area;
    if (keep && a.middles) {  // on the border it is not in the view, nor was it where the crop was drawn
        const float *box = a.in + 4 * in, *r = m.region, rounding = 1e-3f;
        float x, y;
        keep = to_view(m, table, 0.5f * (box[0] + box[2]), 0.5f * (box[1] + box[3]), x, y) && x > r[0] + rounding &&
               y > r[1] + rounding && x < r[2] - rounding && y < r[3] - rounding;
    }
    for (int c = 0; c < 4; ++c) a.out[4 * to + c] = keep ? out[c] : 0.0f;
    a.keep[to] = keep;
}

AM_HD void carry_point(const PointArgs& a, const Maps& m, const FieldTable& table, int64_t in, int64_t to, bool there) {
    const float x = a.in[2 * in] + a.shift, y = a.in[2 * in + 1] + a.shift;
    float px, py, z = 1.0f;
    bool good;
    if (a.undo) {
        to_source(m, table, x, y, px, py, z);
        good = z > 1e-8f && px == px && py == py;
    } else {
        good = to_view(m, table, x, y, px, py);
    }
    good = good && there;
    const float nowhere = word_float(0x7FC00000);
    a.out[2 * to] = good ? px - a.shift : nowhere;
    a.out[2 * to + 1] = good ? py - a.shift : nowhere;
    if (a.seen) a.seen[to] = good && (a.undo ? shows(m, px, py, x, y) : shows(m, x, y, px, py));
}

}  // namespace AM_LEVEL
}  // namespace anamorph
