// Clouds on a GPU: a block for each, whose threads take its points in turns and meet after each step. A cloud's lines lie in memory
// that the caller has made (a batch of usual clouds stays in the second-level cache), because a cloud may be of any size.
#define AM_LEVEL cuda
#include "../../core/launch.h"
#include "../steps.h"
#include "block.h"

namespace anamorph {
namespace AM_LEVEL { namespace {

enum : int { THREADS = 256, ORIGIN = 6, LINES = 7 };

struct Shared : Meeting<THREADS> {
    Anchor anchors[points::MAX_ANCHORS];
};

struct CloudLines {
    float *here, *there;
    double* distance;
    int most, count;
    bool normals;
    Shared& meet;

    AM_D float* line(int k) const { return here + int64_t(k) * most; }
    AM_D int32_t* origin() const { return reinterpret_cast<int32_t*>(line(ORIGIN)); }

    // f(x, y, z, place) of each point by one thread; the block has met when it is over.
    template <class F> AM_D void each(const F& f, int with = 0, int from = 0) const {
        for (int i = from + int(threadIdx.x); i < count; i += THREADS) f(line(with)[i], line(with + 1)[i], line(with + 2)[i], i);
        __syncthreads();
    }
    AM_D void take(int from, int to) const {
        for (int k = 0; k < LINES; ++k)
            if (normals || k < 3 || k == ORIGIN) there[int64_t(k) * most + to] = line(k)[from];
    }
    AM_D void swap(int n) {
        __syncthreads();
        float* const t = here;
        here = there;
        there = t;
        count = n;
    }
    template <class F> AM_D void move(int to, const F& from) {
        for (int i = int(threadIdx.x); i < to; i += THREADS) take(from(i), i);
        swap(to);
    }
    AM_D void add(int n) {
        for (int i = count + int(threadIdx.x); i < count + n; i += THREADS) {
            origin()[i] = -1;
            for (int k = 3; k < 6 && normals; ++k) line(k)[i] = 0.0f;
        }
        count += n;
    }

