// A cloud's steps on a CPU, in packs of points: coordinates lie apart in lines of their own (x, y, z), which are walked step by step
// where they are in the first-level cache.
#pragma once
#include <algorithm>
#include <vector>
#include "../../core/shuffles.h"
#include "../neighbours.h"
#include "../steps.h"
#include "distances.h"

namespace anamorph { namespace AM_LEVEL {

// The lines of one cloud, and as many to move points into.
class CloudLines {
public:
    enum : int { ORIGIN = 6, LINES = 7 };
    int count = 0;
    bool normals;

    CloudLines(std::vector<float>& room, int most, bool with_normals) : normals(with_normals), pitch_(packs_above(most) + LANES) {
        room.resize(size_t(2 * LINES) * size_t(pitch_));
        here_ = room.data();
        there_ = here_ + size_t(LINES) * size_t(pitch_);
    }
    float* line(int k) { return here_ + size_t(k) * size_t(pitch_); }
    int32_t* origin() { return reinterpret_cast<int32_t*>(line(ORIGIN)); }

    // f(x, y, z, first place) for each pack; with = 3: of the normals.
    template <class F> void each(const F& f, int with = 0, int from = 0) {
        float *a = line(with), *b = line(with + 1), *c = line(with + 2);
        for (int i = from; i < count; i += LANES) {
            Floats x = Floats::load(a + i), y = Floats::load(b + i), z = Floats::load(c + i);
            f(x, y, z, i);
            x.store(a + i);
            y.store(b + i);
            z.store(c + i);
        }
    }

    // Room to say which points follow; then these take the place of what is here.
    int32_t* order(int to) {
        order_.resize(size_t(packs_above(to)));
        return order_.data();
    }
    void move(int to) {
        for (int k = 0; k < (normals ? 6 : 3); ++k) take(line(k), there_ + size_t(k) * size_t(pitch_), to);
        take(origin(), reinterpret_cast<int32_t*>(there_ + ORIGIN * size_t(pitch_)), to);
        std::swap(here_, there_);
        count = to;
    }

    // Room for points behind those that are here, which are of no point of the cloud and have no normal.
    void add(int n) {
        for (int i = count; i < count + n; ++i) origin()[i] = -1;
        for (int k = 3; k < 6 && normals; ++k) std::fill_n(line(k) + count, n, 0.0f);
        count += n;
    }

    std::vector<double> distance;  // of each point to the nearest that was chosen
    std::vector<uint64_t> keys;

private:
    template <class T> void take(const T* in, T* out, int to) const {
        for (int i = 0; i < to; ++i) out[i] = in[order_[size_t(i)]];
    }

