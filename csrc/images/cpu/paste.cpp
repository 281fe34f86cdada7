// Copy-paste on a CPU: rows of a view as floats, or of its masks, one after the other.
#include "../paste.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "../../core/parallel.h"

namespace anamorph { namespace paste {
namespace {

enum : int { BAND = 16 };  // rows that a thread takes at a time

// A row of all channels as floats: f(b, y, row), row [C, W], between reading and writing.
template <class F> void each_row(const CompositeArgs& a, int threads, const F& f) {
    const int bands = (a.height + BAND - 1) / BAND;
    by_dtype(a.dtype, [&](auto value) {
        using T = decltype(value);
        parallel_for(int64_t(a.batch) * bands, threads, [&](int64_t task) {
            const int b = int(task / bands), top = int(task % bands) * BAND;
            std::vector<float> row(size_t(a.channels) * a.width);
            for (int y = top; y < std::min(top + BAND, a.height); ++y) {
                for (int c = 0; c < a.channels; ++c) {
                    const T* from = reinterpret_cast<const T*>(a.in.data) + b * a.in.n + c * a.in.c + y * a.in.y;
                    for (int x = 0; x < a.width; ++x) row[size_t(c) * a.width + x] = pixel_value(from[x * a.in.x]);
                }
                f(b, y, row.data());
                for (int c = 0; c < a.channels; ++c) {
                    T* to = reinterpret_cast<T*>(a.out.data) + b * a.out.n + c * a.out.c + y * a.out.y;
                    for (int x = 0; x < a.width; ++x) put_pixel(row[size_t(c) * a.width + x], to + x * a.out.x);
                }
            }
        });
    });
}

// A row of a mask is measured.
void measure(const uint8_t* row, int width, int y, Extent& e) {
    int area = 0;
    for (int x = 0; x < width; ++x) area += row[x] != 0;
    if (!area) return;
    int left = 0, right = width;
    while (!row[left]) ++left;
    while (!row[right - 1]) --right;
    e.area += area;
    e.left = std::min(e.left, left);
    e.right = std::max(e.right, right);
    e.top = std::min(e.top, y);
    e.bottom = std::max(e.bottom, y + 1);
}

}  // namespace

void composite_cpu(const CompositeArgs& a, const CutoutArgs& cutouts, int threads) {
    each_row(a, threads, [&](int b, int y, float* row) {
        for (int k = cutouts.first[b]; k < cutouts.first[b + 1]; ++k) {
            const Placement& p = cutouts.placements[k];
            uint8_t* mask = cutouts.masks + (int64_t(p.mask) * a.height + y) * a.width;
            std::memset(mask, 0, size_t(a.width));
            if (y < p.top || y >= p.top + p.height) continue;
            for (int x = std::max(p.left, 0); x < std::min(p.left + p.width, a.width); ++x) {
                const Layer layer = cutout_layer(cutouts, p, x, y);
                for (int c = 0; c < 3; ++c) {
                    float& below = row[size_t(c) * a.width + x];
                    below = over(layer.alpha, layer.color[c], below);
                }
                mask[x] = layer.alpha > 0.5f;
            }
        }
    });
}

void composite_cpu(const CompositeArgs& a, const PartnerArgs& partners, int threads) {
    by_dtype(a.dtype, [&](auto value) {
        using T = decltype(value);
        each_row(a, threads, [&](int b, int y, float* row) {
            thread_local std::vector<float> down;  // the front, blurred from above to below
            const uint8_t* front = partners.front + int64_t(b) * a.height * a.width;
            auto line = [&](int i) { return front + int64_t(mirrored(y + i, a.height - 1)) * a.width; };
            bool some = false;
            for (int i = -partners.reach; i <= partners.reach && !some; ++i)
                some = std::memchr(line(i), 1, size_t(a.width)) != nullptr;
            if (!some) return;
            down.resize(size_t(a.width));
            for (int x = 0; x < a.width; ++x) down[x] = partners.taps[0] * float(line(0)[x]);
            for (int i = 1; i <= partners.reach; ++i) {
                const uint8_t *above = line(-i), *below = line(i);
                for (int x = 0; x < a.width; ++x) down[x] += partners.taps[i] * (float(above[x]) + float(below[x]));
            }
            const T* from = reinterpret_cast<const T*>(a.in.data) + partners.partner[b] * a.in.n + y * a.in.y;
            for (int x = 0; x < a.width; ++x) {
                const float alpha = blurred(partners, [&](int i) { return down[mirrored(x + i, a.width - 1)]; });
                if (!(alpha > 0.0f)) continue;
                for (int c = 0; c < a.channels; ++c) {
                    float& below = row[size_t(c) * a.width + x];
                    below = over(alpha, alpha * pixel_value(from[c * a.in.c + x * a.in.x]), below);
                }
            }
        });
    });
}

void objects_cpu(const ObjectArgs& a, int threads) {
    const int64_t plane = int64_t(a.height) * a.width;
    parallel_for(a.batch, threads, [&](int64_t b) {
        std::vector<uint8_t> covered(size_t(a.width));
        for (int y = 0; y < a.height; ++y) {
            std::fill(covered.begin(), covered.end(), uint8_t(0));
            for (int k = a.first[b + 1] - 1; k >= a.first[b]; --k) {
                const Object object = a.objects[k];
                uint8_t* to = a.out + k * plane + int64_t(y) * a.width;
                const uint8_t* from = object.source < 0 ? to : a.masks + object.source * plane + int64_t(y) * a.width;
                measure(from, a.width, y, a.extents[2 * k]);
                if (object.pasted)
                    for (int x = 0; x < a.width; ++x) to[x] = left_of(from[x], true, covered[x]);
                else
                    for (int x = 0; x < a.width; ++x) to[x] = left_of(from[x], false, covered[x]);
                measure(to, a.width, y, a.extents[2 * k + 1]);
            }
            if (a.front)
                for (int x = 0; x < a.width; ++x) a.front[b * plane + int64_t(y) * a.width + x] = covered[x] & 1;
        }
    });
}

}}  // namespace anamorph::paste
