"""Skeletons: trees, bones, changes, plans, cameras and GPA, PoseAug's networks. Expected values are scipy's rotations, loops in
float64 over the papers' formulas, and the families' own Philox in the native core."""

import io
import math
import pickle
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.transform import Rotation

import anamorph as am
from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.learned import poseaug
from anamorph.points.skeleton import (
    HUMAN36M_16,
    HUMAN36M_17,
    MPI_INF_3DHP,
    MPI_INF_3DHP_JOINTS,
    BoneAngle,
    BoneLength,
    Flip,
    Rigid,
    SkeletonPlan,
    SkeletonRecipe,
    Tree,
    bones,
    change_angles,
    change_lengths,
    directions,
    flip,
    global_position_alignment,
    inside,
    lengths,
    permutation,
    pose_of,
    project,
    render,
    rotate,
    screen,
    translate,
    turn_bones,
    unscreen,
)
from devices import DEVICES, is_gpu

CHAIN = Tree((1, 2, 3, 4, -1), ("hand", "elbow", "shoulder", "neck", "hip"))  # the root comes last
TREES = [HUMAN36M_16, HUMAN36M_17, CHAIN, Tree((-1, 0)), Tree((2, 2, -1, 2, 3), pairs=((0, 1),))]
# A camera of Human3.6M in the unit of its pictures' width, as VideoPose3D has it: f, c, k, p.
LENS = (2.29, 2.287, 0.025, 0.029, -0.2071, 0.2478, -0.0031, -0.0009, -0.0014)


def poses(count=6, tree=HUMAN36M_16, seed=0, dtype=torch.float64):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, len(tree), 3))).to(dtype)


def standing(count=6, seed=0):
    """Poses five metres before a camera."""
    return poses(count, seed=seed) * 0.3 + torch.tensor([0.2, -0.1, 5.0], dtype=torch.float64)


