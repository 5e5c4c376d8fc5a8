"""A page of documentation as a list of what a test does with it: the convention stands in docs/README.md.

Refuses a fence that the convention does not know: nothing on a page is passed over in silence.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

# what a block is, by the first word behind its fence
RUN = {"sh", "python", "sql"}
SHOWN = {"text", "deql", "rust", "json", "yaml", "nginx", "ini", "http"}
WORDS = {"background", "not-run"}
DIRECTIVES = {"stop", "kill", "s3"}
FENCE = re.compile(r"^(\s*)```(.*)$")
# fences of another kind, and code by indentation: nothing would look at them
OTHER = re.compile(r"^\s*~~~|^(?: {4}|\t)(?:\$ |strandline |curl |duckdb |pip )")
# a line that somebody would type
COMMAND = re.compile(r"^\s*(?:\$ |(?:\w+=\S+ )*(?:strandline|curl|duckdb|pip|python3?|scripts/\S+|cargo) )")
DIRECTIVE = re.compile(r"^<!-- test: (.*?) -->$")


class Malformed(Exception):
    """A page that the convention does not allow."""


@dataclass
class Block:
    """One fenced block, or a directive, with the output that is expected of it."""

    kind: str
    text: str
    line: int
    words: set[str] = field(default_factory=set)
    settings: dict[str, str] = field(default_factory=dict)
    expected: str | None = None

    @property
    def exit_code(self) -> int:
        """The code that a `sh` block ends with."""
        return int(self.settings.get("exit", "0"))


def _opened(info: str, line: int, path: Path) -> Block:
    kind, *rest = info.split() or [""]
    if kind not in RUN | SHOWN | {"output"}:
        raise Malformed(f"{path}:{line}: a fence of the kind '{kind}': docs/README.md names those that there are")
    words = {word for word in rest if "=" not in word}
    settings = dict(word.split("=", 1) for word in rest if "=" in word)
    if words - WORDS or set(settings) - {"exit", "file", "from"}:
        raise Malformed(f"{path}:{line}: '{info}' says what docs/README.md does not name")
    return Block(kind, "", line, words, settings)


def parse(path: Path) -> list[Block]:
    """The blocks and directives of a page, in its order."""
    found: list[Block] = []
    inside: Block | None = None
    indent = ""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        fence, directive = FENCE.match(line), DIRECTIVE.match(line.strip())
        if inside is not None:
            if fence and not fence[2].strip():
                _close(found, inside, path)
                inside = None
            else:
                inside.text += line.removeprefix(indent) + "\n"
        elif fence:
            indent, inside = fence[1], _opened(fence[2], number, path)
        elif OTHER.match(line):
            raise Malformed(f"{path}:{number}: code that no test runs: put it between ``` and say its kind")
        elif directive:
            if directive[1] not in DIRECTIVES:
                raise Malformed(f"{path}:{number}: a directive '{directive[1]}': there are {sorted(DIRECTIVES)}")
            found.append(Block(directive[1], "", number))
    if inside is not None:
        raise Malformed(f"{path}:{inside.line}: the fence is not closed")
    return found


def shown_commands(block: Block) -> list[str]:
    """Lines of a block that is only shown which somebody would type: they belong into a block that is run."""
    return [line for line in block.text.splitlines() if block.kind in SHOWN - {"rust"} and COMMAND.match(line)]


def _close(found: list[Block], block: Block, path: Path) -> None:
    if block.kind != "output":
        found.append(block)
    elif not found or found[-1].kind not in RUN or found[-1].expected is not None or "not-run" in found[-1].words:
        raise Malformed(f"{path}:{block.line}: an output that no block before it gives")
    else:
        found[-1].expected = block.text