    // Sums over the points, in doubles and always in the same order, to every thread.
    template <class F> AM_D double sum(const F& f) const {
        double own = 0.0;
        for (int i = int(threadIdx.x); i < count; i += THREADS) own += double(f(i));
        return block_sum(own, meet);
    }
    // The largest of f over the points, of equal ones the first, to every thread.
    template <class F> AM_D double largest(const F& f, int& place) const {
        double most_own = -1.0;
        place = 0;
        for (int i = int(threadIdx.x); i < count; i += THREADS) {
            const double v = f(i);
            if (v > most_own) {
                most_own = v;
                place = i;
            }
        }
        return block_largest(most_own, place, meet);
    }
};

AM_D void normalize(CloudLines& c, int flags, float factor) {
    const float *x = c.line(0), *y = c.line(1), *z = c.line(2);
    if (flags & points::SLOT_CENTER) {
        float mean[3];
        for (int k = 0; k < 3; ++k) {
            const float *v = c.line(k), first = v[0];
            mean[k] = float(double(first) + c.sum([&](int i) { return double(v[i]) - double(first); }) / double(c.count));
        }
        c.each([&](float& a, float& b, float& d, int) {
            a -= mean[0];
            b -= mean[1];
            d -= mean[2];
        });
    }
    if (!(flags & points::SLOT_UNIT)) return;
    int place;
    const float side = float(c.largest([&](int i) { return double(max_(max_(abs_(x[i]), abs_(y[i])), abs_(z[i]))); }, place));
    if (!(side > 0.0f)) return;  // all points are at the origin
    const float power = power_near(side);
    const float square = float(c.largest(
        [&](int i) {
            const float u = x[i] * power, v = y[i] * power, w = z[i] * power;
            return double(u * u + v * v + w * w);
        },
        place));
    const float by = factor / sqrtf(square);
    c.each([&](float& u, float& v, float& w, int) {
        u = u * power * by;
        v = v * power * by;
        w = w * power * by;
    });
}

// f(k, point), by every thread.
template <class F> AM_D void farthest(CloudLines& c, int count, int start, const F& f) {
    const float *x = c.line(0), *y = c.line(1), *z = c.line(2);
    for (int i = int(threadIdx.x); i < c.count; i += THREADS) c.distance[i] = 1e300;
    int last = start < c.count ? start : c.count - 1;
    for (int k = 0;; ++k) {
        f(k, last);
        if (k == count - 1) return;
        const float px = x[last], py = y[last], pz = z[last];
        int next = 0;
        c.largest(
            [&](int i) {  // the same thread has each point every time
                const double s = squared_distance(x[i], y[i], z[i], px, py, pz), d = c.distance[i];
                return c.distance[i] = s < d ? s : d;
            },
            next);
        last = next;
    }
}

AM_D void wolf(CloudLines& c, const int32_t* step) {
    const int count = step[WOLF_ANCHORS];
    Anchor* anchors = c.meet.anchors;
    farthest(c, count, step[WOLF_START], [&](int k, int i) {
        if (int(threadIdx.x) != k % THREADS) return;
        Anchor a = wolf_anchor(step, k);
        for (int axis = 0; axis < 3; ++axis) a.at[axis] = c.line(axis)[i];
        anchors[k] = a;
    });
    __syncthreads();
    const int bits = step[WOLF_AXES];
    const float axes[3] = {float(bits & 1), float(bits >> 1 & 1), float(bits >> 2 & 1)}, falloff = step_float(step, WOLF_FALLOFF);
    float *u = c.line(3), *v = c.line(4), *w = c.line(5);
    c.each([&](float& x, float& y, float& z, int i) {
        if (!c.normals) return deform(anchors, count, axes, falloff, x, y, z);
        float normal[3] = {u[i], v[i], w[i]};
        deform_normal(anchors, count, axes, falloff, x, y, z, normal);
        u[i] = normal[0];
        v[i] = normal[1];
        w[i] = normal[2];
    });
}

// Without the `drop` nearest to a point.
AM_D void drop_nearest(CloudLines& c, int center, int drop) {
    if (drop <= 0) return;
    const float *x = c.line(0), *y = c.line(1), *z = c.line(2), px = x[center], py = y[center], pz = z[center];
    auto key = [&](int i) {
        const float a = x[i] - px, b = y[i] - py, d = z[i] - pz;
        return float_bits(a * a + b * b + d * d);
    };
    const Selected last = block_select<THREADS>(c.count, drop, key, c.meet);
    block_chosen<THREADS>(
        c.count, last, key,
        [&](int i, bool goes, int to) {
            if (!goes) c.take(i, to);
        },
        c.meet);
    c.swap(c.count - drop);
}

AM_D void add_local(CloudLines& c, const int32_t* step) {
    const int clusters = step[5], before = c.count;
    const uint32_t key = uint32_t(step[3]), second = uint32_t(step[4]);
    Permutation order;
    order.begin(key, second, uint32_t(before));
    const float *px = c.line(0), *py = c.line(1), *pz = c.line(2);
    c.add(step[2]);
    c.each(
        [&](float& x, float& y, float& z, int i) {
            const int at = i - before;
            int k = 0, end = step[7];
            while (at >= end && k < clusters - 1) end += step[7 + 2 * ++k];
            const int center = kept_point(order, k, before);
            const float sigma = step_float(step, 6 + 2 * k);
            x = px[center] + sigma * point_noise(uint32_t(at), 0, key, second);
            y = py[center] + sigma * point_noise(uint32_t(at), 1, key, second);
            z = pz[center] + sigma * point_noise(uint32_t(at), 2, key, second);
            kept_near(x, y, z);
        },
        0, before);
}

AM_D void do_step(CloudLines& c, const int32_t* step) {
    const uint32_t key = uint32_t(step[2]), second = uint32_t(step[3]);
    switch (step[0]) {
        case points::STEP_AFFINE: {
            const AffineStep a(step);
            c.each([&](float& x, float& y, float& z, int) { affine_point(a, x, y, z); });
            if (c.normals) c.each([&](float& x, float& y, float& z, int) { affine_normal(a, x, y, z); }, 3);
            break;
        }
        case points::STEP_JITTER: {
            const float sigma = step_float(step, 4), clip = step_float(step, 5);
            c.each([&](float& x, float& y, float& z, int i) {
                x = jittered(x, point_noise(uint32_t(i), 0, key, second), sigma, clip);
                y = jittered(y, point_noise(uint32_t(i), 1, key, second), sigma, clip);
                z = jittered(z, point_noise(uint32_t(i), 2, key, second), sigma, clip);
            });
            break;
        }
        case points::STEP_NORMALIZE: normalize(c, step[2], step_float(step, 3)); break;
        case points::STEP_WOLF: wolf(c, step); break;
        case points::STEP_KEEP: {
            Permutation order;
            order.begin(uint32_t(step[3]), uint32_t(step[4]), uint32_t(c.count));
            const int n = c.count;
            c.move(step[2], [&](int i) { return kept_point(order, i, n); });
            break;
        }
        case points::STEP_FARTHEST:
            farthest(c, step[2], step[3], [&](int k, int i) {
                if (int(threadIdx.x) == k % THREADS) c.take(i, k);
            });
            c.swap(step[2]);
            break;
        case points::STEP_TO_FIRST: {
            const uint32_t below = uint32_t(step[4]);
            c.move(c.count, [&](int i) { return word_at(uint32_t(i), key, second) < below ? 0 : i; });
            break;
        }
        case points::STEP_DROP_LOCAL:
            for (int k = 0; k < step[2]; ++k) drop_nearest(c, word_below(step[3 + 2 * k], c.count), step[4 + 2 * k]);
            break;
        case points::STEP_ADD_GLOBAL: {
            const uint32_t key_of = uint32_t(step[3]), second_of = uint32_t(step[4]);
            const int before = c.count;
            c.add(step[2]);
            c.each([&](float& x, float& y, float& z, int i) { in_ball(uint32_t(i - before), key_of, second_of, x, y, z); }, 0,
                   before);
            break;
        }
        case points::STEP_ADD_LOCAL: add_local(c, step); break;
        default: break;
    }
}

__global__ void __launch_bounds__(THREADS) cloud_kernel(const __grid_constant__ points::RenderArgs a) {
    __shared__ Shared meet;
    const int i = int(blockIdx.x);
    const int32_t* row = a.rows + int64_t(i) * a.row_words;
    float* room = a.room + int64_t(i) * (2 * LINES + 2) * a.most;
    CloudLines c{room,   room + LINES * int64_t(a.most),      reinterpret_cast<double*>(room + 2 * LINES * int64_t(a.most)),
                 a.most, min_(row[points::P_FROM], a.points), a.normals != nullptr,
                 meet};
    const int fields = a.normals ? 6 : 3;
    const int64_t first = int64_t(i) * a.points * 3, to = int64_t(i) * a.view_points;
    for (int k = int(threadIdx.x); k < 3 * c.count; k += THREADS)  // as they lie side by side
        for (int f = 0; f < fields; f += 3) c.line(f + k % 3)[k / 3] = (f ? a.normals : a.in)[first + k];
    for (int p = int(threadIdx.x); p < c.count; p += THREADS) c.origin()[p] = p;
    __syncthreads();
    const int32_t* step = row + points::P_HEADER;
    for (int s = 0; s < row[points::P_STEPS]; ++s, step += step[1]) do_step(c, step);
    const int count = min_(c.count, a.view_points);
    for (int k = int(threadIdx.x); k < 3 * a.view_points; k += THREADS)
        for (int f = 0; f < fields; f += 3)
            (f ? a.out_normals : a.out)[3 * to + k] = k < 3 * count ? c.line(f + k % 3)[k / 3] : 0.0f;
    for (int p = int(threadIdx.x); a.origin && p < a.view_points; p += THREADS) a.origin[to + p] = p < count ? c.origin()[p] : -1;
}

}}  // namespace AM_LEVEL

void points::render_cuda(const points::RenderArgs& a, void* stream) {
    launch("clouds", cuda::cloud_kernel, unsigned(a.batch), cuda::THREADS, 0, stream, a);
}

}  // namespace anamorph