def normal(*shape, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


# ---- trees


def test_the_ready_trees_are_those_of_the_data_sets():
    assert len(HUMAN36M_16) == 16 and len(HUMAN36M_17) == 17 and MPI_INF_3DHP == HUMAN36M_16
    for tree in (HUMAN36M_16, HUMAN36M_17):
        assert tree.names[tree.root] == "hip"
        for a, b in tree.pairs:
            assert tree.names[a].split() == ["right", tree.names[b].split()[1]] and tree.names[b].startswith("left")
        above = {tree.names[j]: tree.names[p] for j, p in enumerate(tree.parents) if p >= 0}
        assert above["left wrist"] == "left elbow" and above["right foot"] == "right knee" and above["spine"] == "hip"
        assert above["left shoulder"] == above["right shoulder"] == "thorax" and above["thorax"] == "spine"
        assert above["head"] == ("thorax" if len(tree) == 16 else "nose")
        assert [tree.names[j] for j in tree.fixed_directions] == ["spine", "thorax"]
        assert [tree.names[j] for j in tree.fixed_lengths] == ["thorax"]
    assert sorted(MPI_INF_3DHP_JOINTS) == [j for j in range(19) if j not in (13, 15, 17)] and MPI_INF_3DHP_JOINTS[0] == 14


def test_groups_are_poseaugs_nine():
    """Its table from 9 to 15, one column after the other."""
    assert HUMAN36M_16.groups == (0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8, 6, 7, 8)


def test_joints_by_name():
    tree = Tree((-1, 0, 0, 1), ("root", "a", "b", "c"), (("a", "b"),), ("c",), (3,))
    assert tree.joint("b") == 2 and tree.pairs == ((1, 2),) and tree.fixed_directions == tree.fixed_lengths == (3,)
    assert tree == Tree((-1, 0, 0, 1), ["root", "a", "b", "c"], [(1, 2)], [3], [3]) and hash(tree)
    with pytest.raises(ArgumentError, match="joint"):
        tree.joint("d")


@pytest.mark.parametrize("given, said", [
    ({"parents": ()}, "2 to 512 joints"),
    ({"parents": (-1,)}, "2 to 512 joints"),
    ({"parents": (-1,) + (0,) * 512}, "2 to 512 joints"),
    ({"parents": 16}, "2 to 512 joints"),
    ({"parents": (1, 0)}, "one root"),
    ({"parents": (-1, -1, 0)}, "one root"),
    ({"parents": (-1, 2, 1)}, "circle"),
    ({"parents": (-1, 1)}, "circle"),
    ({"parents": (-1, 2)}, "from -1 to 1, given 2"),
    ({"parents": (-2, 0)}, "from -1 to 1, given -2"),
    ({"parents": (-1, 0.0)}, "whole number"),
    ({"parents": (-1, True)}, "whole number"),
    ({"parents": (-1, 0), "names": ("a",)}, "2 names"),
    ({"parents": (-1, 0), "names": ("a", "a")}, "names that differ"),
    ({"parents": (-1, 0, 0), "pairs": ((1, 1),)}, "one pair at most"),
    ({"parents": (-1, 0, 0), "pairs": ((1, 3),)}, "from 0 to 2"),
    ({"parents": (-1, 0, 0), "pairs": ((0, 1),)}, "parents are a pair"),
    ({"parents": (-1, 0, 1), "pairs": ((1, 2),)}, "parents are a pair"),
    ({"parents": (-1, 0, 0), "pairs": (1, 2)}, "pairs of joints"),
    ({"parents": (-1, 0, 0), "pairs": (("l", "r"),)}, "given 'l'"),
    ({"parents": (-1, 0), "fixed_directions": (0,)}, "not the root"),
    ({"parents": (-1, 0), "fixed_lengths": (2,)}, "from 0 to 1"),
    ({"parents": (-1, 0), "fixed_lengths": 1}, "joints at which"),
])
def test_bad_trees(given, said):
    with pytest.raises(ArgumentError, match=said):
        Tree(**given)


def test_trees_are_frozen():
    with pytest.raises(AttributeError):
        HUMAN36M_16.parents = (-1, 0)


# ---- bones


@pytest.mark.parametrize("tree", TREES)
def test_bones_to_pose_to_bones(tree):
    pose = poses(5, tree)
    bone = bones(pose, tree)
    expected = np.stack([pose[:, j] - pose[:, p] for j, p in enumerate(tree.parents) if p >= 0], 1)
    np.testing.assert_array_equal(bone, expected)
    again = pose_of(bone, pose[:, tree.root], tree)
    torch.testing.assert_close(again, pose, rtol=0, atol=5e-15)
    torch.testing.assert_close(bones(again, tree), bone, rtol=0, atol=5e-15)
    torch.testing.assert_close(lengths(bone).numpy(), np.linalg.norm(expected, axis=2), rtol=1e-14, atol=0)
    torch.testing.assert_close(directions(bone) * lengths(bone)[..., None], bone, rtol=1e-14, atol=0)


def test_a_long_chain():
    tree = Tree((-1, *range(511)))
    bone = normal(2, 511, 3)
    expected = np.concatenate([np.zeros((2, 1, 3)), np.cumsum(bone.numpy(), 1)], 1)
    np.testing.assert_allclose(pose_of(bone, torch.zeros(2, 3, dtype=torch.float64), tree), expected, rtol=0, atol=1e-12)


def test_bones_of_no_length_have_no_direction_and_finite_gradients():
    pose = torch.zeros(1, 16, 3, requires_grad=True)
    assert not directions(bones(pose, HUMAN36M_16)).any()
    delta = torch.ones(1, 15, 3)
    change_angles(pose, delta, HUMAN36M_16).sum().backward()
    assert torch.isfinite(pose.grad).all()


# ---- changes


def test_angles_are_poseaugs_and_lengths_stay():
    pose, delta = poses(), normal(6, 15, 3)
    changed = change_angles(pose, delta, HUMAN36M_16)
    old, new = bones(pose, HUMAN36M_16).numpy(), bones(changed, HUMAN36M_16).numpy()
    for b in range(6):
        for i, joint in enumerate(HUMAN36M_16.children):
            length = np.linalg.norm(old[b, i])
            moved = old[b, i] / length + delta[b, i].numpy()
            expected = old[b, i] if joint in (7, 8) else moved / np.linalg.norm(moved) * length
            np.testing.assert_allclose(new[b, i], expected, atol=1e-14)
    np.testing.assert_allclose(np.linalg.norm(new, axis=2), np.linalg.norm(old, axis=2), atol=1e-14)
    assert torch.equal(changed[:, 0], pose[:, 0])
    assert torch.allclose(change_angles(pose, torch.zeros_like(delta), HUMAN36M_16), pose, atol=1e-14)


def test_a_change_that_cancels_a_direction_leaves_it():
    tree, pose = Tree((-1, 0)), torch.tensor([[[0.0, 0, 0], [0, 2, 0]]])
    assert torch.equal(change_angles(pose, torch.tensor([[[0.0, -1, 0]]]), tree), pose)


def test_turns_are_scipys():
    pose, turns = poses(), normal(6, 15, 3)
    new, old = bones(turn_bones(pose, turns, HUMAN36M_16), HUMAN36M_16), bones(pose, HUMAN36M_16)
    for b in range(6):
        for i, joint in enumerate(HUMAN36M_16.children):
            expected = old[b, i] if joint in (7, 8) else Rotation.from_rotvec(turns[b, i]).apply(old[b, i])
            np.testing.assert_allclose(new[b, i], expected, atol=1e-14)
    whole = rotate(pose, turns[:, 0], HUMAN36M_16)
    for b in range(6):
        root = pose[b, :1].numpy()
        expected = Rotation.from_rotvec(turns[b, 0]).apply(pose[b].numpy() - root) + root
        np.testing.assert_allclose(whole[b], expected, atol=1e-14)
    small = torch.full((6, 3), 1e-9, dtype=torch.float64)
    assert torch.equal(rotate(pose, small * 0, HUMAN36M_16)[:, 0], pose[:, 0])
    expected = Rotation.from_rotvec([1e-9] * 3).apply((pose[0] - pose[0, :1]).numpy()) + pose[0, :1].numpy()
    np.testing.assert_allclose(rotate(pose, small, HUMAN36M_16)[0], expected, atol=1e-15)


def test_lengths_change_by_bones_and_by_groups():
    pose = poses()
    old = bones(pose, HUMAN36M_16)
    each, tied = normal(6, 15) * 0.2, normal(6, 9) * 0.2
    for given, full in ((each, each.clone()), (tied, tied[:, list(HUMAN36M_16.groups)])):
        full[:, 7] = 0  # spine-thorax
        new = bones(change_lengths(pose, given, HUMAN36M_16), HUMAN36M_16)
        torch.testing.assert_close(new, old * (1 + full[..., None]), rtol=0, atol=1e-14)
    new = lengths(bones(change_lengths(pose, tied, HUMAN36M_16), HUMAN36M_16)) / lengths(old)
    torch.testing.assert_close(new[:, [0, 1, 2, 9, 10, 11]], new[:, [3, 4, 5, 12, 13, 14]], rtol=0, atol=1e-13)


def test_flip_is_its_own_inverse_and_changes_sides():
    pose = poses()
    mirrored = flip(pose, HUMAN36M_16)
    assert torch.equal(flip(mirrored, HUMAN36M_16), pose)
    at = HUMAN36M_16.joint
    assert torch.equal(mirrored[:, at("left wrist")], pose[:, at("right wrist")] * torch.tensor([-1.0, 1, 1]))
    assert torch.equal(mirrored[:, at("head"), 1:], pose[:, at("head"), 1:])
    # A camera with its centre in the middle sees the mirrored scene mirrored.
    seen = torch.tensor([1.1, 1.2, 0, 0], dtype=torch.float64)
    pose = standing()
    torch.testing.assert_close(project(flip(pose, HUMAN36M_16), seen), flip(project(pose, seen), HUMAN36M_16), rtol=0, atol=1e-15)
    assert torch.equal(flip(pose, HUMAN36M_16, axis=2)[:, 0, 2], -pose[:, 0, 2])


def test_gradients():
    pose = poses(2, CHAIN).requires_grad_()
    cases = [lambda p, d: change_angles(p, d, CHAIN), lambda p, d: turn_bones(p, d, CHAIN)]
    for case in cases:
        assert torch.autograd.gradcheck(case, (pose, normal(2, 4, 3).requires_grad_()))
    assert torch.autograd.gradcheck(lambda p, r: change_lengths(p, r, CHAIN), (pose, normal(2, 4).requires_grad_()))
    assert torch.autograd.gradcheck(lambda p, r, t: translate(rotate(p, r, CHAIN), t, CHAIN),
                                    (pose, normal(2, 3).requires_grad_(), normal(2, 3, seed=2).requires_grad_()))
    lens = torch.tensor(LENS, dtype=torch.float64)
    ahead = (pose.detach() * 0.1 + torch.tensor([0, 0, 3.0])).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: project(p, lens), (ahead,))
    still = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    rotate(poses(2, CHAIN), still, CHAIN)[:, 0].sum().backward()
    # The derivative of a turn that is none: the axis cross the vector.
    arm = (poses(2, CHAIN)[:, 0] - poses(2, CHAIN)[:, 4]).numpy()
    np.testing.assert_allclose(still.grad, np.cross(arm, np.ones(3)), atol=1e-14)


