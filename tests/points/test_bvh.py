"""Motion files against forward kinematics by scipy's rotations, frame by frame; damaged ones."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from anamorph.core.errors import ArgumentError, DecodeError
from anamorph.points.skeleton import bones, lengths, read_bvh

# name, parent, offset, position channels, the order of the rotations
JOINTS = [("Hips", -1, (1.0, 2.0, -3.0), "XYZ", "ZXY"), ("Chest", 0, (0.0, 5.0, 0.5), "", "YZX"),
          ("Head", 1, (0.0, 3.0, 0.0), "", ""), ("LeftArm", 1, (2.0, 1.0, 0.0), "", "XYZ"),
          ("LeftHand", 3, (4.0, 0.0, 0.0), "ZX", "ZYX"), ("RightLeg", 0, (-1.0, -4.0, 0.0), "", "ZX")]


def hierarchy():
    """The file's first part; leaves have end sites."""
    lines = ["HIERARCHY"]

    def joint(j, indent):
        name, parent, offset, moves, turns = JOINTS[j]
        channels = [f"{a}position" for a in moves] + [f"{a}rotation" for a in turns]
        lines.append(f"{indent}{'ROOT' if parent < 0 else 'JOINT'} {name}")
        lines.append(indent + "{")
        lines.append(f"{indent}\tOFFSET {' '.join(map(str, offset))}")
        lines.append(f"{indent}\tCHANNELS {len(channels)} {' '.join(channels)}")
        kids = [k for k, other in enumerate(JOINTS) if other[1] == j]
        for k in kids:
            joint(k, indent + "\t")
        if not kids:
            lines.extend([f"{indent}\tEnd Site", indent + "\t{", f"{indent}\t\tOFFSET 9 9 9", indent + "\t}"])
        lines.append(indent + "}")

    joint(0, "")
    return "\n".join(lines)


def motion(frames):
    rows = "\n".join(" ".join(f"{v:.6f}" for v in row) for row in frames)
    return f"\nMOTION\nFrames: {len(frames)}\nFrame Time: 0.0083333\n{rows}\n"


COUNT = sum(len(moves) + len(turns) for *_, moves, turns in JOINTS)
FRAMES = np.random.default_rng(0).uniform(-170, 170, (5, COUNT)).round(6)
GOOD = hierarchy() + motion(FRAMES)


def expected(frame):
    """The joints of one frame; scipy's capital letters are turns about the axes that turn along."""
    at, places, turns = 0, [], []
    for _, parent, offset, moves, order in JOINTS:
        place = np.array(offset)
        for axis in moves:
            place["XYZ".index(axis)] += frame[at]
            at += 1
        turn = Rotation.from_euler(order, frame[at:at + len(order)], degrees=True) if order else Rotation.identity()
        at += len(order)
        if parent >= 0:
            place = places[parent] + turns[parent].apply(place)
            turn = turns[parent] * turn
        places.append(place)
        turns.append(turn)
    return np.stack(places)


def written(tmp_path, text):
    path = tmp_path / "motion.bvh"
    path.write_text(text)
    return path


def test_places_are_those_of_forward_kinematics(tmp_path):
    tree, places, seconds = read_bvh(written(tmp_path, GOOD))
    assert tree.names == tuple(j[0] for j in JOINTS) and tree.parents == tuple(j[1] for j in JOINTS)
    assert places.dtype == torch.float32 and places.shape == (5, 6, 3) and seconds == 0.0083333
    np.testing.assert_allclose(places.numpy(), np.stack([expected(f) for f in FRAMES]), atol=3e-5, rtol=1e-6)


def test_bones_without_position_channels_keep_their_offsets_lengths(tmp_path):
    tree, places, _ = read_bvh(str(written(tmp_path, GOOD)))
    found = lengths(bones(places, tree))
    for bone, joint in enumerate(tree.children):
        if not JOINTS[joint][3]:
            torch.testing.assert_close(found[:, bone], torch.full((5,), float(np.linalg.norm(JOINTS[joint][2]))),
                                       atol=1e-4, rtol=1e-5)


