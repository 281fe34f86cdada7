// neighbours.h on CPU threads, at the best SIMD level of this machine: farthest points a cloud a task, the others a leaf of queries.
#include "../neighbours.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "../../core/parallel.h"
#include "neighbour_tasks.h"
#include "tree_build.h"

namespace anamorph {
namespace {

// FEW: so few samples, or so small a cloud, that sorting it takes longer than looking at every point for each of them.
enum : int { FEW_SAMPLES = 24, FEW_POINTS = 384, NEAREST_LEAF = 32, FEW_QUERIES = 8 };
int whole_packs(int n) { return (n + GROUP - 1) / GROUP * GROUP; }

struct Forest {
    std::vector<std::unique_ptr<TreeBuilder>> trees;
    std::vector<int64_t> first;  // leaf of each tree, counted through
};
// The trees of all clouds. leaf_of(count, &sorted): the length of a leaf.
template <class F> Forest grow(const Clouds& clouds, const char* name, int threads, const F& leaf_of) {
    Forest forest;
    forest.trees.resize(size_t(clouds.batch));
    parallel_for(clouds.batch, threads, [&](int64_t b) {
        bool sorted = true;
        const int count = clouds.count(int(b)), leaf = leaf_of(count, sorted);
        forest.trees[b].reset(new TreeBuilder(clouds.of(int(b)), count, leaf, sorted, name, int(b)));
    });
    forest.first.assign(1, 0);
    for (const auto& tree : forest.trees) forest.first.push_back(forest.first.back() + tree->tree.leaves);
    return forest;
}

// f(cloud, leaf of its queries, memory), on all threads.
template <class F> void for_queries(const Forest& queries, int leaves, int k, int hits, int threads, const F& f) {
    const int64_t tasks = queries.first.back();
    const int64_t chunks = std::min<int64_t>(tasks, threads > 1 ? 8 * int64_t(threads) : 1);
    parallel_for(chunks, threads, [&](int64_t c) {
        const size_t wide = size_t(whole_packs(leaves));
        Room memory(8 * Room::rounded(wide * sizeof(float)) + Room::rounded(wide * sizeof(Candidate)) +
                    Room::rounded(size_t(QUERIES) * size_t(k) * sizeof(Neighbour)) +
                    Room::rounded(size_t(hits) * sizeof(int32_t)));
        Search room{};
        room.away = memory.take<float>(wide);
        room.found = memory.take<Candidate>(wide);
        for (int axis = 0; axis < 3; ++axis) {
            room.boxes.low[axis] = memory.take<float>(wide);
            room.boxes.high[axis] = memory.take<float>(wide);
        }
        room.lists = memory.take<Neighbour>(size_t(QUERIES) * size_t(k));
        room.hits = memory.take<int32_t>(size_t(hits));
        int64_t b = std::upper_bound(queries.first.begin(), queries.first.end(), tasks * c / chunks) - queries.first.begin() - 1;
        for (int64_t i = tasks * c / chunks; i < tasks * (c + 1) / chunks; ++i) {
            while (i >= queries.first[b + 1]) ++b;
            f(int(b), int(i - queries.first[b]), room);
        }
    });
}

// Are the queries the cloud itself?
bool same(const Clouds& a, const Clouds& b) { return a.data == b.data && a.size == b.size && a.counts == b.counts; }

int most_leaves(const Forest& forest) {
    int most = 0;
    for (const auto& tree : forest.trees) most = std::max(most, tree->tree.leaves);
    return most;
}

// The rows of queries that are not there.
void fill_rest(const Clouds& query, int k, int64_t* index, float* distance) {
    if (!query.counts) return;
    for (int b = 0; b < query.batch; ++b) {
        const int64_t begin = (int64_t(b) * query.size + query.count(b)) * k, end = (int64_t(b) + 1) * query.size * k;
        std::fill(index + begin, index + end, int64_t(-1));
        if (distance) std::fill(distance + begin, distance + end, std::numeric_limits<float>::infinity());
    }
}

}  // namespace

namespace {

// exact, rough: memory for each of the points, rounded up to leaves.
void farthest_in(const float* points, int n, int m, int start, int cloud, double* exact, float* rough, int64_t* index) {
    const bool sorted = m > FEW_SAMPLES && n > FEW_POINTS;
    TreeBuilder builder(points, n, sorted ? FARTHEST_LEAF : std::max(int(GROUP), whole_packs(n)), sorted, "points", cloud);
    Farthest s{};
    s.tree = builder.tree;
    const size_t leaves = size_t(s.tree.groups) * GROUP;
    const size_t groups = size_t(whole_packs(s.tree.groups));
    Room room(3 * Room::rounded(leaves * 4) + 2 * Room::rounded(groups * 4));
    s.rough = rough;
    s.exact = exact;
    s.most = room.take<float>(leaves);
    s.limit = room.take<float>(leaves);
    s.best = room.take<int32_t>(leaves);
    s.group_most = room.take<float>(groups);
    s.group_limit = room.take<float>(groups);
    AM_BEST(farthest_task)(s, points, start, m, index);
}

}  // namespace

void farthest_cpu(const FarthestArgs& a, int threads) {
    parallel_for(a.points.batch, threads, [&](int64_t b) {
        farthest_in(a.points.of(int(b)), a.points.count(int(b)), a.m, int(a.start[b]), int(b), a.exact + b * a.rooms(),
                    a.rough + b * a.rooms(), a.index + b * a.m);
    });
}

void farthest_of(const float* points, int n, int m, int start, int64_t* index) {
    const size_t rooms = size_t((n + FARTHEST_LEAF - 1) / FARTHEST_LEAF * FARTHEST_LEAF);
    std::unique_ptr<double[]> exact(new double[rooms]);
    std::unique_ptr<float[]> rough(new float[rooms]);
    farthest_in(points, n, m, start, 0, exact.get(), rough.get(), index);
}

void nearest_cpu(const NearestArgs& a, int threads) {
    auto task = AM_BEST(nearest_task);
    const Forest points = grow(a.points, "points", threads, [&](int, bool& sorted) {
        sorted = a.query.size > FEW_QUERIES;
        return int(NEAREST_LEAF);
    });
    const bool own = same(a.query, a.points);
    const Forest others = own ? Forest() : grow(a.query, "query", threads, [](int, bool&) { return int(QUERIES); });
    const Forest& queries = own ? points : others;
    for_queries(queries, most_leaves(points), a.k, 0, threads, [&](int b, int leaf, const Search& room) {
        task(points.trees[b]->tree, queries.trees[b]->tree, leaf, a, b, room);
    });
    fill_rest(a.query, a.k, a.index, a.distance);
}

void ball_cpu(const BallArgs& a, int threads) {
    auto task = AM_BEST(ball_task);
    const Forest plain = grow(a.points, "points", threads, [](int count, bool& sorted) {
        sorted = false;
        return std::max(int(GROUP), whole_packs(count));
    });
    const bool search = a.query.size > FEW_QUERIES && a.points.size >= 4 * TRIED;
    const Forest trees = search ? grow(a.points, "points", threads, [](int, bool&) { return int(NEAREST_LEAF); }) : Forest();
    const Forest queries = grow(a.query, "query", threads, [](int, bool&) { return int(QUERIES); });
    const int hits = std::max(a.k, search ? a.points.size : 0);
    for_queries(queries, search ? most_leaves(trees) : 1, 0, hits, threads, [&](int b, int leaf, const Search& room) {
        task(plain.trees[b]->tree, search ? &trees.trees[b]->tree : nullptr, queries.trees[b]->tree, leaf, a, b, room);
    });
    fill_rest(a.query, a.k, a.index, nullptr);
}

}  // namespace anamorph
