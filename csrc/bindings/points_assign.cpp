// Point clouds: assignment. The package has checked what a user gives; what is checked here is that kernels stay inside the
// tensors.
#include <list>

#include "../points/assign.h"
#include "on_cuda.h"
#include "points.h"

namespace anamorph {
namespace {

// The tensors of a call, borrowed for its length: contiguous, and where the clouds are.
class Looks {
public:
    Looks(py::handle clouds, const char* name) {
        const Tensor& t = kept_.emplace_back(clouds, name);
        t.need_dims(3, "[B, N, 3]");
        t.need_dtype(kDLFloat, 32);
        t.need_contiguous();
        if (t.size(2) != 3 || t.size(0) < 1 || t.size(1) < 1 || t.size(0) > INT32_MAX || t.size(1) > MOST_ASSIGNED)
            fail<ShapeError>(name, ": expected [B, N, 3], N from 1 to ", int(MOST_ASSIGNED), ", given ", t.shape_text());
    }
    const Tensor& clouds() const { return kept_.front(); }
    int batch() const { return int(clouds().size(0)); }
    int n() const { return int(clouds().size(1)); }

    // [B * each]; of None nothing.
    template <class T> T* values(py::handle object, const char* name, uint8_t code, int64_t each) {
        if (object.is_none()) return nullptr;
        const Tensor& t = kept_.emplace_back(object, name);
        t.need_device(clouds());
        t.need_contiguous();
        t.need_dtype(code, 8 * int(sizeof(T)));
        if (t.count() != batch() * each) fail<ShapeError>(name, ": expected ", batch() * each, " values, given ", t.shape_text());
        return t.data<T>();
    }
    // Kernels work in it where a GPU has the clouds.
    int32_t* room(py::handle object, int64_t each) {
        int32_t* at = values<int32_t>(object, "room", kDLInt, each);
        if (clouds().cuda() && !at) fail<ArgumentError>("room: expected memory for the kernels, given None");
        return at;
    }

private:
    std::list<Tensor> kept_;
};

void assign(py::handle a, py::handle b, py::handle partner, py::handle rule, py::handle permutation, py::handle cost,
            py::handle room, double eps, int64_t most_bids, int threads) {
    Looks looks(a, "a");
    const int n = looks.n();
    AssignArgs args{};
    args.a = looks.clouds().data<float>();
    args.b = looks.values<float>(b, "b", kDLFloat, int64_t(n) * 3);
    args.partner = looks.values<int64_t>(partner, "partner", kDLInt, 1);
    args.rule = looks.values<int32_t>(rule, "rule", kDLInt, 1);
    args.permutation = looks.values<int64_t>(permutation, "permutation", kDLInt, n);
    args.cost = looks.values<float>(cost, "cost", kDLFloat, 1);
    args.room = looks.room(room, int64_t(n) * ROOM_WORDS);
    args.eps = eps;
    args.most_bids = most_bids;
    args.batch = looks.batch();
    args.n = n;
    run(a, looks.clouds(), [&](void* stream) { assign_cuda(args, stream); }, [&] { assign_cpu(args, threads); });
}

}  // namespace

void bind_assign(py::module_& m) {
    m.attr("ASSIGN_ROOM") = int(ROOM_WORDS);
    m.attr("MOST_ASSIGNED") = int(MOST_ASSIGNED);
    m.def("assign", &assign, py::kw_only(), py::arg("a"), py::arg("b"), py::arg("partner"), py::arg("rule"),
          py::arg("permutation"), py::arg("cost"), py::arg("room"), py::arg("eps"), py::arg("most_bids"), py::arg("threads"));
}

}  // namespace anamorph
