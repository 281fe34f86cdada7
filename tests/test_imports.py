"""The house: which folder may import which. Every import counts, also those inside functions and for type checkers."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import anamorph

ROOT = Path(anamorph.__file__).parent
# From the ground up. A folder imports what stands before it; families stand side by side and import none of each other.
LAYERS = [["anamorph._native"], ["anamorph.core"],
          ["anamorph.images.transforms", "anamorph.points.skeleton", "anamorph.points.transforms"],
          ["anamorph.images", "anamorph.points", "anamorph.features", "anamorph.sequences"],
          ["anamorph.data", "anamorph.training", "anamorph.learned"], ["anamorph"], ["anamorph.bench"], ["anamorph.cli"]]
RANK = {name: i for i, layer in enumerate(LAYERS) for name in layer}


def modules():
    """Every module's name and file."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = ("anamorph", *path.relative_to(ROOT).with_suffix("").parts)
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


FILES = {name: path for name, path in modules() if name != "anamorph.__main__"}  # which is the command, not a module


def home(module):
    """The folder a module belongs to; a package's own page belongs to it."""
    whole = module == "anamorph._native" or FILES[module].name == "__init__.py"
    return module if whole else module.rpartition(".")[0]


def imports(module, path):
    """The modules of anamorph that one names."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(filter(None, (above, node.module)))
            found = [f"{base}.{a.name}" if f"{base}.{a.name}" in {*FILES, "anamorph._native"} else base for a in node.names]
        else:
            continue
        yield from (name for name in found if name in FILES or name == "anamorph._native")


GRAPH = {module: set(imports(module, path)) - {module} for module, path in FILES.items()}

BENCH = Path(__file__).parents[1] / "bench"  # scripts, whose libraries the extra of that name brings as well
PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
# What other libraries a file may import beside those of the base package: those of an extra.
EXTRAS = {"anamorph.points.assign": "points", "anamorph.points.files": "points", "anamorph.data.decode": "pillow",
          "anamorph.data.dali": "dali",
          "anamorph.data.codecs": "dali",
          "anamorph.features.transformation": "demo",
          "anamorph.training.corruptions": "pillow",
          "anamorph.cli.gallery": "bench", "anamorph.cli.gallery_points": "pillow", "anamorph.cli.spheres": "pillow",
          "anamorph.cli.preview": "pillow", "anamorph.cli.replay": "pillow",
          "anamorph.cli.train": "demo",
          "anamorph.bench.report": "bench", "anamorph.bench.work": "bench", "anamorph.bench.peers": "bench"}
PACKAGES = {"PIL": "pillow", "skimage": "scikit-image", "nvidia": "nvidia-dali-cuda130"}
UNASKED = {"anamorph": {"nvidia"}, "anamorph.data.sources": {"PIL"}, "anamorph.bench.rounds": {"cv2"},
           "anamorph.bench._torchvision": {"torchvision"},
           "anamorph.bench.peers": {"nvidia", "triton_augment"}}  # used where they are there


def libraries(path):
    """The libraries of others that a file imports, wherever the import stands; for type checkers alone is not counted."""
    tree = ast.parse(path.read_text())
    unseen = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
              for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) not in unseen and isinstance(node, ast.Import | ast.ImportFrom) and not getattr(node, "level", 0):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
            yield from ({name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"anamorph"})


def packages(needs):
    """The names of what a list of requirements brings, those of other extras of ours included."""
    for need in needs:
        name, inner = re.fullmatch(r"([\w-]+)(?:\[(\w+)\])?.*", need).groups()
        yield from packages(PROJECT["optional-dependencies"][inner]) if name == "anamorph" else [name]


def test_the_graph_is_found():
    """The test of the test: imports of every kind are seen."""
    assert "anamorph.core.errors" in GRAPH["anamorph.images.recipe"]
    assert "anamorph.cli.train" in GRAPH["anamorph.cli.main"]  # inside a function
    assert "anamorph.bench.peers" in GRAPH["anamorph.bench"]  # relative
    assert len(GRAPH) > 30


def test_no_circles():
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path[path.index(module):], module])
        if module not in done:
            path.append(module)
            for other in sorted(GRAPH.get(module, ())):
                visit(other)
            done.add(path.pop())

    for module in GRAPH:
        visit(module)


def test_folders_stand_in_layers():
    for module, others in GRAPH.items():
        here = home(module)
        assert here in RANK, f"{here} has no place in LAYERS"
        for other in others:
            there = home(other)
            assert there == here or RANK[there] < RANK[here], f"{module} imports {other}"


def test_extras_bring_what_is_imported():
    base = {*packages(PROJECT["dependencies"])}
    assert base == {"torch", "numpy"}
    seen = set()
    for module, path in FILES.items():
        allowed = base | {*packages(PROJECT["optional-dependencies"].get(EXTRAS.get(module), []))}
        for library in {*libraries(path)} - UNASKED.get(module, set()):
            assert PACKAGES.get(library, library) in allowed, f"{module} imports {library}"
            seen.add(PACKAGES.get(library, library))
    scripts = {library for path in BENCH.glob("*.py") for library in libraries(path)}
    for extra in {*EXTRAS.values()}:  # and nothing that nothing imports
        assert {*packages(PROJECT["optional-dependencies"][extra])} <= seen | scripts, extra
