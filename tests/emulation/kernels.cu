// A tester's tests: kernels with one fault each, and kernels that are right and reach every word of the emulation. What they
// are to compute stands in test_emulation.py.
#include "kernels.h"

#include "../../csrc/core/launch.h"

namespace {

using anamorph::dynamic_shared;
using Words = const uint32_t*;

__device__ int thread_of_block() { return int(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)); }
__device__ int block_of_grid() { return int(blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z)); }
__device__ int threads_of_block() { return int(blockDim.x * blockDim.y * blockDim.z); }
__device__ int thread_of_grid() { return block_of_grid() * threads_of_block() + thread_of_block(); }

// ---- right ----

// Who I am, from all dimensions at once.
__global__ void places(Words, uint32_t* out, int, int) {
    uint32_t* mine = out + 6 * thread_of_grid();
    mine[0] = blockIdx.x, mine[1] = blockIdx.y, mine[2] = blockIdx.z;
    mine[3] = threadIdx.x, mine[4] = threadIdx.y, mine[5] = threadIdx.z;
}

// The four shuffles by `by` in segments of `width`, of a word and of a double with that word in it.
__global__ void shuffles(Words in, uint32_t* out, int by, int width) {
    int t = thread_of_block(), n = threads_of_block();
    uint32_t word = in[t];
    double wide = word * 1048577.0;
    uint32_t found[] = {__shfl_sync(~0u, word, by, width), __shfl_up_sync(~0u, word, unsigned(by), width),
                        __shfl_down_sync(~0u, word, unsigned(by), width), __shfl_xor_sync(~0u, word, by, width)};
    double found_wide[] = {__shfl_sync(~0u, wide, by, width), __shfl_up_sync(~0u, wide, unsigned(by), width),
                           __shfl_down_sync(~0u, wide, unsigned(by), width), __shfl_xor_sync(~0u, wide, by, width)};
    for (int k = 0; k < 4; ++k) {
        out[k * n + t] = found[k];
        out[(4 + k) * n + t] = uint32_t(found_wide[k] / 1048577.0);
    }
}

// Votes among the lanes whose number has bit 0 set, and among the others, in branches of their own.
__global__ void votes(Words in, uint32_t* out, int limit, int) {
    int t = thread_of_block(), same = 0;
    uint32_t v = in[t], *mine = out + 6 * t;
    if (t & 1) {
        mine[0] = __ballot_sync(0xAAAAAAAAu, v < uint32_t(limit));
        mine[1] = uint32_t(__any_sync(0xAAAAAAAAu, v < uint32_t(limit)));
        mine[2] = uint32_t(__all_sync(0xAAAAAAAAu, v < uint32_t(limit)));
        mine[3] = __match_any_sync(0xAAAAAAAAu, v);
        mine[4] = __match_all_sync(0xAAAAAAAAu, v, &same);
    } else {
        mine[0] = __ballot_sync(0x55555555u, v < uint32_t(limit));
        mine[1] = uint32_t(__any_sync(0x55555555u, v < uint32_t(limit)));
        mine[2] = uint32_t(__all_sync(0x55555555u, v < uint32_t(limit)));
        mine[3] = __match_any_sync(0x55555555u, v);
        mine[4] = __match_all_sync(0x55555555u, v, &same);
    }
    mine[5] = uint32_t(same);
}

__global__ void reductions(Words in, uint32_t* out, int, int) {
    int t = thread_of_block();
    uint32_t v = in[t], *mine = out + 9 * t;
    mine[0] = __reduce_add_sync(~0u, v), mine[1] = __reduce_min_sync(~0u, v), mine[2] = __reduce_max_sync(~0u, v);
    mine[3] = uint32_t(__reduce_add_sync(~0u, int(v))), mine[4] = uint32_t(__reduce_min_sync(~0u, int(v)));
    mine[5] = uint32_t(__reduce_max_sync(~0u, int(v)));
    mine[6] = __reduce_and_sync(~0u, v), mine[7] = __reduce_or_sync(~0u, v), mine[8] = __reduce_xor_sync(~0u, v);
}

// Who is active in each of three branches, with lanes that have ended, and after they come together.
__global__ void active(Words in, uint32_t* out, int, int) {
    int t = thread_of_block();
    if (in[t] == 3) return;
    unsigned here;
    if (in[t] == 0) here = __activemask();
    else if (in[t] == 1) here = __activemask();
    else here = ~__activemask();
    out[2 * t] = here;
    __syncwarp(__ballot_sync(__activemask(), 1));
    out[2 * t + 1] = __activemask();
}

