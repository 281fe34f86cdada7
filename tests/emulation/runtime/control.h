// What the tests set, and what the runtime's parts tell each other about errors.
#pragma once
#include <cstdint>
#include <vector>

#include "../include/emulated/api.h"

namespace emulated {

void set_seed(uint64_t seed);              // of the launches that follow
cudaError_t set_error(cudaError_t error);  // what cudaGetLastError will say, unless it is success; returns it
cudaError_t begin_launch();                // on this thread's device, once there is room in the queue

// So many devices, with nothing wrong. The tensors lie on the first, whose context is open; this thread stands on another one
// perhaps, as one that has called no CUDA yet: without a context.
void use_devices(int count, int stands_on);
int current_device();              // cudaGetDevice, also where that fails
int launched_on();                 // the device of the last launch
std::vector<int> open_contexts();  // of which devices
void break_device();               // an earlier kernel has read what it must not: the next launch and every call after it say so

void fill_queue(double patience);  // the next launch waits until empty_queue(); after so many seconds it throws Fault
void empty_queue();
bool queue_waits();  // does a launch?

}  // namespace emulated
