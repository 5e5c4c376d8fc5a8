"""Whether what was printed is what a page shows.

`...` within a line stands for any text of that line, a line that is only `...` for any lines (none, too). Blanks at the end
of lines do not count. Everything else does.
"""

import re


def _line(shown: str) -> str:
    return ".*".join(re.escape(part) for part in shown.rstrip().split("..."))


def pattern(expected: str) -> re.Pattern[str]:
    """What a page shows, as an expression that the whole of an output must match."""
    lines = expected.rstrip("\n").split("\n")
    parts = [r"(?:.*\n)*" if line.strip() == "..." else _line(line) + r"\n" for line in lines]
    return re.compile("".join(parts))


def same(expected: str, printed: str) -> bool:
    """Whether an output is what is expected."""
    cleaned = "".join(line.rstrip() + "\n" for line in printed.rstrip("\n").split("\n"))
    return pattern(expected).fullmatch(cleaned) is not None
