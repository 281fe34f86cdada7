// Some points of a cloud, bent or masked. floats in packs, doubles one by one.
#pragma once
#include "../deform_args.h"

namespace anamorph { namespace AM_LEVEL {

template <class S> struct PackOf {
    using type = Floats;
    enum : int { lanes = LANES };
};
template <> struct PackOf<double> {
    using type = double;
    enum : int { lanes = 1 };
};
AM_HD Floats of_lanes(const float* p, Floats) { return Floats::load(p); }
AM_HD double of_lanes(const double* p, double) { return *p; }
AM_HD void to_lanes(Floats v, float* p) { v.store(p); }
AM_HD void to_lanes(double v, double* p) { *p = v; }

// Up to a pack's number of rows of three. Lanes past the last row hold the first one (repeat) or zeros.
template <class F, class S, int L> AM_HD void load_rows(const S* from, int64_t rows, F (&v)[3], bool repeat) {
    S lanes[3][L];
    for (int k = 0; k < L; ++k)
        for (int c = 0; c < 3; ++c) lanes[c][k] = k < rows ? from[3 * k + c] : repeat ? from[c] : S(0);
    for (int c = 0; c < 3; ++c) v[c] = of_lanes(lanes[c], F());
}
template <class F, class S, int L> AM_HD void store_rows(const F (&v)[3], int64_t rows, S* to) {
    S lanes[3][L];
    for (int c = 0; c < 3; ++c) to_lanes(v[c], lanes[c]);
    for (int k = 0; k < L && k < rows; ++k)
        for (int c = 0; c < 3; ++c) to[3 * k + c] = lanes[c][k];
}

// Chunk `chunk` of a cloud.
template <class S> void deform_task(const DeformArgs<S>& a, int cloud, int64_t chunk) {
    using F = typename PackOf<S>::type;
    enum : int { L = PackOf<S>::lanes };
    AnchorOf<S> anchors[MOST_ANCHORS];
    for (int j = 0; j < a.anchors; ++j) anchors[j] = anchor_of(a, cloud, j);
    const Falling<S> how(a, cloud);
    const int64_t first = chunk * DEFORM_CHUNK, there = points_there(a, cloud);
    const int64_t end = first + DEFORM_CHUNK < a.n ? first + DEFORM_CHUNK : a.n, last = there < end ? there : end;
    const S* points = a.points + int64_t(cloud) * a.n * 3;
    S* out = a.out + int64_t(cloud) * a.n * 3;
    int64_t i = first;
    for (; i < last; i += L) {
        F v[3];
        load_rows<F, S, L>(points + 3 * i, last - i, v, true);
        deform(anchors, a.anchors, how.axes, how.falloff, v[0], v[1], v[2]);
        store_rows<F, S, L>(v, last - i, out + 3 * i);
    }
    for (i = 3 * (first > last ? first : last); i < 3 * end; ++i) out[i] = S(0);
}

template <class S> void deform_grad_task(const DeformArgs<S>& a, int cloud, int64_t chunk) {
    using F = typename PackOf<S>::type;
    enum : int { L = PackOf<S>::lanes };
    AnchorOf<S> anchors[MOST_ANCHORS];
    F sums[MOST_ANCHORS][DEFORM_SUMS];
    for (int j = 0; j < a.anchors; ++j) {
        anchors[j] = anchor_of(a, cloud, j);
        for (int s = 0; s < DEFORM_SUMS; ++s) sums[j][s] = F(S(0));
    }
    const Falling<S> how(a, cloud);
    const int64_t first = chunk * DEFORM_CHUNK, there = points_there(a, cloud);
    const int64_t end = first + DEFORM_CHUNK < a.n ? first + DEFORM_CHUNK : a.n, last = there < end ? there : end;
    const int64_t of = int64_t(cloud) * a.n * 3;
    int64_t i = first;
    for (; i < last; i += L) {
        F v[3], grad[3];
        load_rows<F, S, L>(a.points + of + 3 * i, last - i, v, true);
        load_rows<F, S, L>(a.grad + of + 3 * i, last - i, grad, false);
        const Weighed<F> all(anchors, a.anchors, how.axes, how.falloff, v[0], v[1], v[2]);
        F own[3] = {grad[0], grad[1], grad[2]};
        for (int j = 0; j < a.anchors; ++j) anchor_grad(anchors[j], how, all, v[0], v[1], v[2], grad, own, sums[j]);
        store_rows<F, S, L>(own, last - i, a.grad_points + of + 3 * i);
    }
    for (i = 3 * (first > last ? first : last); i < 3 * end; ++i) a.grad_points[of + i] = S(0);
    S* to = a.sums + (int64_t(cloud) * chunks_of(a) + chunk) * a.anchors * DEFORM_SUMS;
    for (int j = 0; j < a.anchors; ++j)
        for (int s = 0; s < DEFORM_SUMS; ++s) {
            S lanes[L], total = S(0);
            to_lanes(sums[j][s], lanes);
            for (int k = 0; k < L; ++k) total += lanes[k];
            *to++ = total;
        }
}

template <class S> void mask_task(const MaskArgs<S>& a, int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) mask_point(a, i);
}

template void deform_task(const DeformArgs<float>&, int, int64_t);
template void deform_task(const DeformArgs<double>&, int, int64_t);
template void deform_grad_task(const DeformArgs<float>&, int, int64_t);
template void deform_grad_task(const DeformArgs<double>&, int, int64_t);
template void mask_task(const MaskArgs<float>&, int64_t, int64_t);
template void mask_task(const MaskArgs<double>&, int64_t, int64_t);

}}  // namespace anamorph::AM_LEVEL
