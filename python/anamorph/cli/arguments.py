"""What the commands share: parsers whose mistakes are one line, and files to write that are tried first."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from anamorph.core.errors import ArgumentError


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults where there are some; None stands for what the text says."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """Mistakes are the package's own error, which ``main`` prints in one line."""

    def error(self, message: str) -> NoReturn:
        command = self.prog.removeprefix("anamorph").strip()
        raise ArgumentError(f"{command}: {message}" if command else message)


def output_file(option: str, name: str) -> Path:
    """The file to write, its folders made; tried before the work is done that would be lost."""
    path = Path(name)
    try:
        if not name or name.endswith("/") or path.is_dir():
            raise ArgumentError(f"{option}: expected a file to write, given {f'the folder {name}' if name else repr(name)}")
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        path.open("ab").close()
        if new:
            path.unlink()
    except OSError as error:
        raise ArgumentError(f"{option}: expected a file that can be written, given {name} ({error.strerror})") from error
    return path
