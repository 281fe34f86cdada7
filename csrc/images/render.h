// The launches, one set for each backend.
#pragma once
#include "render_args.h"

namespace anamorph {

struct PlanArgs;   // plan.h
struct CarryArgs;  // carry.h
struct BoxArgs;
struct PointArgs;

void plan_cpu(const PlanArgs& args, int threads);
void render_cpu(const RenderArgs& args, int threads);
void carry_cpu(const CarryArgs& args, int threads);
void boxes_cpu(const BoxArgs& args, int threads);
void points_cpu(const PointArgs& args, int threads);

// Where it is built.
void plan_cuda(const PlanArgs& args, void* stream);
void render_cuda(const RenderArgs& args, void* stream);  // and, where steps need whole views, the launch before it
void carry_cuda(const CarryArgs& args, void* stream);
void boxes_cuda(const BoxArgs& args, void* stream);
void points_cuda(const PointArgs& args, void* stream);

}  // namespace anamorph
