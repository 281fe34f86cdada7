// Drawing a plan: one row per sample from (seed, epoch, sample id, view) alone. The same code runs on a CPU thread and
// on a CUDA thread and gives the same bits: doubles, exact_math.h, no contraction.
#pragma once
#include "../core/draw.h"
#include "../core/permutation.h"
#include "geometry.h"

namespace anamorph {

// What a schedule says: a number for all samples, or in memory one for each of them.
struct Dial {
    const float* at;  // null: value
    int32_t stride;   // 0: one for all
    double value, low, high;

    // What lies beyond an end is taken for it, and no number for the low one.
    AM_HD double of(int i) const {
        const double v = at ? double(at[int64_t(i) * stride]) : value;
        return v > low ? exact::minimum(v, high) : low;
    }
};

// Which numbers a dial moves: a slot behind the program. op: the dial; n: whose numbers; p: by how much for each 1 of the dial.
enum : int { MAX_DIALS = 8 };

struct PlanArgs {
    const Slot* slots;  // the program, one that is never run, then the ramps
    RecipeInfo info;
    const int64_t* index;       // [B]
    const int64_t* sizes;       // [B, 2] height, width; null: source_h, source_w
    const int64_t* epoch_cell;  // null: epoch. On a device, so that a replayed graph reads the new epoch
    int64_t source_h, source_w;
    uint64_t seed;
    uint32_t epoch, view;
    int32_t batch;
    int32_t* rows;              // [views * B, row_words]
    const float* boxes;         // [B, box_count, 4] x0 y0 x1 y1 in the source, of which box_counts[i] are some; or null
    const int64_t* box_counts;  // [B] or null: all
    int32_t box_count;
    int32_t views = 1;   // from `view` on: one of all samples, then the next of all
    int32_t frames = 1;  // of a clip; its rows follow each other
    Change change = CHANGE_NONE;
    double drift = 0.0;
    int32_t ramps = 0;
    Dial dials[MAX_DIALS];
    Slot* moved;  // [views * B, slots + 1]: where there are ramps, each row's own program
};

// One branch list being run: control slots nest at most this deep (checked when the recipe is built).
enum : int { MAX_DEPTH = 6, MAX_BRANCHES = 64 };
struct Frame {
    int first, after;  // first BRANCH marker; the slot after the whole block
    int count, next;   // branches to run, how many have begun
    int until;         // end of the branch that is running
    bool replace;      // a branch may run several times
    bool chains;       // each run makes a layer of its own
    uint32_t again;    // of the block itself
    unsigned char order[MAX_BRANCHES];
};

AM_HD void put_double(int32_t* row, int word, double v) {
    v = v < MAX_WORD ? v : MAX_WORD;
    row[word] = float_word(float(v > -MAX_WORD ? v : -MAX_WORD));
}

AM_HD int branch_start(const Slot* slots, int first, int which) {
    int at = first;
    for (int i = 0; i < which; ++i) at += 1 + slots[at].n;
    return at;
}

// A view put aside, in memory: a GPU's registers are for the one that goes on.
struct Aside {
    enum : int { WORDS = sizeof(View) / 8 };
    static_assert(sizeof(View) % 8 == 0, "whole words");
    volatile uint64_t words[WORDS];
    AM_HD void keep(const View& v) {
        uint64_t all[WORDS];
        std::memcpy(all, &v, sizeof v);
        AM_UNROLL
        for (int k = 0; k < WORDS; ++k) words[k] = all[k];
    }
    AM_HD void restore(View& v) const {
        uint64_t all[WORDS];
        AM_UNROLL
        for (int k = 0; k < WORDS; ++k) all[k] = words[k];
        std::memcpy(&v, all, sizeof v);
    }
};

AM_HD int output_size(int fixed, double view) { return fixed > 0 ? fixed : int(view); }

struct RowWriter {
    const PlanArgs& a;
    const Slot* slots;
    int i;
    int32_t* own;  // its row
    int32_t* row;  // of the layer being written
    View view;
    int erases;
    int clip, frame;  // its picture's: of single ones i and 0
    uint32_t number;  // of the view

    AM_HD int clips() const { return a.batch / a.frames; }
    // The row that decides for the clip.
    AM_HD int first() const { return a.change == CHANGE_EACH ? i : i - frame; }

    AM_HD int64_t id_for(int flags) const {
        if (flags & SLOT_BATCH) return a.index[0];
        if (!(flags & SLOT_PAIR)) return a.index[i];
        const int mirror = clips() - 1 - clip;
        return a.index[(clip < mirror ? clip : mirror) * a.frames];
    }

    AM_HD void begin(Draw& d, int64_t id, uint32_t view_number, int slot, uint32_t again) const {
        d.begin(a.seed, epoch(), id, view_number, uint32_t(slot), again);
        if (a.change != CHANGE_NONE) d.change(a.change, uint32_t(frame), a.frames, a.drift);
    }

    AM_HD int32_t* step(int op, double number) {
        int32_t* c = row + W_HEADER + COLOR_WORDS * view.colors++;
        if (changes_pixels(op)) view.painted = view.colors;
        c[S_OP] = op;
        put_double(c, S_NUMBER, number);
        c[2] = c[3] = 0;
        return c;
    }

    static AM_HD double whole(double v) { return v < 0.0 ? -exact::floor(-v) : exact::floor(v); }  // towards zero

    // The number of a step. p: low, high, two of the level, around what, the least and the most that it may be (where these differ). The level is uniform in [0, 1); with SLOT_LEVELS one of p[2] numbers evenly spaced from 0 to 1; with
    // SLOT_LEVEL_NORMAL tenths of a normal number about p[2] with the deviation p[3], kept within 0 and p[7].
    AM_HD double argument(const Slot& s, Draw& d) {
        const bool counts = s.op == OP_POSTERIZE || s.op == OP_CHANNEL_PERMUTATION;  // bits, or which of some
        double level;
        if (s.flags & SLOT_LEVELS) level = s.p[2] > 1.0 ? d.pick(s.p[2]) / (s.p[2] - 1.0) : 0.0;
        else if (s.flags & SLOT_LEVEL_NORMAL) {
            const double about = counts ? d.normal() : d.moving_normal();
            level = exact::minimum(exact::maximum(s.p[2] + s.p[3] * about, 0.0), s.p[7]) * 0.1;
        } else level = counts ? d.still() : d.unit();
        double v = s.p[0] + (s.p[1] - s.p[0]) * level;
        if (s.flags & SLOT_ROUND) v = exact::round_even(v);
        if (s.flags & SLOT_TRUNCATE) v = whole(v);
        if ((s.flags & SLOT_SIGN) && d.still() < 0.5) v = 0.0 - v;
        v = s.p[4] + v;
        if (s.p[5] < s.p[6]) v = exact::minimum(exact::maximum(v, s.p[5]), s.p[6]);
        return v;
    }

