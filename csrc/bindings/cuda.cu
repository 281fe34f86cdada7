// What the bindings need of the CUDA runtime. It is linked statically and finds no driver on a machine without one:
// every call then returns an error, which here means "no".
#include <cuda_runtime.h>

#include "../core/errors.h"

namespace anamorph {

bool cuda_usable() {
    int n = 0;
    if (cudaGetDeviceCount(&n) == cudaSuccess) return n > 0;
    cudaGetLastError();
    return false;
}

int swap_device(int device) {
    int before = 0;
    cudaError_t e = cudaGetDevice(&before);
    if (e == cudaSuccess && before != device) e = cudaSetDevice(device);
    if (e != cudaSuccess) fail<DeviceError>("device: cuda:", device, " cannot be used (", cudaGetErrorString(e), ")");
    return before;
}

}  // namespace anamorph
