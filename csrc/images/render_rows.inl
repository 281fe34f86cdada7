// Rendering on a CPU, row by row: compiled once for each SIMD level (render_cpu_*.cpp), each in its own namespace.
//
// A sample's view goes through a buffer of one row, which stays in the first-level cache, one stage at a time. A view
// whose contrast needs its own grey mean is first drawn up to that step into a buffer of the whole view, so the taps
// are taken once.
#include "../core/parallel.h"
#include "color.h"
#include "render.h"

namespace anamorph { namespace AM_LEVEL {

struct Scratch {
    float* data = nullptr;
    size_t size = 0;
    float* need(size_t n) {
        if (n > size) {
            free(data);
            data = static_cast<float*>(aligned_alloc(64, (n * sizeof(float) + 63) / 64 * 64));
            size = n;
        }
        return data;
    }
    ~Scratch() { free(data); }
};

enum : int { MAX_COLORS = 64 };

template <int C> struct SampleView {
    const RenderArgs& a;
    int i;
    const int32_t* row;
    Picture picture;
    Reading reading;
    bool bytes, packed;
    int colors, erases, width, pitch;
    float* cache = nullptr;   // the whole view, `cached` steps done
    int cached = 0;
    float means[MAX_COLORS];  // of the view just before step j

    SampleView(const RenderArgs& args, int index)
        : a(args), i(index), row(args.rows + int64_t(index) * args.info.row_words),
          picture(picture_of(args.in, index, dtype_bytes(args.in.dtype))),
          reading(reading_of(row, picture, args.in.dtype == U8 ? 1.0f / 255.0f : 1.0f)), bytes(args.in.dtype == U8),
          packed(ByteSource<C>::fits(picture)), colors(row[W_COLORS]), erases(row[W_ERASES]), width(args.out_w),
          pitch((args.out_w + LANES - 1) / LANES * LANES) {
        if (colors > a.info.max_colors) colors = a.info.max_colors;
        if (erases > a.info.max_erases) erases = a.info.max_erases;
    }

    int first_contrast() const {
        for (int j = 0; j < colors; ++j)
            if (color_words(row, j)[0] == OP_CONTRAST) return j;
        return -1;
    }

    template <class Source> void take(const Reading& r, int y, int xa, int xb, float* buf) const {
        Source s(picture);
        Floats fy(float(y) + 0.5f);
        for (int x = xa; x < xb; x += LANES) {
            Floats v[C];
            sample<C>(s, r, Floats::iota() + Floats(float(x) + 0.5f), fy, v);
            for (int c = 0; c < C; ++c) v[c].store(buf + c * pitch + x);
        }
    }
    void colour(int from, int to, int xa, int xb, float* buf) const {
        for (int j = from; j < to; ++j) {
            const int32_t* w = color_words(row, j);
            float p = word_float(w[1]), mean = means[j];
            for (int x = xa; x < xb; x += LANES) {
                Floats v[C];
                for (int c = 0; c < C; ++c) v[c] = Floats::load(buf + c * pitch + x);
                color_step<C>(w[0], p, mean, bytes, v);
                for (int c = 0; c < C; ++c) v[c].store(buf + c * pitch + x);
            }
        }
    }
    void pixels(const Reading& r, int y, int xa, int xb, float* buf) const {
        if (packed) take<ByteSource<C>>(r, y, xa, xb, buf);
        else take<AnySource<C>>(r, y, xa, xb, buf);
    }

    // Finds the means that contrast steps need, leaving the view in `room` (out_h rows of C * pitch floats).
    void prepare(float* room) {
        int h = a.out_h, row_size = C * pitch;
        for (int j = first_contrast(); j >= 0 && j < colors; ++j) {
            if (color_words(row, j)[0] != OP_CONTRAST) continue;
            double sum = 0.0;
            for (int y = 0; y < h; ++y) {
                float* buf = room + int64_t(y) * row_size;
                if (!cache) pixels(reading, y, 0, width, buf);
                colour(cached, j, 0, width, buf);
                Floats part(0.0f);
                int x = 0;
                for (; x + LANES <= width; x += LANES) {
                    Floats v[C];
                    for (int c = 0; c < C; ++c) v[c] = Floats::load(buf + c * pitch + x);
                    part = part + gray<C>(v);
                }
                float line = 0.0f;
                for (int k = 0; k < LANES; ++k) line += part.v[k];
                for (; x < width; ++x) {
                    float v[C];
                    for (int c = 0; c < C; ++c) v[c] = buf[c * pitch + x];
                    line += gray<C>(v);
                }
                sum += line;
            }
            cache = room;
            cached = j;
            means[j] = float(sum / (double(h) * double(width)));
        }
    }

    // Row y of the finished view, columns [xa, xb) (xa on a pack's edge), into buf[C][pitch].
    void draw(int y, int xa, int xb, float* buf) const {
        if (cache) {
            const float* from = cache + int64_t(y) * C * pitch;
            for (int c = 0; c < C; ++c)
                for (int x = xa; x < xb; x += LANES) Floats::load(from + c * pitch + x).store(buf + c * pitch + x);
        } else {
            pixels(reading, y, xa, xb, buf);
        }
        colour(cached, colors, xa, xb, buf);
        erase(y, xa, xb, 1.0f, 0.0f, 1.0f, 0.0f, buf);
    }
    // The same through one more map, output -> view (ResizeMix's box).
    void draw_shrunk(int y, int xa, int xb, float sx, float tx, float sy, float ty, float* buf) const {
        Reading r = reading;
        shrink_reading(r, sx, tx, sy, ty);
        pixels(r, y, xa, xb, buf);
        colour(0, colors, xa, xb, buf);
        erase(y, xa, xb, sx, tx, sy, ty, buf);
    }
    void erase(int y, int xa, int xb, float sx, float tx, float sy, float ty, float* buf) const {
        int vy = int(sy * (float(y) + 0.5f) + ty);
        for (int k = 0; k < erases; ++k) {
            const int32_t* e = erase_words(a.info, row, k);
            if (vy < e[1] || vy >= e[3]) continue;
            for (int x = xa; x < xb; ++x) {
                int vx = int(sx * (float(x) + 0.5f) + tx);
                if (vx < e[0] || vx >= e[2]) continue;
                for (int c = 0; c < C; ++c) buf[c * pitch + x] = erased_value(a, e, vx, vy, c);
            }
        }
    }
};

template <int C> void mix_row(const RenderArgs& a, const SampleView<C>& own, const SampleView<C>& other, int y, float* buf,
                              float* second) {
    int rule = own.row[W_MIX], w = own.width, pitch = own.pitch;
    const int32_t* box = own.row + W_BOX;
    if (rule == MIX_CONSTANT || rule == MIX_MASK) {
        float lam = word_float(own.row[W_LAM]);
        other.draw(y, 0, w, second);
        const float* mask = rule == MIX_MASK && a.mask ? a.mask + own.i * a.mask_n + y * a.mask_y : nullptr;
        for (int x = 0; x < w; x += LANES) {
            Floats keep(lam);
            if (mask)
                for (int k = 0; k < LANES && x + k < w; ++k) keep.v[k] = mask[(x + k) * a.mask_x];
            for (int c = 0; c < C; ++c) {
                Floats u = Floats::load(buf + c * pitch + x), v = Floats::load(second + c * pitch + x);
                (v + keep * (u - v)).store(buf + c * pitch + x);
            }
        }
        return;
    }
    int x0 = max_(box[0], 0), x1 = min_(box[2], w);
    if (y < box[1] || y >= box[3] || x0 >= x1) return;
    int from = x0 / LANES * LANES;
    if (rule == MIX_BOX) {
        other.draw(y, from, x1, second);
    } else {
        float sx = float(w) / float(box[2] - box[0]), sy = float(a.out_h) / float(box[3] - box[1]);
        other.draw_shrunk(y, from, x1, sx, -sx * float(box[0]), sy, -sy * float(box[1]), second);
    }
    for (int c = 0; c < C; ++c)
        for (int x = x0; x < x1; ++x) buf[c * pitch + x] = second[c * pitch + x];
}

// Normalise, cast, store.
template <int C> void store_row(const RenderArgs& a, int i, int y, int pitch, const float* buf) {
    int64_t start = i * a.out_n + y * a.out_y;
    int w = a.out_w, dtype = a.out_dtype;
    for (int c = 0; c < C; ++c) {
        const float* from = buf + c * pitch;
        float k = a.scale[c], b = a.bias[c];
        int64_t at = start + c * a.out_c;
        int x = 0;
        if (a.out_x == 1 && dtype == F32) {
            float* to = reinterpret_cast<float*>(a.out) + at;
            for (; x + LANES <= w; x += LANES) (Floats::load(from + x) * Floats(k) + Floats(b)).store(to + x);
        }
#if defined(__AVX512F__)
        if (a.out_x == 1 && dtype == F16) {
            uint16_t* to = reinterpret_cast<uint16_t*>(a.out) + at;
            for (; x + LANES <= w; x += LANES) {
                Floats v = Floats::load(from + x) * Floats(k) + Floats(b);
                _mm256_storeu_si256((__m256i*)(to + x), _mm512_cvtps_ph((__m512)v.v, _MM_FROUND_TO_NEAREST_INT));
            }
        }
#elif defined(__AVX2__) && defined(__F16C__)
        if (a.out_x == 1 && dtype == F16) {
            uint16_t* to = reinterpret_cast<uint16_t*>(a.out) + at;
            for (; x + LANES <= w; x += LANES) {
                Floats v = Floats::load(from + x) * Floats(k) + Floats(b);
                _mm_storeu_si128((__m128i*)(to + x), _mm256_cvtps_ph((__m256)v.v, _MM_FROUND_TO_NEAREST_INT));
            }
        }
#endif
        for (; x < w; ++x) store_scalar(a.out, at + x * a.out_x, dtype, from[x] * k + b);
    }
}

template <int C> void render_band(const RenderArgs& a, int i, int y0, int y1) {
    static thread_local Scratch lines, own_room, other_room;
    SampleView<C> own(a, i);
    bool mixed = own.row[W_MIX] != MIX_NONE;
    size_t line = size_t(C) * own.pitch, whole = line * a.out_h;
    float* buf = lines.need(2 * line);
    if (own.first_contrast() >= 0) own.prepare(own_room.need(whole));
    if (!mixed) {
        for (int y = y0; y < y1; ++y) {
            own.draw(y, 0, own.width, buf);
            store_row<C>(a, i, y, own.pitch, buf);
        }
        return;
    }
    SampleView<C> other(a, partner_of(a, own.row, i));
    if (other.first_contrast() >= 0) other.prepare(other_room.need(whole));
    for (int y = y0; y < y1; ++y) {
        own.draw(y, 0, own.width, buf);
        mix_row<C>(a, own, other, y, buf, buf + line);
        store_row<C>(a, i, y, own.pitch, buf);
    }
}

void render_task(const RenderArgs& a, int i, int y0, int y1) {
    switch (a.in.channels) {
        case 1: render_band<1>(a, i, y0, y1); break;
        case 2: render_band<2>(a, i, y0, y1); break;
        case 3: render_band<3>(a, i, y0, y1); break;
        default: render_band<4>(a, i, y0, y1); break;
    }
}

}}  // namespace anamorph::AM_LEVEL
