// The GPU that kernels go to.
#pragma once

namespace anamorph {

bool cuda_usable();  // a driver and a device are here

// Makes a device current on this thread for the length of a scope; then what was current before is so again.
//
// By the driver's stack of contexts, not by cudaSetDevice. A thread that has chosen no device stands on the first, mostly without
// a context there, and to cudaSetDevice that device again would open one: hundreds of MB in each process that works on another GPU.
// Not to set it again would leave the thread on a device that its caller never chose. The stack knows of "none": the context of
// the device, which is open since the tensors lie there, is pushed, the runtime's calls follow it, and it is popped.
class OnDevice {
public:
    explicit OnDevice(int device);  // throws DeviceError
    ~OnDevice();                    // never throws: it also runs when a launch has failed
    OnDevice(const OnDevice&) = delete;
    OnDevice& operator=(const OnDevice&) = delete;

private:
    int pushed_ = -1;  // the device, unless it was current already
};

}  // namespace anamorph
