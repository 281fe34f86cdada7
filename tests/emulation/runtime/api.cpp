#include "../include/emulated/api.h"

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>

#include "../include/cuda.h"
#include "control.h"

namespace {

// A device has one context, the primary one, which is open while somebody holds it: the runtime, from its first use on, or who has
// retained it. CUcontext is the address of its entry here.
struct Device {
    bool runtime = false;
    int retained = 0;
    bool open() const { return runtime || retained > 0; }
};
enum : int { MOST_DEVICES = 8 };
Device devices[MOST_DEVICES];
int device_count = 1, last_device = -1;
bool breaks = false, broken = false;

// A thread's: the device that it has chosen, which counts where it has no context; its contexts; and its last error.
thread_local int chosen = 0;
thread_local std::vector<int> contexts;
thread_local cudaError_t last = cudaSuccess;

bool known(int device) { return device >= 0 && device < device_count; }
cudaError_t good() { return broken ? cudaErrorIllegalAddress : cudaSuccess; }
CUresult driver_good() { return broken ? CUDA_ERROR_ILLEGAL_ADDRESS : CUDA_SUCCESS; }

// What the runtime does before it uses a device.
void use_context(int device) {
    devices[device].runtime = true;
    if (contexts.empty()) contexts.push_back(device);
    else contexts.back() = device;
}

struct Queue {
    std::mutex lock;
    std::condition_variable changed;
    bool full = false, waits = false;
    double patience = 0;
} queue;

void wait_for_room() {
    std::unique_lock<std::mutex> l(queue.lock);
    queue.waits = queue.full;
    const bool room = queue.changed.wait_for(l, std::chrono::duration<double>(queue.patience), [] { return !queue.full; });
    queue.full = queue.waits = false;
    if (!room) throw emulated::Fault("a launch waited for room in the queue, and no other thread came to make it");
}

}  // namespace

namespace emulated {

cudaError_t set_error(cudaError_t error) {
    if (error != cudaSuccess) last = error;
    return error;
}

cudaError_t begin_launch() {
    wait_for_room();
    broken = broken || breaks;
    if (broken) return set_error(good());
    if (!known(current_device())) return set_error(cudaErrorInvalidDevice);
    use_context(last_device = current_device());
    return cudaSuccess;
}

void use_devices(int count, int stands_on) {
    for (Device& d : devices) d = {};
    devices[0].runtime = count > 0;
    device_count = count;
    last_device = -1;
    breaks = broken = false;
    chosen = stands_on;
    contexts.clear();
    last = cudaSuccess;
}
int current_device() { return contexts.empty() ? chosen : contexts.back(); }
int launched_on() { return last_device; }
std::vector<int> open_contexts() {
    std::vector<int> open;
    for (int d = 0; d < device_count; ++d)
        if (devices[d].open()) open.push_back(d);
    return open;
}
void break_device() { breaks = true; }

void fill_queue(double patience) {
    std::lock_guard<std::mutex> l(queue.lock);
    queue.full = true;
    queue.patience = patience;
}
void empty_queue() {
    std::lock_guard<std::mutex> l(queue.lock);
    queue.full = false;
    queue.changed.notify_all();
}
bool queue_waits() {
    std::lock_guard<std::mutex> l(queue.lock);
    return queue.waits;
}

}  // namespace emulated

cudaError_t cudaGetDeviceCount(int* count) {
    *count = device_count;
    return emulated::set_error(good());
}
cudaError_t cudaGetDevice(int* device) {
    *device = emulated::current_device();
    return emulated::set_error(good());
}
cudaError_t cudaSetDevice(int device) {
    if (broken || !known(device)) return emulated::set_error(broken ? good() : cudaErrorInvalidDevice);
    chosen = device;
    use_context(device);
    return cudaSuccess;
}
cudaError_t cudaPeekAtLastError() { return broken ? good() : last; }
cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t) {
    if (!broken) std::memset(memory, value, bytes);
    return emulated::set_error(good());
}
cudaError_t cudaGetLastError() {
    cudaError_t error = cudaPeekAtLastError();
    last = cudaSuccess;
    return error;
}

CUresult cuCtxGetDevice(CUdevice* device) {
    if (contexts.empty()) return CUDA_ERROR_INVALID_CONTEXT;
    *device = contexts.back();
    return driver_good();
}
CUresult cuCtxPushCurrent(CUcontext context) {
    contexts.push_back(int(reinterpret_cast<Device*>(context) - devices));
    return driver_good();
}
CUresult cuCtxPopCurrent(CUcontext* context) {  // does its work, whatever it has to tell of others
    if (contexts.empty()) return CUDA_ERROR_INVALID_CONTEXT;
    if (context) *context = reinterpret_cast<CUcontext>(devices + contexts.back());
    contexts.pop_back();
    return driver_good();
}
CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
    if (broken || !known(device)) return broken ? driver_good() : CUDA_ERROR_INVALID_DEVICE;
    ++devices[device].retained;
    *context = reinterpret_cast<CUcontext>(devices + device);
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
    if (!known(device) || devices[device].retained == 0) return CUDA_ERROR_INVALID_CONTEXT;
    --devices[device].retained;
    return driver_good();
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult*) {
#define AM_ENTRY(name) \
    if (!std::strcmp(symbol, #name)) *function = reinterpret_cast<void*>(&name)
    *function = nullptr;
    AM_ENTRY(cuCtxGetDevice);
    AM_ENTRY(cuCtxPushCurrent);
    AM_ENTRY(cuCtxPopCurrent);
    AM_ENTRY(cuDevicePrimaryCtxRetain);
    AM_ENTRY(cuDevicePrimaryCtxRelease);
#undef AM_ENTRY
    return cudaSuccess;
}

const char* cudaGetErrorName(cudaError_t error) {
    switch (error) {
        case cudaSuccess: return "cudaSuccess";
        case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
        case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
        case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
        case cudaErrorIllegalAddress: return "cudaErrorIllegalAddress";
    }
    return "unrecognized error code";
}
const char* cudaGetErrorString(cudaError_t error) {
    switch (error) {
        case cudaSuccess: return "no error";
        case cudaErrorInvalidValue: return "invalid argument";
        case cudaErrorInvalidConfiguration: return "invalid configuration argument";
        case cudaErrorInvalidDevice: return "invalid device ordinal";
        case cudaErrorIllegalAddress: return "an illegal memory access was encountered";
    }
    return "unrecognized error code";
}
