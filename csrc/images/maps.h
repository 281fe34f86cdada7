// The two maps between a view and its source, one position at a time: what else belongs to the picture takes them (carry.h), and
// what was found in the view takes the way back.
//
// All positions are edge coordinates: a pixel's centre lies at +0.5, a picture's corners at 0 and at its width and height.
#pragma once
#include "mix.h"
#include "field.h"

namespace anamorph {

struct Maps {
    Reading reading;           // of nearest taps
    Field field;               // of its functions those that move pixels
    float back[9];             // source -> where the reading's map goes on from: the output, or the field's view
    float back_after[9];       // the field's view -> output
    float seen[4];             // x0 y0 x1 y1 in the source: what a view may show of it
    float region[4], hole[4];  // in the output: where the view is, but for another one that lies there
};

// A field's coefficients, where they were made beforehand: [MOTIONS][count[1]][line].
struct FieldTable {
    const float* at;  // null: each is made where it is wanted
    int line;
};

// The inverse of a map; of one that has none, nothing that is a position.
AM_HD void inverse_map(const float* map, float* out) {
    double m[9], c[9];
    for (int i = 0; i < 9; ++i) m[i] = double(map[i]);
    for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j) {
            const int a = (j + 1) % 3, b = (j + 2) % 3, p = (i + 1) % 3, q = (i + 2) % 3;
            c[3 * i + j] = m[3 * a + p] * m[3 * b + q] - m[3 * a + q] * m[3 * b + p];
        }
    const double det = m[0] * c[0] + m[1] * c[3] + m[2] * c[6];
    for (int i = 0; i < 9; ++i) out[i] = float(c[i] / det);
}

// Those of a row of a picture of h x w. `over`: the row into whose output it is mixed as the partner, or null.
AM_HD void open_maps(const RecipeInfo& info, const int32_t* row, const int32_t* over, int h, int w, int out_h, int out_w,
                     Maps& m) {
    Reading& r = m.reading;
    open_reading(row, {nullptr, w, 1, 0, h, w, F32}, r);
    r.interp = INTERP_NEAREST;
    r.antialias = r.late = false;
    r.filter_x = r.filter_y = 1.0f;
    choose_window(r);
    open_field(info, row, 0, m.field);
    m.region[0] = m.region[1] = m.hole[0] = m.hole[1] = m.hole[2] = m.hole[3] = 0.0f;
    m.region[2] = float(out_w);
    m.region[3] = float(out_h);
    const int rule = (over ? over : row)[W_MIX];
    if (rule == MIX_BOX || rule == MIX_RESIZED_BOX) {
        const int32_t* box = (over ? over : row) + W_BOX;
        for (int i = 0; i < 4; ++i) (over ? m.region : m.hole)[i] = float(box[i]);
        if (over && rule == MIX_RESIZED_BOX) place_map(m.field.moves ? m.field.after : r.m, place_in(box, out_w, out_h));
    }
    r.perspective = r.m[6] != 0.0f || r.m[7] != 0.0f || r.m[8] != 1.0f;
    inverse_map(r.m, m.back);
    if (m.field.moves) inverse_map(m.field.after, m.back_after);
    m.seen[0] = float(r.rect.x0);
    m.seen[1] = float(r.rect.y0);
    m.seen[2] = float(r.rect.x1 + 1);
    m.seen[3] = float(r.rect.y1 + 1);
    for (int i = 0; i < 4; ++i) {
        const float limits[2] = {r.framed ? r.frame[i] : m.seen[i], r.folded != BORDER_CONSTANT ? r.fold[i] : m.seen[i]};
        for (float limit : limits)
            if (i < 2 ? limit > m.seen[i] : limit < m.seen[i]) m.seen[i] = limit;
    }
}

AM_HD bool holds(const float* box, float x, float y) { return x >= box[0] && x < box[2] && y >= box[1] && y < box[3]; }

