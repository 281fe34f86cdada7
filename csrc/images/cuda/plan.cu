// Plans on a GPU, one thread for each row. Compiled without fused multiply-add (CMakeLists.txt): the same bits as the CPU.
#define AM_LEVEL cuda
#include "../../core/launch.h"
#include "../plan.h"
#include "../render.h"

namespace anamorph {
namespace {

// The program travels as a kernel parameter: nothing to upload, no state on the device, and a CUDA graph keeps its copy.
template <int N> struct Program {
    Slot slots[N];
};

enum : int { THREADS = 32 };  // few rows, long threads: spread them over the multiprocessors

template <int N>
__global__ void __launch_bounds__(THREADS)
    plan_kernel(const __grid_constant__ Program<N> program, const __grid_constant__ PlanArgs args) {
    int i = int(blockIdx.x) * int(blockDim.x) + int(threadIdx.x);
    if (i < args.batch * args.views) plan_row(args, program.slots, i);
}

template <int N> void draw(const PlanArgs& args, void* stream) {
    Program<N> program{};
    std::memcpy(program.slots, args.slots, sizeof(Slot) * (args.info.slots + 1 + args.ramps));  // plan_row looks one slot ahead
    launch("plan", plan_kernel<N>, unsigned(args.batch * args.views + THREADS - 1) / THREADS, THREADS, 0, stream, program, args);
}

}  // namespace

void plan_cuda(const PlanArgs& args, void* stream) {
    const int slots = args.info.slots + args.ramps;
    if (slots < 32) draw<32>(args, stream);         // 3.5 KB of parameters
    else if (slots < 257) draw<257>(args, stream);  // 28 KB; the limit is 32,764 bytes
    else fail<ArgumentError>("transforms: expected at most 256 slots, given ", slots);
}

}  // namespace anamorph
