// launch(name, kernel, grid, block, shared bytes, stream, arguments...): the one way to start a CUDA kernel, and the only place
// that knows <<<>>>. It counts the launch and turns a refusal into an error that names the kernel. The runtime also tells here what
// has become of kernels that were queued before, whose name it does not know.
#pragma once
#include <cuda_runtime.h>

#include <utility>

#include "errors.h"
#include "parallel.h"

namespace anamorph {

template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, void* stream,
            Arguments&&... arguments) {
    launches.fetch_add(1, std::memory_order_relaxed);
    cudaGetLastError();   // a refusal that was reported when it came is not this launch's
#if defined(AM_EMULATED)  // tests/emulation: the grid runs here and now, on this thread
    static_cast<void>(stream);
    emulated::launch(name, kernel, grid, block, shared, std::forward<Arguments>(arguments)...);
#else
    kernel<<<grid, block, shared, static_cast<cudaStream_t>(stream)>>>(std::forward<Arguments>(arguments)...);
#endif
    cudaError_t e = cudaGetLastError();
    if (e != cudaSuccess) fail<Error>(name, ": the CUDA launch, or an earlier kernel, failed (", cudaGetErrorString(e), ")");
}

// Device memory that a launch after this finds as zeros.
inline void clear(const char* name, void* memory, size_t bytes, void* stream) {
    cudaGetLastError();
    cudaError_t e = cudaMemsetAsync(memory, 0, bytes, static_cast<cudaStream_t>(stream));
    if (e != cudaSuccess)
        fail<Error>(name, ": CUDA could not clear memory, or an earlier kernel failed (", cudaGetErrorString(e), ")");
}

// A block's dynamic shared memory. The linker wants one type for one name, so this is the only `extern __shared__`.
template <class T> __device__ T* dynamic_shared() {
#if defined(AM_EMULATED)
    return static_cast<T*>(emulated::dynamic_shared_memory());
#else
    extern __shared__ __align__(16) unsigned char dynamic_bytes[];
    return reinterpret_cast<T*>(dynamic_bytes);
#endif
}

}  // namespace anamorph
