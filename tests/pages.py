"""The code of the pages in docs/."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def run(name, names=None):
    """Runs a page's blocks of Python as they stand, one after the other; yields what is named after each. A page has no other
    blocks between fences."""
    page, names = (DOCS / f"{name}.md").read_text(), {} if names is None else names
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(blocks) == page.count("```") // 2
    for block in blocks:
        exec(block, names)
        yield names
