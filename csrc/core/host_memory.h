// Large blocks of host memory, kept when they are freed. The kernel clears every page of a new block as it is first touched,
// which takes longer than to render into it, and malloc gives large blocks back each time.
#pragma once
#include <cstddef>

namespace anamorph {

void* take_memory(size_t bytes);  // at least `bytes`, aligned to a page; throws std::bad_alloc
void give_memory(void* block);    // from any thread

}  // namespace anamorph
