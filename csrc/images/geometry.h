// Geometry while a plan is drawn: the view so far, and how each transform changes it. Double precision, no libm.
//
// `m` maps the view's edge coordinates (a pixel's centre is at +0.5) to the source's. A transform that makes a new view
// supplies the map new view -> old view, and m becomes m * that map.
#pragma once
#include "../core/exact_math.h"
#include "program.h"

namespace anamorph {

constexpr double BEYOND = 1e9;  // further than any side

struct View {
    double m[9];
    double w, h;       // of the view, in its own pixels
    double rect[4];    // pixels of the source that may be read
    double reach[4];   // taps that count: the rect, or more where it was padded
    double frame[4];   // in the source; beyond it there is only the fill
    double slope[4];   // of each side of the frame: view pixels per source pixel
    double fold[4];    // in the source; positions beyond are folded there
    double filter[2];  // antialias support
    double fill[4];
    int interp, border, folded;
    int colors, fill_step;  // colour steps so far; those before the fill
    bool direct;            // its pixels are the source's own: nothing was resampled
    bool padded, framed, antialias;

    AM_HD void begin(double sw, double sh) {
        for (int i = 0; i < 9; ++i) m[i] = (i % 4 == 0) ? 1.0 : 0.0;
        w = sw;
        h = sh;
        for (int i = 0; i < 4; ++i) {
            rect[i] = reach[i] = i == 2 ? sw : i == 3 ? sh : 0.0;
            frame[i] = slope[i] = fold[i] = fill[i] = 0.0;
        }
        filter[0] = filter[1] = 1.0;
        interp = colors = fill_step = 0;
        border = folded = BORDER_CONSTANT;
        direct = true;
        padded = framed = antialias = false;
    }

    // Square to the source: its sides lie along the source's, as they stand or after a quarter turn.
    AM_HD bool square() const {
        return m[6] == 0.0 && m[7] == 0.0 && ((m[1] == 0.0 && m[3] == 0.0) || (m[0] == 0.0 && m[4] == 0.0));
    }

    AM_HD void compose(const double n[9], double new_w, double new_h) {
        double r[9];
        for (int i = 0; i < 3; ++i)
            for (int j = 0; j < 3; ++j) r[3 * i + j] = (m[3 * i] * n[j] + m[3 * i + 1] * n[3 + j]) + m[3 * i + 2] * n[6 + j];
        for (int i = 0; i < 9; ++i) m[i] = r[i];
        w = new_w;
        h = new_h;
    }

    AM_HD void scale_shift(double sx, double tx, double sy, double ty, double new_w, double new_h) {
        double n[9] = {sx, 0.0, tx, 0.0, sy, ty, 0.0, 0.0, 1.0};
        compose(n, new_w, new_h);
    }

    // Where a rectangle of a square view lies in the source.
    AM_HD void in_source(double x0, double y0, double x1, double y1, double box[4]) const {
        double ax = m[0] * x0 + m[1] * y0 + m[2], bx = m[0] * x1 + m[1] * y1 + m[2];
        double ay = m[3] * x0 + m[4] * y0 + m[5], by = m[3] * x1 + m[4] * y1 + m[5];
        box[0] = exact::minimum(ax, bx);
        box[1] = exact::minimum(ay, by);
        box[2] = exact::maximum(ax, bx);
        box[3] = exact::maximum(ay, by);
    }
    // How large a pixel of a square view is in the source.
    AM_HD double pixel(int axis) const { return exact::absolute(m[3 * axis]) + exact::absolute(m[3 * axis + 1]); }

    // The frame has room for no pixel.
    AM_HD void show_nothing(int axis) {
        frame[axis] = BEYOND;
        frame[axis + 2] = -BEYOND;
    }

    AM_HD void set_fill(const double* color) {
        for (int i = 0; i < 4; ++i) fill[i] = color[i];
        fill_step = colors;
    }

    // From here on what lies outside this part of the view is the fill. While the view is square to its source a frame narrows the
    // one before, perhaps until it shows nothing; later ones would need a frame that is no rectangle there: the first counts, and
    // its fill.
    AM_HD void fill_outside(double x0, double y0, double x1, double y1, const double* color) {
        if (!square()) return;
        set_fill(color);
        double box[4];
        in_source(x0, y0, x1, y1, box);
        for (int i = 0; i < 4; ++i) {
            if (framed && (i < 2 ? box[i] <= frame[i] : box[i] >= frame[i])) continue;
            frame[i] = box[i];
            slope[i] = 1.0 / pixel(i % 2);
        }
        for (int i = 0; i < 2; ++i)
            if (!(frame[i] < frame[i + 2])) show_nothing(i);
        framed = true;
    }
    AM_HD void fill_outside(const double* color) { fill_outside(0.0, 0.0, w, h, color); }

