// Plans for point clouds on a GPU, one thread for each row. Without fused multiply-add: the same bits as the CPU.
#include <cstring>

#include "../../core/errors.h"
#include "../../core/launch.h"
#include "../plan.h"

namespace anamorph { namespace points {
namespace {

enum : int { THREADS = 32, MOST = 64 };  // few rows, long threads: spread them over the multiprocessors

// The program travels as a kernel parameter: nothing to upload, and a CUDA graph keeps its copy.
struct Program {
    Slot slots[MOST];
};

__global__ void __launch_bounds__(THREADS)
    cloud_plan_kernel(const __grid_constant__ Program program, const __grid_constant__ PlanArgs args) {
    const int i = int(blockIdx.x) * THREADS + int(threadIdx.x);
    if (i < args.batch) plan_row(args, program.slots, i);
}

}  // namespace

void plan_cuda(const PlanArgs& a, void* stream) {
    if (a.info.slots > MOST) fail<ArgumentError>("transforms: expected at most ", int(MOST), " slots, given ", a.info.slots);
    Program program{};
    std::memcpy(program.slots, a.slots, sizeof(Slot) * size_t(a.info.slots));
    launch("plan of clouds", cloud_plan_kernel, unsigned(a.batch + THREADS - 1) / THREADS, THREADS, 0, stream, program, a);
}

}}  // namespace anamorph::points
