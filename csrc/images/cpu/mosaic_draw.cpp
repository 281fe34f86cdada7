// Compiled without fused multiply-add, like plans (CMakeLists.txt): the same numbers on every machine.
#include "../mosaic_draw.h"

#include <algorithm>
#include <utility>

namespace anamorph { namespace mosaic {
namespace {

struct Point {
    double x, y;
};

// A polygon without what lies below `low` of one coordinate, or above it where `sign` is -1 (Sutherland & Hodgman 1974).
struct Polygon {
    Point points[8];
    int count = 0;

    void add(const Point& p) { points[count++] = p; }
    Polygon cut(double Point::* axis, double low, double sign) const {
        Polygon left;
        for (int i = 0; i < count; ++i) {
            const Point &a = points[i], &b = points[(i + 1) % count];
            const double before = (a.*axis - low) * sign, after = (b.*axis - low) * sign;
            if (before >= 0.0) left.add(a);
            if ((before >= 0.0) != (after >= 0.0)) {
                const double share = before / (before - after);
                left.add({a.x + (b.x - a.x) * share, a.y + (b.y - a.y) * share});
            }
        }
        return left;
    }
    double area() const {
        double twice = 0.0;
        for (int i = 0; i < count; ++i) {
            const Point &a = points[i], &b = points[(i + 1) % count];
            twice += a.x * b.y - b.x * a.y;
        }
        return 0.5 * exact::absolute(twice);
    }
};

double share_of_view(const Tile& t, const double* m, int size) {
    if (t.picture < 0) return 0.0;
    Polygon seen;
    for (int corner = 0; corner < 4; ++corner) {  // in their order around
        const double x = corner == 0 || corner == 3 ? t.left : t.right, y = corner < 2 ? t.top : t.bottom;
        seen.add({m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5]});
    }
    seen = seen.cut(&Point::x, 0.0, 1.0).cut(&Point::x, size, -1.0).cut(&Point::y, 0.0, 1.0).cut(&Point::y, size, -1.0);
    return seen.area() / (double(size) * size);
}

constexpr float NOWHERE = 1e9f;

// A picture whose corner is (x, y), of which is on the canvas what lies within `cut`.
Tile tile_of(int picture, const int64_t* sizes, int size, bool resize) {
    Tile t{};
    t.picture = picture;
    t.height = int32_t(sizes[2 * picture]);
    t.width = int32_t(sizes[2 * picture + 1]);
    const int64_t side = std::max(t.height, t.width);
    t.shown_height = resize ? int32_t((int64_t(t.height) * size + side - 1) / side) : t.height;
    t.shown_width = resize ? int32_t((int64_t(t.width) * size + side - 1) / side) : t.width;
    t.ratio_x = float(double(t.width) / t.shown_width);
    t.ratio_y = float(double(t.height) / t.shown_height);
    return t;
}
void put(Tile& t, double x, double y, const double (&canvas)[4]) {
    t.x = float(x);
    t.y = float(y);
    t.left = float(std::max(x, canvas[0]));
    t.top = float(std::max(y, canvas[1]));
    t.right = float(std::min(x + t.shown_width, canvas[2]));
    t.bottom = float(std::min(y + t.shown_height, canvas[3]));
    if (t.left < t.right && t.top < t.bottom) return;
    t.picture = -1;
    t.left = t.top = NOWHERE;
    t.right = t.bottom = -NOWHERE;
}

void draw_one(Draw d, int own, int batch, const int64_t* sizes, const Rules& r, Sample& s) {
    const double size = r.size;
    const bool four = d.unit() < r.p;
    const double cy = exact::floor(d.uniform(r.center[0] * size, r.center[1] * size));
    const double cx = exact::floor(d.uniform(r.center[0] * size, r.center[1] * size));
    int pictures[TILES] = {own};
    for (int k = 1; k < TILES; ++k) pictures[k] = int(d.below(batch));
    for (int k = TILES - 1; k > 0; --k) std::swap(pictures[k], pictures[int(d.below(k + 1))]);
    const exact::SinCos turn = exact::sincos_deg(d.uniform(r.degrees[0], r.degrees[1]));
    s.zoom = d.uniform(r.scale[0], r.scale[1]);
    const exact::SinCos slant_x = exact::sincos_deg(d.uniform(r.shear[0], r.shear[1]));
    const exact::SinCos slant_y = exact::sincos_deg(d.uniform(r.shear[0], r.shear[1]));
    const double tx = d.uniform(0.5 - r.translate, 0.5 + r.translate) * size;
    const double ty = d.uniform(0.5 - r.translate, 0.5 + r.translate) * size;

    // Turned and scaled about the middle of the canvas, slanted, and put where the middle of the view is, or a bit beside it.
    const double kx = slant_x.sin / slant_x.cos, ky = slant_y.sin / slant_y.cos, c = s.zoom * turn.cos, b = s.zoom * turn.sin;
    const double m[4] = {c - kx * b, b + kx * c, ky * c - b, ky * b + c};
    const double ox = four ? cx - size : 0.0, oy = four ? cy - size : 0.0;  // from the middle to where coordinates begin
    const double forward[6] = {m[0], m[1], m[0] * ox + m[1] * oy + tx, m[2], m[3], m[2] * ox + m[3] * oy + ty};
    std::copy(forward, forward + 6, s.forward);
    const double det = m[0] * m[3] - m[1] * m[2], i[4] = {m[3] / det, -m[1] / det, -m[2] / det, m[0] / det};
    const double x = 0.5 - tx, y = 0.5 - ty;  // of the first pixel
    const double inverse[6] = {i[0], i[1], i[0] * x + i[1] * y - ox, i[2], i[3], i[2] * x + i[3] * y - oy};
    std::copy(inverse, inverse + 6, s.inverse);

    const double canvas[4] = {-cx, -cy, 2.0 * size - cx, 2.0 * size - cy}, half = 0.5 * size;
    const double middle[4] = {-half, -half, half, half};
    for (int k = 0; k < TILES; ++k) {
        Tile& t = s.tiles[k] = tile_of(four ? pictures[k] : own, sizes, r.size, r.resize);
        if (four) put(t, k % 2 ? 0.0 : -t.shown_width, k / 2 ? 0.0 : -t.shown_height, canvas);
        else if (k == 0)
            put(t, exact::floor(0.5 * (size - t.shown_width)) - half, exact::floor(0.5 * (size - t.shown_height)) - half, middle);
        else put(t, NOWHERE, NOWHERE, middle);
        s.shown[k] = share_of_view(t, s.forward, r.size);
    }
}

}  // namespace

void draw(const int64_t* index, int batch, uint64_t seed, uint32_t epoch, const int64_t* sizes, const Rules& rules,
          Sample* samples) {
    for (int i = 0; i < batch; ++i) {
        Draw d;
        d.begin(seed, epoch, index[i], 0, SLOT, 0);
        draw_one(d, i, batch, sizes, rules, samples[i]);
    }
}

}}  // namespace anamorph::mosaic