    // Only the crop may be read, as if it had been cut out. What is cut out of resampled pixels has been made from more already.
    AM_HD void cut(double x0, double y0, double x1, double y1) {
        if (!direct || !square()) return;
        double box[4];
        in_source(x0, y0, x1, y1, box);
        for (int i = 0; i < 4; ++i) reach[i] = i < 2 ? exact::maximum(reach[i], box[i]) : exact::minimum(reach[i], box[i]);
        if (!padded)
            for (int i = 0; i < 4; ++i) rect[i] = reach[i];
    }

    // The crop (x, y, cw, ch) of the view, resized to ow x oh.
    AM_HD void resized_crop(double x, double y, double cw, double ch, double ow, double oh, bool aa) {
        cut(x, y, x + cw, y + ch);
        direct = direct && cw == ow && ch == oh;
        scale_shift(cw / ow, x, ch / oh, y, ow, oh);
        if (aa) {
            antialias = true;
            filter[0] = exact::maximum(filter[0], exact::sqrt(m[0] * m[0] + m[1] * m[1]));
            filter[1] = exact::maximum(filter[1], exact::sqrt(m[3] * m[3] + m[4] * m[4]));
        }
    }

    // A crop that may reach outside the view; what it finds there is the border.
    AM_HD void crop(double x, double y, double cw, double ch, bool outside, int border_mode, const double* color) {
        if (!outside) {
            cut(x, y, x + cw, y + ch);
        } else if (direct && !padded && square()) {  // more pixels of the source's kind
            padded = true;
            border = border_mode;
            in_source(x, y, x + cw, y + ch, reach);
            if (border_mode == BORDER_CONSTANT) set_fill(color);
        } else if (border_mode == BORDER_CONSTANT) {
            double right = x + cw, bottom = y + ch;
            cut(exact::maximum(x, 0.0), exact::maximum(y, 0.0), exact::minimum(right, w), exact::minimum(bottom, h));
            double x0 = x < 0.0 ? 0.0 : -BEYOND, x1 = right > w ? w : BEYOND;
            double y0 = y < 0.0 ? 0.0 : -BEYOND, y1 = bottom > h ? h : BEYOND;
            fill_outside(x0, y0, x1, y1, color);
            bool nothing = x >= w || y >= h || right <= 0.0 || bottom <= 0.0;  // of the view itself is in it
            for (int i = 0; i < 2 && nothing && square(); ++i) show_nothing(i);
        } else if (square()) {  // pixels that were made on the way: their positions are folded
            in_source(0.0, 0.0, w, h, fold);
            for (int i = 0; i < 4 && border_mode != BORDER_SYMMETRIC; ++i)
                fold[i] = fold[i] + (i < 2 ? 0.5 : -0.5) * pixel(i % 2);
            folded = border_mode;
            direct = false;
        }
        scale_shift(1.0, x, 1.0, y, cw, ch);
    }

    // Quarter turns, counter-clockwise: every pixel stays one.
    AM_HD void turn(int quarters) {
        const double to[4][6] = {{1, 0, 0, 0, 1, 0}, {0, -1, w, 1, 0, 0}, {-1, 0, w, 0, -1, h}, {0, 1, 0, -1, 0, h}};
        const double* t = to[quarters & 3];
        double n[9] = {t[0], t[1], t[2], t[3], t[4], t[5], 0.0, 0.0, 1.0};
        bool across = quarters & 1;
        compose(n, across ? h : w, across ? w : h);
    }

    // torchvision's affine: rotation about the centre (clockwise degrees), translation, scale (the picture's own axes), shear
    // (degrees).
    AM_HD void affine(double angle, double tx, double ty, double scale_x, double scale_y, double shear_x, double shear_y,
                      double cx, double cy, const double* color) {
        fill_outside(color);
        direct = false;
        double s_rs, c_rs, s_sx, c_sx, s_sy, c_sy, s_r, c_r;
        exact::sincos_deg(angle - shear_y, s_rs, c_rs);
        exact::sincos_deg(shear_x, s_sx, c_sx);
        exact::sincos_deg(shear_y, s_sy, c_sy);
        exact::sincos_deg(angle, s_r, c_r);
        double tan_x = s_sx / c_sx;
        double a = c_rs / c_sy, b = -(c_rs * tan_x) / c_sy - s_r;
        double c = s_rs / c_sy, d = -(s_rs * tan_x) / c_sy + c_r;
        double n[9] = {d / scale_x, -b / scale_x, 0.0, -c / scale_y, a / scale_y, 0.0, 0.0, 0.0, 1.0};
        n[2] = (n[0] * (-cx - tx) + n[1] * (-cy - ty)) + cx;
        n[5] = (n[3] * (-cx - tx) + n[4] * (-cy - ty)) + cy;
        compose(n, w, h);
    }