// The block's sums of floats: shuffles within warps, then through shared memory. Then the first warp's, by __syncwarp alone.
__global__ void sums(Words in, uint32_t* out, int, int) {
    __shared__ float parts[32];
    int t = thread_of_block(), lane = t % 32, warps = (threads_of_block() + 31) / 32;
    float v = __uint_as_float(in[thread_of_grid()]);
    for (int half = 16; half; half /= 2) v += __shfl_down_sync(~0u, v, unsigned(half));
    if (lane == 0) parts[t / 32] = v;
    __syncthreads();
    if (t < 32) {
        if (lane >= warps) parts[lane] = 0.0f;
        for (int half = 16; half; half /= 2) {
            __syncwarp();
            float other = lane < half ? parts[lane + half] : 0.0f;
            __syncwarp();
            if (lane < half) parts[lane] += other;
        }
        if (lane == 0) out[block_of_grid()] = __float_as_uint(parts[0]);
    }
}

// The block's numbers turned round, through dynamic shared memory.
__global__ void turned(Words in, uint32_t* out, int, int) {
    uint32_t* all = dynamic_shared<uint32_t>();
    int t = thread_of_block(), n = threads_of_block();
    all[t] = in[thread_of_grid()];
    __syncthreads();
    out[thread_of_grid()] = all[n - 1 - t];
}

__global__ void barrier_votes(Words in, uint32_t* out, int limit, int) {
    int t = thread_of_block();
    if (in[t] == 0) return;  // who has ended is not waited for
    bool below = in[t] < uint32_t(limit);
    out[3 * t] = uint32_t(__syncthreads_count(below));
    out[3 * t + 1] = uint32_t(__syncthreads_and(below));
    out[3 * t + 2] = uint32_t(__syncthreads_or(below));
}

struct Counters {
    int sum, less, least, most, both, either, odd, swapped, slot;
    unsigned up, down;
    float float_sum;
    unsigned long long wide_sum;
    double double_sum;
    unsigned lock, guarded;
};

__global__ void atomics(Words in, uint32_t* out, int, int) {
    auto* c = reinterpret_cast<Counters*>(out);
    int v = int(in[thread_of_grid()]);
    atomicAdd(&c->sum, v), atomicSub(&c->less, v), atomicMin(&c->least, v), atomicMax(&c->most, v);
    atomicAnd(&c->both, v | 0xF0), atomicOr(&c->either, v & 0x0F0F), atomicXor(&c->odd, v);
    if (atomicExch(&c->swapped, v) == -1) atomicCAS(&c->slot, 7, 8);  // one thread finds the first -1, one the 7
    atomicInc(&c->up, 9), atomicDec(&c->down, 9);
    atomicAdd(&c->float_sum, float(v)), atomicAdd(&c->wide_sum, (unsigned long long)(v) << 32),
        atomicAdd(&c->double_sum, v / 2.0);
    while (atomicCAS(&c->lock, 0u, 1u)) __nanosleep(100);
    c->guarded = c->guarded + 1;
    __threadfence();
    atomicExch(&c->lock, 0u);
}

// Blocks of a team of `size` meet twice; between, each keeps what it has in shared memory. out: who has begun, 16 words in which teams
// meet, what blocks tell each other; then what each of their threads makes of it.
__global__ void meetings(Words in, uint32_t* out, int size, int) {
    __shared__ uint32_t place, own[64];
    const int t = thread_of_block(), blocks = int(gridDim.x);
    if (t == 0) place = atomicAdd(out, 1u);
    __syncthreads();
    const int team = int(place) / size;
    uint32_t* told = out + 17;
    uint32_t* made = told + blocks + int(place) * threads_of_block();
    auto meet = [&](uint32_t all) {
        __syncthreads();
        if (t == 0) {
            __threadfence();
            atomicAdd(out + 1 + team, 1u);
            while (*static_cast<volatile uint32_t*>(out + 1 + team) < all) __nanosleep(20);
            __threadfence();
        }
        __syncthreads();
    };
    own[t] = in[t] + place;
    if (t == 0) told[place] = in[0] + 100 * place;
    meet(size);
    uint32_t sum = 0;
    for (int b = 0; b < size; ++b) sum += told[team * size + b];
    meet(2 * size);
    if (t == 0) told[place] = 0;
    made[t] = sum * 1000 + own[threads_of_block() - 1 - t];
}

