"""Runs pages of documentation, block by block, against the program under test.

    pages.py PROGRAM [PAGE...]       without pages: all of docs/
"""

import re
import signal
import sys
import tempfile
import time
from pathlib import Path

import blocks
import compare
from blocks import Block, Malformed
from world import ROOT, Failed, World

DOCS = ROOT / "docs"
# compaction.schedule, if a statement says nothing
TICK_S = 300
# what a `sh not-run` block may call: tools that build, install or need a machine of their own; never the program itself
NOT_RUN = {"cargo", "sudo", "systemctl", "docker", "helm", "kubectl", "pip", "scripts/test", "scripts/cluster", "scripts/package", "scripts/python-package"}


def _fail(where: str, what: str, block: Block, printed: str = "") -> None:
    shown = f"\n--- the page shows\n{block.expected}" if block.expected is not None else ""
    raise Failed(f"{where}: {what}\n--- block\n{block.text}{shown}\n--- printed\n{printed}")


def _not_run(block: Block, where: str) -> None:
    for line in re.sub(r"\\\n", " ", block.text).splitlines():
        words = line.split("#")[0].split()
        if words and words[0] not in NOT_RUN:
            _fail(where, f"`{words[0]}` must be run: not-run is for {sorted(NOT_RUN)}", block)


def _statement(block: Block, world: World, where: str) -> None:
    """A statement that is shown is one that the program takes."""
    file = world.home / block.settings.get("file", "shown.deql")
    file.write_text(world.here(block.text))
    code, printed = world.shell(f"strandline check '{file}'")
    if code != block.exit_code:
        _fail(where, f"`strandline check` ends with {code}", block, printed)


def _excerpt(block: Block, where: str) -> None:
    """Rust is compiled where it comes from: a page shows lines of that file, as they stand there one after another."""
    source = ROOT / block.settings.get("from", "")
    if not source.is_file():
        _fail(where, "a rust block says from=FILE, which a test compiles", block)
    hidden = re.compile(r"^(//[/!] ?)?(# .*|#)?$")
    lines = [re.sub(r"^\s*//[/!] ?", "", line).strip() for line in source.read_text().splitlines() if not hidden.match(line.strip())]
    wanted = [line.strip() for line in block.text.splitlines() if line.strip()]
    if not any(lines[at : at + len(wanted)] == wanted for at in range(len(lines))):
        _fail(where, f"these lines do not stand in {source.relative_to(ROOT)}", block)


def _is_statement(block: Block) -> bool:
    return re.match(r"\s*(--.*\n\s*)*CREATE\s+(OR\s+REPLACE\s+)?EVENTSTORE", block.text, re.IGNORECASE) is not None


def run_block(block: Block, world: World, where: str) -> None:
    """Does what a block says, and looks at what comes of it."""
    if lines := blocks.shown_commands(block):
        _fail(where, f"`{lines[0]}` is shown and never run: make it a block of the kind sh", block)
    elif block.kind in ("stop", "kill"):
        world.stop(signal.SIGTERM if block.kind == "stop" else signal.SIGKILL)
    elif block.kind == "s3":
        world.serve_s3()
    elif "not-run" in block.words:
        _not_run(block, where)
    elif block.kind == "rust":
        _excerpt(block, where)
    elif block.kind == "deql" or (block.kind == "sql" and _is_statement(block)):
        _statement(block, world, where)
    elif "file" in block.settings:
        (world.home / block.settings["file"]).write_text(world.here(block.text))
    elif block.kind in blocks.RUN:
        _run(block, world, where)


def _run(block: Block, world: World, where: str) -> None:
    try:
        if "background" in block.words:
            code, printed, error = 0, world.start(block.text), None
        elif block.kind == "sh":
            # who shows no output takes it that a request is answered with yes
            (code, printed), error = world.shell(block.text, strict=block.expected is None), None
        else:
            (printed, error), code = world.evaluate(block.kind, block.text, where), 0
    except Failed as failed:
        _fail(where, str(failed), block)
        return
    if error is not None:
        _fail(where, "an error", block, printed + error)
    if block.kind == "sh" and code != block.exit_code:
        _fail(where, f"it ended with {code}, the page says {block.exit_code}", block, printed)
    if block.expected is not None and not compare.same(world.here(block.expected), printed):
        _fail(where, "something else was printed", block, printed)


def run_page(page: Path, program: Path) -> int:
    """How many blocks of a page were run."""
    found = blocks.parse(page)
    # short: paths of folders stand in tables that a page shows
    with tempfile.TemporaryDirectory(prefix="page") as folder:
        world = World(Path(folder), program)
        try:
            for block in found:
                run_block(block, world, f"{page.relative_to(ROOT)}:{block.line}")
            world.stop()
        finally:
            world.close()
    return sum(block.kind in blocks.RUN and "not-run" not in block.words for block in found)


def run_twice_at_a_tick(page: Path, program: Path) -> int:
    """`run_page`, once more if it failed while a tick of the default schedule fell into it: what a page shows of compaction is what it did itself."""
    began = time.time()
    try:
        return run_page(page, program)
    except Failed:
        if began // TICK_S == time.time() // TICK_S:
            raise
    return run_page(page, program)


def main() -> int:
    program = Path(sys.argv[1]).resolve()
    pages = [Path(name).resolve() for name in sys.argv[2:]] or sorted(DOCS.glob("*.md"))
    failed = 0
    for page in pages:
        try:
            print(f"{page.relative_to(ROOT)}: {run_twice_at_a_tick(page, program)} blocks run", flush=True)
        except (Failed, Malformed) as error:
            failed += 1
            print(f"FAILED {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