    // torchvision's rounding of an expanded frame: to 1e-4 towards zero first, so that noise does not cost a pixel.
    static AM_HD double cut_noise(double x) { return (x < 0.0 ? -exact::floor(-x * 1e4) : exact::floor(x * 1e4)) * 1e-4; }
    static AM_HD double whole_below(double x) { return exact::floor(cut_noise(x)); }
    static AM_HD double whole_above(double x) { return -exact::floor(-cut_noise(x)); }

    // Counter-clockwise degrees about (cx, cy), as torchvision's rotate; expand: the view grows to the size of what it then holds,
    // its middle where the old one's was.
    AM_HD void rotate(double angle, double cx, double cy, bool expand, const double* color) {
        fill_outside(color);
        direct = false;
        double s, c;
        exact::sincos_deg(-angle, s, c);
        double n[9] = {c, s, 0.0, -s, c, 0.0, 0.0, 0.0, 1.0};
        double ow = w, oh = h, ox = cx, oy = cy;
        if (expand) {
            double aw = exact::absolute(w * c) + exact::absolute(h * s), ah = exact::absolute(w * s) + exact::absolute(h * c);
            double fx = cx - w * 0.5, fy = cy - h * 0.5, tx = fx - (c * fx + s * fy), ty = fy - (c * fy - s * fx);
            ow = whole_above((w + aw) * 0.5 + tx) - whole_below((w - aw) * 0.5 + tx);
            oh = whole_above((h + ah) * 0.5 + ty) - whole_below((h - ah) * 0.5 + ty);
            ox = ow * 0.5 + fx;
            oy = oh * 0.5 + fy;
        }
        n[2] = cx - (n[0] * ox + n[1] * oy);
        n[5] = cy - (n[3] * ox + n[4] * oy);
        compose(n, ow, oh);
    }

    // A map that was given, new view -> this one. What is seen in the middle of it lies before the viewer.
    AM_HD void warp(const double map[9], double new_w, double new_h, const double* color) {
        fill_outside(color);
        direct = false;
        double z = (map[6] * (new_w * 0.5) + map[7] * (new_h * 0.5)) + map[8], n[9];
        for (int i = 0; i < 9; ++i) n[i] = z != 0.0 ? map[i] / z : map[i];
        compose(n, new_w, new_h);
    }

    // The homography that takes the quad `to` (in the new view) to the quad `from` (in this one): corners in the order
    // top left, top right, bottom right, bottom left.
    AM_HD void perspective(const double from[8], const double to[8], const double* color) {
        fill_outside(color);
        direct = false;
        double a[8][9];
        for (int i = 0; i < 4; ++i) {
            double x = to[2 * i], y = to[2 * i + 1], u = from[2 * i], v = from[2 * i + 1];
            double r0[9] = {x, y, 1.0, 0.0, 0.0, 0.0, -(u * x), -(u * y), u};
            double r1[9] = {0.0, 0.0, 0.0, x, y, 1.0, -(v * x), -(v * y), v};
            for (int j = 0; j < 9; ++j) {
                a[2 * i][j] = r0[j];
                a[2 * i + 1][j] = r1[j];
            }
        }
        for (int k = 0; k < 8; ++k) {
            int best = k;
            for (int i = k + 1; i < 8; ++i)
                if (exact::absolute(a[i][k]) > exact::absolute(a[best][k])) best = i;
            if (a[best][k] == 0.0) return;  // degenerate quad: the view stays as it is
            for (int j = k; j < 9; ++j) {
                double t = a[k][j];
                a[k][j] = a[best][j];
                a[best][j] = t;
            }
            for (int i = k + 1; i < 8; ++i) {
                double f = a[i][k] / a[k][k];
                for (int j = k; j < 9; ++j) a[i][j] = a[i][j] - f * a[k][j];
            }
        }
        double n[9];
        n[8] = 1.0;
        for (int k = 7; k >= 0; --k) {
            double s = a[k][8];
            for (int j = k + 1; j < 8; ++j) s = s - a[k][j] * n[j];
            n[k] = s / a[k][k];
        }
        if (to[0] == to[6] && to[1] == to[3] && to[2] == to[4] && to[5] == to[7]) n[1] = n[3] = n[6] = n[7] = 0.0;  // square
        compose(n, w, h);
    }
};

}  // namespace anamorph