namespace AM_LEVEL {

// Through a map of 3 x 3: false where it lies behind the viewer.
AM_HD bool project(const float* m, float x, float y, float& px, float& py) {
    const float z = m[6] * x + (m[7] * y + m[8]), inverse = z == 1.0f ? 1.0f : 1.0f / z;
    px = (m[0] * x + (m[1] * y + m[2])) * inverse;
    py = (m[3] * x + (m[4] * y + m[5])) * inverse;
    return z > 1e-8f;
}

// The functions of a field at a place, and how they change there.
struct Functions {
    float v[MOTIONS], dx[MOTIONS], dy[MOTIONS];
};

// How the weights of `spline` change with the position, in pixels.
AM_HD void spline_slopes(const Field& f, int axis, float q, int first, float* w) {
    const bool varies = f.knots[axis] > 0.0f && q >= 0.0f && q <= f.size[axis];
    const float t = q * f.knots[axis] + f.offset[axis] - float(first), u = 1.0f - t,
                k = varies ? 0.24072187f * f.knots[axis] : 0.0f;
    w[0] = -3.0f * u * u * k;
    w[1] = (9.0f * t - 12.0f) * t * k;
    w[2] = (12.0f - 9.0f * u) * u * k;
    w[3] = 3.0f * t * t * k;
}

AM_HD void functions_at(const Field& f, const FieldTable& table, float qx, float qy, Functions& g) {
    int x, y;
    float across[4], down[4], slope_x[4], slope_y[4];
    knots_at(f, 0, qx, x, across);
    knots_at(f, 1, qy, y, down);
    spline_slopes(f, 0, qx, x, slope_x);
    spline_slopes(f, 1, qy, y, slope_y);
    AM_UNROLL
    for (int k = 0; k < MOTIONS; ++k) {
        g.v[k] = g.dx[k] = g.dy[k] = 0.0f;
        if (!f.has(k)) continue;
        Philox4 keys{};
        if (!table.at) keys = field_keys(f, k);
        for (int j = 0; j < 4; ++j) {
            float line = 0.0f, slope = 0.0f;
            for (int i = 0; i < 4; ++i) {
                const float c = table.at ? table.at[(int64_t(k) * f.count[1] + y + j) * table.line + x + i]
                                         : coefficient(keys, uint32_t(x + i), uint32_t(y + j));
                line += across[i] * c;
                slope += slope_x[i] * c;
            }
            g.v[k] += down[j] * line;
            g.dx[k] += down[j] * slope;
            g.dy[k] += slope_y[j] * line;
        }
    }
}

// The derivative of `displace` at (x, y), where the functions are g: d(x, y) by d(x, y), row by row.
AM_HD void displacement_slope(const Field& f, const Functions& g, float x, float y, float* d) {
    const float ux = x - 0.5f * f.size[0], uy = y - 0.5f * f.size[1];
    float sine, cosine, shear_sine, shear_cosine;
    const float angle = f.sigma[MOTION_SHEAR] * g.v[MOTION_SHEAR];
    sine_cosine(f.sigma[MOTION_TURN] * g.v[MOTION_TURN], sine, cosine);
    sine_cosine(clamp_(angle, -1.5f, 1.5f), shear_sine, shear_cosine);
    const float t = shear_sine / shear_cosine, s = exponential(-f.sigma[MOTION_SCALE] * g.v[MOTION_SCALE]);
    const float sheared = abs_(angle) < 1.5f ? f.sigma[MOTION_SHEAR] * (1.0f + t * t) : 0.0f;
    d[0] = s * (cosine - sine * t);
    d[1] = s * (cosine * t + sine);
    d[2] = s * -sine;
    d[3] = s * cosine;
    // How (x, y) moves with each function.
    const float by[MOTIONS][2] = {
        {f.sigma[MOTION_X], 0.0f},
        {0.0f, f.sigma[MOTION_Y]},
        {f.sigma[MOTION_TURN] * s * ((cosine - sine * t) * uy - (sine + cosine * t) * ux),
         f.sigma[MOTION_TURN] * s * (-cosine * ux - sine * uy)},
        {-f.sigma[MOTION_SCALE] * (d[0] * ux + d[1] * uy), -f.sigma[MOTION_SCALE] * (d[2] * ux + d[3] * uy)},
        {sheared * s * (cosine * uy - sine * ux), 0.0f},
    };
    for (int k = 0; k < MOTIONS; ++k) {
        if (!f.has(k)) continue;
        d[0] += by[k][0] * g.dx[k];
        d[1] += by[k][0] * g.dy[k];
        d[2] += by[k][1] * g.dx[k];
        d[3] += by[k][1] * g.dy[k];
    }
}

AM_HD void displace_by(const Field& f, const Functions& g, float& x, float& y) {
    displace(f, [&](int function) { return g.v[function]; }, x, y);
}

// The place of the field's view that it has moved to (qx, qy): Newton's steps; false where there is none, or a fold.
AM_HD bool undisplace(const Field& f, const FieldTable& table, float qx, float qy, float& px, float& py) {
    px = qx;
    py = qy;
    const float near = 1e-3f + 1e-6f * (abs_(qx) + abs_(qy));
    AM_UNROLL_BY(1)
    for (int k = 0; k < 16; ++k) {
        Functions g;
        float x = px, y = py, d[4];
        functions_at(f, table, px, py, g);
        displace_by(f, g, x, y);
        displacement_slope(f, g, px, py, d);
        const float ex = qx - x, ey = qy - y, det = d[0] * d[3] - d[1] * d[2];
        if (abs_(ex) < near && abs_(ey) < near) return det > 0.0f;
        const bool steep = det > 0.1f;  // else half a step of the plain iteration
        px += steep ? (d[3] * ex - d[1] * ey) / det : 0.5f * ex;
        py += steep ? (d[0] * ey - d[2] * ex) / det : 0.5f * ey;
    }
    return false;
}

// Where a position of the output lies in the source; z: below 1e-8 it lies behind the viewer.
AM_HD void to_source(const Maps& m, const FieldTable& table, float x, float y, float& sx, float& sy, float& z) {
    if (m.field.moves) {
        float qx, qy;
        Functions g;
        in_field(m.field, x, y, qx, qy);
        functions_at(m.field, table, qx, qy, g);
        displace_by(m.field, g, qx, qy);
        x = qx;
        y = qy;
    }
    position(m.reading, x, y, sx, sy, z);
}

// Where a position of the source lies in the output; false where it is nowhere.
AM_HD bool to_view(const Maps& m, const FieldTable& table, float sx, float sy, float& x, float& y) {
    if (!project(m.back, sx, sy, x, y)) return false;
    if (!m.field.moves) return x == x && y == y;
    float px, py;
    return undisplace(m.field, table, x, y, px, py) && project(m.back_after, px, py, x, y);
}

// Does the view show position (sx, sy) of the source at (x, y)?
AM_HD bool shows(const Maps& m, float sx, float sy, float x, float y) {
    return holds(m.seen, sx, sy) && holds(m.region, x, y) && !holds(m.hole, x, y);
}

}  // namespace AM_LEVEL
}  // namespace anamorph
