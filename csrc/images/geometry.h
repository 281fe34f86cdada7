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
    int painted;            // colour steps up to the last that changes pixels
    bool direct;            // its pixels are the source's own: nothing was resampled
    bool padded, framed, antialias;
    bool fielded, moved;  // a field was laid over it; it has moved pixels
    double after[9];      // this view -> the one of the field

    AM_HD void begin(double sw, double sh) {
        for (int i = 0; i < 9; ++i) m[i] = (i % 4 == 0) ? 1.0 : 0.0;
        w = sw;
        h = sh;
        for (int i = 0; i < 4; ++i) {
            rect[i] = reach[i] = i == 2 ? sw : i == 3 ? sh : 0.0;
            frame[i] = slope[i] = fold[i] = fill[i] = 0.0;
        }
        filter[0] = filter[1] = 1.0;
        interp = colors = painted = fill_step = 0;
        border = folded = BORDER_CONSTANT;
        direct = true;
        padded = framed = antialias = fielded = moved = false;
    }

    // Square to the source: its sides lie along the source's, as they stand or after a quarter turn.
    AM_HD bool square() const {
        return !moved && m[6] == 0.0 && m[7] == 0.0 && ((m[1] == 0.0 && m[3] == 0.0) || (m[0] == 0.0 && m[4] == 0.0));
    }

    static AM_HD void multiply(double a[9], const double n[9]) {
        double r[9];
        for (int i = 0; i < 3; ++i)
            for (int j = 0; j < 3; ++j) r[3 * i + j] = (a[3 * i] * n[j] + a[3 * i + 1] * n[3 + j]) + a[3 * i + 2] * n[6 + j];
        for (int i = 0; i < 9; ++i) a[i] = r[i];
    }
    AM_HD void compose(const double n[9], double new_w, double new_h) {
        if (!moved) multiply(m, n);
        if (fielded) multiply(after, n);
        w = new_w;
        h = new_h;
    }

    // The source's positions to the view's, by the map alone.
    AM_HD void inverse(double out[9]) const {
        double c[9];
        for (int row = 0; row < 3; ++row)
            for (int j = 0; j < 3; ++j) {
                const int p = (j + 1) % 3, q = (j + 2) % 3, s = (row + 1) % 3, t = (row + 2) % 3;
                c[3 * row + j] = m[3 * p + s] * m[3 * q + t] - m[3 * p + t] * m[3 * q + s];
            }
        const double det = (m[0] * c[0] + m[1] * c[3]) + m[2] * c[6];
        for (int k = 0; k < 9; ++k) out[k] = c[k] / det;
    }

    // A field over the view as it is now.
    AM_HD void lay_field(bool moves, const double* color) {
        for (int i = 0; i < 9; ++i) after[i] = i % 4 == 0 ? 1.0 : 0.0;
        fielded = true;
        if (!moves) return;
        fill_outside(color);
        direct = false;
        moved = true;
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
        fill_step = painted;
    }

    // From here on what lies outside this part of the view is the fill. While the view is square to its source a frame narrows the
    // one before, perhaps until it shows nothing; later ones would need a frame that is no rectangle there: the first counts, and
    // its fill.
    AM_HD void fill_outside(double x0, double y0, double x1, double y1, const double* color) {
        if (!square()) return;
        set_fill(color);
        double box[4];
        in_source(x0, y0, x1, y1, box);
        const double across = 1.0 / pixel(0), down = 1.0 / pixel(1);
        for (int i = 0; i < 4; ++i) {
            if (framed && (i < 2 ? box[i] <= frame[i] : box[i] >= frame[i])) continue;
            frame[i] = box[i];
            slope[i] = i % 2 ? down : across;
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
            double all[9];  // as if no field lay between
            for (int i = 0; i < 9; ++i) all[i] = m[i];
            if (moved) multiply(all, after);
            antialias = true;
            filter[0] = exact::maximum(filter[0], exact::sqrt(all[0] * all[0] + all[1] * all[1]));
            filter[1] = exact::maximum(filter[1], exact::sqrt(all[3] * all[3] + all[4] * all[4]));
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
        const int q = quarters & 3;
        const double c = q == 0 ? 1.0 : q == 2 ? -1.0 : 0.0, s = q == 1 ? 1.0 : q == 3 ? -1.0 : 0.0;
        const double n[9] = {c, 0.0 - s, q == 1 || q == 2 ? w : 0.0, s, c, q >= 2 ? h : 0.0, 0.0, 0.0, 1.0};
        compose(n, q % 2 ? h : w, q % 2 ? w : h);
    }

    // torchvision's affine: rotation about the centre (clockwise degrees), translation, scale (the picture's own axes), shear
    // (degrees).
    AM_HD void affine(double angle, double tx, double ty, double scale_x, double scale_y, double shear_x, double shear_y,
                      double cx, double cy, const double* color) {
        fill_outside(color);
        direct = false;
        const exact::SinCos turn = exact::sincos_deg(angle), slanted = exact::sincos_deg(angle - shear_y);
        const exact::SinCos x = exact::sincos_deg(shear_x), y = exact::sincos_deg(shear_y);
        double tan_x = x.sin / x.cos, per_cos = 1.0 / y.cos, per_x = 1.0 / scale_x;
        double per_y = scale_y == scale_x ? per_x : 1.0 / scale_y;
        double a = slanted.cos * per_cos, b = -(a * tan_x) - turn.sin;
        double c = slanted.sin * per_cos, d = -(c * tan_x) + turn.cos;
        double n[9] = {d * per_x, -b * per_x, 0.0, -c * per_y, a * per_y, 0.0, 0.0, 0.0, 1.0};
        n[2] = (n[0] * (-cx - tx) + n[1] * (-cy - ty)) + cx;
        n[5] = (n[3] * (-cx - tx) + n[4] * (-cy - ty)) + cy;
        compose(n, w, h);
    }

    // Slanted about the top left corner, by shares: x moves by `x` times y, y by `y` times x.
    AM_HD void slant(double x, double y, const double* color) {
        fill_outside(color);
        direct = false;
        const double n[9] = {1.0, x, 0.0, y, 1.0, 0.0, 0.0, 0.0, 1.0};
        compose(n, w, h);
    }
    // Moved to the right and down.
    AM_HD void shift(double x, double y, const double* color) {
        fill_outside(color);
        direct = false;
        scale_shift(1.0, 0.0 - x, 1.0, 0.0 - y, w, h);
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
        const exact::SinCos turn = exact::sincos_deg(-angle);
        const double s = turn.sin, c = turn.cos;
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
        double z = (map[6] * (new_w * 0.5) + map[7] * (new_h * 0.5)) + map[8], per_z = z != 0.0 ? 1.0 / z : 1.0, n[9];
        for (int i = 0; i < 9; ++i) n[i] = map[i] * per_z;
        compose(n, new_w, new_h);
    }

    // The line through corners a and b of a quad (x, y of each): line[0] x + line[1] y + line[2] is 0 on it, and at corner c twice
    // the area of the triangle a b c.
    static AM_HD void line_through(const double quad[8], int a, int b, double line[3]) {
        line[0] = quad[2 * a + 1] - quad[2 * b + 1];
        line[1] = quad[2 * b] - quad[2 * a];
        line[2] = quad[2 * a] * quad[2 * b + 1] - quad[2 * b] * quad[2 * a + 1];
    }

    // The view drawn so that the corners of its pixel centres (top left, top right, bottom right, bottom left) lie at the quad's.
    //
    // How far across the view a point lies is L / (L + R), where L is 0 on the quad's left side and R on its right one: weighted so
    // that in the corners L + R is also what top and bottom give, by the areas of the corners' triangles. Where the corners
    // are whole numbers the lines and areas are exact.
    AM_HD void perspective(const double quad[8], const double* color) {
        fill_outside(color);
        direct = false;
        double top[3], right[3], bottom[3], left[3];
        line_through(quad, 0, 1, top);
        line_through(quad, 1, 2, right);
        line_through(quad, 2, 3, bottom);
        line_through(quad, 3, 0, left);
        auto area = [&](const double side[3], int corner) {
            return (side[0] * quad[2 * corner] + side[1] * quad[2 * corner + 1]) + side[2];
        };
        double no_0 = area(right, 3), no_1 = area(bottom, 0), no_2 = area(left, 1), no_3 = area(top, 2);
        double of_left = no_3 * no_0, of_right = no_1 * no_2, of_top = no_1 * no_0;
        double z = of_left * left[2] + of_right * right[2];
        if (z == 0.0) return;  // hardly a quad: the view stays as it is
        double per_z = 1.0 / z, of_x = (w - 1.0) * of_left * per_z, of_y = (h - 1.0) * of_top * per_z, n[9];
        for (int i = 0; i < 3; ++i) {
            n[i] = of_x * left[i];
            n[3 + i] = of_y * top[i];
            n[6 + i] = (of_left * left[i] + of_right * right[i]) * per_z;
        }
        compose(n, w, h);
    }
};

}  // namespace anamorph
