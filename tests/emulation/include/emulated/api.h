// The runtime's host calls, for devices whose memory is the host's; and a launch, which runs the grid before it returns.
#pragma once
#include <stdexcept>
#include <tuple>
#include <utility>

#include "vectors.h"

typedef struct CUstream_st* cudaStream_t;
enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInvalidDevice = 101,
    cudaErrorIllegalAddress = 700,
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaDriverEntryPointQueryResult { cudaDriverEntryPointSuccess = 0 };
enum : unsigned long long { cudaEnableDefault = 0 };
#define CUDART_VERSION 13000

cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);  // and opens its context, as since CUDA 12
cudaError_t cudaGetLastError();         // and forgets it
cudaError_t cudaPeekAtLastError();
cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream = nullptr);  // here and now
const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned version, unsigned long long flags,
                                             cudaDriverEntryPointQueryResult* result = nullptr);

namespace emulated {

// What a kernel did wrong: its name, the block, the thread, and what it was.
struct Fault : std::runtime_error {
    using std::runtime_error::runtime_error;
};

enum : size_t { SHARED_BYTES = 48 << 10, SHARED_OPT_IN = 227 << 10, PARAMETER_BYTES = 32764 };

cudaError_t allow_dynamic_shared(const void* kernel, int bytes);
void* dynamic_shared_memory();

// A kernel with its arguments, and how one thread runs it.
struct Call {
    const void* kernel;
    const void* parameters;
    size_t bytes;
    void (*run)(const void* kernel, const void* parameters);
};

// Runs it for every thread of the grid, or sets the error of a launch that a device refuses. Throws Fault.
void run_grid(const char* name, dim3 grid, dim3 block, size_t shared, const Call& call);

template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, Arguments&&... arguments) {
    static_assert((sizeof(Parameters) + ... + 0) <= PARAMETER_BYTES, "a kernel's parameters are at most 32,764 bytes");
    using Values = std::tuple<Parameters...>;
    const Values values(std::forward<Arguments>(arguments)...);
    run_grid(name, grid, block, shared,
             {reinterpret_cast<const void*>(kernel), &values, sizeof values, [](const void* f, const void* v) {
                  std::apply(reinterpret_cast<void (*)(Parameters...)>(const_cast<void*>(f)), *static_cast<const Values*>(v));
              }});
}

}  // namespace emulated

template <class Kernel> cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute, int value) {
    return emulated::allow_dynamic_shared(reinterpret_cast<const void*>(kernel), value);
}
