// The driver's calls that the engine finds through the runtime: contexts, of which a thread has a stack.
#pragma once

typedef int CUdevice;
typedef struct CUctx_st* CUcontext;
enum CUresult {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_INVALID_DEVICE = 101,
    CUDA_ERROR_INVALID_CONTEXT = 201,
    CUDA_ERROR_ILLEGAL_ADDRESS = 700,
};

CUresult cuCtxGetDevice(CUdevice* device);  // of the current context
CUresult cuCtxPushCurrent(CUcontext context);
CUresult cuCtxPopCurrent(CUcontext* context);
CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device);  // opens it, if need be
CUresult cuDevicePrimaryCtxRelease(CUdevice device);