    AM_HD void color(const Slot& s, Draw& d) {
        int32_t* c = step(s.op, argument(s, d));
        switch (s.op) {
            case OP_SOLARIZE:
            case OP_SOLARIZE_ADD: c[S_IN_BYTES] = s.k; break;
            case OP_GAUSSIAN_BLUR: c[S_BLUR] = s.k; break;
            case OP_GAUSSIAN_NOISE:  // p[8]: its mean; k: kept within [0, 1]
                c[S_KEY] = int32_t((d.key() & ~1u) | uint32_t(s.k));
                put_double(c, S_MEAN, s.p[8]);
                break;
            case OP_FIELD_BRIGHTNESS:
            case OP_FIELD_CONTRAST:
            case OP_FIELD_SATURATION:
            case OP_FIELD_HUE: c[S_FIELD] = s.k; break;
            default: break;
        }
    }

    // One of a policy's maps, by a number that the row keeps. p: argument's, then the fill. k: a translation is a share of the side (1),
    // in whole pixels (2).
    AM_HD void policy_map(const Slot& s, Draw& d) {
        double v = argument(s, d);
        const double* color = s.p + 8;
        resampled(s);
        if (s.op == OP_ROTATE_BY) {
            view.rotate(v, view.w * 0.5, view.h * 0.5, false, color);
        } else if (s.op == OP_SHEAR_X || s.op == OP_SHEAR_Y) {
            view.slant(s.op == OP_SHEAR_X ? v : 0.0, s.op == OP_SHEAR_Y ? v : 0.0, color);
        } else {
            if (s.k & 1) v = v * (s.op == OP_TRANSLATE_X ? view.w : view.h);
            if (s.k & 2) v = whole(v);
            view.shift(s.op == OP_TRANSLATE_X ? v : 0.0, s.op == OP_TRANSLATE_Y ? v : 0.0, color);
        }
        step(s.op, v);
    }

    // A random field. p: the deviations of its motions (shares of the sides, twice; degrees, log of the scale, degrees), the length of
    // its correlation across and down (shares of the sides; 0: without end), the fill. k: these lengths and the first two deviations
    // are pixels. In a smooth clip its coefficients stay, and its grid slides.
    AM_HD void field(const Slot& s, Draw& d) {
        int32_t* f = field_words();
        const double side[2] = {view.w, view.h}, degree = 0.017453292519943295769;
        bool moves = false;
        f[F_KEY] = int32_t(d.word());
        for (int i = 0; i < 2; ++i) {
            const double length = s.k ? s.p[5 + i] : s.p[5 + i] * side[i];
            put_double(f, F_KNOTS + i, length > 0.0 ? exact::minimum(0.834 / length, double(MAX_KNOTS - 1) / side[i]) : 0.0);
            put_double(f, F_OFFSET + i, exact::floor(d.unit() * 0x1p24) * 0x1p-24);
            put_double(f, F_SIZE + i, side[i]);
        }
        for (int i = 0; i < MOTIONS; ++i) {
            const double unit = i <= MOTION_Y ? (s.k ? 1.0 : side[i]) : i == MOTION_SCALE ? 1.0 : degree;
            put_double(f, F_SIGMA + i, s.p[i] * unit);
            moves = moves || s.p[i] > 0.0;
        }
        f[F_FLAGS] = FIELD_THERE | (moves ? FIELD_MOVES : 0);
        if (moves) resampled(s);
        view.lay_field(moves, s.p + 7);
    }
    AM_HD int32_t* field_words() const { return row + a.info.layer_words - FIELD_WORDS; }

    AM_HD void resampled(const Slot& s) {
        int interp = s.flags & SLOT_INTERP;
        if (interp > view.interp) view.interp = interp;
    }

    // A rectangle whose area is a share of `area` uniform in p[0] .. p[1], and the log of whose sides' ratio is uniform in p[2] ..
    // p[3]: the first of ten tries with sides of at least `least` and at most `most` whole pixels. `at`: two numbers for its place.
    AM_HD bool rectangle(const double* p, double area, double least, const double most[2], Draw& d, double side[2],
                         double at[2]) {
        for (int t = 0; t < 10; ++t) {
            double share = p[0] + (p[1] - p[0]) * d.still();
            const double share_way = d.way();
            double log_ratio = p[2] + (p[3] - p[2]) * d.still();
            const double ratio_way = d.way();
            at[0] = d.unit();
            at[1] = d.unit();
            sides(area * share, log_ratio, side);
            if (!(side[0] >= least && side[0] <= most[0] && side[1] >= least && side[1] <= most[1])) continue;
            if (d.moved > 0.0) {
                move_within(p, area, least, most, share_way, ratio_way, share, log_ratio);
                sides(area * share, log_ratio, side);
                for (int k = 0; k < 2; ++k) side[k] = exact::minimum(exact::maximum(side[k], least), most[k]);
            }
            return true;
        }
        return false;
    }
    static AM_HD void sides(double target, double log_ratio, double side[2]) {
        const double ratio = exact::exp(log_ratio);
        side[0] = exact::round_even(exact::sqrt(target * ratio));
        side[1] = exact::round_even(exact::sqrt(target / ratio));
    }

