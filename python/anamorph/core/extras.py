"""What an extra brings: where it is missing, one sentence says which."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from anamorph.core.errors import MissingDependencyError


@contextmanager
def extra(name: str, what: str, instead: str = "") -> Iterator[None]:
    """Around the imports of what ``pip install 'anamorph[name]'`` brings and ``what`` needs; ``instead``: another way."""
    try:
        yield
    except ImportError as error:
        if isinstance(error, MissingDependencyError) or (error.name or "").startswith("anamorph"):
            raise  # said already; our own mistake
        raise MissingDependencyError(f"{what} needs an extra: pip install 'anamorph[{name}]'{instead} ({error})") from error
