// Runs grids: the threads of a block as fibers that run until they wait for each other or end, and one block after the other, unless
// one has nothing to do but to wait for others (__nanosleep): then these begin or go on. The order of the blocks, and who runs next,
// come from the seed. One launch at a time, in the thread that launches.
#include "scheduler.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <mutex>
#include <new>
#include <numeric>
#include <unordered_map>
#include <vector>

#include "../include/emulated/api.h"
#include "../include/emulated/threads.h"
#include "../include/emulated/warp.h"
#include "control.h"
#include "fiber.h"
#include "shared_memory.h"
#include "watch.h"
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace emulated {

uint3 thread_index, block_index;
dim3 block_size, grid_size;
int current_thread = -1;

namespace {

enum : int { MAX_THREADS = 1024, WARPS = MAX_THREADS / 32, PATIENCE = 1 << 22, RESIDENT = 24, ROUNDS = 1 << 14 };
constexpr size_t PAGE = 4096, STACK = size_t(256) << 10;

// xorshift64*.
struct Random {
    uint64_t state = 1;
    void seed(uint64_t s) { state = s * 0x9E3779B97F4A7C15u + 0xD1B54A32D192ED03u, state |= !state; }
    uint64_t next() {
        state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
        return state * 0x2545F4914F6CDD1Du;
    }
    uint32_t below(uint32_t n) { return uint32_t((next() >> 32) * n >> 32); }
};

// Lanes of a warp that come together for one call.
struct Gathering {
    const char* call;  // null: free
    unsigned mask;     // whom it waits for
    unsigned left;     // who has yet to read it, once all have come; 0: it is still open
    Gathered all;
};

enum class Wait { NOTHING, BARRIER, LANES, CONVERGENCE, END };
struct Thread {
    Fiber fiber;
    uint3 index;
    Wait wait;
    const char* call;  // at which it waits
    Place place;
    Gathering* gathering;
    unsigned active;  // what __activemask says
};

struct Warp {
    unsigned live;
    Gathering gatherings[32];
};

const char* const BARRIERS[] = {"__syncthreads", "__syncthreads_count", "__syncthreads_and", "__syncthreads_or"};

alignas(128) char dynamic_memory[SHARED_OPT_IN];  // of this module, so that beside it is outside

// A block that has begun, with the shared memory that it has while another one runs.
struct Block {
    uint3 index;
    char* stacks = nullptr;
    int stack_count = 0;
    Thread threads[MAX_THREADS];
    Warp warps[WARPS];
    int ready[MAX_THREADS], ready_count;
    int count, live, waiting;  // threads; not ended; at the barrier
    int votes, vote_result;
    int pauses;  // since a thread last ended or was waited for
    int dozing;  // the thread that has last called __nanosleep
    std::vector<char> shared;
    Watched watched;
};

struct Scheduler {
    std::mutex lock;  // of a launch
    uint64_t seed = 0, launched = 0;
    Random random;
    std::unordered_map<const void*, int> dynamic_allowed;

    const Call* call;
    const std::vector<Variable>* variables;
    size_t dynamic_bytes;
    Fiber main;
    std::vector<Block*> begun, idle;  // of this launch; kept for the next ones
    Block* b;                         // that runs
    int rounds;                       // of blocks that wait for each other, since one last did something
    std::string fault;
    std::exception_ptr thrown;
};
Scheduler& s = *new Scheduler;  // never destroyed: a fiber may still stand on its stacks

char* stack_of(int thread) { return s.b->stacks + thread * (STACK + PAGE) + PAGE; }

Range range(const void* start, size_t bytes) { return {uintptr_t(start), uintptr_t(start) + bytes}; }

// Only as many as there are threads: each has a page that ends it, and a process may have 65,530 pieces of memory.
void make_stacks() {
    const int needed = int(block_size.x * block_size.y * block_size.z);
    if (s.b->stack_count >= needed) return;
    if (s.b->stacks) munmap(s.b->stacks, s.b->stack_count * (STACK + PAGE));
    void* all = mmap(nullptr, needed * (STACK + PAGE), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (all == MAP_FAILED) throw std::bad_alloc();
    s.b->stacks = static_cast<char*>(all);
    s.b->stack_count = needed;
    for (int i = 0; i < needed; ++i) mprotect(stack_of(i) - PAGE, PAGE, PROT_NONE);  // a stack that is too long ends here
}

void make_ready(int thread) {
    s.b->threads[thread].wait = Wait::NOTHING;
    s.b->ready[s.b->ready_count++] = thread;
}

// From the running thread to the scheduler, and back when it is this thread's turn.
void leave(bool forever = false) { s.b->threads[current_thread].fiber.switch_to(s.main, forever); }

void wait_at(Wait wait, const char* call, Place place) {
    Thread& t = s.b->threads[current_thread];
    t.wait = wait;
    t.call = call;
    t.place = place;
    leave();
}

void close_if_complete(int warp, Gathering& g) {
    unsigned named = g.mask & s.b->warps[warp].live;
    if (!g.call || g.left || g.all.lanes != named) return;
    g.left = named;
    if (!std::strcmp(g.call, "__syncwarp")) watch_syncwarp(warp, named);
    s.b->pauses = 0;
    for (int lane = 0; lane < 32; ++lane)
        if (named >> lane & 1) make_ready(warp * 32 + lane);
}

std::string at_place(const Thread& t) {
    const char* slash = std::strrchr(t.place.file, '/');
    return std::string(t.call) + " (" + (slash ? slash + 1 : t.place.file) + ":" + std::to_string(t.place.line) + ")";
}

void open_barrier() {
    const Thread* first = nullptr;
    for (int i = 0; i < s.b->count; ++i) {
        const Thread& t = s.b->threads[i];
        if (t.wait != Wait::BARRIER) continue;
        if (!first) first = &t;
        if (t.place.line != first->place.line || std::strcmp(t.call, first->call) ||
            std::strcmp(t.place.file, first->place.file)) {
            s.fault = thread_name(int(first - s.b->threads)) + " waits at " + at_place(*first) + " and " + thread_name(i) +
                      " at " + at_place(t) + ": a barrier is one place for the whole block";
            return;
        }
    }
    s.b->vote_result = first->call == BARRIERS[int(Vote::AND)]  ? s.b->votes == s.b->waiting
                       : first->call == BARRIERS[int(Vote::OR)] ? s.b->votes != 0
                                                                : s.b->votes;
    s.b->votes = s.b->waiting = s.b->pauses = 0;
    watch_barrier();
    for (int i = 0; i < s.b->count; ++i)
        if (s.b->threads[i].wait == Wait::BARRIER) make_ready(i);
}

void end_thread(int thread) {
    s.b->threads[thread].wait = Wait::END;
    --s.b->live;
    s.b->pauses = 0;
    Warp& w = s.b->warps[thread / 32];
    w.live &= ~(1u << thread % 32);
    for (Gathering& g : w.gatherings) close_if_complete(thread / 32, g);
    if (s.b->live && s.b->waiting == s.b->live) open_barrier();
}

void thread_main() {
    try {
        s.call->run(s.call->kernel, s.call->parameters);
    } catch (...) { s.thrown = std::current_exception(); }
    end_thread(current_thread);
    leave(true);
}

// Nobody can run: the lanes of a warp that stand at the same __activemask are what is active together.
bool converge() {
    bool any = false;
    for (int i = 0; i < s.b->count; ++i) {
        Thread& t = s.b->threads[i];
        if (t.wait != Wait::CONVERGENCE) continue;
        unsigned together = 0;
        for (int k = i / 32 * 32; k < s.b->count && k < i / 32 * 32 + 32; ++k) {
            const Thread& other = s.b->threads[k];
            if (other.wait == Wait::CONVERGENCE && other.place.line == t.place.line &&
                !std::strcmp(other.place.file, t.place.file))
                together |= 1u << k % 32;
        }
        for (int lane = 0; lane < 32; ++lane) {
            if (!(together >> lane & 1)) continue;
            s.b->threads[i / 32 * 32 + lane].active = together;
            make_ready(i / 32 * 32 + lane);
        }
        any = true;
    }
    return any;
}

std::string waits() {
    std::string text = "threads wait for each other and none can go on";
    std::string before;
    for (int i = 0; i < s.b->count; ++i) {
        const Thread& t = s.b->threads[i];
        if (t.wait == Wait::END || t.wait == Wait::NOTHING) continue;
        std::string where = at_place(t);
        if (t.wait == Wait::LANES) {
            char lanes[64];
            std::snprintf(lanes, sizeof lanes, " for lanes 0x%x of its warp", t.gathering->mask & ~t.gathering->all.lanes);
            where += lanes;
        }
        if (where == before) continue;
        before = where;
        text += "; " + thread_name(i) + " at " + where;
        if (text.size() > 600) return text + "; ...";
    }
    return text;
}

void poison(char* start, size_t bytes) {
    uint32_t word = 0x7F800001u | (uint32_t(s.random.next()) & 0x003FFFFFu);  // a signalling NaN, a large integer
    for (size_t i = 0; i < bytes; ++i) start[i] = char(word >> 8 * (i % 4));
}

// f(start, bytes) for all of a block's shared memory.
template <class F> void each_shared(const F& f) {
    for (const Variable& v : *s.variables) f(v.start, v.bytes);
    f(dynamic_memory, s.dynamic_bytes);
}

void run_on(Block* b) {
    s.b = b;
    make_stacks();
    block_index = b->index;
    watch_stacks(range(b->stacks, b->stack_count * (STACK + PAGE)));
}

void begin_block() {
    Block& b = *s.b;
    each_shared(poison);
    watch_block();
    b.count = b.live = int(block_size.x * block_size.y * block_size.z);
    b.ready_count = b.waiting = b.votes = b.pauses = 0;
    b.dozing = -1;
    uint3 at{0, 0, 0};
    for (int i = 0; i < b.count; ++i) {
        b.threads[i].index = at;
        b.threads[i].fiber.start(stack_of(i), STACK, thread_main);
        make_ready(i);
        if (++at.x == block_size.x) at.x = 0, ++at.y;
        if (at.y == block_size.y) at.y = 0, ++at.z;
    }
    for (int w = 0; w * 32 < b.count; ++w) {
        b.warps[w].live = b.count - w * 32 >= 32 ? 0xFFFFFFFFu : (1u << (b.count - w * 32)) - 1;
        for (Gathering& g : b.warps[w].gatherings) g.call = nullptr;
    }
}

// Until it ends, or nothing in it can run but one that waits for other blocks. False: a fault.
bool run_block() {
    Block& b = *s.b;
    bool first = true;
    while (b.live) {
        if (!b.ready_count && !converge()) {
            s.fault = waits();
        } else if (!first && b.ready_count == 1 && b.dozing == b.ready[0]) {
            return true;
        } else {
            int pick = int(s.random.below(uint32_t(b.ready_count)));
            current_thread = b.ready[pick];
            b.ready[pick] = b.ready[--b.ready_count];
            b.dozing = -1;
            thread_index = b.threads[current_thread].index;
            first = false;
            s.main.switch_to(b.threads[current_thread].fiber);
            current_thread = -1;
            if (b.dozing < 0) s.rounds = 0;
        }
        if (s.thrown || !s.fault.empty()) return false;
    }
    s.rounds = 0;
    return true;
}

// The shared memory of the block that has run, and of one that goes on.
void save_block() {
    s.b->shared.clear();
    each_shared([](char* start, size_t bytes) { s.b->shared.insert(s.b->shared.end(), start, start + bytes); });
    watch_change(s.b->watched);
}
void load_block(Block* b) {
    run_on(b);
    const char* from = b->shared.data();
    each_shared([&](char* start, size_t bytes) { std::memcpy(start, from, bytes), from += bytes; });
    watch_change(b->watched);
}

std::string index_text(uint3 i) {
    return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")";
}

cudaError_t refused(dim3 grid, dim3 block, size_t shared, const void* kernel) {
    uint64_t threads = uint64_t(block.x) * block.y * block.z;
    if (!grid.x || !grid.y || !grid.z || grid.x > 0x7FFFFFFFu || grid.y > 65535 || grid.z > 65535 || !threads || block.x > 1024 ||
        block.y > 1024 || block.z > 64 || threads > MAX_THREADS)
        return cudaErrorInvalidConfiguration;
    size_t fixed = 0;
    for (const Variable& v : *s.variables) fixed += v.bytes;
    auto allowed = s.dynamic_allowed.find(kernel);
    size_t most =
        allowed == s.dynamic_allowed.end() ? SHARED_BYTES - std::min<size_t>(fixed, SHARED_BYTES) : size_t(allowed->second);
    return fixed > SHARED_BYTES || shared > most ? cudaErrorInvalidValue : cudaSuccess;
}

}  // namespace

std::string thread_name(int thread) { return "thread " + index_text(s.b->threads[thread].index); }

void fail_thread(const std::string& what) {
    s.fault = thread_name(current_thread) + " " + what;
    leave(true);
    std::terminate();
}

void trap() { fail_thread("traps"); }

int barrier(Vote vote, int predicate, Place place) {
    s.b->votes += predicate != 0;
    if (++s.b->waiting == s.b->live) {
        Thread& t = s.b->threads[current_thread];
        t.wait = Wait::BARRIER;
        t.call = BARRIERS[int(vote)];
        t.place = place;
        open_barrier();
        leave(!s.fault.empty());
    } else {
        wait_at(Wait::BARRIER, BARRIERS[int(vote)], place);
    }
    return s.b->vote_result;
}

int lane() { return current_thread % 32; }

Gathered gather(const char* call, unsigned mask, uint64_t value, Place place) {
    int warp = current_thread / 32, lane = current_thread % 32;
    if (!(mask >> lane & 1)) fail_thread(std::string("calls ") + call + " with a mask that does not name its own lane");
    Warp& w = s.b->warps[warp];
    Gathering* g = nullptr;
    for (Gathering& open : w.gatherings)
        if (open.call && !open.left && open.mask == mask && !std::strcmp(open.call, call)) g = &open;
    if (!g) {
        g = std::find_if(w.gatherings, w.gatherings + 32, [](const Gathering& f) { return !f.call; });
        *g = {call, mask, 0, {}};
        for (uint64_t& v : g->all.values) poison(reinterpret_cast<char*>(&v), sizeof v);
    }
    g->all.values[lane] = value;
    g->all.lanes |= 1u << lane;
    Thread& t = s.b->threads[current_thread];
    t.wait = Wait::LANES;
    t.call = call;
    t.place = place;
    t.gathering = g;
    close_if_complete(warp, *g);
    leave();
    Gathered all = g->all;
    g->left &= ~(1u << lane);
    if (!g->left) g->call = nullptr;
    return all;
}

unsigned active_lanes(Place place) {
    int thread = current_thread;
    wait_at(Wait::CONVERGENCE, "__activemask", place);
    return s.b->threads[thread].active;
}

void doze() {
    s.b->dozing = current_thread;
    pause();
}

void pause() {
    if (++s.b->pauses > PATIENCE) fail_thread("waits for a word that nobody writes");
    make_ready(current_thread);
    leave();
}

cudaError_t allow_dynamic_shared(const void* kernel, int bytes) {
    size_t fixed = 0;
    for (const Variable& v : shared_variables(kernel)) fixed += v.bytes;
    if (bytes < 0 || size_t(bytes) + fixed > SHARED_OPT_IN) return set_error(cudaErrorInvalidValue);
    s.dynamic_allowed[kernel] = bytes;
    return cudaSuccess;
}

void* dynamic_shared_memory() { return dynamic_memory; }

void set_seed(uint64_t seed) {
    s.seed = seed;
    s.launched = 0;
}

void run_grid(const char* name, dim3 grid, dim3 block, size_t shared, const Call& call) {
    if (begin_launch() != cudaSuccess) return;
    std::lock_guard<std::mutex> g(s.lock);
    s.variables = &shared_variables(call.kernel);
    if (set_error(refused(grid, block, shared, call.kernel)) != cudaSuccess) return;
    s.random.seed(s.seed ^ s.launched++ << 32);
    s.call = &call;
    s.dynamic_bytes = shared;
    s.fault.clear();
    s.thrown = nullptr;
    s.main = Fiber();
    grid_size = grid;
    block_size = block;
    watch_launch(*s.variables, range(dynamic_memory, shared), range(call.parameters, call.bytes));
    s.idle.insert(s.idle.end(), s.begun.begin(), s.begun.end());  // of a launch that ended with a fault
    s.begun.clear();
    s.rounds = 0;
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(dynamic_memory, shared);
    __asan_poison_memory_region(dynamic_memory + shared, sizeof dynamic_memory - shared);
#endif
    // Every block once, from a random one on by random steps.
    uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z, step = 1 + s.random.next() % blocks, at = s.random.next() % blocks;
    while (std::gcd(step, blocks) != 1) ++step;
    for (uint64_t left = blocks; left || !s.begun.empty();) {
        // Where all that have begun wait for others, another one begins, or one of them goes on.
        const bool begins = left && s.begun.size() < RESIDENT && (s.begun.empty() || s.random.below(2));
        if (begins) {
            if (s.idle.empty()) s.idle.push_back(new Block);
            Block* b = s.idle.back();
            s.idle.pop_back();
            s.begun.push_back(b);
            b->index = {unsigned(at % grid.x), unsigned(at / grid.x % grid.y), unsigned(at / grid.x / grid.y)};
            at = (at + step) % blocks;
            --left;
            run_on(b);
            begin_block();
        } else {
            load_block(s.begun[s.random.below(uint32_t(s.begun.size()))]);
            if (++s.rounds > ROUNDS) s.fault = thread_name(s.b->dozing) + " waits for a word that nobody writes";
        }
        if (!s.fault.empty() || !run_block()) {
            if (s.thrown) std::rethrow_exception(std::exchange(s.thrown, nullptr));
            throw Fault(std::string(name) + ": " + s.fault + "; block " + index_text(block_index) + ", seed " +
                        std::to_string(s.seed));
        }
        if (s.b->live) {
            save_block();
        } else {
            s.begun.erase(std::find(s.begun.begin(), s.begun.end(), s.b));
            s.idle.push_back(s.b);
        }
    }
}

}  // namespace emulated
