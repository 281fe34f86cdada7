// Mosaics on a CPU: rows of a view, and of a row the span of each tile, within which nothing is asked of a pixel any more. Where a
// view lies square to the canvas, as it does unless it is turned or slanted, a row of it reads two rows of a tile's picture, which
// are blended first.
#include "../mosaic.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include "../../core/parallel.h"

namespace anamorph { namespace mosaic {
namespace {

enum : int { BAND = 16 };  // rows that a thread takes at a time

// The part [from, to) of a row, wherever its places lie from low to high: at most a few pixels too many.
struct Span {
    int from, to;

    void narrow(float slope, float start, double low, double high) {
        if (slope == 0.0f) {
            if (start < low || start > high) to = from;
            return;
        }
        const double a = (low - start) / slope, b = (high - start) / slope, last = to;
        const int first = int(std::floor(std::clamp(std::min(a, b), 0.0, last))) - 2;
        const int after = int(std::ceil(std::clamp(std::max(a, b), 0.0, last))) + 2;
        from = std::max(from, first);
        to = std::min(to, after);
    }
    // Without the pixels at both ends that are not in(x).
    template <class F> void trim(const F& in) {
        while (from < to && !in(from)) ++from;
        while (to > from && !in(to - 1)) --to;
    }
};

// A row of a view: where it lies on the canvas.
struct Row {
    float along_x, along_y;  // the slopes
    float x, y;              // place_down() of either axis
    bool square;

    Row(const Sample& s, int at)
        : along_x(s.inverse[0]), along_y(s.inverse[3]), x(place_down(s.inverse, at)), y(place_down(s.inverse + 3, at)),
          square(s.inverse[1] == 0.0f && s.inverse[3] == 0.0f) {}
    float canvas_x(int at) const { return place(along_x, at, x); }
    float canvas_y(int at) const { return place(along_y, at, y); }
    Span span(const Tile& t, int size, double margin) const {
        Span span{0, size};
        span.narrow(along_x, x, t.left - margin, t.right + margin);
        span.narrow(along_y, y, t.top - margin, t.bottom + margin);
        return span;
    }
};

// What a row reads of a tile along one axis, and how much of it; an entry for each pixel of the view.
struct Readings {
    std::vector<int> first, second;
    std::vector<float> share, cover;

