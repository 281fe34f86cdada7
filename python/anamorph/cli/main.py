"""The ``anamorph`` command: what was built, a look at a recipe, the benchmark, a training run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from anamorph import __version__
from anamorph.cli.arguments import Help, Parser
from anamorph.core.errors import AnamorphError
from anamorph.core.extras import extra


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = Parser(prog="anamorph", description="Batched image augmentation for training.")
    root.add_argument("--version", action="version", version=f"anamorph {__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    commands.add_parser("info", help="what was built and what was found on this machine")

    preview = commands.add_parser("preview", help="a sheet of augmented views of your pictures or point clouds",
                                  formatter_class=Help)
    preview.add_argument("images", nargs="+", metavar="IMAGE", help="a picture or, for an am.points.Recipe, a cloud; or a "
                         "folder, of which some are shown")
    preview.add_argument("--recipe", required=True, metavar="FILE.py:NAME", help="a Recipe, or a function making one")
    preview.add_argument("-o", "--output", default="grid.png", help="the PNG to write, whatever its suffix")
    preview.add_argument("--views", type=int, default=6, help="views per picture or cloud")
    preview.add_argument("--seed", type=int, default=0, help="of the views")
    preview.add_argument("--epoch", type=int, default=0, help="of the views")
    preview.add_argument("--size", type=int, default=192, help="side of a cell of the sheet, in pixels")

    replay = commands.add_parser("replay", help="any view that a training run has seen, bit for bit", formatter_class=Help)
    replay.add_argument("--data", required=True, metavar="SOURCE", help="the run's image folder or tar files")
    replay.add_argument("--recipe", required=True, metavar="FILE.py:NAME", help="a Recipe or views, or a function making them")
    replay.add_argument("--index", type=int, required=True, help="the sample's number in the source")
    replay.add_argument("--seed", type=int, default=0, help="of the run")
    replay.add_argument("--epoch", type=int, default=0, help="of the run")
    replay.add_argument("-o", "--output", default="view.png", help="a .png to look at, or a .pt or .npy with the exact numbers; "
                        "of views one for each, -NAME added to its name")
    replay.add_argument("--batch-size", type=int, metavar="N", help="of the run; for a recipe that mixes or has "
                        "schedules, as the next five")
    replay.add_argument("--shard", default="0/1", metavar="RANK/WORLD", help="of the run")
    replay.add_argument("--in-order", action="store_true", help="the run did not shuffle")
    replay.add_argument("--drop-last", action="store_true", help="the run left out the last incomplete batch")
    replay.add_argument("--no-pad", action="store_true", help="the run gave every sample once, whether ranks were even or not")
    replay.add_argument("--on-error", default="raise", choices=["raise", "skip"], help="of the run")
    replay.add_argument("--decoder", default="auto", choices=["auto", "dali", "pillow"], help="of the run")
    replay.add_argument("--channels", type=int, default=3, choices=[1, 3], help="of the run")
    replay.add_argument("--exif", action="store_true", help="the run turned files as their orientation says")
    replay.add_argument("--device", default="cpu", help="of the run; a GPU decodes and rounds in its own way")

    gallery = commands.add_parser("gallery", help="a picture of what each transform does", formatter_class=Help)
    gallery.add_argument("-o", "--output", default="gallery", metavar="FOLDER", help="where the PNGs go")
    gallery.add_argument("--seed", type=int, default=0, help="of the draws")
    gallery.add_argument("--size", type=int, default=112, help="side of a cell, in pixels")

    # Its options are in cli/bench.py, which imports what the other commands do not need; listed here for the help.
    commands.add_parser("bench", help="time anamorph against its peers", add_help=False)

    train = commands.add_parser("train", help="train a small net with and without augmentation",
                                formatter_class=Help)
    train.add_argument("--data", metavar="FOLDER", help="class subfolders, or train/ and val/ with class "
                       "subfolders, hidden ones left out; without it, 5,000 MNIST digits of which few are labelled")
    train.add_argument("--out", default="out", metavar="FOLDER", help="where gallery, curves and results go")
    train.add_argument("--per-class", type=int, metavar="N", help="training pictures per class; the rest validates "
                       "(default: 20 digits, or 80 %% of a folder that has no train/ and val/)")
    train.add_argument("--epochs", type=int, help="passes over the training pictures (default: 150 for the digits, "
                       "30 for a folder)")
    train.add_argument("--repeats", type=int, default=2, help="independent runs of each kind")
    train.add_argument("--batch-size", type=int, default=50, help="training pictures in a batch")
    train.add_argument("--size", type=int, help="side of the net's input (default: 28 for the digits, 96 for a folder)")
    train.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    train.add_argument("--dtype", default="auto", choices=["auto", "float32", "float16", "bfloat16"],
                       help="of the images and the net's arithmetic; auto: float16 on a GPU, float32 on a CPU")
    train.add_argument("--seed", type=int, default=0, help="of the first run of each kind; every other has the next")
    return root


def info() -> None:
    """Print ``anamorph.info()``, a line for each fact."""
    import anamorph as am

    for name, value in am.info().items():
        print(f"{name.replace('_', ' '):<12}  {shown(value)}")


def shown(value: object) -> str:
    """A value of ``info()`` for people."""
    return {None: "-", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else str(value)


def run(arguments: Sequence[str]) -> int:
    """Run one command; errors come as exceptions."""
    if arguments[:1] == ["bench"]:
        from anamorph.cli import bench

        return bench.main(list(arguments[1:]))

    options = parser().parse_args(arguments)
    if options.command == "info":
        info()
    elif options.command == "preview":
        with extra("pillow", "anamorph preview"):
            from anamorph.cli.preview import preview

        print(preview(options.images, options.recipe, options.output, views=options.views, seed=options.seed,
                      epoch=options.epoch, cell=options.size))
    elif options.command == "replay":
        with extra("pillow", "anamorph replay"):
            from anamorph.cli.replay import replay

        del options.command
        for path, sentence in replay(options.__dict__.pop("data"), options.__dict__.pop("recipe"), **vars(options)):
            print(f"{path}: {sentence}")
    elif options.command == "gallery":
        with extra("bench", "anamorph gallery"):
            from anamorph.cli.gallery import gallery

        print(gallery(options.output, seed=options.seed, cell=options.size))
    elif options.command == "train":
        with extra("demo", "anamorph train"):
            from anamorph.cli.train import main as train

        del options.command
        train(**vars(options))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. A mistake of the user's is one line on stderr and exit code 2, never a traceback."""
    try:
        return run(sys.argv[1:] if arguments is None else arguments)
    except (AnamorphError, OSError) as error:
        return failed(str(error))
    except KeyboardInterrupt:
        return 130


def failed(message: str) -> int:
    """Say what went wrong in one line."""
    print(f"anamorph: error: {' '.join(message.split())}", file=sys.stderr)
    return 2
