"""Pictures of point clouds and of their views, for the sheet of ``anamorph preview``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

import anamorph as am
from anamorph.cli.spheres import ADDED, by_share, drawn
from anamorph.data.folder import files_of
from anamorph.points.files import CLOUD_SUFFIXES

SEEN = 0.85  # how far from the middle a picture's farthest point lies, in the units of ``spheres``


def some_clouds(path: str, most: int) -> list[str]:
    """The files of a folder and of those in it, some of them, evenly spread over the sorted paths."""
    found = files_of(path, CLOUD_SUFFIXES)
    if not found:
        raise am.ArgumentError(f"{path}: expected a folder with clouds, files that end in {', '.join(CLOUD_SUFFIXES)}")
    count = min(len(found), most)
    return [found[i * len(found) // count] for i in range(count)]


def cloud_rows(paths: Sequence[str], recipe: am.points.Recipe, views: int, *, seed: int, epoch: int,
               side: int) -> tuple[list[list[np.ndarray]], list[list[str]]]:
    """Of each file a row of pictures, the cloud and its views, and what is said below them.

    View ``v`` is what a training run with this seed and epoch would see of samples 0 .. B-1. Points keep the colour that they
    have in the file, or that of their height in the cloud; points that were added have one of their own. The views of a row are
    drawn to one scale, so that what changes the size is seen.
    """
    clouds = [am.points.read_cloud(path, key=(seed, i)) for i, path in enumerate(paths)]
    count = torch.tensor([len(points) for points, _ in clouds])
    most = int(count.max())
    points, colors = torch.zeros(len(clouds), most, 3), torch.zeros(len(clouds), most, 3)
    for i, (cloud, attributes) in enumerate(clouds):
        points[i, :len(cloud)] = cloud
        colors[i, :len(cloud)] = _colors(cloud, attributes.get("colors"))
    same = most if bool((count == most).all()) else count
    found = []
    for view in range(views):
        plan = recipe.plan(torch.arange(len(clouds)), count=same, seed=seed, epoch=epoch, view=view)
        out = am.points.render(points, plan, attributes={"colors": colors})
        shown = torch.where((out["origin"] < 0)[..., None], torch.tensor(ADDED, dtype=torch.float32), out["colors"])
        found.append((out["points"].double().numpy(), shown.numpy(), plan.counts.tolist()))
    rows, captions = [], []
    for i, (cloud, _) in enumerate(clouds):
        original = cloud.double().numpy()
        middle, reach = _frame([original])
        rows.append([drawn((original - middle) / reach, colors[i, :len(cloud)].numpy(), side)])
        captions.append([f"{len(cloud):,} points"])
        middle, reach = _frame([p[i, :n[i]] for p, _, n in found])
        for p, color, n in found:
            rows[-1].append(drawn((p[i, :n[i]] - middle) / reach, color[i, :n[i]], side))
            captions[-1].append(f"{n[i]:,} points")
    return rows, captions


def _colors(points: torch.Tensor, given: torch.Tensor | None) -> torch.Tensor:
    """0 to 255, float32 ``[N, 3]``."""
    if given is not None and given.dtype == torch.uint8 and given.shape == points.shape:
        return given.to(torch.float32)
    y = points[:, 1].double()
    share = (y - y.min()) / (y.max() - y.min()).clamp(min=1e-30)
    return torch.from_numpy(by_share(share.numpy()).astype(np.float32))


def _frame(clouds: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    """The middle of some clouds, and the unit in which their farthest point lies at ``SEEN``."""
    every = np.concatenate(clouds)
    middle = (every.min(0) + every.max(0)) / 2
    farthest = float(np.sqrt(((every - middle) ** 2).sum(1).max()))
    return middle, farthest / SEEN or 1.0
