"""In the place of a submodule of ``_native`` whose functions take their arguments by name, so that tests can tell what is what:
calls go to ``run(name, arguments, what is written, what is changed)``."""


class Natives:
    """``written``: for each function the tensors that it writes whole; ``changed``: those that it reads and writes."""

    def __init__(self, theirs, run, written, changed=(), prepare=None):
        self.theirs, self.run, self.written, self.changed, self.prepare = theirs, run, written, dict(changed), prepare

    def __getattr__(self, name):
        if name not in self.written and not name.startswith("_") and not callable(getattr(self.theirs, name)):
            return getattr(self.theirs, name)  # a number
        if name not in self.written:
            raise AttributeError(f"{name}: the table of what is written has no line for it")

        def call(**given):
            if self.prepare is not None:
                self.prepare(name, given)
            there = [[k for k in names if given[k] is not None] for names in (self.written[name], self.changed.get(name, ()))]
            return self.run(name, given, *there)

        return call