def test_layouts_that_files_have(tmp_path):
    """Carriage returns, all in one line, names with spaces and of other alphabets, small letters, a frame more than counted."""
    for text in (GOOD.replace("\n", "\r\n"), " ".join(GOOD.split()), GOOD.replace("position", "POSITION"),
                 GOOD + " ".join(["1.0"] * COUNT)):
        tree, places, _ = read_bvh(written(tmp_path, text))
        np.testing.assert_allclose(places.numpy(), np.stack([expected(f) for f in FRAMES]), atol=3e-5, rtol=1e-6)
    tree, *_ = read_bvh(written(tmp_path, GOOD.replace("LeftArm", "left  upper arm")))
    assert tree.names[3] == "left upper arm"


def test_one_frame_of_one_bone(tmp_path):
    text = ("HIERARCHY ROOT a { OFFSET 0 0 0 CHANNELS 3 Zrotation Xrotation Yrotation JOINT b { OFFSET 0 2 0 CHANNELS 0 } } "
            "MOTION Frames: 1 Frame Time: 0.5 90 0 0")
    _, places, seconds = read_bvh(written(tmp_path, text))
    torch.testing.assert_close(places, torch.tensor([[[0.0, 0, 0], [-2, 0, 0]]]), atol=1e-6, rtol=0)
    assert seconds == 0.5


@pytest.mark.parametrize("damage, said", [
    (lambda t: "", "expected HIERARCHY, given 'the end of the file'"),
    (lambda t: t[:len(t) // 3], "the end of the file|expected"),
    (lambda t: t.replace("HIERARCHY", "<html>"), "expected HIERARCHY, given '<html>'"),
    (lambda t: t.replace("ROOT", "JOINT", 1), "expected ROOT"),
    (lambda t: t.replace("OFFSET 1.0", "OFFSET one", 1), "offset of three numbers"),
    (lambda t: t.replace("OFFSET 1.0", "OFFSET nan", 1), "offset of three numbers"),
    (lambda t: t.replace("CHANNELS 6", "CHANNELS 7", 1), "from 0 to 6, given '7'"),
    (lambda t: t.replace("Zrotation", "Wrotation", 1), "given 'Wrotation'"),
    (lambda t: t.replace("MOTION", "MOTIONS"), "expected MOTION"),
    (lambda t: t.replace("Frames: 5", "Frames: 0"), "number of frames"),
    (lambda t: t.replace("Frames: 5", "Frames: 6"), "6 frames of 19 numbers"),
    (lambda t: t.replace("Frames: 5", "Frames: many"), "number of frames"),
    (lambda t: t + " 1.0", "5 frames of 19 numbers"),
    (lambda t: t.replace("0.0083333", "0"), "above 0"),
    (lambda t: t.rsplit(None, 1)[0] + " x", "numbers in the frames"),
    (lambda t: t.rsplit(None, 1)[0] + " inf", "finite"),
    (lambda t: t.replace("LeftHand", "LeftArm"), "names that differ"),
    (lambda t: t.replace("End Site", "CHANNEL Site", 1), "OFFSET, CHANNELS, JOINT, End Site or }"),
    (lambda t: "HIERARCHY ROOT a { OFFSET 0 0 0 } MOTION", "channels, given 'none'"),
])
def test_damaged_files_are_named(tmp_path, damage, said):
    text = damage(GOOD)
    assert text != GOOD
    with pytest.raises(DecodeError, match=said) as error:
        read_bvh(written(tmp_path, text))
    assert "motion.bvh" in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DecodeError, match=r"none\.bvh"):
        read_bvh(tmp_path / "none.bvh")
    with pytest.raises(DecodeError, match="expected a motion file"):
        read_bvh(tmp_path)


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "motion.bvh"
    path.write_bytes(bytes(range(256)) * 40)
    with pytest.raises(DecodeError, match=r"motion\.bvh: expected HIERARCHY"):
        read_bvh(path)


def test_a_path_is_one():
    for bad in (None, 5):
        with pytest.raises(ArgumentError, match="path: expected a file's path"):
            read_bvh(bad)
