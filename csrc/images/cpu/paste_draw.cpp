// Compiled without fused multiply-add, like plans (CMakeLists.txt): the same numbers on every machine.
#include "../paste_draw.h"

#include <algorithm>
#include <vector>

namespace anamorph { namespace paste {
namespace {

// `again`: 0 for what is drawn of the view, then a number for each paste, whose draws do not depend on the others'.
Draw begin(const Batch& of, int i, uint32_t again) {
    Draw draw;
    draw.begin(of.seed, of.epoch, of.index[i], 0, SLOT, again);
    return draw;
}

// Of a sample's k-th paste; false: it is too small or too large.
bool place_one(Draw draw, const Rules& r, Placement& p) {
    const int category = int(draw.below(r.categories));
    const int32_t* first = r.first + category;
    p.cutout = first[0] + int32_t(draw.below(first[1] - first[0]));
    const double size = r.sizes[2 * category] + draw.normal() * r.sizes[2 * category + 1];
    const double stretch = draw.uniform(1.0 - r.aspect, 1.0 + r.aspect);
    p.flip = draw.unit() < r.flip;
    const double x = draw.below(r.width), y = draw.below(r.height);

    const double side = exact::minimum(exact::maximum(size, r.smallest / r.height), r.largest);
    const double ratio = double(r.cutouts[p.cutout].width) / r.cutouts[p.cutout].height * stretch;
    const double width = exact::sqrt(ratio * side * side * r.height * r.width), height = width / ratio;
    if (width < r.least_side || height < r.least_side || width >= r.width || height >= r.height) return false;
    p.width = int32_t(width);
    p.height = int32_t(height);
    p.left = int32_t(x) - p.width / 2;
    p.top = int32_t(y) - p.height / 2;
    p.mask = -1;
    return true;
}

}  // namespace

void choose(const Batch& of, const int32_t* counts, double p, uint8_t* chosen) {
    for (int i = 0; i < of.batch; ++i, chosen += counts[i - 1]) {
        std::fill(chosen, chosen + counts[i], uint8_t(0));
        if (begin(of, i, 0).unit() >= p) continue;
        for (int k = 0; k < counts[i]; ++k) {
            Draw draw = begin(of, i, 1 + uint32_t(k));  // one for all would have 4096 words, and there may be more objects
            chosen[int(draw.below(counts[i]))] = 1;
        }
    }
}

void place(const Batch& of, const Rules& r, int32_t* numbers, Placement* placements) {
    for (int i = 0; i < of.batch; ++i) {
        Placement* to = placements + int64_t(i) * r.most;
        const int drawn = r.least + int(begin(of, i, 0).below(r.most - r.least + 1));
        numbers[i] = 0;
        for (int k = 0; k < drawn; ++k) numbers[i] += place_one(begin(of, i, 1 + uint32_t(k)), r, to[numbers[i]]);
    }
}

bool largest_part(Texel* texels, int height, int width, int threshold, int32_t (&box)[4]) {
    // part[at]: 0 where nothing has been, else the number of its part. Parts touch at corners, too.
    std::vector<int32_t> part(size_t(height) * width), reached;
    auto spread = [&](size_t from, int32_t number, auto allowed) {
        reached.assign(1, int32_t(from));
        part[from] = number;
        for (size_t next = 0; next < reached.size(); ++next) {
            const int x = reached[next] % width, y = reached[next] / width;
            for (int j = std::max(y - 1, 0); j <= std::min(y + 1, height - 1); ++j)
                for (int i = std::max(x - 1, 0); i <= std::min(x + 1, width - 1); ++i) {
                    const size_t at = size_t(j) * width + i;
                    if (part[at] || !allowed(texels[at].alpha)) continue;
                    part[at] = number;
                    reached.push_back(int32_t(at));
                }
        }
        return reached.size();
    };
    auto solid = [&](int alpha) { return alpha > threshold; };
    auto faint = [&](int alpha) { return alpha > 0 && alpha <= threshold; };
    size_t largest = 0, start = 0;
    int32_t number = 0;
    for (size_t at = 0; at < part.size(); ++at)
        if (!part[at] && solid(texels[at].alpha)) {
            const size_t size = spread(at, ++number, solid);
            if (size > largest) largest = size, start = at;
        }
    if (!largest) return false;
    const int32_t kept = part[start];
    box[0] = width, box[1] = height, box[2] = box[3] = 0;
    std::vector<size_t> border;
    for (size_t at = 0; at < part.size(); ++at)
        if (part[at] == kept) {
            const int x = int(at % width), y = int(at / width);
            box[0] = std::min(box[0], x), box[1] = std::min(box[1], y);
            box[2] = std::max(box[2], x + 1), box[3] = std::max(box[3], y + 1);
            border.push_back(at);
        }
    for (size_t at : border) spread(at, kept, faint);
    for (size_t at = 0; at < part.size(); ++at)
        if (part[at] != kept) texels[at].alpha = 0;
    return true;
}

}}  // namespace anamorph::paste