    // What a try was accepted with moves within what is accepted: the share among those that fit with the ratio, then the ratio
    // among those that fit with this share. Each is uniform there and stays it (Gibbs' steps), so that every frame has the
    // distribution of the tries, and none falls back to another try.
    static AM_HD void move_within(const double* p, double area, double least, const double most[2], double share_way,
                                  double ratio_way, double& share, double& log_ratio) {
        const double ratio = exact::exp(log_ratio), low = least > 0.5 ? (least - 0.5) * (least - 0.5) : 0.0;
        const double high[2] = {(most[0] + 0.5) * (most[0] + 0.5), (most[1] + 0.5) * (most[1] + 0.5)};
        const double least_share = low * exact::maximum(1.0 / ratio, ratio) / area;
        const double most_share = exact::minimum(high[0] / ratio, high[1] * ratio) / area;
        share = moved_between(exact::maximum(p[0], least_share), exact::minimum(p[1], most_share), share, share_way);
        const double target = area * share;
        if (!(target > 0.0)) return;
        const double a = exact::log(target / high[1]), b = exact::log(high[0] / target);
        const double c = low > 0.0 ? exact::log(target / low) : b;  // neither side is below the least
        const double lowest = exact::maximum(exact::maximum(p[2], a), low > 0.0 ? 0.0 - c : a);
        log_ratio = moved_between(lowest, exact::minimum(exact::minimum(p[3], b), c), log_ratio, ratio_way);
    }
    static AM_HD double moved_between(double low, double high, double v, double way) {
        return low < high ? low + (high - low) * turned_back((v - low) / (high - low) + way) : v;
    }

    // torchvision's RandomResizedCrop: ten tries for a box of the wanted area and ratio, then a centre crop.
    AM_HD void resized_crop(const Slot& s, Draw& d) {
        const double w = view.w, h = view.h, most[2] = {w, h};
        double side[2], at[2], x, y;
        if (rectangle(s.p + 2, w * h, 1.0, most, d, side, at)) {
            y = exact::floor(at[0] * (h - side[1] + 1.0));
            x = exact::floor(at[1] * (w - side[0] + 1.0));
        } else {
            const double in = w / h, low = exact::exp(s.p[4]), high = exact::exp(s.p[5]);
            side[0] = w;
            side[1] = h;
            if (in < low) side[1] = exact::maximum(exact::round_even(w / low), 1.0);
            else if (in > high) side[0] = exact::maximum(exact::round_even(h * high), 1.0);
            y = exact::floor((h - side[1]) * 0.5);
            x = exact::floor((w - side[0]) * 0.5);
        }
        resampled(s);
        view.resized_crop(x, y, side[0], side[1], s.p[1], s.p[0], s.flags & SLOT_ANTIALIAS);
    }

    // p: height, width (width 0: height is the shorter side's length), longest side allowed (0: any; height 0: that long).
    // k: as large as fits into height and width
    AM_HD void resize(const Slot& s) {
        double oh = s.p[0], ow = s.p[1];
        if (s.k) {
            bool wide = view.w * oh > view.h * ow;
            if (wide) oh = exact::maximum(exact::round_even(view.h * ow / view.w), 1.0);
            else ow = exact::maximum(exact::round_even(view.w * oh / view.h), 1.0);
        } else if (oh == 0.0) {
            double shorter = view.w < view.h ? view.w : view.h, longer = view.w < view.h ? view.h : view.w;
            double ns = exact::maximum(exact::floor(s.p[2] * shorter / longer), 1.0);
            ow = view.w < view.h ? ns : s.p[2];
            oh = view.w < view.h ? s.p[2] : ns;
        } else if (ow == 0.0) {
            double shorter = view.w < view.h ? view.w : view.h, longer = view.w < view.h ? view.h : view.w;
            double ns = oh, nl = exact::floor(oh * longer / shorter);
            if (s.p[2] > 0.0 && nl > s.p[2]) {
                ns = exact::maximum(exact::floor(s.p[2] * ns / nl), 1.0);
                nl = s.p[2];
            }
            ow = view.w < view.h ? ns : nl;
            oh = view.w < view.h ? nl : ns;
        }
        resampled(s);
        view.resized_crop(0.0, 0.0, view.w, view.h, ow, oh, s.flags & SLOT_ANTIALIAS);
    }

    // p: height, width, pad left, top, right, bottom, fill
    AM_HD void random_crop(const Slot& s, Draw& d) {
        double left = s.p[2], top = s.p[3], w = view.w + s.p[2] + s.p[4], h = view.h + s.p[3] + s.p[5];
        if (s.flags & SLOT_PAD_IF_NEEDED) {
            if (h < s.p[0]) {
                double need = s.p[0] - h;
                top += need;
                h += 2.0 * need;
            }
            if (w < s.p[1]) {
                double need = s.p[1] - w;
                left += need;
                w += 2.0 * need;
            }
        }
        double y = d.below(exact::maximum(h - s.p[0], 0.0) + 1.0) - top;
        double x = d.below(exact::maximum(w - s.p[1], 0.0) + 1.0) - left;
        bool outside = x < 0.0 || y < 0.0 || x + s.p[1] > view.w || y + s.p[0] > view.h;
        view.crop(x, y, s.p[1], s.p[0], outside, (s.flags >> SLOT_BORDER_SHIFT) & 3, s.p + 6);
    }

    // torchvision's RandomZoomOut. p: the least and the most that the sides grow by, fill.
    AM_HD void zoom_out(const Slot& s, Draw& d) {
        const double r = d.uniform(s.p[0], s.p[1]), w = exact::floor(view.w * r), h = exact::floor(view.h * r);
        const double x = exact::floor((w - view.w) * d.unit()), y = exact::floor((h - view.h) * d.unit());
        view.crop(0.0 - x, 0.0 - y, w, h, w > view.w || h > view.h, BORDER_CONSTANT, s.p + 2);
    }

    // By what fits into a height and width, times a random number. p: these, the least and the most of it.
    AM_HD void scale_jitter(const Slot& s, Draw& d) {
        const double r = d.uniform(s.p[2], s.p[3]) * exact::minimum(s.p[0] / view.h, s.p[1] / view.w),
                     most = double(int(MAX_SIDE));
        const double oh = exact::minimum(exact::maximum(exact::floor(view.h * r), 1.0), most);
        const double ow = exact::minimum(exact::maximum(exact::floor(view.w * r), 1.0), most);
        resampled(s);
        view.resized_crop(0.0, 0.0, view.w, view.h, ow, oh, s.flags & SLOT_ANTIALIAS);
    }

    // Cut anywhere along the axes where it is larger, padded at the right and the bottom where it is smaller. p: height, width, fill.
    AM_HD void fixed_size(const Slot& s, Draw& d) {
        const double y = d.below(exact::maximum(view.h - s.p[0], 0.0) + 1.0),
                     x = d.below(exact::maximum(view.w - s.p[1], 0.0) + 1.0);
        view.crop(x, y, s.p[1], s.p[0], s.p[1] > view.w || s.p[0] > view.h, BORDER_CONSTANT, s.p + 2);
    }