# ---- recipes and plans

RECIPE = SkeletonRecipe([BoneAngle(20), BoneAngle(sigma=0.1, p=0.7), BoneLength(0.2), Rigid(180, (0.5, 0, 1)), Flip(0.5),
                         BoneLength(0.1, tied=False, p=0.3), Rigid(10, axis=(0, 3, 0))])


def test_a_row_is_its_ids_alone():
    pose, ids = poses(8, dtype=torch.float32), torch.tensor([5, 0, 2**40, -3, 7, 5, 1, 2**62])
    plan = RECIPE.plan(ids, seed=9, epoch=4, view=2)
    assert torch.equal(plan.draws[0], plan.draws[5])
    out = render(pose, plan)
    for i in range(8):
        alone = RECIPE.plan(ids[i:i + 1], seed=9, epoch=4, view=2)
        assert torch.equal(alone.draws, plan.draws[i:i + 1])
        torch.testing.assert_close(render(pose[i:i + 1], alone), out[i:i + 1], rtol=0, atol=1e-6)
    torch.testing.assert_close(render(pose[2:5], plan[2:5]), out[2:5], rtol=0, atol=1e-6)
    for other in ({"seed": 8}, {"epoch": 5}, {"view": 3}):
        assert (RECIPE.plan(ids, **{"seed": 9, "epoch": 4, "view": 2, **other}).draws != plan.draws).float().mean() > 0.99