    explicit Readings(int size) {
        for (std::vector<int>* v : {&first, &second}) v->resize(size_t(size));
        for (std::vector<float>* v : {&share, &cover}) v->resize(size_t(size));
    }
    // The arguments are copies, for the compiler to see that what is written does not change them. `step`: from a pixel of the
    // picture to the next.
    void fill_x(const Tile t, const Row row, Span span, int step) {
        fill(
            span, step, [=](int at) { return along(t, row.canvas_x(at)); },
            [=](int at) { return mosaic::cover(row.canvas_x(at), t.left, t.right); });
    }
    void fill_y(const Tile t, const Row row, Span span) {
        fill(
            span, 1, [=](int at) { return down(t, row.canvas_y(at)); },
            [=](int at) { return mosaic::cover(row.canvas_y(at), t.top, t.bottom); });
    }

private:
    template <class F, class G> void fill(Span span, int step, const F neighbours, const G covered) {
        int *to_first = first.data(), *to_second = second.data();
        float *to_share = share.data(), *to_cover = cover.data();
        for (int x = span.from; x < span.to; ++x) {
            const Neighbours n = neighbours(x);
            to_first[x] = n.first * step;
            to_second[x] = n.second * step;
            to_share[x] = n.share;
            to_cover[x] = covered(x);
        }
    }
};

// The channels of a pixel, in a pack.
typedef float Channels __attribute__((vector_size(16)));

// Some rows of one view, one after the other, as floats [size, PITCH]: three channels in the room of four, which a pack holds.
template <class T, int C> class View {
    enum : int { PITCH = C == 3 ? 4 : C };

public:
    View(const MosaicArgs& a, int b)
        : a_(a), sample_(a.samples[b]), b_(b), rest_(size_t(a.size)), line_(size_t(a.size)), row_(size_t(a.size) * PITCH),
          down_(a.size) {
        const Row row(sample_, 0);
        for (const Tile& t : sample_.tiles) {
            across_.emplace_back(a.size);
            spans_.push_back({0, a.size});
            if (!row.square || t.picture < 0) continue;
            Span& span = spans_.back();  // the same in every row
            Readings& x = across_.back();
            span.narrow(row.along_x, row.x, t.left - 0.5, t.right + 0.5);
            x.fill_x(t, row, span, C);
            span.trim([&](int at) { return x.cover[at] > 0.0f; });
        }
    }

    void draw(int y) {
        const Row row(sample_, y);
        std::fill(rest_.begin(), rest_.end(), 1.0f);
        std::fill(row_.begin(), row_.end(), 0.0f);
        for (int k = 0; k < TILES; ++k)
            if (sample_.tiles[k].picture >= 0) row.square ? lay_square(k, row) : lay(k, row);
        for (int c = 0; c < C; ++c) put(row_.data() + c, a_.fill[c], pixel_at<T>(a_.out, b_, c, y, 0));
    }

private:
    // A channel of the row: what was read, and the fill.
    void put(const float* from, float fill, T* to) {
        const int size = a_.size;
        const float* rest = rest_.data();
        float* line = line_.data();
        for (int x = 0; x < size; ++x) {
            const float some = from[x * PITCH] + rest[x] * fill;
            line[x] = rest[x] > 0.0f ? some : from[x * PITCH];
        }
        if (a_.out.x == 1)
            for (int x = 0; x < size; ++x) put_pixel(line[x], to + x);
        else
            for (int x = 0; x < size; ++x) put_pixel(line[x], to + x * a_.out.x);
    }

    void lay(int k, const Row& row) {
        const Tile& t = sample_.tiles[k];
        Span span = row.span(t, a_.size, 0.5);
        Readings &x_axis = across_[k], &y_axis = down_;
        x_axis.fill_x(t, row, span, 1);
        y_axis.fill_y(t, row, span);
        for (int x = span.from; x < span.to; ++x) x_axis.cover[x] = x_axis.cover[x] * y_axis.cover[x];
        span.trim([&](int x) { return x_axis.cover[x] > 0.0f; });
        const Picture picture = picture_of(a_.in, t.picture, int(sizeof(T)));
        const T* data = reinterpret_cast<const T*>(picture.data);
        const int64_t step = picture.stride_c;
        auto pixel = [=](const T* at) {
            Channels v{};
            for (int c = 0; c < C; ++c) v[c] = pixel_value(at[c * step]);
            return v;
        };
        for (int x = span.from; x < span.to; ++x) {
            const T *upper = data + y_axis.first[x] * picture.stride_h, *lower = data + y_axis.second[x] * picture.stride_h;
            const int64_t left = x_axis.first[x] * picture.stride_w, right = x_axis.second[x] * picture.stride_w;
            const float weight = x_axis.cover[x], share = y_axis.share[x];
            const Channels first = between(pixel(upper + left), pixel(lower + left), share);
            const Channels second = between(pixel(upper + right), pixel(lower + right), share);
            const Channels value = weight * between(first, second, x_axis.share[x]);
            rest_[x] -= weight;
            float* to = row_.data() + x * PITCH;
            for (int c = 0; c < PITCH; ++c) to[c] += value[c];
        }
    }

    void lay_square(int k, const Row& row) {
        const Tile& t = sample_.tiles[k];
        const Span span = spans_[k];
        const float covered = cover(row.y, t.top, t.bottom);
        if (!(covered > 0.0f) || span.from >= span.to) return;
        const Readings& x_axis = across_[k];
        const int one = x_axis.first[span.from] / C, last = x_axis.first[span.to - 1] / C;
        const int begin = std::min(one, last), count = std::min(std::max(one, last) + 2, t.width) - begin;
        const float* columns = blend(picture_of(a_.in, t.picture, int(sizeof(T))), down(t, row.y), begin, count);
        float* to = row_.data();
        for (int x = span.from; x < span.to; ++x) {
            const float weight = x_axis.cover[x] * covered, share = x_axis.share[x];
            const float *left = columns + (x_axis.first[x] - begin * C), *right = columns + (x_axis.second[x] - begin * C);
            rest_[x] -= weight;
            for (int c = 0; c < PITCH; ++c) to[x * PITCH + c] += weight * between(left[c], right[c], share);
        }
    }
    // Columns of a picture [count, C] between two of its rows.
    const float* blend(const Picture& picture, const Neighbours& rows, int begin, int count) {
        columns_.resize(size_t(count) * C + PITCH);
        const T* data = reinterpret_cast<const T*>(picture.data) + begin * picture.stride_w;
        const T *upper = data + rows.first * picture.stride_h, *lower = data + rows.second * picture.stride_h;
        auto value = [&](int64_t at) { return between(pixel_value(upper[at]), pixel_value(lower[at]), rows.share); };
        if (picture.stride_c == 1 && picture.stride_w == C)
            for (int i = 0; i < count * C; ++i) columns_[i] = value(i);
        else
            for (int c = 0; c < C; ++c) {
                const int64_t channel = c * picture.stride_c;
                if (picture.stride_w == 1)
                    for (int i = 0; i < count; ++i) columns_[i * C + c] = value(channel + i);
                else
                    for (int i = 0; i < count; ++i) columns_[i * C + c] = value(channel + i * picture.stride_w);
            }
        return columns_.data();
    }

    const MosaicArgs& a_;
    const Sample& sample_;
    int b_;
    std::vector<float> rest_, line_, row_, columns_;  // `rest_`: how much is the fill's
    std::vector<Span> spans_;
    std::vector<Readings> across_;  // of each tile
    Readings down_;
};

void draw_mask(const MaskArgs& a, int n, int y) {
    const MaskRow& of = a.rows[n];
    const Sample& sample = a.samples[of.sample];
    const Tile& t = sample.tiles[of.tile];
    const Row row(sample, y);
    uint8_t* to = a.out + (int64_t(n) * a.size + y) * a.size;
    std::memset(to, 0, size_t(a.size));
    Span span = row.span(t, a.size, 0.0);
    span.trim([&](int x) { return holds(row.canvas_x(x), t.left, t.right) && holds(row.canvas_y(x), t.top, t.bottom); });
    const uint8_t* plane = a.masks + of.source;
    if (row.square) {
        const uint8_t* line = plane + int64_t(nearest(row.y, t.y, t.ratio_y, t.height)) * t.width;
        for (int x = span.from; x < span.to; ++x) to[x] = line[nearest(row.canvas_x(x), t.x, t.ratio_x, t.width)];
    } else {
        for (int x = span.from; x < span.to; ++x)
            to[x] = plane[int64_t(nearest(row.canvas_y(x), t.y, t.ratio_y, t.height)) * t.width +
                          nearest(row.canvas_x(x), t.x, t.ratio_x, t.width)];
    }
}

// f(b, y) for all rows of so many views.
template <class F> void each_band(int views, int size, int threads, const F& f) {
    const int bands = (size + BAND - 1) / BAND;
    parallel_for(int64_t(views) * bands, threads, [&](int64_t task) {
        const int top = int(task % bands) * BAND;
        f(int(task / bands), top, std::min(top + BAND, size));
    });
}

}  // namespace

void mosaic_cpu(const MosaicArgs& a, int threads) {
    by_dtype(a.in.dtype, [&](auto value) {
        using T = decltype(value);
        auto draw = [&](auto channels) {
            each_band(a.in.batch, a.size, threads, [&](int b, int top, int bottom) {
                View<T, decltype(channels)::value> view(a, b);
                for (int y = top; y < bottom; ++y) view.draw(y);
            });
        };
        switch (a.in.channels) {
            case 1: return draw(std::integral_constant<int, 1>{});
            case 2: return draw(std::integral_constant<int, 2>{});
            case 3: return draw(std::integral_constant<int, 3>{});
            default: return draw(std::integral_constant<int, 4>{});
        }
    });
}

void masks_cpu(const MaskArgs& a, int threads) {
    each_band(a.count, a.size, threads, [&](int n, int top, int bottom) {
        for (int y = top; y < bottom; ++y) draw_mask(a, n, y);
    });
}

}}  // namespace anamorph::mosaic