    // Box k of the sample, in the view as it is now: around its corners. False where it cannot be seen from here.
    AM_HD bool box_in_view(int k, const double back[9], double box[4]) const {
        const float* in = a.boxes + (int64_t(first()) * a.box_count + k) * 4;
        bool there = true;
        for (int corner = 0; corner < 4; ++corner) {
            const double sx = double(in[corner % 2 ? 2 : 0]), sy = double(in[corner / 2 ? 3 : 1]);
            const double z = (back[6] * sx + back[7] * sy) + back[8];
            const double x = ((back[0] * sx + back[1] * sy) + back[2]) / z, y = ((back[3] * sx + back[4] * sy) + back[5]) / z;
            there = there && z > 0.0;
            box[0] = corner == 0 ? x : exact::minimum(box[0], x);
            box[1] = corner == 0 ? y : exact::minimum(box[1], y);
            box[2] = corner == 0 ? x : exact::maximum(box[2], x);
            box[3] = corner == 0 ? y : exact::maximum(box[3], y);
        }
        return there;
    }

    // Does a crop hold the middle of a box, and one that it meets by at least `least` of their union?
    AM_HD bool crop_holds(const double crop[4], double least, const double back[9]) const {
        const int64_t count = a.box_counts ? a.box_counts[first()] : a.box_count;
        double best = -1.0;
        for (int k = 0; k < a.box_count && k < count; ++k) {
            double b[4];
            if (!box_in_view(k, back, b)) continue;
            const double cx = 0.5 * (b[0] + b[2]), cy = 0.5 * (b[1] + b[3]);
            if (!(crop[0] < cx && cx < crop[2] && crop[1] < cy && cy < crop[3])) continue;
            const double w = exact::maximum(exact::minimum(b[2], crop[2]) - exact::maximum(b[0], crop[0]), 0.0);
            const double h = exact::maximum(exact::minimum(b[3], crop[3]) - exact::maximum(b[1], crop[1]), 0.0);
            const double both = (b[2] - b[0]) * (b[3] - b[1]) + (crop[2] - crop[0]) * (crop[3] - crop[1]) - w * h;
            if (both > 0.0) best = exact::maximum(best, w * h / both);
        }
        return best >= 0.0 && best >= least;
    }

    // torchvision's RandomIoUCrop, but that after `rounds` of tries the view stays whole. p: least and most of a side's share, least
    // and most of width over height, tries, rounds; k: how many of next's numbers are shares of the union to choose from. In a
    // smooth clip it stays, by the boxes of the first frame.
    AM_HD void iou_crop(const Slot& s, const Slot& next, Draw& d) {
        double back[9];
        view.inverse(back);
        for (int round = 0; round < int(s.p[5]); ++round) {
            const double least = next.p[int(d.pick(double(s.k)))];
            if (least >= 1.0) return;
            for (int t = 0; t < int(s.p[4]); ++t) {
                const double w = exact::floor(view.w * (s.p[0] + (s.p[1] - s.p[0]) * d.still())),
                             h = exact::floor(view.h * (s.p[0] + (s.p[1] - s.p[0]) * d.still()));
                const double u = d.still(), v = d.still();
                if (!(w >= 1.0 && h >= 1.0) || w < s.p[2] * h || w > s.p[3] * h) continue;
                const double x = exact::floor((view.w - w) * u), y = exact::floor((view.h - h) * v);
                const double crop[4] = {x, y, x + w, y + h};
                if (!crop_holds(crop, least, back)) continue;
                view.crop(x, y, w, h, false, BORDER_CONSTANT, s.p + 6);
                return;
            }
        }
    }

    // p: height, width, fill. k: at the middle, or the top left, top right, bottom left, bottom right corner
    AM_HD void fixed_crop(const Slot& s) {
        double x = exact::round_even((view.w - s.p[1]) * 0.5), y = exact::round_even((view.h - s.p[0]) * 0.5);
        // torchvision pads first where the crop is larger: the odd pixel goes to the right and the bottom
        if (s.p[1] > view.w) x = -exact::floor((s.p[1] - view.w) * 0.5);
        if (s.p[0] > view.h) y = -exact::floor((s.p[0] - view.h) * 0.5);
        if (s.k) {
            x = s.k % 2 ? 0.0 : view.w - s.p[1];
            y = s.k < 3 ? 0.0 : view.h - s.p[0];
        }
        bool outside = s.p[1] > view.w || s.p[0] > view.h;
        view.crop(x, y, s.p[1], s.p[0], outside, BORDER_CONSTANT, s.p + 2);
    }

    // p: top, right, bottom, left, the low and the high number of each: pixels, or shares of the side (k & 1); those above 0 are
    // added, those below cut off. k & 2: resized to what it was; k & 4: one draw for the four. more: fill
    AM_HD void crop_and_pad(const Slot& s, const Slot& more, Draw& d) {
        const double w = view.w, h = view.h;
        double cut[4], add[4], u = 0.0;
        for (int i = 0; i < 4; ++i) {
            if (i == 0 || !(s.k & 4)) u = d.unit();
            double low = s.p[2 * i], high = s.p[2 * i + 1], side = i % 2 ? w : h, by;
            if (s.k & 1) by = (low + (high - low) * u) * side;
            else by = low + exact::floor(u * (high - low + 1.0));
            add[i] = exact::floor(exact::maximum(by, 0.0));
            cut[i] = exact::floor(exact::maximum(-by, 0.0));
        }
        for (int i = 0; i < 2; ++i) {  // a pixel is left
            double side = i % 2 ? w : h, both = cut[i] + cut[i + 2];
            if (both < side) continue;
            cut[i] = exact::floor(cut[i] * (side - 1.0) / both);
            cut[i + 2] = side - 1.0 - cut[i];
        }
        view.crop(cut[3], cut[0], w - cut[3] - cut[1], h - cut[0] - cut[2], false, BORDER_CONSTANT, more.p);
        bool outside = add[0] + add[1] + add[2] + add[3] > 0.0;
        view.crop(-add[3], -add[0], view.w + add[3] + add[1], view.h + add[0] + add[2], outside,
                  (s.flags >> SLOT_BORDER_SHIFT) & 3, more.p);
        if (!(s.k & 2) || (view.w == w && view.h == h)) return;
        resampled(s);
        view.resized_crop(0.0, 0.0, view.w, view.h, w, h, s.flags & SLOT_ANTIALIAS);
    }

