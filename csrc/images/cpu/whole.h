// What needs a whole view on a CPU: statistics of it, found row by row, and stencils, which go over it where it lies.
//
// A view lies in [height][C][pitch] floats. Rows that a stencil has written and still reads are kept aside.
#pragma once
#include <cstring>
#include <utility>
#include "../color.h"
#include "../taps.h"

namespace anamorph { namespace AM_LEVEL {

// A pack's lanes below `count`.
AM_HD auto lanes_below(int count) { return Floats::iota() < Floats(float(count)); }

// What of a statistic the rows seen so far have. `cover` (null: all of it) says of each pixel how much of it is no fill; those that
// are more than half of it count.
template <int C> struct Statistic {
    int op;
    bool bytes;
    double grey = 0.0, pixels = 0.0;
    Floats least[C], most[C];
    uint32_t counts[2][C][TABLE];  // neighbours in two: one would wait for the other where they are alike

    Statistic(int step_op, bool byte_input) : op(step_op), bytes(byte_input) {
        for (int c = 0; c < C; ++c) {
            least[c] = Floats(3e38f);
            most[c] = Floats(-3e38f);
        }
        if (op == OP_EQUALIZE) std::memset(counts, 0, sizeof counts);
    }
    void row(int width, int pitch, const float* buf, const float* cover) {
        if (op == OP_EQUALIZE) return count(width, pitch, buf, cover);
        Floats part(0.0f), shown(0.0f);
        for (int x = 0; x < width; x += LANES) {
            Floats v[C];
            for (int c = 0; c < C; ++c) v[c] = Floats::load(buf + c * pitch + x);
            auto in = lanes_below(width - x);
            if (cover) in = in && Floats::load(cover + x) > Floats(0.5f);
            if (op == OP_AUTOCONTRAST) {
                for (int c = 0; c < C; ++c) {
                    Floats seen = bytes ? as_byte(v[c]) : v[c];
                    least[c] = select(in, min_(least[c], seen), least[c]);
                    most[c] = select(in, max_(most[c], seen), most[c]);
                }
            } else {
                part = part + select(in, gray<C>(v), Floats(0.0f));
                shown = shown + select(in, Floats(1.0f), Floats(0.0f));
            }
        }
        if (op == OP_AUTOCONTRAST) return;
        grey += sum_of(part);
        pixels += sum_of(shown);
    }
    // `table`: [C][TABLE].
    Found found(float* table) {
        if (op == OP_EQUALIZE) {
            for (int c = 0; c < C; ++c) {
                for (int k = 0; k < TABLE; ++k) counts[0][c][k] += counts[1][c][k];
                equalize(counts[0][c], table + c * TABLE);
            }
        } else if (op == OP_AUTOCONTRAST) {
            for (int c = 0; c < C; ++c) {
                float low[LANES], high[LANES];
                least[c].store(low);
                most[c].store(high);
                for (int k = 1; k < LANES; ++k) {
                    low[0] = min_(low[0], low[k]);
                    high[0] = max_(high[0], high[k]);
                }
                stretch(low[0], high[0], bytes, table + c * TABLE);
            }
        }
        return {pixels > 0.0 ? float(grey / pixels) : 0.0f, table};
    }

private:
    static double sum_of(Floats part) {
        float lanes[LANES];
        part.store(lanes);
        for (int half = LANES / 2; half > 0; half /= 2)
            for (int k = 0; k < half; ++k) lanes[k] += lanes[k + half];
        return lanes[0];
    }
    void count(int width, int pitch, const float* buf, const float* cover) {
        for (int c = 0; c < C; ++c)
            for (int x = 0; x < width; x += LANES) {
                int32_t seen[LANES];
                to_int(counted(bytes, Floats::load(buf + c * pitch + x))).store(seen);
                for (int k = 0; k < LANES && x + k < width; ++k)
                    if (!cover || cover[x + k] > 0.5f) ++counts[k & 1][c][seen[k]];
            }
    }
};

// A line with `radius` more values on either side, which the border's rule makes of it. `wide` has room for packs.
inline void widen(const float* line, int width, int radius, int kind, float* wide) {
    std::memcpy(wide + radius, line, size_t(width) * sizeof(float));
    for (int k = 1; k <= radius; ++k) {
        const int border = kind == BLUR_REFLECT ? BORDER_REFLECT : BORDER_EDGE;
        wide[radius - k] = kind == BLUR_ZERO ? 0.0f : line[border_index(-k, 0, width - 1, border)];
        wide[radius + width - 1 + k] = kind == BLUR_ZERO ? 0.0f : line[border_index(width - 1 + k, 0, width - 1, border)];
    }
}

// Separable: across, line by line, then down. `room`: BLUR_HALF lines and one more that is wider by what a border adds.
struct Blur {
    float across[BLUR_HALF], down[BLUR_HALF];
    int nx, ny, kind;
    bool bytes;

