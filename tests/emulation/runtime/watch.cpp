#include "watch.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

#include "../include/emulated/api.h"
#include "scheduler.h"

namespace emulated {

std::vector<Memory> allowed_memory;
bool watching = true;

namespace {

// A byte of shared memory. An epoch lasts from one barrier of the block to the next and never comes again, so a cell of another
// block or launch is simply old. Within a warp, ticks count a lane's __syncwarp calls.
enum : uint16_t { NOBODY = 0xFFFF, SEVERAL_WARPS = 0xFFFE, SEVERAL_LANES = 0xFFFD };
struct Cell {
    uint32_t written = 0, read = 0;          // epochs
    uint32_t write_tick = 0, read_tick = 0;  // SEVERAL_LANES: which of `lane_reads`
    uint16_t writer = NOBODY, reader = NOBODY;
    bool atomic = false;  // the write
};
struct LaneReads {
    int warp;
    std::array<uint32_t, 32> tick;  // 0: has not read
};
struct Place {
    uintptr_t begin, end;
    size_t cell;  // of its first byte
    const char* name;
};
struct Lanes {  // of one warp, who has seen whose accesses up to which tick
    bool met;   // any two, in this block
    std::array<uint32_t, 32> tick;
    std::array<std::array<uint32_t, 32>, 32> seen;
};

std::vector<Place> places;
uintptr_t first_place, last_place;  // around them all
std::vector<Cell> cells;
std::vector<LaneReads> lane_reads;
Lanes warps[32];
size_t cells_needed;
uint32_t newest_epoch = 1, epoch = 1, block_epoch = 1;
Range stacks, parameters, module;
const Memory* last_memory;

const char* verb(bool write) { return write ? "writes" : "reads"; }
std::string bytes_text(size_t n) { return std::to_string(n) + (n == 1 ? " byte" : " bytes"); }

bool ordered(int before, uint32_t tick, int now) {
    if (before == now) return true;
    if (before / 32 != now / 32) return false;
    const Lanes& w = warps[now / 32];
    return w.met && w.seen[now % 32][before % 32] >= tick;
}
uint32_t tick_of(int thread) {
    const Lanes& w = warps[thread / 32];
    return w.met ? w.tick[thread % 32] : 1;
}

[[noreturn]] void report_race(const Place& p, uintptr_t address, size_t n, bool write, int other, const char* did) {
    fail_thread(std::string(verb(write)) + " " + bytes_text(n) + " of shared memory at " + p.name + " + " +
                std::to_string(address - p.begin) + ", which " + (other < 0 ? "other threads" : thread_name(other)) + " " + did +
                ", with no barrier between");
}

void note_read(Cell& c, int now) {
    uint32_t tick = tick_of(now);
    if (c.read != epoch || c.reader == now || (c.reader < SEVERAL_LANES && ordered(c.reader, c.read_tick, now))) {
        c.read = epoch;
        c.reader = uint16_t(now);
        c.read_tick = tick;
    } else if (c.reader < SEVERAL_LANES && c.reader / 32 == now / 32) {
        LaneReads several{now / 32, {}};
        several.tick[c.reader % 32] = c.read_tick;
        several.tick[now % 32] = tick;
        c.reader = SEVERAL_LANES;
        c.read_tick = uint32_t(lane_reads.size());
        lane_reads.push_back(several);
    } else if (c.reader == SEVERAL_LANES && lane_reads[c.read_tick].warp == now / 32) {
        lane_reads[c.read_tick].tick[now % 32] = tick;
    } else {
        c.reader = SEVERAL_WARPS;
    }
}

// Who read it in this epoch without having been waited for; NOBODY if none.
int unordered_reader(const Cell& c, int now) {
    if (c.read != epoch) return NOBODY;
    if (c.reader == SEVERAL_WARPS) return SEVERAL_WARPS;
    if (c.reader == SEVERAL_LANES) {
        const LaneReads& r = lane_reads[c.read_tick];
        for (int lane = 0; lane < 32; ++lane)
            if (r.tick[lane] && !ordered(r.warp * 32 + lane, r.tick[lane], now)) return r.warp * 32 + lane;
        return NOBODY;
    }
    return ordered(c.reader, c.read_tick, now) ? int(NOBODY) : int(c.reader);
}

void shared_access(const Place& p, uintptr_t address, size_t n, bool write, bool atomic) {
    int now = current_thread;
    if (address + n > p.end)
        fail_thread(std::string(verb(write)) + " " + bytes_text(n) + " at " + p.name + " + " + std::to_string(address - p.begin) +
                    ", past its end at " + std::to_string(p.end - p.begin));
    Cell* c = &cells[p.cell + (address - p.begin)];
    bool any = write;
    for (size_t i = 0; i < n; ++i, ++c) {
        if (c->written == epoch && c->writer != now && !(atomic && c->atomic) && !ordered(c->writer, c->write_tick, now))
            report_race(p, address + i, n, write, c->writer, "wrote");
        any = any || c->written >= block_epoch;
        if (!write) {
            if (c->read != epoch || c->reader != now || c->read_tick != tick_of(now)) note_read(*c, now);
            continue;
        }
        int reader = unordered_reader(*c, now);
        if (reader != NOBODY) report_race(p, address + i, n, true, reader == SEVERAL_WARPS ? -1 : reader, "read");
        c->written = epoch;
        c->writer = uint16_t(now);
        c->write_tick = tick_of(now);
        c->atomic = atomic;
    }
    // A copy of a struct also copies its gaps, so only what is unwritten as a whole counts.
    if (!any)
        fail_thread("reads " + bytes_text(n) + " of shared memory at " + p.name + " + " + std::to_string(address - p.begin) +
                    ", which nothing in the block has written");
}

bool inside(Range r, uintptr_t address, size_t n) { return address >= r.begin && address + n <= r.end; }

[[noreturn]] void report_outside(uintptr_t address, size_t n, bool write) {
    const Memory* nearest = nullptr;
    uintptr_t least = UINTPTR_MAX;
    for (const Memory& m : allowed_memory) {
        uintptr_t off = address < m.begin ? m.begin - address : address >= m.end ? address - m.end : 0;
        if (off < least) least = off, nearest = &m;
    }
    std::string what = std::string(verb(write)) + " " + bytes_text(n);
    const Memory& m = *nearest;
    const std::string size = bytes_text(m.end - m.begin);
    if (address < m.begin) what += " that lie " + bytes_text(m.begin - address) + " before " + m.name + " (" + size + ")";
    else if (least > 0 || address == m.end)
        what += " that lie " + bytes_text(address - m.end) + " past the end of " + m.name + " (" + size + ")";
    else if (address + n > m.end) what += " across the end of " + m.name + " (" + size + ")";
    else what += " of " + m.name + ", which is only to be read";
    fail_thread(what);
}

void global_access(uintptr_t address, size_t n, bool write) {
    if (inside(stacks, address, n) || inside(parameters, address, n)) return;
    if (inside(module, address, n)) {
        if (!write) return;  // constants, and a thread's indices
        fail_thread("writes " + bytes_text(n) + " outside this kernel's shared variables");
    }
    if (last_memory && address >= last_memory->begin && address + n <= last_memory->end && (!write || last_memory->writable))
        return;
    for (const Memory& m : allowed_memory)
        if (address >= m.begin && address + n <= m.end && (!write || m.writable)) {
            last_memory = &m;
            return;
        }
    report_outside(address, n, write);
}

inline void access(const void* at, size_t n, bool write, bool atomic = false) {
    if (current_thread < 0 || !watching) return;
    auto address = reinterpret_cast<uintptr_t>(at);
    if (address >= first_place && address < last_place)
        for (const Place& p : places)
            if (address >= p.begin && address < p.end) return shared_access(p, address, n, write, atomic);
    if (!allowed_memory.empty()) global_access(address, n, write);
}

// Sixteen bytes may also be a struct of two words, which a GPU moves one by one; the compiler tells them from a vector by nothing.
void check_alignment(const void* at, size_t n) {
    if (current_thread >= 0 && watching && reinterpret_cast<uintptr_t>(at) % (n < 16 ? n : 8))
        fail_thread("accesses " + bytes_text(n) + " at an address that is no multiple of it");
}

}  // namespace

void watch_launch(const std::vector<Variable>& variables, Range dynamic, Range all_parameters) {
    places.clear();
    size_t cell = 0;
    auto add = [&](uintptr_t begin, uintptr_t end, const char* name) {
        places.push_back({begin, end, cell, name});
        cell += end - begin;
    };
    for (const Variable& v : variables) add(uintptr_t(v.start), uintptr_t(v.start) + v.bytes, v.name.c_str());
    if (dynamic.end > dynamic.begin) add(dynamic.begin, dynamic.end, "dynamic shared memory");
    first_place = UINTPTR_MAX;
    last_place = 0;
    for (const Place& p : places) {
        first_place = std::min(first_place, p.begin);
        last_place = std::max(last_place, p.end);
    }
    cells_needed = cell;
    parameters = all_parameters;
    module = module_memory();
    last_memory = nullptr;
}

void watch_stacks(Range all_stacks) { stacks = all_stacks; }

struct Watched::Cells {
    std::vector<Cell> cells;
    std::vector<LaneReads> lane_reads;
    Lanes warps[32];
    uint32_t epoch = 1, block_epoch = 1;
};
void watch_change(Watched& other) {
    if (!other.cells) other.cells = new Watched::Cells{};
    std::swap(cells, other.cells->cells);
    std::swap(lane_reads, other.cells->lane_reads);
    std::swap_ranges(warps, warps + 32, other.cells->warps);
    std::swap(epoch, other.cells->epoch);
    std::swap(block_epoch, other.cells->block_epoch);
}

void watch_block() {
    if (cells.size() < cells_needed) cells.resize(cells_needed);
    watch_barrier();
    block_epoch = epoch;
    for (Lanes& w : warps) w.met = false;
}

void watch_barrier() {
    epoch = ++newest_epoch;
    if (epoch == 0) {  // after 4 billion
        std::fill(cells.begin(), cells.end(), Cell{});
        newest_epoch = epoch = block_epoch = 1;
    }
    lane_reads.clear();
}

void watch_syncwarp(int warp, unsigned lanes) {
    Lanes& w = warps[warp];
    if (!w.met) {
        w.met = true;
        w.tick.fill(1);
        for (auto& seen : w.seen) seen.fill(0);
    }
    std::array<uint32_t, 32> all{};
    for (int i = 0; i < 32; ++i) {
        if (!(lanes >> i & 1)) continue;
        for (int k = 0; k < 32; ++k) all[k] = std::max(all[k], w.seen[i][k]);
        all[i] = std::max(all[i], w.tick[i]);
    }
    for (int i = 0; i < 32; ++i) {
        if (!(lanes >> i & 1)) continue;
        w.seen[i] = all;
        ++w.tick[i];
    }
}

void watch_atomic(const void* address, size_t bytes) {
    check_alignment(address, bytes);
    access(address, bytes, true, true);
}

}  // namespace emulated

// What GCC calls. `unaligned`: the compiler does not know, so the code works at any address; others fault on a device.
// clang-format off
#define AM_HOOKS(n)                                                                                   \
    void __tsan_read##n(void* p) { emulated::check_alignment(p, n), emulated::access(p, n, false); }  \
    void __tsan_write##n(void* p) { emulated::check_alignment(p, n), emulated::access(p, n, true); }  \
    void __tsan_unaligned_read##n(void* p) { emulated::access(p, n, false); }                         \
    void __tsan_unaligned_write##n(void* p) { emulated::access(p, n, true); }
extern "C" {
AM_HOOKS(1) AM_HOOKS(2) AM_HOOKS(4) AM_HOOKS(8) AM_HOOKS(16)
void __tsan_read_range(void* p, size_t n) { emulated::access(p, n, false); }
void __tsan_write_range(void* p, size_t n) { emulated::access(p, n, true); }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
// The host's code beside the kernels counts launches, and looks whether a static variable is there.
long __tsan_atomic64_fetch_add(long* p, long v, int) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); }
char __tsan_atomic8_load(const char* p, int) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
}
// clang-format on
#undef AM_HOOKS
