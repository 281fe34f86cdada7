// Drawing a plan for point clouds: one row per cloud from (seed, epoch, sample id, view) and how many points it has. The same code on
// a CPU and on a GPU, the same bits: doubles, exact_math.h, no contraction.
#pragma once
#include "../core/draw.h"
#include "../core/permutation.h"
#include "program.h"

namespace anamorph { namespace points {

// An affine map of rows: p' = p m + t.
struct Affine {
    double m[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1}, t[3] = {0, 0, 0};
    bool some = false;

    AM_HD void then(const double (&n)[9], const double (&u)[3]) {
        double r[9], v[3];
        for (int i = 0; i < 3; ++i)
            for (int j = 0; j < 3; ++j) r[3 * i + j] = m[3 * i] * n[j] + m[3 * i + 1] * n[3 + j] + m[3 * i + 2] * n[6 + j];
        for (int j = 0; j < 3; ++j) v[j] = t[0] * n[j] + t[1] * n[3 + j] + t[2] * n[6 + j] + u[j];
        for (int i = 0; i < 9; ++i) m[i] = r[i];
        for (int i = 0; i < 3; ++i) t[i] = v[i];
        some = true;
    }
    AM_HD void then(const double (&n)[9]) { then(n, {0.0, 0.0, 0.0}); }
};

// R = Rz Ry Rx of angles in degrees, for p @ R. `compat`: PointWOLF's published matrix, whose middle entry has cos z cos y where a
// rotation has cos z cos x.
AM_HD void rotation(const double (&degrees)[3], bool compat, double (&r)[9]) {
    const exact::SinCos x = exact::sincos_deg(degrees[0]), y = exact::sincos_deg(degrees[1]), z = exact::sincos_deg(degrees[2]);
    r[0] = z.cos * y.cos;
    r[1] = z.cos * y.sin * x.sin - z.sin * x.cos;
    r[2] = z.cos * y.sin * x.cos + z.sin * x.sin;
    r[3] = z.sin * y.cos;
    r[4] = z.sin * y.sin * x.sin + z.cos * (compat ? y.cos : x.cos);
    r[5] = z.sin * y.sin * x.cos - z.cos * x.sin;
    r[6] = -y.sin;
    r[7] = y.cos * x.sin;
    r[8] = y.cos * x.cos;
}

struct RowWriter {
    const PlanArgs& a;
    const Slot* slots;
    int i;
    int32_t* row;
    int used, steps;
    int64_t count;  // of points, as far as the list has been done
    Affine affine;

    AM_HD uint32_t epoch() const { return a.epoch_cell ? uint32_t(*a.epoch_cell) : a.epoch; }
    AM_HD void put(double v) {
        const double most = 0x1p100;
        v = v < most ? v : most;
        row[used++] = float_word(float(v > -most ? v : -most));
    }
    AM_HD void put_key(Draw& d) {
        row[used++] = int32_t(d.word());
        row[used++] = int32_t(d.word());
    }

    // A step of `words` words; what was an affine map until here is a step before it.
    AM_HD void begin(Step step, int words) {
        end_affine();
        row[used++] = step;
        row[used++] = words;
        ++steps;
    }
    AM_HD void end_affine() {
        if (!affine.some) return;
        row[used++] = STEP_AFFINE;
        row[used++] = 14;
        for (double v : affine.m) put(v);
        for (double v : affine.t) put(v);
        ++steps;
        affine = Affine();
    }

    // p: low, high. k: the axes, as bits; the others have `other`.
    AM_HD void axes(const Slot& s, Draw& d, double other, double (&v)[3]) {
        double same = 0.0;
        for (int c = 0; c < 3; ++c) {
            v[c] = d.uniform(s.p[0], s.p[1]);
            if (c == 0) same = v[0];
            if (s.flags & SLOT_SAME) v[c] = same;
            if (!(s.k >> c & 1)) v[c] = other;
        }
    }
    AM_HD void scale(const double (&v)[3]) { affine.then({v[0], 0.0, 0.0, 0.0, v[1], 0.0, 0.0, 0.0, v[2]}); }