def test_the_numbers_are_philox():
    """The native Philox, by the counter that the file says: the view, 512 + the step, the block; id; epoch."""
    plan = RECIPE.plan([2**40 + 7], seed=2**35 + 3, epoch=6, view=2)
    first = 0
    for i, step in enumerate(RECIPE.steps):
        count = 1 + step.count(RECIPE.tree)
        words = []
        for block in range((count + 3) // 4):
            words += am.philox((2 << 20 | (512 + i) << 10 | block, 7, 2**8, 6), (3, 8))
        expected = np.array(words[:count], np.uint64) >> 8
        np.testing.assert_array_equal(plan.draws[0, first:first + count].double() * 2**24, expected.astype(np.float64))
        first += count
    assert first == plan.draws.shape[1]


def test_a_step_more_changes_no_other():
    short, long = SkeletonRecipe(RECIPE.steps[:2]), RECIPE
    a, b = short.plan([1, 2]).draws, long.plan([1, 2]).draws
    assert torch.equal(a, b[:, :a.shape[1]])


def test_plans_are_replayed_from_files():
    pose, plan = poses(4), RECIPE.plan(range(4), seed=1)
    file = io.BytesIO()
    torch.save({"plan": plan}, file)
    file.seek(0)
    for again in (pickle.loads(pickle.dumps(plan)), torch.load(file)["plan"], plan.to("cpu")):
        assert again == plan and torch.equal(render(pose, again), render(pose, plan))
    assert plan != RECIPE.plan(range(4), seed=2) and plan != "plan" and plan != plan[:2]
    assert pickle.loads(pickle.dumps(RECIPE)) == RECIPE
    assert "4 poses" in repr(plan) and "BoneAngle" in repr(plan)


def test_render_is_the_functions_with_the_plans_parameters():
    pose, plan = poses(64), RECIPE.plan(range(64), seed=3)
    functions = [turn_bones, change_angles, change_lengths, None, None, change_lengths, None]
    expected = pose
    for function, step in zip(functions, plan.parameters(), strict=True):
        applied = step.pop("applied")
        given = {k: v.double() for k, v in step.items()}
        if function is not None:
            new = function(expected, *given.values(), HUMAN36M_16)
        elif given:
            new = translate(rotate(expected, given["axis_angle"], HUMAN36M_16), given["offset"], HUMAN36M_16)
        else:
            new = flip(expected, HUMAN36M_16)
        expected = torch.where(applied[:, None, None], new, expected)
    torch.testing.assert_close(render(pose, plan), expected, rtol=0, atol=1e-12)


def test_what_each_step_keeps():
    pose = poses(200)
    bone = bones(pose, HUMAN36M_16)
    for step in (BoneAngle(30), BoneAngle(sigma=0.3)):
        new = bones(render(pose, SkeletonRecipe([step]).plan(range(200))), HUMAN36M_16)
        torch.testing.assert_close(lengths(new), lengths(bone), rtol=0, atol=1e-12)
        torch.testing.assert_close(new[:, [6, 7]], bone[:, [6, 7]], rtol=0, atol=1e-12)  # pelvis-spine-thorax
        assert (directions(new) - directions(bone)).norm(dim=2)[:, [0, 3, 9, 14]].min() > 0
    new = bones(render(pose, SkeletonRecipe([BoneLength(0.2)]).plan(range(200))), HUMAN36M_16)
    torch.testing.assert_close(directions(new), directions(bone), rtol=0, atol=1e-12)
    ratio = lengths(new) / lengths(bone) - 1
    assert ratio.abs().max() <= 0.2 + 1e-6 and ratio.min() < -0.19 and ratio.max() > 0.19
    torch.testing.assert_close(ratio[:, 7], torch.zeros(200, dtype=torch.float64), rtol=0, atol=1e-12)  # spine-thorax
    torch.testing.assert_close(ratio[:, :3], ratio[:, 3:6], rtol=0, atol=1e-12)
    new = bones(render(pose, SkeletonRecipe([Rigid(180, 3)]).plan(range(200))), HUMAN36M_16)
    torch.testing.assert_close(new @ new.transpose(1, 2), bone @ bone.transpose(1, 2), rtol=0, atol=1e-5)
    again = render(pose, SkeletonRecipe([Flip(1), Flip(1)]).plan(range(200)))
    assert torch.equal(again, pose)
    still = SkeletonRecipe([BoneAngle(30, p=0), BoneLength(p=0), Rigid(90, 1, p=0), Flip(0)]).plan(range(200))
    assert torch.equal(render(pose, still), pose)


def test_the_numbers_have_the_distributions_that_are_said():
    ids = range(4000)
    recipe = SkeletonRecipe([BoneAngle(30), BoneAngle(sigma=0.3), BoneLength(0.2), Rigid(90, (1, 0, 2)), Flip(0.3)])
    angle, sigma, ratio, rigid, flips = recipe.plan(ids, seed=11).parameters()
    turn = angle["axis_angle"][:, 4].double()
    size = turn.norm(dim=1).numpy()
    assert stats.kstest(size, stats.uniform(0, math.radians(30)).cdf).pvalue > 1e-3
    assert stats.kstest((turn[:, 2].numpy() / size), stats.uniform(-1, 2).cdf).pvalue > 1e-3  # Archimedes: z is uniform
    assert stats.kstest(torch.atan2(turn[:, 1], turn[:, 0]).numpy(), stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-3
    delta = sigma["delta"].flatten(1).double()
    assert stats.kstest(delta[:, 17].numpy(), stats.norm(0, 0.3).cdf).pvalue > 1e-3
    assert (torch.corrcoef(delta[:, :12].T) - torch.eye(12)).abs().max() < 0.08
    assert stats.kstest(ratio["ratio"][:, 8].double().numpy(), stats.uniform(-0.2, 0.4).cdf).pvalue > 1e-3
    assert stats.kstest(rigid["axis_angle"].double().norm(dim=1).numpy(), stats.uniform(0, np.pi / 2).cdf).pvalue > 1e-3
    assert not rigid["offset"][:, 1].any()
    assert stats.kstest(rigid["offset"][:, 2].double().numpy(), stats.uniform(-2, 4).cdf).pvalue > 1e-3
    assert stats.binomtest(int(flips["applied"].sum()), 4000, 0.3).pvalue > 1e-3
    (about,) = SkeletonRecipe([Rigid(90, axis=(0, -2, 0))]).plan(ids).parameters()
    assert not about["axis_angle"][:, [0, 2]].any() and about["axis_angle"][:, 1].min() < -1.5


@pytest.mark.parametrize("device", DEVICES)
def test_it_runs_where_its_tensors_are(device):
    """Plans have the bits of the host everywhere, poses differ by rounding; on a GPU the host waits for nothing."""
    pose, ids, lens = standing(6).float(), torch.arange(6), torch.tensor(LENS)
    host = RECIPE.plan(ids, seed=1)
    expected = render(pose, host)
    points = project(pose, lens)
    aligned = global_position_alignment(expected, points[permutation(6)], lens)
    there = pose.to(device), lens.to(device), points.to(device), ids.to(device)
    RECIPE.plan(there[3]).parameters()  # what is made once is there now
    render(there[0], host.to(device))
    with waits_are_errors(device):
        plan = RECIPE.plan(there[3], seed=1)
        out = render(there[0], plan)
        found = global_position_alignment(out, there[2][permutation(6, device=device)], there[1])
        screen(project(found, there[1]), 2, 2)
    assert plan.device.type == torch.device(device).type and plan == host == RECIPE.plan(ids, seed=1, device=device)
    torch.testing.assert_close(out.cpu(), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.cpu(), aligned, rtol=1e-5, atol=1e-4)
    if is_gpu(device):
        with pytest.raises(DeviceError, match="plan: expected on"):
            render(pose, plan)
        with pytest.raises(DeviceError, match="camera: expected on"):
            project(pose, there[1])


@contextmanager
def waits_are_errors(device):
    """On a GPU, torch's own warning about synchronizing calls as an error."""
    mode = torch.cuda.get_sync_debug_mode() if is_gpu(device) else 0
    if is_gpu(device):
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if is_gpu(device):
            torch.cuda.set_sync_debug_mode(mode)


def test_gradients_go_through_render():
    pose = poses(1).requires_grad_()
    plan = RECIPE.plan([3])
    assert torch.autograd.gradcheck(lambda p: render(p, plan), (pose,))


# ---- cameras


def test_project_is_the_lens_model():
    points = standing()
    lenses = torch.tensor([LENS] * 6, dtype=torch.float64) * torch.linspace(0.9, 1.1, 6)[:, None]
    found = project(points, lenses)
    for b in range(6):
        f, c, k, p = np.split(lenses[b].numpy(), [2, 4, 7])
        for j in range(16):
            X, Y, Z = points[b, j].numpy()
            xy = np.clip([X / Z, Y / Z], -1, 1)
            r2 = xy @ xy
            expected = f * (xy * (1 + k @ [r2, r2**2, r2**3] + p @ xy) + p * r2) + c
            np.testing.assert_allclose(found[b, j], expected, atol=1e-15)
    torch.testing.assert_close(project(points, torch.tensor(LENS[:4], dtype=torch.float64)),
                               points[..., :2] / points[..., 2:] * torch.tensor(LENS[:2]).double()
                               + torch.tensor(LENS[2:4]).double(), rtol=0, atol=1e-6)
    wide = torch.tensor([[[3.0, -4.0, 1.0]]])
    plain = torch.tensor([2.0, 2.0, 0.5, 0.5])
    assert project(wide, plain).tolist() == [[[2.5, -1.5]]]
    assert project(wide, plain, clamp=False).tolist() == [[[6.5, -7.5]]]


def test_screen_is_videopose3ds():
    points = torch.tensor([[[0.0, 0.0], [1000.0, 0.0], [500.0, 501.0], [1000.0, 1002.0]]], dtype=torch.float64)
    expected = torch.tensor([[[-1, -1.002], [1, -1.002], [0, 0], [1, 1.002]]], dtype=torch.float64)
    torch.testing.assert_close(screen(points, 1000, 1002), expected, rtol=0, atol=1e-15)
    torch.testing.assert_close(unscreen(screen(points, 1000, 1002), 1000, 1002), points, rtol=0, atol=1e-12)


def test_inside_looks_at_every_side():
    points = torch.zeros(6, 16, 2)
    points[1, 3, 0], points[2, 3, 1], points[3, 3, 0], points[4, 3, 1] = 1.01, 1.01, -1.01, -1.01
    points[5] = 1
    assert inside(points).tolist() == [True, False, False, False, False, True]


def test_gpa_finds_a_flat_pose_where_it_is():
    """A pose of constant depth, seen by any camera without distortion: GPA returns its depth and its root, whatever the source's
    own place was."""
    pose = standing(50)
    depth = torch.linspace(2, 9, 50, dtype=torch.float64)
    pose[..., 2] = depth[:, None]
    cameras = torch.rand(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.5
    moved = pose - pose[:, :1] + normal(50, 1, 3)
    found = global_position_alignment(moved, project(pose, cameras), cameras)
    torch.testing.assert_close(found, pose, rtol=0, atol=2e-14)
    for wrong in (cameras[:1].expand(50, 4), cameras[:, [2, 3, 0, 1]]):  # as published: the first row's; the centre for f
        assert (global_position_alignment(moved, project(pose, cameras), wrong)[:, 0, 2] - depth).abs().max() > 0.1


def test_gpa_is_the_formula():
    source, target = poses(20), project(standing(20, seed=4), torch.tensor(LENS, dtype=torch.float64))
    cameras = torch.tensor([LENS] * 20, dtype=torch.float64) * torch.linspace(0.5, 2, 20)[:, None]
    found = global_position_alignment(source, target, cameras, root=8)
    for b in range(20):
        fx, fy, cx, cy = cameras[b, :4].numpy()
        p2, p3 = target[b].numpy(), source[b].numpy()
        s = (np.ptp(p2[:, 0]) + np.ptp(p2[:, 1])) / 2
        z = (fx * np.ptp(p3[:, 0]) + fy * np.ptp(p3[:, 1])) / (2 * s)
        u, v = p2[8]
        place = [z * (u - cx) / fx, z * (v - cy) / fy, z]
        np.testing.assert_allclose(found[b], p3 - p3[8] + place, atol=1e-12)


def test_permutations():
    orders = [permutation(1000, seed=s, epoch=e).tolist() for s in (0, 1) for e in (0, 1)]
    assert all(sorted(order) == list(range(1000)) for order in orders) and len({tuple(o) for o in orders}) == 4
    assert orders[0] == permutation(1000).tolist()
    firsts = [int(permutation(5, seed=s)[0]) for s in range(500)]
    assert stats.chisquare(np.bincount(firsts, minlength=5)).pvalue > 1e-3


# ---- PoseAug's networks


def generator():
    torch.manual_seed(0)
    return poseaug.PoseGenerator(width=32).double()


def test_the_generator_keeps_what_it_should():
    pose, net = poses(16), generator()
    made = net(pose)
    old, turned, longer = (lengths(bones(p, HUMAN36M_16)) for p in (pose, made.angles, made.lengths))
    torch.testing.assert_close(turned, old, rtol=0, atol=1e-13)
    torch.testing.assert_close(bones(made.angles, HUMAN36M_16)[:, 6:8], bones(pose, HUMAN36M_16)[:, 6:8], rtol=0, atol=1e-13)
    ratio = longer / old - 1
    assert made.ratios.shape == (16, 9) and ratio.abs().max() <= 0.2 + 1e-12 and ratio.abs().max() > 0.01
    torch.testing.assert_close(ratio[:, :3], ratio[:, 3:6], rtol=0, atol=1e-13)
    torch.testing.assert_close(ratio[:, 9:12], ratio[:, 12:], rtol=0, atol=1e-13)
    assert ratio[:, 7].abs().max() < 1e-13
    assert made.axis_angle.abs().max() <= math.pi and (made.offset[:, 2] >= 0).all()
    torch.testing.assert_close(made.placed[:, 0], made.offset, rtol=0, atol=1e-13)
    for b in range(16):
        expected = Rotation.from_rotvec(made.axis_angle[b].detach()).apply((made.lengths - made.lengths[:, :1])[b].detach())
        np.testing.assert_allclose(made.placed[b].detach(), expected + made.offset[b].detach().numpy(), atol=1e-12)
    cos = (directions(bones(made.angles, HUMAN36M_16)) * directions(bones(pose, HUMAN36M_16))).sum(2)
    torch.testing.assert_close(made.difference, 1 - cos, rtol=0, atol=1e-13)


def test_the_generators_noise_is_what_is_given():
    pose, net = poses(4), generator().eval()
    noise = normal(4, 4, 48)
    assert all(torch.equal(a, b) for a, b in zip(net(pose, noise), net(pose, noise), strict=True))
    assert not torch.equal(net(pose)[0], net(pose)[0])
    elsewhere = net(pose + 5, noise)  # only what is relative to the root counts
    torch.testing.assert_close(elsewhere.placed, net(pose, noise).placed, rtol=0, atol=1e-12)
    with pytest.raises(ShapeError, match=r"noise: expected \[4, 4, 48\]"):
        net(pose, noise[:, :3])


def test_the_kcs_discriminator_sees_angles_alone():
    torch.manual_seed(0)
    net, pose = poseaug.KCSDiscriminator(width=16).double(), poses(4)
    score = net(pose)
    assert score.shape == (4, 5)
    same = translate(rotate(change_lengths(pose, normal(4, 15).clamp(-0.5, 0.5), HUMAN36M_16), normal(4, 3), HUMAN36M_16),
                     normal(4, 3), HUMAN36M_16)
    torch.testing.assert_close(net(same), score, rtol=0, atol=1e-12)
    bent = pose.clone()
    bent[:, HUMAN36M_16.joint("left foot")] += 1  # the bone from the left knee
    changed = (net(bent) - score).abs() > 1e-9
    assert changed.tolist() == [[False, True, False, False, False]] * 4


def test_losses_are_the_formulas():
    real, fake = torch.tensor([[0.9], [1.2]]), torch.tensor([[0.3], [-0.1]])
    assert float(poseaug.discriminator_loss(real, fake)) == pytest.approx(((0.01 + 0.04) / 2 + (0.09 + 0.01) / 2) / 2)
    assert float(poseaug.adversarial_loss(fake)) == pytest.approx((0.49 + 1.21) / 4)
    value = torch.tensor([1.0, 2.9, 3.0, 6.9, 8.0])
    assert float(poseaug.band_loss(value, 5, 2)) == pytest.approx((16 + 2.1**2 + 0 + 0 + 9) / 5, rel=1e-6)
    assert poseaug.angle_target(0) == 3 and poseaug.angle_target(25) == 4 and poseaug.angle_target(50) == 5
    easier = torch.tensor([[1.0, 2.0, 0.5]])
    assert float(poseaug.feedback_loss(easier * 20, easier, 17, 15)) == 0  # 20 times as hard is within 2 to 32
    assert float(poseaug.feedback_loss(easier * 40, easier, 17, 15)) == 23**2


def test_limb_errors_are_weighed_by_joint():
    pose = poses(3)
    predicted = pose - pose[:, :1]
    assert not poseaug.limb_errors(predicted, pose).any()
    for joint, limb, weight in ((2, 1, 2), (6, 2, 1), (13, 0, 5), (9, 1, 1), (15, 2, 1), (14, 1, 2), (1, 0, 5)):
        off = predicted.clone()
        off[:, joint, 1] += 0.5
        expected = torch.zeros(3, 3).double()
        expected[:, limb] = 0.5 * weight / len(poseaug.LIMBS[limb])
        torch.testing.assert_close(poseaug.limb_errors(off, pose), expected, rtol=0, atol=1e-14)


def test_a_round_of_adversarial_training():
    """The generator's loss falls when it alone is trained, gradients reach every one of its weights, and a discriminator learns
    to tell its poses from real ones."""
    torch.manual_seed(0)
    pose, lens = standing(64).float(), torch.tensor(LENS)
    net = poseaug.PoseGenerator(width=32)
    d3, d2 = poseaug.KCSDiscriminator(width=16), poseaug.Discriminator2D(width=16)
    lifter = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32, 48), torch.nn.Unflatten(1, (16, 3)))
    noise = torch.randn(64, 4, 48)

    def loss():
        made = net(pose, noise)
        errors = tuple(poseaug.limb_errors(lifter(project(p, lens)), p) for p in (pose, made.angles, made.placed))
        return poseaug.generator_loss(made, d3(made.angles), d2(project(made.placed, lens)), errors)

    first = loss()
    first.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() and p.grad.any() for p in net.parameters())
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(30):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss() < 0.9 * first
    made = net(pose, noise)
    optimizer = torch.optim.Adam(d3.parameters(), 1e-3)
    scores = [poseaug.discriminator_loss(d3(pose), d3(made.angles.detach()))]
    for _ in range(60):
        optimizer.zero_grad()
        scores[-1].backward()
        optimizer.step()
        scores.append(poseaug.discriminator_loss(d3(pose), d3(made.angles.detach())))
    assert scores[-1] < 0.5 * scores[0]
    warm = poseaug.generator_loss(made, d3(made.angles), d2(project(made.placed, lens)))
    expected = (poseaug.adversarial_loss(d2(project(made.placed, lens))) + 6 * poseaug.adversarial_loss(d3(made.angles))
                + 3 * poseaug.range_loss(made))
    torch.testing.assert_close(warm, expected)


