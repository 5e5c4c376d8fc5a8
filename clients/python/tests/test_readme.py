"""The examples of the README, in its order, against a node as it starts without a statement."""

import re
from pathlib import Path

from conftest import Node

README = Path(__file__).parent.parent / "README.md"
ADDRESS = "http://127.0.0.1:7070"


def test_every_example_runs(local_dev: Node) -> None:
    text = README.read_text()
    blocks = [(match.start(), match[1]) for match in re.finditer(r"```python\n(.*?)```", text, re.DOTALL)]
    assert len(blocks) >= 10 and any(ADDRESS in block for _, block in blocks)
    names: dict[str, object] = {}
    for start, block in blocks:
        # errors name the line of the README
        lines = "\n" * text.count("\n", 0, start + len("```python\n"))
        exec(compile(lines + block.replace(ADDRESS, local_dev.url), str(README), "exec"), names)
