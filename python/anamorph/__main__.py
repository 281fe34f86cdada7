"""``python -m anamorph`` is the ``anamorph`` command."""

from anamorph.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