    // p: pad left, top, right, bottom, then up to at least height, width, and to multiples of height, width; fill
    AM_HD void pad(const Slot& s) {
        double left = s.p[0], top = s.p[1], w = view.w + s.p[0] + s.p[2], h = view.h + s.p[1] + s.p[3];
        double to_w = exact::maximum(w, s.p[5]), to_h = exact::maximum(h, s.p[4]);
        if (s.k) to_w = to_h = exact::maximum(to_w, to_h);
        if (s.p[6] > 1.0) to_h = -exact::floor(-to_h / s.p[6]) * s.p[6];
        if (s.p[7] > 1.0) to_w = -exact::floor(-to_w / s.p[7]) * s.p[7];
        left += exact::floor((to_w - w) * 0.5);
        top += exact::floor((to_h - h) * 0.5);
        bool outside = to_w > view.w || to_h > view.h;
        view.crop(-left, -top, to_w, to_h, outside, (s.flags >> SLOT_BORDER_SHIFT) & 3, s.p + 8);
    }

    // p: degrees low, high; translate x, y (fractions); scale low, high; shear x low, high, y low, high; the height's own scale
    // low, high (k: 1); more: fill, centre given, x, y
    AM_HD void affine(const Slot& s, const Slot& more, Draw& d) {
        double angle = d.uniform(s.p[0], s.p[1]);
        double tx = exact::round_even(d.uniform(-s.p[2], s.p[2]) * view.w);
        double ty = exact::round_even(d.uniform(-s.p[3], s.p[3]) * view.h);
        double scale_x = d.uniform(s.p[4], s.p[5]);
        double shx = d.uniform(s.p[6], s.p[7]), shy = d.uniform(s.p[8], s.p[9]);
        double scale_y = s.k ? d.uniform(s.p[10], s.p[11]) : scale_x;
        resampled(s);
        double cx = more.p[4] != 0.0 ? more.p[5] : view.w * 0.5, cy = more.p[4] != 0.0 ? more.p[6] : view.h * 0.5;
        view.affine(angle, tx, ty, scale_x, scale_y, shx, shy, cx, cy, more.p);
    }

    // p: degrees low, high, centre given, x, y, fill
    AM_HD void rotate(const Slot& s, Draw& d) {
        double angle = d.uniform(s.p[0], s.p[1]), turns = exact::round_even(angle * (1.0 / 90.0));
        bool quarters = s.p[2] == 0.0 && turns * 90.0 == angle, level = exact::floor(turns * 0.5) == turns * 0.5;
        if (quarters && (level || (s.flags & SLOT_EXPAND) || view.w == view.h)) {
            view.turn(int(int64_t(turns) & 3));
            return;
        }
        resampled(s);
        view.rotate(angle, s.p[2] != 0.0 ? s.p[3] : view.w * 0.5, s.p[2] != 0.0 ? s.p[4] : view.h * 0.5, s.flags & SLOT_EXPAND,
                    s.p + 5);
    }

    // p: distortion scale, fill. torchvision's corners are whole pixels drawn in the four quarters.
    AM_HD void perspective(const Slot& s, Draw& d) {
        double w = view.w, h = view.h, hw = exact::floor(w * 0.5), hh = exact::floor(h * 0.5);
        double rx = exact::floor(s.p[0] * hw) + 1.0, ry = exact::floor(s.p[0] * hh) + 1.0;
        double to[8];
        to[0] = d.below(rx);
        to[1] = d.below(ry);
        to[2] = w - 1.0 - d.below(rx);
        to[3] = d.below(ry);
        to[4] = w - 1.0 - d.below(rx);
        to[5] = h - 1.0 - d.below(ry);
        to[6] = d.below(rx);
        to[7] = h - 1.0 - d.below(ry);
        resampled(s);
        view.perspective(to, s.p + 1);
    }

    AM_HD int32_t* erasure(const Slot& s, int mode, const double* value) {
        int32_t* e = row + W_HEADER + COLOR_WORDS * a.info.most.colors + ERASE_WORDS * erases++;
        e[E_MODE] = mode | (s.flags & SLOT_NORMALISED);
        for (int c = 0; c < 4; ++c) put_double(e, E_VALUE + c, value[c]);
        return e;
    }

    // k: EraseMode
    AM_HD void erase_box(const Slot& s, double x, double y, double w, double h, const double* value, Draw& d) {
        int32_t* e = erasure(s, s.k, value);
        e[0] = int(x);
        e[1] = int(y);
        e[2] = int(x + w);
        e[3] = int(y + h);
        e[E_KEY] = int32_t(d.key());  // of the noise
    }

    AM_HD double between(double low, double high, Draw& d) { return low < high ? low + d.below(high - low + 1.0) : low; }
    AM_HD int how_many(double low, double high, Draw& d) { return int(low < high ? low + d.pick(high - low + 1.0) : low); }

    // p: scale low, high, log ratio low, high, value x4, boxes low, high. torchvision's and timm's RandomErasing: the boxes share
    // the area.
    AM_HD void erase(const Slot& s, Draw& d) {
        double w = output_size(a.info.out_w, view.w), h = output_size(a.info.out_h, view.h);
        const int count = how_many(s.p[8], s.p[9], d);
        const double area = w * h / double(count), most[2] = {h - 1.0, w - 1.0};
        for (int n = 0; n < count; ++n) {
            double side[2], at[2];
            if (!rectangle(s.p, area, 0.0, most, d, side, at)) continue;
            const double y = exact::floor(at[0] * (h - side[0] + 1.0)), x = exact::floor(at[1] * (w - side[1] + 1.0));
            erase_box(s, x, y, side[1], side[0], s.p + 4, d);
        }
    }

    // Of a side, no more than it has.
    AM_HD double pixels(const double* both, double side, Draw& d) {
        return between(exact::minimum(both[0], side), exact::minimum(both[1], side), d);
    }

    // p: holes low, high, height low, high, width low, high, value x4, sides are shares of the view's
    AM_HD void dropout(const Slot& s, Draw& d) {
        double w = output_size(a.info.out_w, view.w), h = output_size(a.info.out_h, view.h);
        const int count = how_many(s.p[0], s.p[1], d);
        for (int n = 0; n < count; ++n) {
            bool shares = s.p[10] != 0.0;
            double eh = shares ? exact::floor(h * d.uniform(s.p[2], s.p[3])) : pixels(s.p + 2, h, d);
            double ew = shares ? exact::floor(w * d.uniform(s.p[4], s.p[5])) : pixels(s.p + 4, w, d);
            double y = d.below(h - eh + 1.0), x = d.below(w - ew + 1.0);
            erase_box(s, x, y, ew, eh, s.p + 6, d);
        }
    }

