"""The runner can fail: pages that do not do what they say are found, each for its reason.

    test_runner.py PROGRAM
"""

import sys
import tempfile
import unittest
from pathlib import Path

import blocks
import checks
import compare
import deploy
import pages
from blocks import Malformed
from world import ROOT, Failed, World

PROGRAM = Path(sys.argv[1]).resolve()


def tried(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.md"
        page.write_text(text)
        world = World(Path(folder), PROGRAM)
        try:
            for block in blocks.parse(page):
                pages.run_block(block, world, "page")
            world.stop()
        finally:
            world.close()


class Compared(unittest.TestCase):
    def test_what_is_shown_must_be_printed(self) -> None:
        self.assertTrue(compare.same("a\nb\n", "a  \nb\n"))
        self.assertFalse(compare.same("a\nb\n", "a\n"))
        self.assertFalse(compare.same("a\n", "a\nb\n"))
        self.assertFalse(compare.same("a.c\n", "abc\n"))

    def test_dots_stand_for_what_changes(self) -> None:
        self.assertTrue(compare.same("id ... seq 1\n", "id 77 seq 1\n"))
        self.assertFalse(compare.same("id ... seq 1\n", "id 77\nseq 1\n"))
        self.assertTrue(compare.same("a\n...\nb\n", "a\nx\ny\nb\n"))
        self.assertTrue(compare.same("a\n...\nb\n", "a\nb\n"))
        self.assertFalse(compare.same("a\n...\nb\n", "a\nx\n"))


class Passed(unittest.TestCase):
    def test_nothing_is_passed_over(self) -> None:
        for text in ("~~~sh\nstrandline status\n~~~\n", "Then:\n\n    strandline status\n", "- so\n\n    $ true\n"):
            with self.assertRaises(Malformed):
                tried(text)
        for text in ("```text\n$ strandline status\n```\n", "```yaml\nA=1 curl localhost\n```\n", "```text\nstrandline status\n```\n"):
            with self.assertRaises(Failed):
                tried(text)
        tried("```text\nthe program strandline says\n    curl\n```\n\n    curled\n")


class Charts(unittest.TestCase):
    def test_a_value_that_is_not_there_and_one_that_nobody_names(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            chart = Path(folder)
            (chart / "templates").mkdir()
            (chart / "values.yaml").write_text("image: {tag: x, pull: y}\nnodes: 3\nnobody: 1\nlabels: {}\n")
            template = chart / "templates/node.yaml"
            template.write_text("{{ .root.Values.image.tag }} {{ toYaml .Values.image }} {{ .Values.nodes }} {{ .Values.labels }} {{ .Values.node }}")
            findings = list(deploy.values(chart))
            self.assertEqual(findings, ["templates name .Values.node, which values.yaml has not", "values.yaml has .nobody, which no template names"])


class Places(unittest.TestCase):
    def test_a_file_of_a_clone_that_the_reader_is_not_in(self) -> None:
        load = "```sh\nstrandline ingest samples/a.ndjson\n```\n"
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "page.md"
            for text, found in (
                (load, 1),
                ("In a clone of the repository:\n" + load, 0),
                ("In a clone of the repository, then in an empty folder:\n" + load, 1),
                ("```sh not-run\npip install './clients/python[x]'      # in a clone of the repository\n```\n", 0),
                ("`samples/a.ndjson` lies there\n```sh\ncurl localhost:7070/v1/stores/orders/scan\n```\n", 0),
                ("```text\nsamples/a.ndjson\n```\n" + load, 1),
            ):
                page.write_text(text)
                self.assertEqual(len(checks.lost(page)), found, text)


class Metrics(unittest.TestCase):
    def test_names_that_break_the_conventions(self) -> None:
        holds = "# HELP strandline_events_total Stored.\n# TYPE strandline_events_total counter\n# HELP strandline_append_seconds Time.\n# TYPE strandline_append_seconds histogram\n"
        self.assertEqual(checks.conventions(holds), [])
        for text, why in (
            ("# HELP strandline_events Stored.\n# TYPE strandline_events counter\n", "a counter ends with _total"),
            ("# HELP strandline_tiers_total Now.\n# TYPE strandline_tiers_total gauge\n", "only a counter ends with _total"),
            ("# HELP strandline_append_ms Time.\n# TYPE strandline_append_ms histogram\n", "_seconds"),
            ("# TYPE strandline_files gauge\n", "no HELP"),
            ("# HELP other_files Files.\n# TYPE other_files gauge\n", "strandline_"),
            ('# HELP strandline_files Files.\n# TYPE strandline_files gauge\nstrandline_files{store="s",job="merge"} 1\n', "job"),
        ):
            self.assertEqual(len(checks.conventions(text)), 1, text)
            self.assertIn(why, checks.conventions(text)[0])

    def test_an_expression_that_chooses_by_what_a_metric_has_not(self) -> None:
        self.assertEqual(deploy.strange('sum by (tier, le) (rate(strandline_read_seconds_bucket{store=~"$store",tier!="wal"}[5m]))'), [])
        self.assertEqual(deploy.strange('strandline_read_seconds_count{level="wal"}'), ["strandline_read_seconds has no label level"])
        self.assertEqual(deploy.strange("sum by (instance, phase) (strandline_tier_events)"), ["no metric of it has a label phase"])


class Tried(unittest.TestCase):
    def fails(self, text: str, why: str) -> None:
        with self.assertRaises((Failed, Malformed)) as caught:
            tried(text)
        self.assertIn(why, str(caught.exception))

    def test_what_holds_passes(self) -> None:
        tried("```sh\necho 7070 is replaced, $((1 + 1))\n```\n```output\n7070 is replaced, 2\n```\n")
        tried("```python\nx = 1\n```\nthen\n```python\nprint(x + 1)\n```\n```output\n2\n```\n")
        tried("```sql\nSELECT 7 AS n\n```\n```output\n...\n│ ...7 │\n└...┘\n```\n")
        tried("```sh exit=1\nfalse\n```\n")
        tried("```sh background\nstrandline serve\n```\n```sh\ncurl -s localhost:7070/health\n```\n```output\n{\"status\":\"ok\"}\n```\n<!-- test: stop -->\n")

    def test_a_command_that_fails(self) -> None:
        self.fails("```sh\nfalse\n```\n", "it ended with 1")
        self.fails("```sh\nfalse | cat\n```\n", "it ended with 1")
        self.fails("```sh exit=1\ntrue\n```\n", "it ended with 0")
        self.fails("```python\n1 / 0\n```\n", "ZeroDivisionError")
        self.fails("```sql\nSELECT nothing\n```\n", "nothing")

    def test_a_program_that_a_clean_machine_has_not(self) -> None:
        tried("```sh\npython3 -c 'print(1)'\n```\n```output\n1\n```\n")
        self.fails("```sh\npython -c 'print(1)'\n```\n", "it ended with 127")

    def test_a_request_that_is_refused(self) -> None:
        serve = "```sh background\nstrandline serve\n```\n"
        self.fails(serve + "```sh\ncurl -s localhost:7070/v1/stores/nobody\n```\n", "it ended with 22")
        tried(serve + "```sh\ncurl -s localhost:7070/v1/stores/nobody\n```\n```output\n...not_found...\n```\n")

    def test_an_output_that_differs(self) -> None:
        self.fails("```sh\necho a\n```\n```output\nb\n```\n", "something else was printed")
        self.fails("```python\nprint(1)\n```\n```output\n2\n```\n", "something else was printed")

    def test_a_node_that_does_not_start(self) -> None:
        self.fails("```sh background\nstrandline serve --no-such-option\n```\n", "no line `ready`")

    def test_a_statement_that_is_refused(self) -> None:
        self.fails("```sql\nCREATE EVENTSTORE x WITH (durable.kind = 1);\n```\n", "`strandline check` ends with 2")

    def test_rust_that_nothing_compiles(self) -> None:
        self.fails("```rust\nlet x = 1;\n```\n", "from=FILE")
        self.fails("```rust from=crates/client/src/lib.rs\nlet nowhere = 1;\n```\n", "do not stand in")

    def test_what_the_convention_does_not_know(self) -> None:
        self.fails("```bash\ntrue\n```\n", "a fence of the kind 'bash'")
        self.fails("```sh later\ntrue\n```\n", "does not name")
        self.fails("```sh\ntrue\n", "not closed")
        self.fails("```output\na\n```\n", "an output that no block before it gives")
        self.fails("```sh not-run\nstrandline status\n```\n", "must be run")
        self.fails("<!-- test: sleep -->\n", "a directive")

    def test_every_page_has_a_fence_that_is_run(self) -> None:
        # a page without any would pass whatever it says; these only explain
        silent = {page.name for page in (ROOT / "docs").glob("*.md") if not any(b.kind in blocks.RUN for b in blocks.parse(page))}
        self.assertLessEqual(silent, {"SUMMARY.md", "README.md", "limits.md", "what-it-is.md", "metrics.md", "how-it-works.md", "threat-model.md"})


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=1)