    // p: low, high in degrees, the axis (of length 1). A turn by the right-hand rule, whatever the form: p' = turn(p).
    AM_HD void rotate(const Slot& s, Draw& d) {
        const exact::SinCos turn = exact::sincos_deg(d.uniform(s.p[0], s.p[1]));
        const double x = s.p[2], y = s.p[3], z = s.p[4], c = turn.cos, n = turn.sin, rest = 1.0 - c;
        affine.then({c + x * x * rest, x * y * rest + z * n, x * z * rest - y * n, x * y * rest - z * n, c + y * y * rest,
                     y * z * rest + x * n, x * z * rest + y * n, y * z * rest - x * n, c + z * z * rest});
    }

    // p: low and high of each angle in degrees; with SLOT_NORMAL the deviation and the largest.
    AM_HD void rotate_angles(const Slot& s, Draw& d) {
        double angles[3], r[9];
        for (int c = 0; c < 3; ++c) {
            if (s.flags & SLOT_NORMAL) {
                const double v = s.p[0] * d.normal();
                angles[c] = exact::minimum(exact::maximum(v, -s.p[1]), s.p[1]);
            } else {
                angles[c] = d.uniform(s.p[2 * c], s.p[2 * c + 1]);
            }
        }
        rotation(angles, false, r);
        affine.then(r);
    }

    // Of all rotations each as likely: a quaternion of four normal numbers.
    AM_HD void rotate_uniform(Draw& d) {
        double q[4], sum = 0.0;
        for (double& v : q) {
            v = d.normal();
            sum = sum + v * v;
        }
        const double w = q[0], x = q[1], y = q[2], z = q[3], n = sum > 0.0 ? 2.0 / sum : 0.0;
        affine.then({1.0 - n * (y * y + z * z), n * (x * y - w * z), n * (x * z + w * y), n * (x * y + w * z),
                     1.0 - n * (x * x + z * z), n * (y * z - w * x), n * (x * z - w * y), n * (y * z + w * x),
                     1.0 - n * (x * x + y * y)});
    }

    AM_HD void shear(const Slot& s, Draw& d) {
        double m[9];
        for (int c = 0; c < 9; ++c) m[c] = c % 4 == 0 ? 1.0 : d.uniform(s.p[0], s.p[1]);
        affine.then(m);
    }

    AM_HD void flip(const Slot& s, Draw& d) {
        double v[3];
        for (int c = 0; c < 3; ++c) v[c] = d.still() < s.p[0] && (s.k >> c & 1) ? -1.0 : 1.0;
        scale(v);
    }

    // One of the seven subsets of axes that are not empty, as bits.
    AM_HD static int subset(Draw& d) { return 1 + int(d.pick(7.0)); }

    // PointWOLF. p: sigma, degrees, largest scale, largest shift. k: anchors.
    AM_HD void wolf(const Slot& s, Draw& d) {
        begin(STEP_WOLF, 6 + 12 * s.k);
        row[used++] = int32_t(d.pick(double(count)));
        put(1.0 / (2.0 * s.p[0] * s.p[0]));
        row[used++] = subset(d);
        row[used++] = s.k;
        for (int j = 0; j < s.k; ++j) {
            const bool turns = d.still() < 0.5, scales = d.still() < 0.5, shifts = d.still() < 0.5;
            const int axes = subset(d);
            double angles[3], by[3], shift[3], r[9];
            for (int c = 0; c < 3; ++c) {  // all are drawn, so that no number depends on a switch
                angles[c] = d.uniform(-s.p[1], s.p[1]);
                by[c] = d.uniform(1.0, s.p[2]);
                shift[c] = d.uniform(-s.p[3], s.p[3]);
                if (!turns) angles[c] = 0.0;
                if (!scales || !(axes >> c & 1)) by[c] = 1.0;
                if (!shifts || !(axes >> c & 1)) shift[c] = 0.0;
            }
            rotation(angles, s.flags & SLOT_COMPAT, r);
            for (int c = 0; c < 9; ++c) put(r[c] * by[c % 3]);
            for (int c = 0; c < 3; ++c) put(shift[c]);
        }
    }