    Blur(const int32_t* words, bool byte_input) : bytes(byte_input) {
        kind = kept_in((words[S_BLUR] >> 16) & 0xFF, 0, int(BLUR_BOXES));
        nx = blur_taps(word_float(words[S_NUMBER]), words[S_BLUR] & 0xFF, kind, across);
        ny = blur_taps(word_float(words[S_NUMBER]), (words[S_BLUR] >> 8) & 0xFF, kind, down);
    }
    static size_t floats(int channels, int pitch) {
        return size_t(BLUR_HALF + 1) * channels * pitch + size_t(MAX_BLUR + 2 * LANES);
    }
    void apply(float* view, int height, int width, int channels, int pitch, float* room) const {
        const int64_t values = int64_t(height) * channels * pitch;
        auto each = [&](auto change) {
            for (int64_t x = 0; x < values; x += LANES) change(Floats::load(view + x)).store(view + x);
        };
        const bool levels = bytes && kind == BLUR_BOXES;
        if (levels) each([](Floats v) { return as_byte(v); });
        for (int64_t k = 0; k < int64_t(height) * channels && nx > 1; ++k)
            for (int pass = 0; pass < blur_passes(kind); ++pass)
                go_across(view + k * pitch, width, room + size_t(BLUR_HALF) * channels * pitch);
        for (int pass = 0; pass < blur_passes(kind) && ny > 1; ++pass) go_down(view, height, channels * pitch, room);
        if (levels) each([](Floats v) { return v * Floats(1.0f / 255.0f); });
    }

private:
    // The sum of `count` taps and those on the other side of the middle; pair(j): the two that lie j away.
    template <class Pair> Floats sum(const float* taps, int count, const Floats& middle, const Pair& pair) const {
        Floats sum = middle;
        if (bytes && kind == BLUR_BOXES) {
            for (int j = 1; j < count - 1; ++j) sum = sum + pair(j);
            return boxed(sum, pair(count - 1), taps[0], taps[count - 1]);
        }
        sum = Floats(taps[0]) * middle;
        for (int j = 1; j < count; ++j) sum = sum + Floats(taps[j]) * pair(j);
        return sum;
    }
    void go_across(float* to, int width, float* wide) const {
        widen(to, width, nx - 1, kind, wide);
        const float* from = wide + nx - 1;
        for (int x = 0; x < width; x += LANES)
            sum(across, nx, Floats::load(from + x), [&](int j) {
                return Floats::load(from + x - j) + Floats::load(from + x + j);
            }).store(to + x);
    }
    void go_down(float* view, int height, int line, float* room) const {
        const int reach = ny - 1;
        const float* lines[MAX_BLUR];  // those around a line; what is above it was written over and is kept in `room`
        float* nothing = room + size_t(BLUR_HALF) * line;  // a line of zeros
        if (kind == BLUR_ZERO) std::memset(nothing, 0, size_t(line) * sizeof(float));
        for (int y = 0; y < height; ++y) {
            for (int j = -reach; j <= reach; ++j) {
                const int at = border_index(y + j, 0, height - 1, kind == BLUR_REFLECT ? BORDER_REFLECT : BORDER_EDGE);
                lines[reach + j] = at < y ? room + size_t(at % reach) * line : view + int64_t(at) * line;
                if (kind == BLUR_ZERO && at != y + j) lines[reach + j] = nothing;
            }
            float* to = view + int64_t(y) * line;
            for (int x = 0; x < line; x += LANES) {
                const Floats here = Floats::load(to + x);
                const Floats v = sum(down, ny, here, [&](int j) {
                    return Floats::load(lines[reach - j] + x) + Floats::load(lines[reach + j] + x);
                });
                here.store(room + size_t(y % reach) * line + x);
                v.store(to + x);
            }
        }
    }
};

// `room`: two lines.
template <int C> void sharpen(float* view, int height, int width, int pitch, bool bytes, float p, float* room) {
    if (height <= 2 || width <= 2) return;  // as torchvision's
    const int line = C * pitch;
    float *above = room, *here = room + line;
    std::memcpy(above, view, size_t(line) * sizeof(float));
    for (int y = 1; y < height - 1; ++y) {
        float* to = view + int64_t(y) * line;
        std::memcpy(here, to, size_t(line) * sizeof(float));
        const float* below = to + line;
        for (int c = 0; c < C; ++c) {
            const float *a = above + c * pitch, *h = here + c * pitch, *b = below + c * pitch;
            for (int x = 1; x < width - 1; x += LANES) {
                const int last = width - 1 - x;  // a pack's lanes that have neighbours
                auto three = [&](const float* l) {
                    return Floats::load(l + x - 1) + Floats::load(l + x) + Floats::load(l + x + 1);
                };
                Floats c0 = Floats::load(h + x);
                Floats around = three(a) + three(b) + Floats::load(h + x - 1) + Floats::load(h + x + 1);
                Floats v = sharpened(bytes, c0, around, p);
                if (last >= LANES) {
                    v.store(to + c * pitch + x);
                } else {
                    float some[LANES];
                    v.store(some);
                    std::memcpy(to + c * pitch + x, some, size_t(last) * sizeof(float));
                }
            }
        }
        std::swap(above, here);
    }
}

}}  // namespace anamorph::AM_LEVEL
