// Geometry while a plan is drawn: the view so far, and how each transform changes it. Double precision, no libm.
//
// `m` maps the view's edge coordinates (a pixel's centre is at +0.5) to the source's. A transform that makes a new view
// supplies the map new view -> old view, and m becomes m * that map.
#pragma once
#include "../core/exact_math.h"
#include "program.h"

namespace anamorph {

struct View {
    double m[9];
    double w, h;  // of the view, in its own pixels
    double source_w, source_h;
    double rect[4];    // source pixels that may be read
    double slope[2];   // view pixels per source pixel at the frame beyond which the fill begins; 0: none
    double filter[2];  // antialias support
    double fill[4];
    int interp, border;
    bool filled, antialias;

    AM_HD void begin(double sw, double sh) {
        for (int i = 0; i < 9; ++i) m[i] = (i % 4 == 0) ? 1.0 : 0.0;
        w = source_w = sw;
        h = source_h = sh;
        rect[0] = rect[1] = 0.0;
        rect[2] = sw;
        rect[3] = sh;
        slope[0] = slope[1] = 0.0;
        filter[0] = filter[1] = 1.0;
        for (int i = 0; i < 4; ++i) fill[i] = 0.0;
        interp = 0;
        border = BORDER_CONSTANT;
        filled = antialias = false;
    }

    AM_HD bool axis_aligned() const { return m[1] == 0.0 && m[3] == 0.0 && m[6] == 0.0 && m[7] == 0.0; }

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

    // From here on what lies outside the view is the fill. The first frame counts: later ones lie inside it.
    AM_HD void fill_outside(const double* color) {
        if (!filled) {
            bool straight = axis_aligned();
            slope[0] = straight ? 1.0 / exact::absolute(m[0]) : 1.0;
            slope[1] = straight ? 1.0 / exact::absolute(m[4]) : 1.0;
            filled = true;
        }
        for (int i = 0; i < 4; ++i) fill[i] = color[i];
    }

    // Only the crop may be read, as if it had been cut out. Known exactly while the view lies square to the source and
    // is not framed by a fill; later crops cut what is already one resampling.
    AM_HD void cut(double x0, double y0, double x1, double y1) {
        if (!axis_aligned() || filled || border != BORDER_CONSTANT) return;
        double ax = m[0] * x0 + m[2], bx = m[0] * x1 + m[2], ay = m[4] * y0 + m[5], by = m[4] * y1 + m[5];
        rect[0] = exact::maximum(rect[0], exact::minimum(ax, bx));
        rect[2] = exact::minimum(rect[2], exact::maximum(ax, bx));
        rect[1] = exact::maximum(rect[1], exact::minimum(ay, by));
        rect[3] = exact::minimum(rect[3], exact::maximum(ay, by));
    }

    // The crop (x, y, cw, ch) of the view, resized to ow x oh.
    AM_HD void resized_crop(double x, double y, double cw, double ch, double ow, double oh, bool aa) {
        cut(x, y, x + cw, y + ch);
        scale_shift(cw / ow, x, ch / oh, y, ow, oh);
        if (aa) {
            antialias = true;
            filter[0] = exact::maximum(filter[0], exact::sqrt(m[0] * m[0] + m[1] * m[1]));
            filter[1] = exact::maximum(filter[1], exact::sqrt(m[3] * m[3] + m[4] * m[4]));
        }
    }

    // A crop that may reach outside the view; what it finds there is the border.
    AM_HD void crop(double x, double y, double cw, double ch, bool outside, int border_mode, const double* color) {
        if (outside) {
            if (border_mode == BORDER_CONSTANT) fill_outside(color);
            else border = border_mode;
        } else {
            cut(x, y, x + cw, y + ch);
        }
        scale_shift(1.0, x, 1.0, y, cw, ch);
    }

    // torchvision's affine: rotation about the centre (clockwise degrees), translation, scale, shear (degrees).
    AM_HD void affine(double angle, double tx, double ty, double scale, double shear_x, double shear_y, double cx, double cy,
                      const double* color) {
        fill_outside(color);
        double s_rs, c_rs, s_sx, c_sx, s_sy, c_sy, s_r, c_r;
        exact::sincos_deg(angle - shear_y, s_rs, c_rs);
        exact::sincos_deg(shear_x, s_sx, c_sx);
        exact::sincos_deg(shear_y, s_sy, c_sy);
        exact::sincos_deg(angle, s_r, c_r);
        double tan_x = s_sx / c_sx;
        double a = c_rs / c_sy, b = -(c_rs * tan_x) / c_sy - s_r;
        double c = s_rs / c_sy, d = -(s_rs * tan_x) / c_sy + c_r;
        double n[9] = {d / scale, -b / scale, 0.0, -c / scale, a / scale, 0.0, 0.0, 0.0, 1.0};
        n[2] = (n[0] * (-cx - tx) + n[1] * (-cy - ty)) + cx;
        n[5] = (n[3] * (-cx - tx) + n[4] * (-cy - ty)) + cy;
        compose(n, w, h);
    }

    // torchvision's rounding of an expanded frame: to 1e-4 towards zero first, so that noise does not cost a pixel.
    static AM_HD double cut_noise(double x) { return (x < 0.0 ? -exact::floor(-x * 1e4) : exact::floor(x * 1e4)) * 1e-4; }
    static AM_HD double whole_below(double x) { return exact::floor(cut_noise(x)); }
    static AM_HD double whole_above(double x) { return -exact::floor(-cut_noise(x)); }

    // Counter-clockwise degrees about (cx, cy), as torchvision's rotate; expand: the view grows to hold all of it.
    AM_HD void rotate(double angle, double cx, double cy, bool expand, const double* color) {
        fill_outside(color);
        double s, c;
        exact::sincos_deg(-angle, s, c);
        double n[9] = {c, s, 0.0, -s, c, 0.0, 0.0, 0.0, 1.0};
        double ow = w, oh = h, ox = cx, oy = cy;
        if (expand) {
            double aw = exact::absolute(w * c) + exact::absolute(h * s), ah = exact::absolute(w * s) + exact::absolute(h * c);
            ow = whole_above((w + aw) * 0.5) - whole_below((w - aw) * 0.5);
            oh = whole_above((h + ah) * 0.5) - whole_below((h - ah) * 0.5);
            ox = ow * 0.5;
            oy = oh * 0.5;
            cx = w * 0.5;
            cy = h * 0.5;
        }
        n[2] = cx - (n[0] * ox + n[1] * oy);
        n[5] = cy - (n[3] * ox + n[4] * oy);
        compose(n, ow, oh);
    }

    // The homography that takes the quad `to` (in the new view) to the quad `from` (in this one): corners in the order
    // top left, top right, bottom right, bottom left.
    AM_HD void perspective(const double from[8], const double to[8], const double* color) {
        fill_outside(color);
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
        compose(n, w, h);
    }
};

}  // namespace anamorph