    // p: the square's side in pixels, value x4. Its middle is any of the view's pixels; what lies outside is cut off.
    AM_HD void cutout(const Slot& s, Draw& d) {
        double w = output_size(a.info.out_w, view.w), h = output_size(a.info.out_h, view.h), half = exact::floor(s.p[0] * 0.5);
        double x = d.below(w) - half, y = d.below(h) - half, left = exact::maximum(x, 0.0), top = exact::maximum(y, 0.0);
        erase_box(s, left, top, exact::minimum(x + s.p[0], w) - left, exact::minimum(y + s.p[0], h) - top, s.p + 1, d);
    }

    // p: a cell's side low, high, the strips' share of it, degrees low, high, value x4; 1: what the strips leave is erased, 0: they are.
    // It turns about the view's middle. In a smooth clip the side stays.
    AM_HD void grid_mask(const Slot& s, Draw& d) {
        const double side = how_many(s.p[0], s.p[1], d), strips = 0.0 - exact::floor(0.0 - side * s.p[2]);
        const double across = d.unit(), down = d.unit();
        const exact::SinCos turn = exact::sincos_deg(d.uniform(s.p[3], s.p[4]));
        const double x = output_size(a.info.out_w, view.w) * 0.5, y = output_size(a.info.out_h, view.h) * 0.5;
        int32_t* e = erasure(s, s.p[9] != 0.0 ? ERASE_SQUARES : ERASE_STRIPS, s.p + 5);
        put_double(e, E_COSINE, turn.cos / side);
        put_double(e, E_SINE, turn.sin / side);
        put_double(e, E_ACROSS, across - (turn.cos * x - turn.sin * y) / side);
        put_double(e, E_DOWN, down - (turn.sin * x + turn.cos * y) / side);
        put_double(e, E_SHARE, strips / side);
    }

    // p: a cell's side, how likely it is hidden, value x4. In a smooth clip the same cells stay hidden.
    AM_HD void hide_and_seek(const Slot& s, Draw& d) {
        int32_t* e = erasure(s, ERASE_CELLS, s.p + 2);
        put_double(e, E_COSINE, 1.0 / s.p[0]);
        e[E_KEY] = int32_t(d.word());
        put_double(e, E_SHARE, s.p[1]);
    }

    AM_HD void mix(const Slot& s, Draw& d) {
        int w = output_size(a.info.out_w, view.w), h = output_size(a.info.out_h, view.h);
        int n = clips(), kind = (s.flags >> SLOT_PARTNER_SHIFT) & 3, other;  // a clip's, frame by frame
        if (kind == PARTNER_ROLL) other = clip == 0 ? n - 1 : clip - 1;
        else if (kind == PARTNER_FLIP) other = n - 1 - clip;
        else {  // neighbours on a secret ring: nobody is its own partner, everybody is a partner once
            Permutation p;
            p.begin(a.seed, epoch(), a.index[0], number, uint32_t(n));
            uint32_t at = p.forward(uint32_t(clip)) + 1;
            other = int(p.backward(at == uint32_t(n) ? 0 : at));
        }
        other = other * a.frames + frame;
        if (other == i) return;  // alone in its batch, or in the middle of one that is paired by mirroring: it stays as it is
        int box[4] = {0, 0, w, h};
        double lam = 1.0;
        int rule = MIX_CONSTANT;
        if (s.op == OP_MIXUP) {
            lam = d.beta(s.p[0], s.p[1]);
        } else if (s.op == OP_CUTMIX && s.p[3] > 0.0) {  // timm's: sides from p[2] to p[3] of the view's
            double low_h = exact::floor(h * s.p[2]), low_w = exact::floor(w * s.p[2]);
            int bh = int(low_h + d.below(exact::maximum(exact::floor(h * s.p[3]) - low_h, 1.0)));
            int bw = int(low_w + d.below(exact::maximum(exact::floor(w * s.p[3]) - low_w, 1.0)));
            box[1] = int(d.below(double(h - bh) + 1.0));
            box[0] = int(d.below(double(w - bw) + 1.0));
            box[2] = box[0] + bw;
            box[3] = box[1] + bh;
            rule = MIX_BOX;
        } else if (s.op == OP_CUTMIX) {
            lam = d.beta(s.p[0], s.p[1]);
            double cut = exact::sqrt(1.0 - lam);
            int bw = int(double(w) * cut), bh = int(double(h) * cut);
            int cx = int(d.below(double(w))), cy = int(d.below(double(h)));
            box[0] = cx - bw / 2 < 0 ? 0 : cx - bw / 2;
            box[1] = cy - bh / 2 < 0 ? 0 : cy - bh / 2;
            box[2] = cx + bw / 2 > w ? w : cx + bw / 2;
            box[3] = cy + bh / 2 > h ? h : cy + bh / 2;
            rule = MIX_BOX;
        } else if (s.op == OP_RESIZEMIX) {
            double t = d.uniform(s.p[0], s.p[1]);
            int bw = int(double(w) * t), bh = int(double(h) * t);
            bw = bw < 1 ? 1 : bw;
            bh = bh < 1 ? 1 : bh;
            box[0] = int(d.below(double(w - bw) + 1.0));
            box[1] = int(d.below(double(h - bh) + 1.0));
            box[2] = box[0] + bw;
            box[3] = box[1] + bh;
            rule = MIX_RESIZED_BOX;
        } else {
            rule = MIX_MASK;
        }
        if ((rule == MIX_BOX || rule == MIX_RESIZED_BOX) && !s.k)  // k: the share as drawn, whatever was clipped
            lam = 1.0 - (double(box[2] - box[0]) * double(box[3] - box[1])) / (double(w) * double(h));
        row[W_MIX] = rule;
        row[W_PARTNER] = other;
        uint64_t id = uint64_t(a.index[other]);
        row[W_PARTNER_ID] = int32_t(uint32_t(id));
        row[W_PARTNER_ID + 1] = int32_t(uint32_t(id >> 32));
        put_double(row, W_LAM, lam);
        for (int c = 0; c < 4; ++c) row[W_BOX + c] = box[c];
    }

