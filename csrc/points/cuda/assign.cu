// assign.h on a GPU: a block for each pair of clouds. Bidders are shared out among its warps; where there are few, several warps look
// for one of them, so that the long tail of an auction, when a handful still waits, takes the whole block.
#define AM_LEVEL cuda
#include <algorithm>

#include "../../core/launch.h"
#include "../../core/warp.h"
#include "../assign.h"
#include "../mix.h"

namespace anamorph {
namespace AM_LEVEL { namespace {

// SHARED_WORDS: of dynamic shared memory, what every device has if asked: the objects of 2560 points.
enum : int { MOST_THREADS = 1024, MOST_WARPS = MOST_THREADS / WARP, OBJECT_WORDS = 6, SHARED_WORDS = 15360 };
constexpr unsigned ALL = 0xFFFFFFFFu;
static_assert(int(BIDDERS) == int(WARP), "a lane settles a bid");

struct State {
    Box box;
    Epsilon epsilon;
    int64_t bids;
    unsigned long long total;
    int head, count, forced, more, wrong;
};

AM_D Offer offer_from(Offer o, int lanes) {
    return {__shfl_xor_sync(ALL, o.best, lanes), __shfl_xor_sync(ALL, o.rank, lanes), __shfl_xor_sync(ALL, o.second, lanes)};
}

struct Floor {                      // where the auction takes place
    const float* a;                 // [3, n]
    float* b;                       // [3, n]
    int *price, *owner, *queue, n;  // [n]

