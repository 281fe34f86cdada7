// The DLPack binary interface (https://github.com/dmlc/dlpack, version 1): how tensors cross between libraries without
// a copy, and the exchange table by which a library hands out and takes in tensors without a Python call.
#pragma once
#include <cstdint>

extern "C" {

enum DLDeviceType : int32_t { kDLCPU = 1, kDLCUDA = 2, kDLCUDAHost = 3, kDLCUDAManaged = 13 };
enum DLTypeCode : uint8_t { kDLInt = 0, kDLUInt = 1, kDLFloat = 2, kDLBfloat = 4, kDLComplex = 5, kDLBool = 6 };

struct DLDevice {
    DLDeviceType device_type;
    int32_t device_id;
};
struct DLType {
    uint8_t code;
    uint8_t bits;
    uint16_t lanes;
};
struct DLTensor {
    void* data;
    DLDevice device;
    int32_t ndim;
    DLType dtype;
    int64_t* shape;
    int64_t* strides;  // in elements; null: row-major
    uint64_t byte_offset;
};
struct DLManagedTensor {
    DLTensor dl_tensor;
    void* manager_ctx;
    void (*deleter)(DLManagedTensor*);
};
struct DLVersion {
    uint32_t major, minor;
};
struct DLManagedTensorVersioned {
    DLVersion version;
    void* manager_ctx;
    void (*deleter)(DLManagedTensorVersioned*);
    uint64_t flags;
    DLTensor dl_tensor;
};
struct DLExchangeHeader {
    DLVersion version;
    DLExchangeHeader* prev;
};
struct DLExchangeApi {
    DLExchangeHeader header;
    int (*allocate)(DLTensor* prototype, DLManagedTensorVersioned** out, void* error_ctx,
                    void (*set_error)(void* ctx, const char* kind, const char* message));
    int (*from_object)(void* object, DLManagedTensorVersioned** out);
    int (*to_object)(DLManagedTensorVersioned* tensor, void** out);
    int (*view_object)(void* object, DLTensor* out);  // borrowed: valid while the object lives
    int (*current_stream)(DLDeviceType type, int32_t id, void** out);
};

}  // extern "C"