    AM_HD uint32_t epoch() const { return a.epoch_cell ? uint32_t(uint64_t(*a.epoch_cell)) : a.epoch; }

    AM_HD void apply(const Slot& s, const Slot& next, Draw& d) {
        switch (s.op) {
            case OP_RESIZED_CROP: resized_crop(s, d); break;
            case OP_RESIZE: resize(s); break;
            case OP_CROP: random_crop(s, d); break;
            case OP_CENTER_CROP: fixed_crop(s); break;
            case OP_TURN: view.turn(int(s.p[0] + (s.p[1] - s.p[0]) * d.still())); break;
            case OP_PAD: pad(s); break;
            case OP_FLIP_H: view.scale_shift(-1.0, view.w, 1.0, 0.0, view.w, view.h); break;
            case OP_FLIP_V: view.scale_shift(1.0, 0.0, -1.0, view.h, view.w, view.h); break;
            case OP_AFFINE: affine(s, next, d); break;
            case OP_ROTATE: rotate(s, d); break;
            case OP_PERSPECTIVE: perspective(s, d); break;
            case OP_WARP: {
                double to_h = next.p[4] > 0.0 ? next.p[4] : view.h, to_w = next.p[4] > 0.0 ? next.p[5] : view.w;
                resampled(s);
                view.warp(s.p, to_w, to_h, next.p);  // p: the map; next: fill, height and width (0: as they are)
                break;
            }
            case OP_CROP_AND_PAD: crop_and_pad(s, next, d); break;
            case OP_SHEAR_X:
            case OP_SHEAR_Y:
            case OP_TRANSLATE_X:
            case OP_TRANSLATE_Y:
            case OP_ROTATE_BY: policy_map(s, d); break;
            case OP_FIELD: field(s, d); break;
            case OP_ZOOM_OUT: zoom_out(s, d); break;
            case OP_SCALE_JITTER: scale_jitter(s, d); break;
            case OP_FIXED_SIZE: fixed_size(s, d); break;
            case OP_IOU_CROP: iou_crop(s, next, d); break;
            case OP_ERASE: erase(s, d); break;
            case OP_DROPOUT: dropout(s, d); break;
            case OP_CUTOUT: cutout(s, d); break;
            case OP_GRID_MASK: grid_mask(s, d); break;
            case OP_HIDE_AND_SEEK: hide_and_seek(s, d); break;
            case OP_MIXUP:
            case OP_CUTMIX:
            case OP_RESIZEMIX:
            case OP_MASKMIX: mix(s, d); break;
            default: color(s, d); break;  // a recipe's other ops have been refused
        }
    }

    // The branch of the choice at slot `at`: by the weights, or by the number of the view.
    AM_HD int chosen(int at, Draw& d) const {
        const Slot& s = slots[at];
        const double u = s.flags & SLOT_BY_VIEW ? double(number % uint32_t(s.p[1])) : d.still() * s.p[1];
        int b = 0;
        for (++at; b < s.k - 1 && u >= slots[at].p[0]; ++b) at += 1 + slots[at].n;
        return b;
    }

    // The same where each is drawn by its weight, among those that are left.
    AM_HD int ordered_by_weights(int at, Draw& d, unsigned char* order) const {
        const Slot& s = slots[at];
        const int count = int(s.p[0] + d.pick(s.p[1] - s.p[0] + 1.0));
        for (int b = 0; b < s.k; ++b) order[b] = (unsigned char)b;
        auto weight = [&](int b) { return slots[branch_start(slots, at + 1, order[b])].p[0]; };
        for (int b = 0; b < count; ++b) {
            double left = 0.0, seen = 0.0;
            for (int c = b; c < s.k; ++c) left = left + weight(c);
            const double u = d.still() * left;
            int c = b;
            for (; c < s.k - 1; ++c) {
                seen = seen + weight(c);
                if (u < seen) break;
            }
            const unsigned char t = order[c];
            for (; c > b; --c) order[c] = order[c - 1];
            order[b] = t;
        }
        return count;
    }

    // The branches of an ORDER that run, one after the other; how many.
    AM_HD static int ordered(const Slot& s, Draw& d, unsigned char* order) {
        for (int b = 0; b < s.k; ++b) order[b] = (unsigned char)b;
        for (int b = s.k - 1; b > 0 && !(s.flags & SLOT_REPLACE); --b) {  // Fisher-Yates
            int c = int(d.pick(double(b + 1)));
            unsigned char t = order[b];
            order[b] = order[c];
            order[c] = t;
        }
        int count = int(s.p[0] + d.pick(s.p[1] - s.p[0] + 1.0));
        for (int b = 0; b < count && (s.flags & SLOT_REPLACE); ++b) order[b] = (unsigned char)int(d.pick(double(s.k)));
        for (int b = 1; b < count && (s.flags & SLOT_IN_ORDER); ++b) {
            unsigned char t = order[b];
            int c = b;
            for (; c > 0 && order[c - 1] > t; --c) order[c] = order[c - 1];
            order[c] = t;
        }
        return count;
    }

    // What a layer is of: the picture of batch row i.
    AM_HD void begin_layer() {
        row[W_PARTNER] = i;
        row[W_PARTNER_ID] = int32_t(uint32_t(uint64_t(a.index[i])));
        row[W_PARTNER_ID + 1] = int32_t(uint32_t(uint64_t(a.index[i]) >> 32));
        put_double(row, W_LAM, 1.0);
    }

    // The view's words.
    AM_HD void end_layer(double source_h, double source_w) {
        for (int c = 0; c < 9; ++c) put_double(row, W_MATRIX + c, view.m[c]);
        for (int c = 0; c < 4; ++c) {
            put_double(row, W_RECT + c, view.rect[c]);
            put_double(row, W_REACH + c, view.reach[c]);
            put_double(row, W_FRAME + c, view.frame[c]);
            put_double(row, W_SLOPE + c, view.slope[c]);
            put_double(row, W_FOLD + c, view.fold[c]);
            put_double(row, W_FILL + c, view.fill[c]);
        }
        for (int c = 0; c < 9 && view.fielded; ++c) put_double(field_words(), F_AFTER + c, view.after[c]);
        for (int c = 0; c < 2; ++c) put_double(row, W_FILTER + c, view.filter[c]);
        bool persp = view.m[6] != 0.0 || view.m[7] != 0.0;
        row[W_FLAGS] = view.interp | (persp ? ROW_PERSPECTIVE : 0) | (view.antialias ? ROW_ANTIALIAS : 0) |
                       (view.framed ? ROW_FRAME : 0) | (view.border << ROW_BORDER_SHIFT) | (view.folded << ROW_FOLD_SHIFT);
        row[W_FILL_STEP] = view.fill_step;
        row[W_SOURCE] = int(source_h);
        row[W_SOURCE + 1] = int(source_w);
        row[W_COLORS] = view.colors;
        row[W_ERASES] = row == own ? erases : 0;
        put_double(row, W_VIEW, view.w);
        put_double(row, W_VIEW + 1, view.h);
    }

