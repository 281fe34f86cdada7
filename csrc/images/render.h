// The two launches, one set for each backend.
#pragma once
#include "mix.h"
#include "plan.h"

namespace anamorph {

void plan_cpu(const PlanArgs& args, int threads);
void render_cpu(const RenderArgs& args, int threads);

// Where it is built.
void plan_cuda(const PlanArgs& args, void* stream);
void render_cuda(const RenderArgs& args, void* stream);  // and, where contrast asks for it, the statistics before it

}  // namespace anamorph