def test_pairs_are_wholly_in_the_picture():
    pose = standing(4).float()
    pose[1, :, 0] += 50  # leaves on the right
    pose[2, :, 0] -= 50  # on the left, which published code keeps
    pose[3, :, 2] *= -1  # behind the camera
    zeros = torch.zeros(4, 3)
    made = poseaug.Generated(pose, pose, pose, zeros, zeros, zeros, zeros)
    lens = torch.tensor([1.2, 1.2, 0.0, 0.0])
    points, kept = poseaug.pairs(made, lens)
    assert torch.equal(kept, pose[:1]) and torch.equal(points, project(pose[:1], lens))


# ---- what a user can get wrong


POSE = poses(2, dtype=torch.float32)
FLAT = POSE[..., :2]


@pytest.mark.parametrize("call, error, said", [
    (lambda: bones(POSE[0], HUMAN36M_16), ShapeError, r"pose: expected \[B, 16, 3\]"),
    (lambda: bones(POSE, HUMAN36M_17), ShapeError, r"expected \[B, 17, 3\], the tree's joints, given \[2, 16, 3\]"),
    (lambda: bones(POSE[:0], HUMAN36M_16), ShapeError, "given \\[0, 16, 3\\]"),
    (lambda: bones(FLAT, HUMAN36M_16), ShapeError, "given \\[2, 16, 2\\]"),
    (lambda: bones(POSE.half(), HUMAN36M_16), DtypeError, "float32 or float64 .* given float16"),
    (lambda: bones(POSE.int(), HUMAN36M_16), DtypeError, "given int32"),
    (lambda: bones(POSE / 0, HUMAN36M_16), ArgumentError, "finite"),
    (lambda: bones(POSE, (-1, 0)), ArgumentError, "expected a Tree, given tuple"),
    (lambda: bones("pose", HUMAN36M_16), ArgumentError, "given str"),
    (lambda: pose_of(POSE[:, 1:], POSE[:1, 0], HUMAN36M_16), ShapeError, r"root: expected \[B, 3\]"),
    (lambda: pose_of(POSE[:, 1:], POSE[:, 0].double(), HUMAN36M_16), DtypeError, "root: expected torch.float32"),
    (lambda: pose_of(POSE[:, 1:], POSE[:, 0].to("meta"), HUMAN36M_16), ArgumentError, "meta"),
    (lambda: change_angles(POSE, POSE, HUMAN36M_16), ShapeError, r"delta: expected \[2, 15, 3\], given \[2, 16, 3\]"),
    (lambda: change_angles(POSE, POSE[:, 1:].double(), HUMAN36M_16), DtypeError, "delta: expected torch.float32"),
    (lambda: change_lengths(POSE, POSE[:, :10, 0], HUMAN36M_16), ShapeError, r"\[2, 15\], one for each bone, or \[2, 9\]"),
    (lambda: change_lengths(POSE, POSE[:1, 1:, 0], HUMAN36M_16), ShapeError, r"ratio: expected \[2, 15\]"),
    (lambda: rotate(POSE, POSE[:, 0, :2], HUMAN36M_16), ShapeError, r"axis_angle: expected \[2, 3\]"),
    (lambda: turn_bones(POSE, POSE[:, 0], HUMAN36M_16), ShapeError, r"axis_angle: expected \[2, 15, 3\]"),
    (lambda: translate(POSE, POSE[0, 0], HUMAN36M_16), ShapeError, "offset"),
    (lambda: flip(POSE[:, :5], CHAIN), ArgumentError, "tree with pairs"),
    (lambda: flip(POSE, HUMAN36M_16, axis=3), ArgumentError, "axis"),
    (lambda: flip(FLAT, HUMAN36M_16, axis=2), ShapeError, "pose: expected"),
    (lambda: SkeletonRecipe([]), ArgumentError, "1 to 256 steps"),
    (lambda: SkeletonRecipe(BoneAngle(3)), ArgumentError, "1 to 256 steps"),
    (lambda: SkeletonRecipe([am.RandomHorizontalFlip()]), ArgumentError, "steps for poses"),
    (lambda: SkeletonRecipe([Flip()], CHAIN), ArgumentError, "tree with pairs"),
    (lambda: SkeletonRecipe([BoneAngle(3)], "human"), ArgumentError, "expected a Tree"),
    (lambda: BoneAngle(), ArgumentError, "degrees or sigma"),
    (lambda: BoneAngle(3, sigma=1), ArgumentError, "degrees or sigma"),
    (lambda: BoneAngle(181), ArgumentError, "from 0 to 180"),
    (lambda: BoneAngle(sigma=-1), ArgumentError, "BoneAngle.sigma"),
    (lambda: BoneAngle(3, p=1.5), ArgumentError, "BoneAngle.p: expected a probability"),
    (lambda: BoneLength(1), ArgumentError, "BoneLength.ratio"),
    (lambda: BoneLength(tied=1), ArgumentError, "True or False"),
    (lambda: Rigid("all"), ArgumentError, "Rigid.rotation"),
    (lambda: Rigid(10, (1, 2)), ArgumentError, "Rigid.translation"),
    (lambda: Rigid(10, -1), ArgumentError, "Rigid.translation"),
    (lambda: Rigid(10, axis=(0, 0, 0)), ArgumentError, "Rigid.axis"),
    (lambda: Flip(axis=3), ArgumentError, "Flip.axis"),
    (lambda: RECIPE.plan([0.5]), DtypeError, "index: expected integers"),
    (lambda: RECIPE.plan([]), ShapeError, "index: expected sample ids"),
    (lambda: RECIPE.plan([[1]]), ShapeError, "index: expected sample ids"),
    (lambda: RECIPE.plan([1], seed=-1), ArgumentError, "seed"),
    (lambda: RECIPE.plan([1], epoch=2**32), ArgumentError, "epoch"),
    (lambda: RECIPE.plan([1], view=4096), ArgumentError, "view"),
    (lambda: RECIPE.plan([1], device="tpu"), DeviceError, "device"),
    (lambda: RECIPE.plan([1])[1:], ArgumentError, "slice of at least one"),
    (lambda: RECIPE.plan([1])[0], ArgumentError, "slice of at least one"),
    (lambda: SkeletonPlan(RECIPE, torch.zeros(1, 3), torch.zeros(1), 0, 0, 0), ShapeError, "plan: expected draws"),
    (lambda: render(POSE, RECIPE.plan([1])), ShapeError, "one for each row of the plan"),
    (lambda: render(POSE, RECIPE), ArgumentError, "expected a SkeletonPlan"),
    (lambda: project(POSE, torch.ones(5)), ShapeError, r"camera: expected \[4\]"),
    (lambda: project(POSE, torch.ones(3, 9)), ShapeError, "each of 2 poses, given \\[3, 9\\]"),
    (lambda: project(POSE, -torch.ones(4)), ArgumentError, "focal lengths above 0"),
    (lambda: project(POSE, torch.ones(4).double()), DtypeError, "camera"),
    (lambda: project(FLAT, torch.ones(4)), ShapeError, "points"),
    (lambda: screen(POSE, 10, 10), ShapeError, "points"),
    (lambda: screen(FLAT, 0, 10), ArgumentError, "width"),
    (lambda: unscreen(FLAT, 10, -1), ArgumentError, "height"),
    (lambda: global_position_alignment(POSE, FLAT[:1], torch.ones(4)), ShapeError, r"target: expected \[2, 16, 2\]"),
    (lambda: global_position_alignment(POSE, FLAT * 0, torch.ones(4)), ArgumentError, "target: .* all one point"),
    (lambda: global_position_alignment(POSE * 0, FLAT, torch.ones(4)), ArgumentError, "source: .* all one point"),
    (lambda: global_position_alignment(POSE, FLAT, torch.ones(4), root=16), ArgumentError, "root"),
    (lambda: inside(POSE), ShapeError, "points"),
    (lambda: permutation(0), ArgumentError, "count"),
    (lambda: poseaug.PoseGenerator(limit=1), ArgumentError, "limit"),
    (lambda: poseaug.KCSDiscriminator(CHAIN), ArgumentError, "KCSDiscriminator.parts"),
    (lambda: poseaug.KCSDiscriminator(parts=3), ArgumentError, "KCSDiscriminator.parts"),
])
def test_bad_input(call, error, said):
    with pytest.raises(error, match=said):
        call()
