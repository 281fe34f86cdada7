// Trees are built.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "../../core/errors.h"
#include "tree.h"

namespace anamorph {

// Memory for one use; not cleared.
class Room {
public:
    explicit Room(size_t bytes) : data_(new unsigned char[bytes + 64]) {
        next_ = data_.get() + (64 - reinterpret_cast<uintptr_t>(data_.get()) % 64) % 64;
    }
    template <class T> T* take(size_t count) {
        T* here = reinterpret_cast<T*>(next_);
        next_ += rounded(count * sizeof(T));
        return here;
    }
    static size_t rounded(size_t bytes) { return (bytes + 63) / 64 * 64; }

private:
    std::unique_ptr<unsigned char[]> data_;
    unsigned char* next_;
};

// One point of a cloud while it is sorted: 16 bytes that move together.
struct Item {
    float at[3];
    int32_t index;
};

class TreeBuilder {
public:
    // `leaf` is a multiple of GROUP. Not sorted: leaves are runs of the cloud as it is.
    TreeBuilder(const float* points, int count, int leaf, bool sorted, const char* name, int cloud)
        : room_(bytes(count, leaf, sorted)) {
        Tree& t = tree;
        t.count = count;
        t.leaf = leaf;
        t.leaves = std::max(1, (count + leaf - 1) / leaf);
        t.groups = (t.leaves + GROUP - 1) / GROUP;
        const size_t places = size_t(t.leaves) * leaf, boxes = size_t(t.groups) * GROUP, packs = padded(t.groups);
        for (float*& axis : t.at) axis = room_.take<float>(places);
        t.index = room_.take<int32_t>(places);
        for (Boxes* b : {&t.leaf_box, &t.group_box})
            for (auto* side : {b->low, b->high})
                for (int i = 0; i < 3; ++i) side[i] = room_.take<float>(b == &t.leaf_box ? boxes : packs);
        check(points, count, name, cloud);
        if (sorted && t.leaves > 1) {
            Item *items = room_.take<Item>(count), *other = room_.take<Item>(count);
            for (int i = 0; i < count; ++i) items[i] = {{points[3 * i], points[3 * i + 1], points[3 * i + 2]}, i};
            split(items, other, 0, t.leaves);
        } else {
            for (int i = 0; i < count; ++i) put(i, points + 3 * int64_t(i), i);
        }
        const float none[3] = {};
        for (size_t i = count; i < places; ++i) put(i, none, -1);
        fill_boxes();
    }

    Tree tree;

private:
    static size_t padded(int groups) { return size_t(groups + GROUP - 1) / GROUP * GROUP; }
    static size_t bytes(int count, int leaf, bool sorted) {
        const size_t leaves = std::max(1, (count + leaf - 1) / leaf), groups = (leaves + GROUP - 1) / GROUP;
        return 4 * Room::rounded(leaves * leaf * 4) + 6 * Room::rounded(groups * GROUP * 4) +
               6 * Room::rounded(padded(int(groups)) * 4) + (sorted ? 2 * Room::rounded(count * sizeof(Item)) : 0);
    }
    // x - x is 0 of finite numbers alone.
    static void check(const float* points, int count, const char* name, int cloud) {
        float sum = 0.0f;
        for (int64_t i = 0; i < 3 * int64_t(count); ++i) sum += points[i] - points[i];
        if (sum == 0.0f) return;
        for (int64_t i = 0; i < 3 * int64_t(count); ++i)
            if (!std::isfinite(points[i]))
                fail<ArgumentError>(name, ": expected finite coordinates, given ", points[i], " in point ", i / 3, " of cloud ",
                                    cloud);
    }
    void put(size_t place, const float* p, int32_t index) {
        for (int axis = 0; axis < 3; ++axis) tree.at[axis][place] = p[axis];
        tree.index[place] = index;
    }

    // The points of leaves [first, last), which lie in `items` at the places of these leaves. `other`: as much memory.
    void split(Item* items, Item* other, int first, int last) {
        const int begin = first * tree.leaf, end = std::min(last * tree.leaf, tree.count);
        if (last - first == 1) {
            for (int i = begin; i < end; ++i) put(i, items[i].at, items[i].index);
            return;
        }
        const int middle = first + (last - first) / 2;
        select(items, other, begin, end, middle * tree.leaf, widest(items + begin, end - begin));
        split(items, other, first, middle);
        split(items, other, middle, last);
    }
    static int widest(const Item* items, int count) {
        float low[3], high[3];
        for (int axis = 0; axis < 3; ++axis) low[axis] = high[axis] = items[0].at[axis];
        for (int i = 1; i < count; ++i)
            for (int axis = 0; axis < 3; ++axis) {
                low[axis] = std::min(low[axis], items[i].at[axis]);
                high[axis] = std::max(high[axis], items[i].at[axis]);
            }
        int best = 0;  // halves, as a side may be longer than the largest float
        for (int axis = 1; axis < 3; ++axis)
            if (high[axis] * 0.5f - low[axis] * 0.5f > high[best] * 0.5f - low[best] * 0.5f) best = axis;
        return best;
    }
    // No point of [begin, middle) is above one of [middle, end) along the axis. Partitions without a jump that a processor would have
    // to guess, around pivots near the wanted rank; what does not shrink (many equal coordinates) is left to the library.
    static void select(Item* items, Item* other, int begin, int end, int middle, int axis) {
        while (end - begin > 48) {
            const int count = end - begin, step = count / 15;
            float sample[15];
            for (int i = 0; i < 15; ++i) sample[i] = items[begin + i * step + step / 2].at[axis];
            std::sort(sample, sample + 15);
            const float pivot = sample[std::min(14, int(int64_t(middle - begin) * 15 / count))];
            Item *left = other + begin, *right = other + end;
            for (int i = begin; i < end; ++i) {
                const Item item = items[i];
                const bool less = item.at[axis] < pivot;
                *left = item;
                right[-1] = item;
                left += less;
                right -= !less;
            }
            std::copy(other + begin, other + end, items + begin);
            const int cut = int(left - other);
            if (cut == begin || cut == end) break;
            (middle < cut ? end : begin) = cut;
            if (middle == begin) return;
        }
        std::nth_element(items + begin, items + middle, items + end,
                         [axis](const Item& a, const Item& b) { return a.at[axis] < b.at[axis]; });
    }

    void fill_boxes() {
        const float inf = std::numeric_limits<float>::infinity();
        Tree& t = tree;
        for (int axis = 0; axis < 3; ++axis) {
            for (int l = 0; l < t.groups * GROUP; ++l) {
                float low = inf, high = -inf;
                const float* at = t.at[axis] + size_t(l) * t.leaf;
                for (int i = 0, n = l < t.leaves ? t.places(l) : 0; i < n; ++i) {
                    low = std::min(low, at[i]);
                    high = std::max(high, at[i]);
                }
                t.leaf_box.low[axis][l] = low;
                t.leaf_box.high[axis][l] = high;
            }
            for (size_t g = 0; g < padded(t.groups); ++g) {
                float low = inf, high = -inf;
                for (int l = 0; l < GROUP && g < size_t(t.groups); ++l) {
                    low = std::min(low, t.leaf_box.low[axis][g * GROUP + l]);
                    high = std::max(high, t.leaf_box.high[axis][g * GROUP + l]);
                }
                t.group_box.low[axis][g] = low;
                t.group_box.high[axis][g] = high;
            }
        }
    }

    Room room_;
};

}  // namespace anamorph
