// The launch before rendering, where a recipe has steps that need a whole view: it leaves those views in RenderArgs::ready.
#pragma once

namespace anamorph {

struct RenderArgs;
void prepare_cuda(const RenderArgs& args, void* stream);

}  // namespace anamorph