    // Chain `k`, from 1 on, goes on from `fork`, the view so far and its steps.
    AM_HD void begin_chain(const Aside& fork, int k) {
        row = own + k * a.info.layer_words;
        fork.restore(view);
        begin_layer();
        for (int w = W_HEADER; w < W_HEADER + COLOR_WORDS * view.colors; ++w) row[w] = own[w];
        for (int w = 0; w < FIELD_WORDS && view.fielded; ++w) field_words()[w] = own[a.info.layer_words - FIELD_WORDS + w];
    }

    // The chains' shares of what is blended are Dirichlet's (p[0], p[0], ..), theirs altogether Beta's (p[1], p[1]).
    AM_HD void blend_chains(int at, uint32_t again, const Aside& fork) {
        const Slot& s = slots[at];
        Draw d;
        begin(d, a.index[i], number, at, again);
        row = own;
        fork.restore(view);
        double share[MAX_LAYERS], most = 0.0, sum = 0.0;
        for (int k = 0; k < s.k; ++k) {
            share[k] = d.log_gamma(s.p[0]);
            most = k == 0 ? share[k] : exact::maximum(most, share[k]);
        }
        for (int k = 0; k < s.k; ++k) sum = sum + (share[k] = exact::exp(share[k] - most));
        for (int k = 0; k < s.k; ++k) {
            int32_t* layer = own + (k + 1) * a.info.layer_words;
            layer[W_MIX] = MIX_CONSTANT;
            put_double(layer, W_LAM, share[k] / sum);
        }
        int32_t* c = step(OP_BLEND, d.beta(s.p[1], s.p[1]));
        c[S_LAYER] = 1;
        c[S_LAYERS] = s.k;
    }

    AM_HD void run() {
        for (int w = 0; w < a.info.row_words; ++w) row[w] = 0;
        erases = 0;
        double h = double(a.sizes ? a.sizes[2 * i] : a.source_h), w = double(a.sizes ? a.sizes[2 * i + 1] : a.source_w);
        view.begin(w, h);
        begin_layer();

        Aside fork;  // where a row's chains begin
        Frame stack[MAX_DEPTH];
        int depth = 0, at = 0;
        uint32_t again = 0;
        for (;;) {
            while (depth > 0 && at == stack[depth - 1].until) {  // a branch has ended: the next one, or out
                Frame& f = stack[depth - 1];
                again = f.again;
                if (f.chains && f.next > 0) end_layer(h, w);
                if (f.next == f.count) {
                    if (f.chains) blend_chains(f.first - 1, again, fork);
                    at = f.after;
                    --depth;
                } else {
                    if (f.chains && f.next == 0) fork.keep(view);
                    if (f.replace) again = again * (MAX_BRANCHES + 1) + uint32_t(f.next) + 1;
                    int b = branch_start(slots, f.first, f.order[f.next++]);
                    if (f.chains) begin_chain(fork, f.next);
                    at = b + 1;
                    f.until = b + 1 + slots[b].n;
                }
            }
            if (at >= a.info.slots) break;
            const Slot& s = slots[at];
            Draw d;
            begin(d, id_for(s.flags), s.flags & SLOT_EVERY_VIEW ? 0 : number, at, again);
            if (s.op == OP_APPLY) {
                at += d.still() < s.p[0] ? 1 : 1 + s.n;
            } else if (s.op == OP_CHOICE || s.op == OP_ORDER || s.op == OP_CHAINS) {
                Frame& f = stack[depth++];
                f.first = at + 1;
                f.after = at + 1 + s.n;
                f.next = 0;
                f.count = 0;
                f.chains = s.op == OP_CHAINS;
                f.replace = f.chains || (s.flags & SLOT_REPLACE);
                f.again = again;
                if (s.op == OP_ORDER) {
                    f.count = s.flags & SLOT_WEIGHTED ? ordered_by_weights(at, d, f.order) : ordered(s, d, f.order);
                } else if (f.chains) {
                    f.count = s.k;
                    for (int k = 0; k < s.k; ++k) f.order[k] = 0;
                } else if (d.still() < s.p[0]) {
                    f.count = 1;
                    f.order[0] = (unsigned char)chosen(at, d);
                }
                f.until = at = -1;  // let the loop above pick the first branch
            } else {
                apply(s, slots[at + 1], d);
                at += 1 + s.n;  // n: slots that only hold more numbers of this one
            }
        }
        end_layer(h, w);
    }
};

// A row's own program: the recipe's, with the numbers that the dials have moved.
AM_HD const Slot* moved_slots(const PlanArgs& a, const Slot* program, int at, int clip) {
    Slot* own = a.moved + int64_t(at) * (a.info.slots + 1);
    for (int s = 0; s <= a.info.slots; ++s) own[s] = program[s];
    for (int r = 1; r <= a.ramps; ++r) {
        const Slot& ramp = program[a.info.slots + r];
        const double v = a.dials[ramp.op].of(clip);
        for (int c = 0; c < 12; ++c) own[ramp.n].p[c] = own[ramp.n].p[c] + ramp.p[c] * v;
    }
    return own;
}

// `program`: a.slots, or where these are on a device.
AM_HD void plan_row(const PlanArgs& a, const Slot* program, int at) {
    const int view = at / a.batch, i = at - view * a.batch, clip = i / a.frames;
    const Slot* slots = a.ramps ? moved_slots(a, program, at, clip) : program;
    int32_t* row = a.rows + int64_t(at) * a.info.row_words;
    RowWriter r{a, slots, i, row, row, {}, 0, clip, i - clip * a.frames, a.view + uint32_t(view)};
    r.run();
}

}  // namespace anamorph