// A histogram in shared memory by atomics, which need no order among themselves.
__global__ void histogram(Words in, uint32_t* out, int, int) {
    __shared__ unsigned bins[16];
    int t = thread_of_block();
    if (t < 16) bins[t] = 0;
    __syncthreads();
    atomicAdd(&bins[in[thread_of_grid()] % 16], 1u);
    __syncthreads();
    if (t < 16) atomicAdd(out + t, bins[t]);
}

__global__ void bits(Words in, uint32_t* out, int, int) {
    int t = thread_of_block();
    uint32_t a = in[2 * t], b = in[2 * t + 1], *mine = out + 16 * t;
    unsigned long long both = (unsigned long long)b << 32 | a, turned_round = __brevll(both);
    mine[0] = uint32_t(__popc(a)), mine[1] = uint32_t(__popcll(both)), mine[2] = uint32_t(__ffs(int(a)));
    mine[3] = uint32_t(__ffsll((long long)both)), mine[4] = uint32_t(__clz(int(a))), mine[5] = uint32_t(__clzll((long long)both));
    mine[6] = __brev(a), mine[7] = uint32_t(turned_round >> 32);
    mine[8] = uint32_t(__mulhi(int(a), int(b))), mine[9] = __umulhi(a, b);
    mine[10] = __byte_perm(a, b, 0x7254), mine[11] = __funnelshift_l(a, b, 9), mine[12] = __funnelshift_r(a, b, 9);
    mine[13] = uint32_t(__float2int_rn(__int_as_float(int(a)))), mine[14] = __float2uint_rz(__uint_as_float(b));
    mine[15] = uint32_t(__dp4a(int(a), int(b), 5));
}

// Vectors through the read-only path.
__global__ void vectors(Words in, uint32_t* out, int, int) {
    int t = thread_of_block();
    float4 v = __ldg(reinterpret_cast<const float4*>(in) + t);
    uint2 w = __ldg(reinterpret_cast<const uint2*>(in) + t);
    reinterpret_cast<float4*>(out)[t] = make_float4(v.w, fmaxf(v.x, v.y), __fmaf_rn(v.x, v.y, v.z), __saturatef(v.x));
    reinterpret_cast<uint2*>(out + 4 * threads_of_block())[t] = make_uint2(min(w.x, w.y), max(w.x, w.y));
}

// A word handed from one half of a warp to the other: only those who meet need to.
__global__ void handed_over(Words in, uint32_t* out, int, int) {
    __shared__ uint32_t words[32];
    int lane = thread_of_block();
    unsigned half = lane < 16 ? 0xFFFFu : 0xFFFF0000u;
    words[lane] = in[lane];
    __syncwarp(half);
    uint32_t neighbour = words[lane ^ 1];
    __syncwarp();
    words[lane] = neighbour + 1;
    __syncwarp();
    out[lane] = words[lane ^ 16];
}

// ---- wrong ----