    // p: low, high of the share that is dropped.
    AM_HD void keep(const Slot& s, Draw& d) {
        const double share = d.uniform(s.p[0], s.p[1]);
        const int64_t left = int64_t(exact::floor(double(count) * (1.0 - share)));
        reordered(STEP_KEEP, left < 1 ? 1 : left, d);
    }
    AM_HD void reordered(Step step, int64_t to, Draw& d) {
        begin(step, step == STEP_KEEP ? 5 : 4);
        row[used++] = int32_t(to);
        if (step == STEP_KEEP) put_key(d);
        else row[used++] = int32_t(d.pick(double(count)));
        count = to;
    }

    AM_HD void to_first(const Slot& s, Draw& d) {
        const double share = d.uniform(s.p[0], s.p[1]);
        begin(STEP_TO_FIRST, 5);
        put_key(d);
        row[used++] = int32_t(uint32_t(exact::minimum(share * 0x1p32, 0x1p32 - 1.0)));
    }

    // How many of `n` each of `clusters` gets, each of the n with the same chance for all: into every second word from `at` on.
    AM_HD void shared_out(int n, int clusters, int at, Draw& d) {
        for (int c = 0; c < clusters; ++c) row[at + 2 * c] = 0;
        for (int k = 0; k < n; ++k) ++row[at + 2 * int(d.pick(double(clusters)))];
    }

    // p: points, least and most clusters.
    AM_HD void drop_local(const Slot& s, Draw& d) {
        const int clusters = int(s.p[1] + d.pick(s.p[2] - s.p[1] + 1.0));
        int n = int(s.p[0]);
        n = int64_t(n) < count ? n : int(count) - 1;
        begin(STEP_DROP_LOCAL, 3 + 2 * clusters);
        row[used++] = clusters;
        for (int c = 0; c < clusters; ++c) row[used + 2 * c] = int32_t(d.word());
        shared_out(n, clusters, used + 1, d);
        used += 2 * clusters;
        count -= n;
    }

    AM_HD void add_global(const Slot& s, Draw& d) {
        begin(STEP_ADD_GLOBAL, 5);
        row[used++] = int32_t(s.p[0]);
        put_key(d);
        count += int64_t(s.p[0]);
    }

    // p: points, least and most clusters, least and most deviation.
    AM_HD void add_local(const Slot& s, Draw& d) {
        const int clusters = int(s.p[1] + d.pick(s.p[2] - s.p[1] + 1.0));
        begin(STEP_ADD_LOCAL, 6 + 2 * clusters);
        row[used++] = int32_t(s.p[0]);
        put_key(d);
        row[used++] = clusters;
        for (int c = 0; c < clusters; ++c) {
            put(d.uniform(s.p[3], s.p[4]));
            ++used;
        }
        shared_out(int(s.p[0]), clusters, used - 2 * clusters + 1, d);
        count += int64_t(s.p[0]);
    }

    // With whom, and the numbers of the rule. MIXUP: p: alpha; CUTMIX: p: probability, alpha; RSMIX: the same, and most points.
    AM_HD void mix(const Slot& s, Draw& d) {
        const int n = a.batch;
        Permutation ring;
        ring.begin(a.seed, epoch(), a.index[0], a.view, uint32_t(n));
        const uint32_t at = ring.forward(uint32_t(i)) + 1;
        const int other = int(ring.backward(at == uint32_t(n) ? 0 : at));
        if (s.op != OP_MIXUP && !(d.still() < s.p[0])) return;
        if (other == i) return;  // alone in its batch
        const double b = d.beta(s.p[1], s.p[1]);
        int rule = MIX_UP;
        double number = exact::minimum(b, 1.0 - b), most = 0.0;
        if (s.op == OP_CUTMIX) {
            rule = s.flags & SLOT_NEIGHBOURS ? MIX_CUT_NEAREST : MIX_CUT_RANDOM;
            number = exact::maximum(exact::floor(double(count) * b), 1.0);
        } else if (s.op == OP_RSMIX) {
            rule = s.flags & SLOT_NEIGHBOURS ? MIX_RS_NEAREST : MIX_RS_BALL;
            most = s.p[2];
            number = s.flags & SLOT_NEIGHBOURS ? exact::maximum(-exact::floor(-most * b), 1.0) : b;
        }
        row[P_MIX] = rule;
        row[P_PARTNER] = other;
        row[P_PARTNER_ID] = int32_t(uint32_t(uint64_t(a.index[other])));
        row[P_PARTNER_ID + 1] = int32_t(uint32_t(uint64_t(a.index[other]) >> 32));
        row[P_NUMBERS] = float_word(float(number));
        row[P_NUMBERS + 1] = float_word(float(most));
        // The set that the batch shares has the batch's keys; where each has a place of its own, it draws that itself.
        Draw own;
        own.begin(a.seed, epoch(), rule == MIX_CUT_RANDOM && (s.flags & SLOT_PER_BATCH) ? a.index[0] : a.index[i], a.view, 1023,
                  0);
        for (int k = 0; k < 4; ++k) row[P_KEYS + k] = int32_t(own.word());
    }

