// The runtime is linked statically and finds no driver on a machine without one: every call then returns an error.
#include "device.h"

#include <cuda.h>
#include <cuda_runtime.h>

#include "errors.h"

namespace anamorph {
namespace {

// The driver's functions, found through the runtime: linked to, they would keep this module from loading where there is no driver.
struct Driver {
    decltype(&cuCtxGetDevice) current;
    decltype(&cuCtxPushCurrent) push;
    decltype(&cuCtxPopCurrent) pop;
    decltype(&cuDevicePrimaryCtxRetain) retain;
    decltype(&cuDevicePrimaryCtxRelease) release;

    Driver() {
        find("cuCtxGetDevice", current);
        find("cuCtxPushCurrent", push);
        find("cuCtxPopCurrent", pop);
        find("cuDevicePrimaryCtxRetain", retain);
        find("cuDevicePrimaryCtxRelease", release);
    }
    template <class F> static void find(const char* name, F& function) {
        void* found = nullptr;
#if CUDART_VERSION >= 12050
        cudaError_t e = cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault);
#else
        cudaError_t e = cudaGetDriverEntryPoint(name, &found, cudaEnableDefault);
#endif
        cudaGetLastError();  // what is reported here is no later call's
        if (e != cudaSuccess || !found)
            fail<DeviceError>("device: expected a CUDA driver of version 12 or newer, given one without ", name, " (",
                              cudaGetErrorString(e), ")");
        function = reinterpret_cast<F>(found);
    }
};
const Driver& driver() {
    static const Driver found;
    return found;
}

}  // namespace

bool cuda_usable() {
    int n = 0;
    if (cudaGetDeviceCount(&n) == cudaSuccess) return n > 0;
    cudaGetLastError();
    return false;
}

OnDevice::OnDevice(int device) {
    const Driver& d = driver();
    CUdevice current = -1;
    if (d.current(&current) == CUDA_SUCCESS && current == device) return;
    CUcontext context = nullptr;
    CUresult e = d.retain(&context, device);
    if (e == CUDA_SUCCESS && (e = d.push(context)) != CUDA_SUCCESS) d.release(device);
    if (e != CUDA_SUCCESS)  // the driver's numbers are the runtime's
        fail<DeviceError>("device: expected a GPU that works, given cuda:", device,
                          " (it, or an earlier kernel there: ", cudaGetErrorString(static_cast<cudaError_t>(e)), ")");
    pushed_ = device;
}

// What these two return may be the error of a kernel before; their work is done, and here is nobody to tell.
OnDevice::~OnDevice() {
    if (pushed_ < 0) return;
    CUcontext context = nullptr;
    driver().pop(&context);
    driver().release(pushed_);
}

}  // namespace anamorph
