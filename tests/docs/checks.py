"""What pages say about the program beside what they show running: links, commands and options, metrics, the order of the book.

    checks.py PROGRAM
"""

import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from world import ROOT, World

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
LINKED = [*PAGES, ROOT / "README.md", ROOT / "cluster/deploy/README.md"]
METRIC = re.compile(r"strandline_[a-z0-9_]+")
# where commands are typed, and what is found in the one place alone
PLACES = re.compile(r"clone of the repository|[Ii]n an empty folder")
OF_CLONE = re.compile(r"""(?:^|[\s'"=])(?:\./)?((?:samples|stores|clients|scripts)/[\w.-]+)""")
# labels that Prometheus gives to whatever it asks: one of ours under such a name would be called `exported_...`
OF_PROMETHEUS = {"job", "instance"}


def without_fences(text: str) -> str:
    """What is said, not shown."""
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The names that the headings of a page can be linked by."""
    headings = re.findall(r"^#+ (.*)$", without_fences(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(pages: list[Path], top: Path) -> list[str]:
    """Each link leads to a file below `top`, and to a heading in it."""
    findings = []
    for page in pages:
        for target in re.findall(r"\]\(([^)\s]+)\)", without_fences(page.read_text())):
            if "://" in target:
                continue
            name, _, anchor = target.partition("#")
            found = (page.parent / name).resolve() if name else page
            if not found.exists() or not found.is_relative_to(top):
                findings.append(f"{page.relative_to(top)} links to {target}, which is not there")
            elif anchor and anchor not in anchors(found):
                findings.append(f"{page.relative_to(top)} links to {target}: no such heading")
    return findings


def order() -> list[str]:
    """Every page stands in the index and in the book."""
    findings = []
    for index in ("README.md", "SUMMARY.md"):
        text = (DOCS / index).read_text()
        missing = [page.name for page in PAGES if page.name not in ("README.md", "SUMMARY.md") and f"({page.name})" not in text]
        findings += [f"docs/{index} does not name {name}" for name in missing]
    return findings


def lost(page: Path) -> list[str]:
    """Commands that name folders of the repository which a page does not send its reader to."""
    findings: list[str] = []
    kind, in_clone = "", False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        # the last place that it names counts
        for place in PLACES.findall(line):
            in_clone = place.startswith("clone")
        if fence := re.match(r"\s*```(\w*)", line):
            kind = "" if kind else fence[1]
        elif kind == "sh" and not in_clone and (named := OF_CLONE.search(line)):
            findings.append(f"{page.name}:{number}: `{named[1]}` is there in a clone of the repository: say before it to go there")
    return findings


class Commands:
    """The commands of the program and their options, as it says them itself."""

    def __init__(self, program: Path) -> None:
        self.program = program
        self.known: dict[str, set[str]] = {}
        for name, told in self._listed(()):
            if "not served" not in told:
                self.known[name] = self._options((name,))
                for inner, _ in self._listed((name,)):
                    self.known[f"{name} {inner}"] = self._options((name, inner))

    def _help(self, command: tuple[str, ...]) -> str:
        return subprocess.run([self.program, *command, "--help"], capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "300"}).stdout

    def _listed(self, command: tuple[str, ...]) -> list[tuple[str, str]]:
        section = re.search(r"^Commands:\n(.*?)\n\n", self._help(command), re.MULTILINE | re.DOTALL)
        rows = re.findall(r"^  ([a-z][a-z-]*)  +(.*)$", section[1], re.MULTILINE) if section else []
        return [(name, told) for name, told in rows if name != "help"]

    def _options(self, command: tuple[str, ...]) -> set[str]:
        return set(re.findall(r"--[a-z][a-z-]*", self._help(command))) | {"--help", "--version"}

    def findings(self, page: Path) -> list[str]:
        """Inline commands that there are not, and options that they do not have."""
        found = []
        for code in re.findall(r"`strandline ([a-z][^`]*)`", without_fences(page.read_text())):
            words = code.split()
            two = " ".join(words[:2])
            name = two if two in self.known else words[0]
            options = {word.split("=")[0] for word in words if word.startswith("--")}
            if name not in self.known:
                found.append(f"{page.relative_to(ROOT)} names `strandline {code}`: there is no such command")
            elif options - self.known[name]:
                found.append(f"{page.relative_to(ROOT)} names `strandline {code}`: no option {sorted(options - self.known[name])}")
        for code in re.findall(r"`serve (--[a-z-]+)", page.read_text()):
            if code not in self.known["serve"]:
                found.append(f"{page.relative_to(ROOT)} names `serve {code}`: there is no such option")
        return found

    def table(self) -> list[str]:
        """The table of docs/cli.md holds each command."""
        text = (DOCS / "cli.md").read_text()
        tops = {name for name in self.known if not any(other.startswith(name + " ") for other in self.known)}
        return [f"docs/cli.md has no row of `strandline {name}`" for name in sorted(tops) if f"`strandline {name}`" not in text]


def console() -> list[str]:
    """docs/console.md has a row of each view."""
    sources = (ROOT / "cluster/server/src/console").glob("view-*.js")
    views = [title for source in sources for title in re.findall(r'^  title: "(.+)",$', source.read_text(), re.MULTILINE)]
    text = (DOCS / "console.md").read_text()
    return [f"docs/console.md has no row of the view {view}" for view in views if f"| {view} |" not in text] + ([] if views else ["the console has moved"])


def _table(text: str, head: str) -> list[list[str]]:
    """The rows of the table whose head begins like this."""
    rows = text[text.index(head) :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if not row.startswith("|---") and not row.startswith("| ---")]


def _figure(cell: str) -> float | None:
    found = re.match(r"([\d.,]+) ?(M/s|)", cell)
    return float(found[1].replace(",", "")) * (1e6 if found[2] else 1) if found else None


def comparison() -> list[str]:
    """docs/what-it-is.md says of each engine what benches/RESULTS.md measured."""
    heads, *measured = _table((ROOT / "benches/RESULTS.md").read_text(), "|  | Redis | PostgreSQL |")
    results = {row[0]: dict(zip(heads[1:], (_figure(cell) for cell in row[1:]), strict=True)) for row in measured}
    findings = []
    for workload, ahead, behind in _table((DOCS / "what-it-is.md").read_text(), "| workload | ahead of | behind |")[1:]:
        figures = results.get(workload, {})
        ours = figures.get("Strandline native") or figures.get("Strandline HTTP")
        if ours is None:
            findings.append(f"docs/what-it-is.md: benches/RESULTS.md has no workload '{workload}'")
            continue
        more_is_better = not re.search("p50|p99|bytes", workload)
        others = {name: figure for name, figure in figures.items() if figure is not None and name in ("Redis", "PostgreSQL", "JetStream", "UmaDB")}
        led = {name for name, figure in others.items() if (ours > figure) == more_is_better}
        for said, meant, words in ((ahead, led, "ahead of"), (behind, set(others) - led, "behind")):
            if set(filter(None, said.split(", "))) != meant:
                findings.append(f"docs/what-it-is.md, {workload}: {words} {said or 'nobody'}, but RESULTS.md says {sorted(meant)}")
    return findings


def metrics_text(world: World, start: str = "strandline serve") -> str:
    """What a running node tells Prometheus."""
    world.start(start)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(world.here("http://127.0.0.1:7070/metrics")) as answer:
        text = answer.read().decode()
    world.stop()
    return str(text)


def kinds(text: str) -> dict[str, str]:
    """The metrics of such a text and their kinds."""
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


def base(name: str) -> str:
    """The metric that a series belongs to, of a histogram too."""
    return re.sub(r"_(bucket|sum|count)$", "", name)


def labels(text: str) -> dict[str, set[str]]:
    """The labels of each metric that has a series, but for the bounds of buckets."""
    found: dict[str, set[str]] = {}
    for name, inner in re.findall(r"^(strandline_\w+)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
        found.setdefault(base(name), set()).update(set(re.findall(r'(\w+)="', inner)) - {"le"})
    return found


def documented_labels() -> dict[str, set[str]]:
    """The labels of each metric as docs/metrics.md says them."""
    rows = re.findall(r"^\| `(strandline_[a-z0-9_]+)` \| \w+(?:, by ([^|]+))? \|", (DOCS / "metrics.md").read_text(), re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", by)) for name, by in rows}


def labelled(text: str) -> list[str]:
    """docs/metrics.md says the labels that a node tells."""
    said = documented_labels()
    told = {name: of for name, of in labels(text).items() if name in said}
    return [f"docs/metrics.md: {name} is by {sorted(of)}, not by {sorted(said[name])}" for name, of in told.items() if of != said[name]]


def conventions(text: str) -> list[str]:
    """Names as Prometheus wants them, so that who reads one knows its kind and its unit; each is explained."""
    helped = set(re.findall(r"^# HELP (\S+) \S", text, re.MULTILINE))
    findings = []
    for name, kind in kinds(text).items():
        if not name.startswith("strandline_"):
            findings.append(f"{name}: names begin with strandline_")
        if name not in helped:
            findings.append(f"{name}: no HELP")
        if kind == "counter" and not name.endswith("_total"):
            findings.append(f"{name}: a counter ends with _total")
        if kind != "counter" and name.endswith("_total"):
            findings.append(f"{name}: only a counter ends with _total")
        if re.search(r"_(ms|us|millis|micros|milliseconds|microseconds|minutes|hours|kb|mb|kilobytes|megabytes)(_|$)", name):
            findings.append(f"{name}: units are _seconds and _bytes")
        if taken := labels(text).get(name, set()) & OF_PROMETHEUS:
            findings.append(f"{name}: the label {', '.join(taken)} is Prometheus' own")
    return findings


def metrics(told: dict[str, str]) -> list[str]:
    """docs/metrics.md holds each metric of a node with its kind, and no other."""
    rows = dict(re.findall(r"^\| `(strandline_[a-z0-9_]+)` \| (counter|gauge|histogram)", (DOCS / "metrics.md").read_text(), re.MULTILINE))
    missing = [f"docs/metrics.md has no row of {name} ({kind}): add one that says what it means" for name, kind in told.items() if name not in rows]
    wrong = [f"docs/metrics.md: {name} is {told[name]}, not {kind}" for name, kind in rows.items() if name in told and told[name] != kind]
    gone = [f"docs/metrics.md names {name}, which a node does not tell" for name in rows if name not in told]
    return missing + wrong + gone


def main() -> int:
    program = Path(sys.argv[1]).resolve()
    commands = Commands(program)
    findings = links(LINKED, ROOT) + order() + console() + comparison() + commands.table() + [found for page in LINKED for found in commands.findings(page)]
    findings += [found for page in [*PAGES, ROOT / "README.md"] for found in lost(page)]
    with tempfile.TemporaryDirectory(prefix="page") as folder:
        world = World(Path(folder), program)
        try:
            text = metrics_text(world)
            findings += conventions(text) + metrics(kinds(text)) + labelled(text)
            # a node alone has no series of a cluster
            findings += labelled(metrics_text(world, "strandline serve --data-dir n1 --node-id 1 --cluster 127.0.0.1:7072"))
        finally:
            world.close()
    print("\n".join(f"FAILED {finding}" for finding in findings) or f"{len(LINKED)} pages: links, commands and metrics are there")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