__global__ void missing_barrier(Words in, uint32_t* out, int, int) {
    __shared__ uint32_t words[64];
    int t = thread_of_block();
    words[t] = in[t];
    out[t] = words[63 - t];
}
__global__ void missing_second_barrier(Words in, uint32_t* out, int, int) {
    __shared__ uint32_t words[64];
    int t = thread_of_block();
    uint32_t v = in[t];
    for (int round = 0; round < 3; ++round) {
        words[t] = v;
        __syncthreads();
        v = words[63 - t] + 1;  // and on to the next round, while others may still read
    }
    out[t] = v;
}
__global__ void store_outside(Words in, uint32_t* out, int, int) { out[thread_of_block() + 1] = in[thread_of_block()]; }
__global__ void load_outside(Words in, uint32_t* out, int, int) { out[thread_of_block()] = in[thread_of_block() - 1]; }
__global__ void store_to_input(Words in, uint32_t*, int, int) { const_cast<uint32_t*>(in)[thread_of_block()] = 0; }
__global__ void store_outside_shared(Words in, uint32_t* out, int, int) {
    __shared__ uint32_t words[64];
    int t = thread_of_block();
    words[t + 1] = in[t];
    __syncthreads();
    out[t] = words[t];
}
__global__ void store_outside_dynamic(Words in, uint32_t* out, int, int) {
    uint32_t* words = dynamic_shared<uint32_t>();
    words[thread_of_block() + 1] = in[thread_of_block()];
    __syncthreads();
    out[thread_of_block()] = words[thread_of_block() + 1];
}
__global__ void unwritten_shared(Words in, uint32_t* out, int, int) {
    __shared__ uint32_t words[64];
    int t = thread_of_block();
    if (t) words[t] = in[t];  // one is forgotten
    __syncthreads();
    out[t] = words[t];
}
__global__ void unsynchronised_warp(Words in, uint32_t* out, int, int) {
    __shared__ uint32_t words[64];
    int t = thread_of_block();
    words[t] = in[t];
    out[t] = words[t ^ 1];
}
__global__ void shuffle_for_a_fence(Words in, uint32_t* out, int, int) {  // a shuffle orders no memory
    __shared__ uint32_t words[64];
    int t = thread_of_block();
    words[t] = in[t];
    uint32_t v = __shfl_xor_sync(~0u, in[t], 1);
    out[t] = words[t ^ 1] + 0 * v;
}
__global__ void divided_barrier(Words in, uint32_t* out, int, int) {
    int t = thread_of_block();
    if (t < 16) __syncthreads();
    out[t] = in[t];
    __syncthreads();
}
__global__ void absent_lane(Words in, uint32_t* out, int, int) {
    int t = thread_of_block();
    if (t != 5) out[t] = __shfl_down_sync(~0u, in[t], 1u);
    __syncthreads();
}
__global__ void other_masks(Words in, uint32_t* out, int, int) {
    int t = thread_of_block();
    out[t] = __shfl_down_sync(t % 2 ? ~0u : 0x7FFFFFFFu, in[t], 1u);
}
__global__ void foreign_mask(Words in, uint32_t* out, int, int) {
    int t = thread_of_block();
    out[t] = __ballot_sync(0xFFFFu, in[t] != 0);
}
__global__ void misaligned(Words in, uint32_t* out, int, int) {
    int t = thread_of_block();
    if (t < 8) *reinterpret_cast<uint2*>(out + 1 + 2 * t) = make_uint2(in[t], in[t]);
}
__global__ void endless(Words, uint32_t* out, int, int) {
    while (atomicCAS(out, 5u, 6u) != 5u) {}
}
__global__ void unmet(Words, uint32_t* out, int, int) {
    if (thread_of_block() == 0)
        while (*static_cast<volatile uint32_t*>(out) != 5u) __nanosleep(20);
    __syncthreads();
}
__global__ void trapped(Words in, uint32_t*, int, int) {
    if (in[thread_of_block()] == 9) __trap();
}

struct Named {
    const char* name;
    void (*kernel)(Words, uint32_t*, int, int);
};
// clang-format off
#define NAMED(k) {#k, k}
const Named KERNELS[] = {
    NAMED(places), NAMED(shuffles), NAMED(votes), NAMED(reductions), NAMED(active), NAMED(sums), NAMED(turned),
    NAMED(barrier_votes), NAMED(atomics), NAMED(meetings), NAMED(histogram), NAMED(bits), NAMED(vectors), NAMED(handed_over),
    NAMED(missing_barrier), NAMED(missing_second_barrier), NAMED(store_outside), NAMED(load_outside), NAMED(store_to_input),
    NAMED(store_outside_shared), NAMED(store_outside_dynamic), NAMED(unwritten_shared), NAMED(unsynchronised_warp),
    NAMED(shuffle_for_a_fence), NAMED(divided_barrier), NAMED(absent_lane), NAMED(other_masks), NAMED(foreign_mask),
    NAMED(misaligned), NAMED(endless), NAMED(unmet), NAMED(trapped),
};
#undef NAMED
// clang-format on

dim3 as_dim3(const std::vector<unsigned>& v) { return {v.at(0), v.size() > 1 ? v[1] : 1, v.size() > 2 ? v[2] : 1}; }

}  // namespace

void run_kernel(const std::string& name, std::vector<unsigned> grid, std::vector<unsigned> block, size_t shared, const void* in,
                void* out, int a, int b) {
    for (const Named& k : KERNELS)
        if (name == k.name)
            return anamorph::launch(k.name, k.kernel, as_dim3(grid), as_dim3(block), shared, nullptr, static_cast<Words>(in),
                                    static_cast<uint32_t*>(out), a, b);
    anamorph::fail<anamorph::ArgumentError>("name: expected a kernel's, given ", name);
}