    int pitch_;
    float *here_, *there_;
    std::vector<int32_t> order_;
};

// Permutation::forward of a pack of numbers.
inline Ints forward(const Permutation& p, Words x) {
    const Words mask(p.mask);
    const Ints n(int(p.n));
    Ints to = n;
    for (;;) {  // also the lanes that have come inside, whose places are kept
        Words l = x >> int(p.half), r = x & mask;
        for (uint32_t key : p.key) {
            Words h = (r ^ Words(key)) * Words(0x9E3779B1u);
            h = (h ^ h >> 15) * Words(0x85EBCA77u);
            const Words t = l ^ ((h ^ h >> 13) & mask);
            l = r;
            r = t;
        }
        x = (l << int(p.half)) + r;
        to = select(to < n, to, Ints((IntBits)x.v));
        if (all(to < n)) return to;
    }
}

AM_HD Words point_numbers(int first) { return Words(to_int(Floats::iota())) + Words(uint32_t(first)); }

inline void normalize(CloudLines& c, int flags, float factor) {
    const int n = c.count, whole = packs_below(n);
    if (flags & points::SLOT_CENTER) {
        float mean[3];
        for (int k = 0; k < 3; ++k) {  // the first point and the mean of the way from it: of equal points exactly these
            const float *v = c.line(k), first = v[0];
            double sum = 0.0;  // of parts of a pack's lanes, each short enough for a float
            for (int from = 0; from < whole; from += 64 * LANES) {
                const int to = std::min(whole, from + 64 * LANES);
                Floats part(0.0f);
                for (int i = from; i < to; i += LANES) part = part + (Floats::load(v + i) - Floats(first));
                for (int l = 0; l < LANES; ++l) sum += double(part.v[l]);
            }
            for (int i = whole; i < n; ++i) sum += double(v[i]) - double(first);
            mean[k] = float(double(first) + sum / double(n));
        }
        c.each([&](Floats& x, Floats& y, Floats& z, int) {
            x = x - Floats(mean[0]);
            y = y - Floats(mean[1]);
            z = z - Floats(mean[2]);
        });
    }
    if (!(flags & points::SLOT_UNIT)) return;
    const float *x = c.line(0), *y = c.line(1), *z = c.line(2);
    // f(x, y, z) >= 0 where it is largest.
    auto largest = [&](auto f) {
        Floats pack(0.0f);
        for (int i = 0; i < whole; i += LANES)
            pack = max_(pack, f(Floats::load(x + i), Floats::load(y + i), Floats::load(z + i)));
        float most = 0.0f;
        for (int l = 0; l < LANES; ++l) most = max_(most, float(pack.v[l]));
        for (int i = whole; i < n; ++i) most = max_(most, f(x[i], y[i], z[i]));
        return most;
    };
    const float side = largest([](auto a, auto b, auto d) { return max_(max_(abs_(a), abs_(b)), abs_(d)); });
    if (!(side > 0.0f)) return;  // all points are at the origin
    const float power = power_near(side);
    const float square = largest([&](auto a, auto b, auto d) {
        using F = decltype(a);
        const F u = a * F(power), v = b * F(power), w = d * F(power);
        return u * u + v * v + w * w;
    });
    const Floats first(power), by(factor / sqrtf(square));
    c.each([&](Floats& u, Floats& v, Floats& w, int) {
        u = u * first * by;
        v = v * first * by;
        w = w * first * by;
    });
}

// `count` points, each the farthest from those before it.
inline const int32_t* farthest(CloudLines& c, int count, int start) {
    int32_t* chosen = c.order(count);
    start = std::min(start, c.count - 1);
    if (count <= points::MAX_ANCHORS || c.count < 512) {
        c.distance.resize(size_t(c.count));
        farthest_lines(c.line(0), c.line(1), c.line(2), c.count, count, start, c.distance.data(), chosen);
        return chosen;
    }
    std::vector<float> cloud(size_t(3 * c.count));  // as farthest_cpu takes it: it sorts the points into buckets
    for (int k = 0; k < 3; ++k)
        for (int i = 0; i < c.count; ++i) cloud[size_t(3 * i + k)] = c.line(k)[i];
    std::vector<int64_t> found(static_cast<size_t>(count));
    farthest_of(cloud.data(), c.count, count, start, found.data());
    for (int i = 0; i < count; ++i) chosen[i] = int32_t(found[size_t(i)]);
    return chosen;
}

inline void wolf(CloudLines& c, const int32_t* step) {
    Anchor anchors[points::MAX_ANCHORS];
    const int count = step[WOLF_ANCHORS];
    const int32_t* chosen = farthest(c, count, step[WOLF_START]);
    for (int k = 0; k < count; ++k) {
        anchors[k] = wolf_anchor(step, k);
        for (int a = 0; a < 3; ++a) anchors[k].at[a] = c.line(a)[chosen[k]];
    }
    const int bits = step[WOLF_AXES];
    const float axes[3] = {float(bits & 1), float(bits >> 1 & 1), float(bits >> 2 & 1)}, falloff = step_float(step, WOLF_FALLOFF);
    float* n[3] = {c.line(3), c.line(4), c.line(5)};
    c.each([&](Floats& x, Floats& y, Floats& z, int i) {
        if (!c.normals) return deform(anchors, count, axes, falloff, x, y, z);
        Floats normal[3] = {Floats::load(n[0] + i), Floats::load(n[1] + i), Floats::load(n[2] + i)};
        deform_normal(anchors, count, axes, falloff, x, y, z, normal);
        for (int k = 0; k < 3; ++k) normal[k].store(n[k] + i);
    });
}

// Without the `drop` points nearest to point `center`, of equally near ones those with the lowest numbers; the others stay in order.
inline void drop_nearest(CloudLines& c, int center, int drop) {
    if (drop <= 0) return;
    const int n = c.count;
    c.keys.resize(size_t(n) * 2);
    uint64_t *key = c.keys.data(), *sorted = key + n;
    distance_keys(c.line(0), c.line(1), c.line(2), n, center, key);
    std::copy(key, key + n, sorted);
    std::nth_element(sorted, sorted + drop - 1, sorted + n);
    const uint64_t last = sorted[drop - 1];
    int32_t* left = c.order(n);
    for (int i = 0; i < n; ++i)
        if (key[i] > last) *left++ = i;
    c.move(n - drop);
}

inline void add_local(CloudLines& c, const int32_t* step) {
    const int added = step[2], clusters = step[5], before = c.count;
    Permutation order;
    order.begin(uint32_t(step[3]), uint32_t(step[4]), uint32_t(before));
    const uint32_t key = uint32_t(step[3]), second = uint32_t(step[4]);
    c.add(added);
    c.each(
        [&](Floats& x, Floats& y, Floats& z, int i) {
            const Words at = point_numbers(i - before);
            x = point_noise(at, 0, key, second);
            y = point_noise(at, 1, key, second);
            z = point_noise(at, 2, key, second);
        },
        0, before);
    float *x = c.line(0), *y = c.line(1), *z = c.line(2);
    for (int k = 0, at = before; k < clusters; ++k) {
        const int center = kept_point(order, k, before), end = at + step[7 + 2 * k];
        const float sigma = step_float(step, 6 + 2 * k), px = x[center], py = y[center], pz = z[center];
        for (; at < end; ++at) {
            x[at] = px + sigma * x[at];
            y[at] = py + sigma * y[at];
            z[at] = pz + sigma * z[at];
        }
    }
    c.each([](Floats& x, Floats& y, Floats& z, int) { kept_near(x, y, z); }, 0, before);
}

inline void do_step(CloudLines& c, const int32_t* step) {
    const uint32_t key = uint32_t(step[2]), second = uint32_t(step[3]);
    switch (step[0]) {
        case points::STEP_AFFINE: {
            const AffineStep a(step);
            c.each([&](Floats& x, Floats& y, Floats& z, int) { affine_point(a, x, y, z); });
            if (c.normals) c.each([&](Floats& x, Floats& y, Floats& z, int) { affine_normal(a, x, y, z); }, 3);
            break;
        }
        case points::STEP_JITTER: {
            const float sigma = step_float(step, 4), clip = step_float(step, 5);
            c.each([&](Floats& x, Floats& y, Floats& z, int i) {
                const Words at = point_numbers(i);
                x = jittered(x, point_noise(at, 0, key, second), sigma, clip);
                y = jittered(y, point_noise(at, 1, key, second), sigma, clip);
                z = jittered(z, point_noise(at, 2, key, second), sigma, clip);
            });
            break;
        }
        case points::STEP_NORMALIZE: normalize(c, step[2], step_float(step, 3)); break;
        case points::STEP_WOLF: wolf(c, step); break;
        case points::STEP_KEEP: {
            Permutation permutation;
            permutation.begin(uint32_t(step[3]), uint32_t(step[4]), uint32_t(c.count));
            const int to = step[2], once = std::min(to, c.count);
            int32_t* order = c.order(to);
            for (int i = 0; i < once; i += LANES) {
                const Ints at((IntBits)point_numbers(i).v), last(c.count - 1);
                forward(permutation, Words(min_(at, last))).store(order + i);
            }
            for (int i = once; i < to; ++i) order[i] = order[i - c.count];
            c.move(to);
            break;
        }
        case points::STEP_FARTHEST: {
            farthest(c, step[2], step[3]);
            c.move(step[2]);
            break;
        }
        case points::STEP_TO_FIRST: {
            const uint32_t below = uint32_t(step[4]);
            int32_t* order = c.order(c.count);
            for (int i = 0; i < c.count; ++i) order[i] = word_at(uint32_t(i), key, second) < below ? 0 : i;
            c.move(c.count);
            break;
        }
        case points::STEP_DROP_LOCAL:
            for (int k = 0; k < step[2]; ++k) drop_nearest(c, word_below(step[3 + 2 * k], c.count), step[4 + 2 * k]);
            break;
        case points::STEP_ADD_GLOBAL: {
            const uint32_t key_of = uint32_t(step[3]), second_of = uint32_t(step[4]);
            const int before = c.count;
            c.add(step[2]);
            c.each(
                [&](Floats& x, Floats& y, Floats& z, int i) { in_ball(point_numbers(i - before), key_of, second_of, x, y, z); },
                0, before);
            break;
        }
        case points::STEP_ADD_LOCAL: add_local(c, step); break;
        default: break;
    }
}

// Coordinates as they lie side by side in memory, into three lines, and back.
inline void to_lines(CloudLines& c, int first, const float* in, int n) {
    float* line[3] = {c.line(first), c.line(first + 1), c.line(first + 2)};
    int p = 0;
    for (; p + LANES <= n; p += LANES) {
        Floats x, y, z;
        load_points(in + 3 * p, x, y, z);
        x.store(line[0] + p);
        y.store(line[1] + p);
        z.store(line[2] + p);
    }
    for (; p < n; ++p)
        for (int k = 0; k < 3; ++k) line[k][p] = in[3 * p + k];
}
inline void from_lines(CloudLines& c, int first, float* out, int n, int room) {
    const float* line[3] = {c.line(first), c.line(first + 1), c.line(first + 2)};
    int p = 0;
    for (; p + LANES <= n; p += LANES)
        store_points(Floats::load(line[0] + p), Floats::load(line[1] + p), Floats::load(line[2] + p), out + 3 * p);
    for (; p < n; ++p)
        for (int k = 0; k < 3; ++k) out[3 * p + k] = line[k][p];
    std::fill(out + 3 * int64_t(n), out + 3 * int64_t(room), 0.0f);
}

void cloud_task(const points::RenderArgs& a, int i) {
    const int32_t* row = a.rows + int64_t(i) * a.row_words;
    static thread_local std::vector<float> room;
    CloudLines c(room, a.most, a.normals != nullptr);
    const int64_t first = int64_t(i) * a.points * 3, to = int64_t(i) * a.view_points;
    c.count = std::min(row[points::P_FROM], a.points);
    to_lines(c, 0, a.in + first, c.count);
    if (c.normals) to_lines(c, 3, a.normals + first, c.count);
    for (int p = 0; p < c.count; ++p) c.origin()[p] = p;
    const int32_t* step = row + points::P_HEADER;
    for (int s = 0; s < row[points::P_STEPS]; ++s, step += step[1]) do_step(c, step);
    const int count = std::min(c.count, a.view_points);
    from_lines(c, 0, a.out + 3 * to, count, a.view_points);
    if (c.normals) from_lines(c, 3, a.out_normals + 3 * to, count, a.view_points);
    for (int p = 0; a.origin && p < a.view_points; ++p) a.origin[to + p] = p < count ? c.origin()[p] : -1;
    constexpr size_t KEPT = 4u << 20;  // floats; after a cloud of uncommon size its room goes back
    if (room.size() > KEPT) std::vector<float>().swap(room);
}

}}  // namespace anamorph::AM_LEVEL
