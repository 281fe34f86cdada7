// Copy-paste on a CPU: rows of a view as floats, or of its masks, one after the other.
#include "../paste.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "../../core/parallel.h"

namespace anamorph { namespace paste {
namespace {

enum : int { BAND = 16 };  // rows that a thread takes at a time

template <class T> T* line_of(const Pixels& p, int b, int c, int y) {
    return reinterpret_cast<T*>(p.data) + b * p.n + c * p.c + y * p.y;
}
// f(x, where the pixel is): with neighbours side by side, as they mostly are, the loop is done in packs.
template <class T, class F> void each_pixel(const Pixels& p, int width, T* line, const F& f) {
    if (p.x == 1)
        for (int x = 0; x < width; ++x) f(x, line + x);
    else
        for (int x = 0; x < width; ++x) f(x, line + x * p.x);
}

// Rows for which touched(b, y) are given as floats, f(b, y, row) with row [C, W], to be changed; the others are copied.
template <class T, class Touched, class F> void each_row(const CompositeArgs& a, int threads, const Touched& touched,
                                                         const F& f) {
    const int bands = (a.height + BAND - 1) / BAND;
    parallel_for(int64_t(a.batch) * bands, threads, [&](int64_t task) {
        const int b = int(task / bands), top = int(task % bands) * BAND;
        std::vector<float> row(size_t(a.channels) * a.width);
        for (int y = top; y < std::min(top + BAND, a.height); ++y) {
            const bool changes = touched(b, y);
            for (int c = 0; c < a.channels; ++c) {
                T* from = line_of<T>(a.in, b, c, y);
                float* to = row.data() + size_t(c) * a.width;
                if (changes) each_pixel(a.in, a.width, from, [&](int x, const T* pixel) { to[x] = pixel_value(*pixel); });
                else each_pixel(a.out, a.width, line_of<T>(a.out, b, c, y), [&](int x, T* pixel) { *pixel = from[x * a.in.x]; });
            }
            if (!changes) continue;
            f(b, y, row.data());
            for (int c = 0; c < a.channels; ++c) {
                const float* from = row.data() + size_t(c) * a.width;
                each_pixel(a.out, a.width, line_of<T>(a.out, b, c, y), [&](int x, T* pixel) { put_pixel(from[x], pixel); });
            }
        }
    });
}

// A row of a placement: the sums down of each column of the cut-out that it needs.
class Columns {
public:
    void sum(const Texel* texels, int width, const TentTaps& down, int first, int after) {
        for (std::vector<float>& channel : channels_) channel.assign(size_t(width), 0.0f);
        float *alpha = channels_[0].data(), *red = channels_[1].data(), *green = channels_[2].data(), *blue = channels_[3].data();
        for (int j = down.first; j < down.after; ++j) {
            const float w = down.weight(j);
            const Texel* line = texels + int64_t(j) * width;
            for (int i = first; i < after; ++i) {
                uint32_t word;  // in whole words, which packs have instructions for
                std::memcpy(&word, line + i, 4);
                const float a = float(int(word >> 24));
                alpha[i] += w * a;
                red[i] += w * (a * float(int(word & 255)));
                green[i] += w * (a * float(int(word >> 8 & 255)));
                blue[i] += w * (a * float(int(word >> 16 & 255)));
            }
        }
    }
    Sums operator()(int i) const { return {channels_[0][i], channels_[1][i], channels_[2][i], channels_[3][i]}; }

private:
    std::vector<float> channels_[4];
};

bool crosses(const Placement& p, int y) { return y >= p.top && y < p.top + p.height; }

// Where a row of a mask has something: [left, right), empty in most rows of most masks. Eight pixels at a time.
struct Span {
    int left, right;

