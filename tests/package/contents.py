"""What a folder of sdist and wheels must hold, and what must not be in them:  contents.py FOLDER"""

import re
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
NEEDED = {"anamorph/__init__.py", "anamorph/py.typed", "anamorph/_native.pyi", "anamorph/images/transforms/color.py"}


def sdist(path: Path) -> set[str]:
    """Check an sdist; the package's files in it."""
    top = f"anamorph-{VERSION}/"
    assert path.name == f"anamorph-{VERSION}.tar.gz", path.name
    with tarfile.open(path) as tar:
        names = tar.getnames()
    assert all(name.startswith(top) for name in names), names
    files = {name.removeprefix(top) for name in names}
    assert {"LICENSE", "README.md", "pyproject.toml", "CMakeLists.txt", "csrc/bindings/module.cpp", "PKG-INFO"} <= files, files
    odd = {f for f in files if f.startswith(("tests", "bench", ".ci", "build", "dist", "out")) or f.endswith((".so", ".pyc"))}
    assert not odd, odd
    package = {f.removeprefix("python/") for f in files if f.startswith("python/")}
    assert package >= NEEDED, NEEDED - package
    return package


def wheel(path: Path, package: set[str]) -> None:
    """Check a wheel: the sdist's package and one native module."""
    assert path.name.startswith(f"anamorph-{VERSION}-cp3"), path.name
    with zipfile.ZipFile(path) as archive:
        files = {name for name in archive.namelist() if not name.startswith(f"anamorph-{VERSION}.dist-info/")}
        metadata = archive.read(f"anamorph-{VERSION}.dist-info/METADATA").decode()
    (native,) = files - package
    assert re.fullmatch(r"anamorph/_native\.cpython-3\d+-\w+-linux-gnu\.so", native), native
    assert package <= files, package - files
    assert f"\nVersion: {VERSION}\n" in metadata, metadata


def main(folder: Path) -> None:
    """Check the sdist and every wheel, those of subfolders too."""
    package = sdist(*folder.glob("*.tar.gz"))
    wheels = sorted(folder.rglob("*.whl"))
    assert wheels, f"no wheel in {folder}"
    for path in wheels:
        wheel(path, package)
        print(f"{path.relative_to(folder)}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