    AM_HD void apply(const Slot& s, Draw& d) {
        double v[3];
        switch (s.op) {
            case OP_SCALE: axes(s, d, 1.0, v); return scale(v);
            case OP_TRANSLATE: axes(s, d, 0.0, v); return affine.then({1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0}, v);
            case OP_ROTATE: return rotate(s, d);
            case OP_ROTATE_ANGLES: return rotate_angles(s, d);
            case OP_ROTATE_UNIFORM: return rotate_uniform(d);
            case OP_SHEAR: return shear(s, d);
            case OP_FLIP: return flip(s, d);
            case OP_JITTER:
                begin(STEP_JITTER, 6);
                put_key(d);
                put(s.p[0]);
                return put(s.p[1]);
            case OP_NORMALIZE:
                begin(STEP_NORMALIZE, 4);
                row[used++] = s.flags;
                return put(s.p[0]);
            case OP_WOLF: return wolf(s, d);
            case OP_KEEP: return keep(s, d);
            case OP_RESAMPLE: return reordered(STEP_KEEP, s.k, d);
            case OP_FARTHEST: return reordered(int64_t(s.k) <= count ? STEP_FARTHEST : STEP_KEEP, s.k, d);
            case OP_TO_FIRST: return to_first(s, d);
            case OP_DROP_LOCAL: return drop_local(s, d);
            case OP_ADD_GLOBAL: return add_global(s, d);
            case OP_ADD_LOCAL: return add_local(s, d);
            default: return mix(s, d);
        }
    }

    // Slots `at` .. `end` - 1. Control slots nest: each level has its own end.
    AM_HD void run() {
        for (int w = 0; w < a.info.row_words; ++w) row[w] = 0;
        used = P_HEADER;
        steps = 0;
        count = a.counts ? a.counts[i] : a.count;
        row[P_FROM] = int32_t(count);
        enum : int { MAX_DEPTH = 8 };
        int until[MAX_DEPTH], after[MAX_DEPTH], depth = 0, at = 0;
        for (;;) {
            while (depth > 0 && at == until[depth - 1]) at = after[--depth];
            if (at >= a.info.slots) break;
            const Slot& s = slots[at];
            Draw d;
            d.begin(a.seed, epoch(), s.flags & SLOT_PER_BATCH ? a.index[0] : a.index[i], a.view, uint32_t(at), 0);
            if (s.op == OP_APPLY) {
                at += d.still() < s.p[0] ? 1 : 1 + s.n;
            } else if (s.op == OP_CHOICE) {
                const int end = at + 1 + s.n;
                if (!(d.still() < s.p[0])) {
                    at = end;
                    continue;
                }
                const double u = d.still() * s.p[1];
                int branch = at + 1;
                for (int b = 0; b < s.k - 1 && u >= slots[branch].p[0]; ++b) branch += 1 + slots[branch].n;
                until[depth] = branch + 1 + slots[branch].n;
                after[depth++] = end;
                at = branch + 1;
            } else {
                apply(s, d);
                ++at;
            }
        }
        end_affine();
        row[P_COUNT] = int32_t(count);
        row[P_STEPS] = steps;
        row[P_USED] = used;
    }
};

AM_HD void plan_row(const PlanArgs& a, const Slot* program, int i) {
    RowWriter{a, program, i, a.rows + int64_t(i) * a.info.row_words, 0, 0, 0, {}}.run();
}

}}  // namespace anamorph::points