    Span(const uint8_t* row, int width) : left(0), right(width) {
        while (left + 8 <= width && !any(row + left)) left += 8;
        while (left < width && !row[left]) ++left;
        while (right - left >= 8 && !any(row + right - 8)) right -= 8;
        while (right > left && !row[right - 1]) --right;
    }
    static bool any(const uint8_t* at) {
        uint64_t eight;
        std::memcpy(&eight, at, 8);
        return eight != 0;
    }
};

void measure(const uint8_t* row, const Span& span, int y, Extent& e) {
    if (span.left == span.right) return;
    int area = 0;
    for (int x = span.left; x < span.right;) {  // sums of up to 255 fit into bytes, of which many are added at once
        const int end = std::min(x + 255, span.right);
        uint8_t some = 0;
        for (; x < end; ++x) some = uint8_t(some + (row[x] != 0));
        area += some;
    }
    e.area += area;
    e.left = std::min(e.left, span.left);
    e.right = std::max(e.right, span.right);
    e.top = std::min(e.top, y);
    e.bottom = std::max(e.bottom, y + 1);
}

// A row of object k.
void take_off(const ObjectArgs& a, int k, int y, uint8_t* covered) {
    const int64_t plane = int64_t(a.height) * a.width, row = int64_t(y) * a.width;
    const Object object = a.objects[k];
    uint8_t* to = a.out + k * plane + row;
    const uint8_t* from = object.source < 0 ? to : a.masks + object.source * plane + row;
    const Span span(from, a.width);
    if (to != from) {
        std::memset(to, 0, size_t(span.left));
        std::memset(to + span.right, 0, size_t(a.width - span.right));
    }
    if (span.left == span.right) return;
    measure(from, span, y, a.extents[2 * k]);
    auto take = [&](bool pasted) {
        for (int x = span.left; x < span.right; ++x) to[x] = left_of(from[x], pasted, covered[x]);
    };
    if (object.pasted) take(true);
    else take(false);
    measure(to, Span(to, a.width), y, a.extents[2 * k + 1]);
}

}  // namespace

void composite_cpu(const CompositeArgs& a, const CutoutArgs& cutouts, int threads) {
    auto touched = [&](int b, int y) {
        bool some = false;
        for (int k = cutouts.first[b]; k < cutouts.first[b + 1]; ++k) {
            const Placement& p = cutouts.placements[k];
            std::memset(cutouts.masks + (int64_t(p.mask) * a.height + y) * a.width, 0, size_t(a.width));
            some = some || crosses(p, y);
        }
        return some;
    };
    auto paste = [&](int b, int y, float* row) {
        thread_local Columns columns;
        for (int k = cutouts.first[b]; k < cutouts.first[b + 1]; ++k) {
            const Placement& p = cutouts.placements[k];
            const int left = std::max(p.left, 0), right = std::min(p.left + p.width, a.width);
            if (!crosses(p, y) || left >= right) continue;
            const Cutout& cutout = cutouts.cutouts[p.cutout];
            const TentTaps down = taps_down(p, cutout, y), one = taps_along(p, cutout, left),
                           last = taps_along(p, cutout, right - 1);
            columns.sum(cutouts.texels + cutout.first, cutout.width, down, std::min(one.first, last.first),
                        std::max(one.after, last.after));
            uint8_t* mask = cutouts.masks + (int64_t(p.mask) * a.height + y) * a.width;
            for (int x = left; x < right; ++x) {
                const Layer layer = cutout_layer(cutouts, taps_along(p, cutout, x), down, columns);
                for (int c = 0; c < 3; ++c) {
                    float& below = row[size_t(c) * a.width + x];
                    below = over(layer.alpha, layer.color[c], below);
                }
                mask[x] = layer.alpha > 0.5f;
            }
        }
    };
    by_dtype(a.dtype, [&](auto value) { each_row<decltype(value)>(a, threads, touched, paste); });
}

void composite_cpu(const CompositeArgs& a, const PartnerArgs& partners, int threads) {
    // A row of the front, or of those that the blur mirrors into its place; and what of these has something.
    auto line = [&](int b, int y) { return partners.front + (int64_t(b) * a.height + mirrored(y, a.height - 1)) * a.width; };
    auto touched = [&](int b, int y) {
        for (int i = -partners.reach; i <= partners.reach; ++i)
            if (std::memchr(line(b, y + i), 1, size_t(a.width))) return true;
        return false;
    };
    by_dtype(a.dtype, [&](auto value) {
        using T = decltype(value);
        each_row<T>(a, threads, touched, [&](int b, int y, float* row) {
            // The front blurred down, with what is mirrored on either side; then along. In blurred()'s order, a tap at a time.
            thread_local std::vector<float> down, along;
            const int reach = partners.reach, last = a.width - 1;
            down.resize(size_t(a.width) + 2 * reach);
            along.resize(size_t(a.width));
            float *middle = down.data() + reach, *alpha = along.data();
            const uint8_t* own = line(b, y);
            for (int x = 0; x < a.width; ++x) middle[x] = partners.taps[0] * float(own[x]);
            for (int i = 1; i <= reach; ++i) {
                const uint8_t *above = line(b, y - i), *below = line(b, y + i);
                for (int x = 0; x < a.width; ++x) middle[x] += partners.taps[i] * (float(above[x]) + float(below[x]));
            }
            for (int i = 1; i <= reach; ++i) {
                middle[-i] = middle[mirrored(-i, last)];
                middle[last + i] = middle[mirrored(last + i, last)];
            }
            for (int x = 0; x < a.width; ++x) alpha[x] = partners.taps[0] * middle[x];
            for (int i = 1; i <= reach; ++i)
                for (int x = 0; x < a.width; ++x) alpha[x] += partners.taps[i] * (middle[x - i] + middle[x + i]);
            for (int c = 0; c < a.channels; ++c) {
                float* below = row + size_t(c) * a.width;
                each_pixel(a.in, a.width, line_of<T>(a.in, partners.partner[b], c, y), [&](int x, const T* pixel) {
                    const float blended = over(alpha[x], alpha[x] * pixel_value(*pixel), below[x]);
                    below[x] = alpha[x] > 0.0f ? blended : below[x];
                });
            }
        });
    });
}

void objects_cpu(const ObjectArgs& a, int threads) {
    const int64_t plane = int64_t(a.height) * a.width;
    parallel_for(a.batch, threads, [&](int64_t b) {
        std::vector<uint8_t> covers(size_t(BAND) * a.width);  // of some rows, for each mask is read a few rows at a time
        for (int top = 0; top < a.height; top += BAND) {
            const int bottom = std::min(top + BAND, a.height);
            std::fill(covers.begin(), covers.end(), uint8_t(0));
            for (int k = a.first[b + 1] - 1; k >= a.first[b]; --k)
                for (int y = top; y < bottom; ++y) take_off(a, k, y, covers.data() + size_t(y - top) * a.width);
            if (!a.front) continue;
            uint8_t* front = a.front + b * plane + int64_t(top) * a.width;
            for (int64_t i = 0; i < int64_t(bottom - top) * a.width; ++i) front[i] = covers[size_t(i)] & 1;
        }
    });
}

}}  // namespace anamorph::paste