    AM_D Offer look(int person, int first, int step) const {
        const float x = a[person], y = a[n + person], z = a[2 * n + person];
        Offer o = no_offer();
        for (int rank = first; rank < n; rank += step) {
            const int j = object_of(person, rank, n);
            const int value = cost_between<float>(x, y, z, b[j], b[n + j], b[2 * n + j]) + price[j];
            o.second = min_(o.second, max_(o.best, value));
            if (value < o.best) {
                o.best = value;
                o.rank = rank;
            }
        }
        return o;
    }
};

__global__ void __launch_bounds__(MOST_THREADS) assign_kernel(const __grid_constant__ AssignArgs args, int in_shared) {
    __shared__ State state;
    __shared__ float lows[3][MOST_WARPS], highs[3][MOST_WARPS];
    __shared__ Offer offers[BIDDERS];
    __shared__ int objects[BIDDERS], bids[BIDDERS];
    const int n = args.n, sample = int(blockIdx.x), thread = int(threadIdx.x), threads = int(blockDim.x);
    const int lane = thread % WARP, warp = thread / WARP, warps = threads / WARP;
    const float *from = args.a + int64_t(sample) * n * 3, *to = args.b + int64_t(partner_of(args, sample)) * n * 3;
    int64_t* permutation = args.permutation + int64_t(sample) * n;
    int32_t* room = args.room + int64_t(sample) * n * ROOM_WORDS;

    for (int k = 0; k < 3; ++k) {
        float low = from[k], high = low;
        for (int i = thread; i < n; i += threads) {
            low = min_(low, min_(from[3 * i + k], to[3 * i + k]));
            high = max_(high, max_(from[3 * i + k], to[3 * i + k]));
        }
        for (int half = WARP / 2; half > 0; half /= 2) {
            low = min_(low, __shfl_xor_sync(ALL, low, half));
            high = max_(high, __shfl_xor_sync(ALL, high, half));
        }
        if (lane == 0) lows[k][warp] = low, highs[k][warp] = high;
    }
    __syncthreads();
    if (thread == 0) {
        float low[3], high[3];
        for (int k = 0; k < 3; ++k) {
            low[k] = lows[k][0], high[k] = highs[k][0];
            for (int w = 1; w < warps; ++w) low[k] = min_(low[k], lows[k][w]), high[k] = max_(high[k], highs[k][w]);
        }
        state.box.begin(low, high);
        state.epsilon.begin(args.eps, state.box);
        state.bids = 0;
        state.forced = state.wrong = 0;
        state.total = 0;
    }
    __syncthreads();

    if (n == 1 || (args.rule && !points::needs_match(args.rule[sample]))) {
        for (int i = thread; i < n; i += threads) permutation[i] = i;
    } else {
        float* coordinates = reinterpret_cast<float*>(room);
        int* objects_at = in_shared ? dynamic_shared<int>() : room + 3 * n;
        const Floor floor{
            coordinates, reinterpret_cast<float*>(objects_at), objects_at + 3 * n, objects_at + 4 * n, objects_at + 5 * n, n};
        for (int i = thread; i < n; i += threads) {
            for (int k = 0; k < 3; ++k) {
                coordinates[k * n + i] = state.box.place(from[3 * i + k], k);
                floor.b[k * n + i] = state.box.place(to[3 * i + k], k);
            }
            floor.price[i] = 0;
        }
        for (bool more = true; more;) {
            for (int i = thread; i < n; i += threads) {
                floor.owner[i] = -1;
                floor.queue[i] = i;
            }
            if (thread == 0) state.head = 0, state.count = n;
            __syncthreads();
            while (const int count = state.count) {
                const int head = state.head;
                const bool forced = state.forced || state.bids >= args.most_bids;
                if (forced && !state.forced) {
                    for (int j = thread; j < n; j += threads)
                        if (floor.owner[j] >= 0) floor.price[j] = TAKEN;
                    __syncthreads();
                }
                const int k = forced ? 1 : min_(count, int(BIDDERS));
                int team = 1;  // warps for a bidder
                while (2 * team * k <= warps) team *= 2;
                for (int t = warp / team; t < k; t += warps / team) {
                    const int at = head + t < n ? head + t : head + t - n;
                    Offer o = floor.look(floor.queue[at], warp % team * WARP + lane, team * WARP);
                    for (int half = WARP / 2; half > 0; half /= 2) o = joined(o, offer_from(o, half));
                    if (lane == 0) offers[t * team + warp % team] = o;
                }
                __syncthreads();
                if (warp == 0) {
                    // A lane for a part of a look, then for a bid.
                    Offer o = lane < k * team ? offers[lane] : no_offer();
                    for (int half = team / 2; half > 0; half /= 2) o = joined(o, offer_from(o, half));
                    const int source = lane * team < WARP ? lane * team : 0;
                    o = {__shfl_sync(ALL, o.best, source), __shfl_sync(ALL, o.rank, source), __shfl_sync(ALL, o.second, source)};
                    int waits = -1, person = 0, object = 0, bid = 0;
                    if (lane < k) {
                        person = floor.queue[head + lane < n ? head + lane : head + lane - n];
                        object = object_of(person, o.rank, n);
                        bid = forced ? int(TAKEN) : floor.price[object] + (o.second - o.best) + int(state.epsilon.now);
                        objects[lane] = object;
                        bids[lane] = bid;
                    }
                    __syncwarp();
                    if (lane < k) {
                        bool wins = true;
                        for (int s = 0; s < k; ++s)
                            wins = wins && !(objects[s] == object && (bids[s] > bid || (bids[s] == bid && s < lane)));
                        waits = person;
                        if (wins) {
                            waits = floor.owner[object];
                            floor.owner[object] = person;
                            floor.price[object] = bid;
                        }
                    }
                    const unsigned waiting = __ballot_sync(ALL, waits >= 0);
                    const int first = head + k < n ? head + k : head + k - n, left = count - k;
                    if (waits >= 0) {
                        const int at = first + left + __popc(waiting & ((1u << lane) - 1u));
                        floor.queue[at < n ? at : at - n] = waits;
                    }
                    if (lane == 0) {
                        state.head = first;
                        state.count = left + __popc(waiting);
                        state.bids += k;
                        state.forced = forced;
                    }
                }
                __syncthreads();
            }
            if (state.forced) break;
            int64_t total = 0;
            for (int j = thread; j < n; j += threads) {
                const int i = floor.owner[j];
                total += cost_between<float>(coordinates[i], coordinates[n + i], coordinates[2 * n + i], floor.b[j],
                                             floor.b[n + j], floor.b[2 * n + j]);
            }
            atomicAdd(&state.total, static_cast<unsigned long long>(total));
            __syncthreads();
            if (thread == 0) {
                state.more = state.epsilon.next(int64_t(state.total), n);
                state.total = 0;
            }
            __syncthreads();
            more = state.more;
        }
        for (int j = thread; j < n; j += threads) permutation[floor.owner[j]] = j;
        __syncthreads();
    }

    int64_t sum = 0;
    bool numbers = true;
    for (int i = thread; i < n; i += threads)
        numbers = add_distance(state.box, from + 3 * i, to + 3 * permutation[i], sum) && numbers;
    atomicAdd(&state.total, static_cast<unsigned long long>(sum));
    if (!numbers) atomicOr(&state.wrong, 1);
    __syncthreads();
    if (thread == 0) args.cost[sample] = state.wrong ? word_float(0x7FC00000) : distance_of(state.box, int64_t(state.total));
}

}}  // namespace AM_LEVEL

void assign_cuda(const AssignArgs& a, void* stream) {
    using namespace AM_LEVEL;
    int threads = WARP;
    while (threads < a.n && threads < MOST_THREADS) threads *= 2;
    const int words = OBJECT_WORDS * a.n;
    const bool in_shared = words <= SHARED_WORDS;
    const size_t bytes = in_shared ? size_t(words) * sizeof(int) : 0;
    if (bytes > 44 * 1024)  // with what the kernel has by name more than a launch gets without asking
        cudaFuncSetAttribute(assign_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(SHARED_WORDS * sizeof(int)));
    launch("assign", assign_kernel, dim3(unsigned(a.batch)), dim3(unsigned(threads)), bytes, stream, a, int(in_shared));
}

}  // namespace anamorph
