// Random numbers of a recipe's slots: a pure function of (seed, epoch, sample id, view, slot), the same bits on a CPU and on a GPU.
// The files that include this are compiled without fused multiply-add.
#pragma once
#include "exact_math.h"
#include "philox.h"

namespace anamorph {

AM_CALLED Philox4 block(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1) {
    return philox4x32_10(c0, c1, c2, c3, k0, k1);
}

// How the frames of a clip differ: not at all; each draws its own numbers; or all draw the same ones, which then move.
enum Change : int32_t { CHANGE_NONE, CHANGE_EACH, CHANGE_SMOOTH };

// A number of [0, 1) that has left it turns back at its end: what is uniform stays uniform.
AM_HD double turned_back(double u) {
    u = u < 0.0 ? -u : u < 1.0 ? u : 2.0 - u;
    return exact::minimum(u, 1.0 - 0x1p-32);
}

// The numbers of one slot: words of Philox with the counter (view, slot, block | sample | epoch), key = seed.
//
// In a clip that changes smoothly a frame has come `moved` far: its uniform numbers are those of the first frame, each moved by
// that times a speed of its own. What decides something, and what could only jump, is drawn by `still`, `pick` and `beta`.
struct Draw {
    enum : uint32_t { OF_FRAME = 0xC2B2AE3Du, OF_SPEED = 0x27D4EB2Fu };  // keys of their own
    uint32_t k0, k1, c0, c1, c2, c3;
    Philox4 ready;  // the first `left` words of it
    int left;
    double moved;
    uint32_t frame;  // that differs from the first in what is noise

    // `again`: not 0 where the slot runs several times.
    AM_HD void begin(uint64_t seed, uint32_t epoch, int64_t sample, uint32_t view, uint32_t slot, uint32_t again) {
        k0 = uint32_t(seed);
        k1 = uint32_t(seed >> 32) + again * 0x9E3779B9u;
        c0 = (view << 20) | (slot << 10);  // 1024 blocks a slot
        c1 = uint32_t(uint64_t(sample));
        c2 = uint32_t(uint64_t(sample) >> 32);
        c3 = epoch;
        left = 0;
        moved = 0.0;
        frame = 0;
    }
    // For a frame of a clip, the last of which comes `drift` far.
    AM_HD void change(Change how, uint32_t t, int frames, double drift) {
        if (how == CHANGE_EACH) k0 += t * OF_FRAME;
        if (how != CHANGE_SMOOTH || t == 0) return;
        moved = drift * double(t) / double(frames - 1);
        frame = t;
    }
    AM_HD uint32_t word() {
        if (left == 0) {
            ready = block(c0, c1, c2, c3, k0, k1);
            c0 = c0 + 1;
            left = 4;
        }
        --left;
        uint32_t first = ready.v[0];
        AM_UNROLL
        for (int i = 1; i < 4; ++i) ready.v[i - 1] = ready.v[i];  // registers have no index
        return first;
    }
    AM_HD uint32_t key() {  // of noise, which is another in each frame
        const uint32_t first = word();
        return frame == 0 ? first : block(first, frame, 0u, 0u, k0 + OF_FRAME, k1).v[0];
    }
    // How far the number whose word was drawn last has moved, at a speed from -1 to 1.
    AM_HD double way() const {
        if (moved == 0.0) return 0.0;
        const uint32_t speed = block(c0, c1, c2, c3, k0 + OF_SPEED + uint32_t(left), k1).v[0];
        return moved * (double(speed) * 4.656612873077393e-10 - 1.0);
    }
    AM_HD double still() { return double(word()) * 2.3283064365386963e-10; }         // [0, 1), 32 bits, exact
    AM_HD double open() { return (double(word()) + 0.5) * 2.3283064365386963e-10; }  // (0, 1), still
    AM_HD double pick(double n) { return exact::floor(still() * n); }                // an integer 0 .. n-1, still

    AM_HD double unit() {  // [0, 1)
        const double first = still();
        return moved > 0.0 ? turned_back(first + way()) : first;
    }
    AM_HD double uniform(double a, double b) { return a + (b - a) * unit(); }
    AM_HD double below(double n) { return exact::floor(unit() * n); }  // an integer 0 .. n-1

    AM_HD double normal() {  // Box-Muller, still
        double r = exact::sqrt(-2.0 * exact::log(open()));
        return r * exact::sincos_deg(360.0 * still()).cos;
    }
    AM_HD double moving_normal() {  // its angle moves, by up to a quarter turn: what is normal stays normal
        double r = exact::sqrt(-2.0 * exact::log(open())), turn = still();
        return r * exact::sincos_deg(360.0 * (turn + 0.25 * way())).cos;
    }
    // log of a Gamma(a, 1) number: Marsaglia & Tsang (2000), with their boost for a < 1 taken in logarithms so that
    // the very small numbers of a tiny `a` do not underflow. Accepts at least 95% of tries; 64 bound the loop.
    AM_HD double log_gamma(double a) {
        double boost = 0.0;
        if (a < 1.0) {
            boost = exact::log(open()) / a;
            a = a + 1.0;
        }
        double d = a - 1.0 / 3.0, c = 1.0 / exact::sqrt(9.0 * d), v = 1.0;
        for (int i = 0; i < 64; ++i) {
            double x = normal(), t = 1.0 + c * x;
            double u = open();
            if (t <= 0.0) continue;
            v = t * t * t;
            if (exact::log(u) < 0.5 * x * x + d - d * v + d * exact::log(v)) break;
        }
        return exact::log(d * v) + boost;
    }
    AM_HD double beta(double a, double b) {
        double x = log_gamma(a), y = log_gamma(b);
        return 1.0 / (1.0 + exact::exp(y - x));
    }
};

}  // namespace anamorph
