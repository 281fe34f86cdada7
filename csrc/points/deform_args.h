// Clouds bent by anchors, and clouds with points masked out: what a launch is given, and what a gradient adds up.
#pragma once
#include <cstdint>

#include "deform.h"

namespace anamorph {

// A gradient's sums are taken over so many points at a time, and those of the chunks are added in order: so no result hangs on how
// many threads there are, nor on which of them is first.
enum : int { DEFORM_CHUNK = 1024 };
// Of an anchor: the shift's 3, the matrix's 9, 3 by which the anchor's place changes its weight, and one by which falloff does.
enum : int { DEFORM_SUMS = 16 };

template <class S> struct DeformArgs {
    const S* points;        // [B, N, 3]
    const S* at;            // [B, A, 3]
    const S* matrix;        // [B, A, 3, 3]
    const S* shift;         // [B, A, 3]
    const S* falloff;       // [B]
    const S* axes;          // [B, 3], or null: all of them
    const int64_t* counts;  // [B], or null: N
    int batch, anchors;
    int64_t n;
    S* out;  // [B, N, 3], zeros past a cloud's count

    // Of the gradient.
    const S* grad;   // of out
    S* grad_points;  // [B, N, 3]
    S* sums;         // [B, chunks, A, DEFORM_SUMS]
    S* grad_at;      // as at, matrix, shift, falloff
    S* grad_matrix;
    S* grad_shift;
    S* grad_falloff;
};

template <class S> struct MaskArgs {
    const S* points;  // [M, 3]
    const S* keep;    // [M]
    int64_t n;        // M
    S* out;           // [M, 3]
    const S* grad;    // of out, or null: not the gradient but the values
    S* grad_points;
    S* grad_keep;
};

namespace AM_LEVEL {

template <class S> AM_HD int64_t points_there(const DeformArgs<S>& a, int cloud) {
    if (!a.counts) return a.n;
    const int64_t c = a.counts[cloud];
    return c < 0 ? 0 : c < a.n ? c : a.n;
}
template <class S> AM_HD int64_t chunks_of(const DeformArgs<S>& a) { return (a.n + DEFORM_CHUNK - 1) / DEFORM_CHUNK; }

template <class S> AM_HD AnchorOf<S> anchor_of(const DeformArgs<S>& a, int cloud, int j) {
    const int64_t k = int64_t(cloud) * a.anchors + j;
    AnchorOf<S> anchor;
    for (int c = 0; c < 3; ++c) anchor.at[c] = a.at[3 * k + c];
    for (int c = 0; c < 9; ++c) anchor.matrix[c] = a.matrix[9 * k + c];
    for (int c = 0; c < 3; ++c) anchor.shift[c] = a.shift[3 * k + c];
    return anchor;
}

// How a cloud's weights fall. An infinite falloff, of a sigma whose square is nothing, would make 0 times infinity; at the bound
// there is room to multiply.
template <class S> struct Falling {
    S axes[3], falloff;
    AM_HD Falling(const DeformArgs<S>& a, int cloud) {
        for (int c = 0; c < 3; ++c) axes[c] = a.axes ? a.axes[3 * int64_t(cloud) + c] : S(1);
        falloff = min_(a.falloff[cloud], S(1e30));
    }
};

// By one anchor of one point: the change of the point's own gradient, and what is added to the anchor's sums. grad: of where the
// point went.
template <class F, class S>
AM_HD void anchor_grad(const AnchorOf<S>& anchor, const Falling<S>& how, const Weighed<F>& all, F x, F y, F z, const F (&grad)[3],
                       F (&grad_point)[3], F (&sums)[DEFORM_SUMS]) {
    const FromAnchor<F> apart(anchor, how.axes, x, y, z);
    const F w = exp_(F(how.falloff) * (all.least - apart.squared)) / all.sum;
    // How much further along grad than the mean this anchor puts the point. First the differences: where one anchor is all that
    // counts they are exactly 0, whatever falloff is to multiply them with.
    F more(S(0));
    AM_UNROLL
    for (int c = 0; c < 3; ++c) more = more + grad[c] * (displacement(anchor, apart.d, c) - all.by[c]);
    more = w * more;
    AM_UNROLL
    for (int c = 0; c < 3; ++c) sums[c] = sums[c] + w * grad[c];
    AM_UNROLL
    for (int i = 0; i < 3; ++i) {
        const S* row = anchor.matrix + 3 * i;
        const F turned = grad[0] * F(row[0]) + grad[1] * F(row[1]) + grad[2] * F(row[2]);
        const F pull = more * apart.d[i];
        grad_point[i] = grad_point[i] + w * (turned - grad[i]) - F(S(2) * how.falloff * how.axes[i] * how.axes[i]) * pull;
        const F wd = w * apart.d[i];
        AM_UNROLL
        for (int c = 0; c < 3; ++c) sums[3 + 3 * i + c] = sums[3 + 3 * i + c] + wd * grad[c];
        sums[12 + i] = sums[12 + i] + pull;
    }
    sums[15] = sums[15] + more * (all.least - apart.squared);  // least changes nothing: all anchors' `more` add up to 0
}

// An anchor's gradients from its sums; for the first anchor, the falloff's too.
template <class S> AM_HD void finish_grad(const DeformArgs<S>& a, int cloud, int j) {
    const int64_t chunks = chunks_of(a), k = int64_t(cloud) * a.anchors + j;
    const S* from = a.sums + int64_t(cloud) * chunks * a.anchors * DEFORM_SUMS;
    S sums[DEFORM_SUMS];
    for (int s = 0; s < DEFORM_SUMS; ++s) sums[s] = S(0);
    for (int64_t chunk = 0; chunk < chunks; ++chunk)
        for (int s = 0; s < DEFORM_SUMS; ++s) sums[s] += from[(chunk * a.anchors + j) * DEFORM_SUMS + s];
    const Falling<S> how(a, cloud);
    const S* matrix = a.matrix + 9 * k;
    for (int c = 0; c < 3; ++c) a.grad_shift[3 * k + c] = sums[c];
    for (int c = 0; c < 9; ++c) a.grad_matrix[9 * k + c] = sums[3 + c];
    for (int i = 0; i < 3; ++i) {
        const S turned = sums[0] * matrix[3 * i] + sums[1] * matrix[3 * i + 1] + sums[2] * matrix[3 * i + 2];
        a.grad_at[3 * k + i] = sums[i] - turned + S(2) * how.falloff * how.axes[i] * how.axes[i] * sums[12 + i];
    }
    if (j > 0) return;
    S total = S(0);
    for (int64_t of = 0; of < chunks * a.anchors; ++of) total += from[of * DEFORM_SUMS + 15];
    a.grad_falloff[cloud] = total;
}

// A dropped point is 0, whatever it was. The gradient of `keep` is there for dropped points too.
template <class S> AM_HD void mask_point(const MaskArgs<S>& a, int64_t i) {
    const S keep = a.keep[i];
    if (!a.grad) {
        for (int c = 0; c < 3; ++c) a.out[3 * i + c] = keep == S(0) ? S(0) : a.points[3 * i + c] * keep;
        return;
    }
    S of_keep = S(0);
    for (int c = 0; c < 3; ++c) {
        of_keep += a.grad[3 * i + c] * a.points[3 * i + c];
        a.grad_points[3 * i + c] = a.grad[3 * i + c] * keep;
    }
    a.grad_keep[i] = of_keep;
}

}  // namespace AM_LEVEL

// S: float or double.
template <class S> void deform_cpu(const DeformArgs<S>& a, int threads);
template <class S> void deform_grad_cpu(const DeformArgs<S>& a, int threads);
template <class S> void mask_cpu(const MaskArgs<S>& a, int threads);
template <class S> void deform_cuda(const DeformArgs<S>& a, void* stream);
template <class S> void deform_grad_cuda(const DeformArgs<S>& a, void* stream);
template <class S> void mask_cuda(const MaskArgs<S>& a, void* stream);

}  // namespace anamorph
