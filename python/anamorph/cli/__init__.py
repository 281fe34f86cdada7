"""The ``anamorph`` command: ``main`` parses and runs; each other module is one command, or what several share."""
