"""Renders the templates of our Helm chart where there is no helm: the part of Go's text/template that they use, and nothing more.

What it does not know is an error, never passed over. It is no replacement of helm: `helm template` is asked too where it is installed.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\d+|\$?[A-Za-z0-9_.]*[A-Za-z0-9_]|\$|\.|\(|\)|\||:=|,')


class Refused(Exception):
    """`fail` or `required` of a template."""


class Unknown(Exception):
    """A template that this does not understand."""


def _yaml(value: Any) -> str:
    return str(yaml.safe_dump(value, default_flow_style=False)).rstrip("\n")


def _text(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _required(message: str, value: Any) -> Any:
    if value in (None, ""):
        raise Refused(message)
    return value


def _fail(message: str) -> str:
    raise Refused(message)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = value[key] if isinstance(value, list) else value.get(key)
    return value


def _indent(width: int, text: str) -> str:
    return "\n".join(" " * width + line for line in str(text).split("\n"))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "dict": lambda *pairs: dict(zip(pairs[::2], pairs[1::2], strict=True)),
    "printf": lambda text, *values: text % values,
    "quote": lambda value: json.dumps(_text(value), ensure_ascii=False),
    "indent": _indent,
    "toYaml": _yaml,
    "default": lambda other, value: value or other,
    "required": _required,
    "fail": _fail,
    "index": _index,
    "div": lambda a, b: int(a) // int(b),
    "ne": lambda a, b: a != b,
    "not": lambda value: not value,
    "sha256sum": lambda text: hashlib.sha256(str(text).encode()).hexdigest(),
}


class Chart:
    """A chart's templates with one set of values."""

    def __init__(self, folder: Path, values: dict[str, Any], release: str = "events", **changed: Any) -> None:
        chart = yaml.safe_load((folder / "Chart.yaml").read_text()) | changed
        # as Go names the fields of Chart.yaml
        named = {key[0].upper() + key[1:]: value for key, value in chart.items()}
        merged = _merged(yaml.safe_load((folder / "values.yaml").read_text()), values)
        self.root = {"Values": merged, "Chart": named, "Release": {"Name": release, "Service": "Helm"}}
        self.defined: dict[str, list[Any]] = {}
        self.files = {path.name: _parse(path.read_text()) for path in sorted((folder / "templates").iterdir())}
        for nodes in self.files.values():
            self.defined |= {node[1]: node[2] for node in nodes if node[0] == "define"}

    def render(self) -> dict[str, str]:
        """Each file's text, but for the one that only defines."""
        return {name: self._all(nodes, self.root, {"$": self.root}) for name, nodes in self.files.items() if not name.startswith("_")}

    def objects(self) -> list[dict[str, Any]]:
        """All objects of all files."""
        texts = [text for name, text in self.render().items() if name.endswith(".yaml")]
        return [found for text in texts for found in yaml.safe_load_all(text) if found]

    def _all(self, nodes: list[Any], dot: Any, names: dict[str, Any]) -> str:
        return "".join(self._one(node, dot, names) for node in nodes)

    def _one(self, node: Any, dot: Any, names: dict[str, Any]) -> str:
        kind = node[0]
        if kind == "text":
            return str(node[1])
        if kind == "do":
            return _text(self._value(node[1], dot, names))
        if kind == "if":
            return self._all(node[2], dot, names) if self._value(node[1], dot, names) else ""
        if kind == "range":
            return "".join(self._all(node[3], value, {**names, node[1][0]: key, node[1][1]: value}) for key, value in self._items(node[2], dot, names))
        return ""

    def _items(self, expression: str, dot: Any, names: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
        over = self._value(expression, dot, names)
        yield from sorted(over.items()) if isinstance(over, dict) else enumerate(over)

    def _value(self, expression: str, dot: Any, names: dict[str, Any]) -> Any:
        tokens = TOKEN.findall(expression)
        if "".join(tokens) != re.sub(r'\s+(?=(?:[^"]*"[^"]*")*[^"]*$)', "", expression):
            raise Unknown(expression)
        return self._pipeline(tokens, dot, names)

    def _pipeline(self, tokens: list[str], dot: Any, names: dict[str, Any]) -> Any:
        value, first = None, True
        while tokens:
            words: list[Any] = []
            while tokens and tokens[0] not in ("|", ")"):
                words.append(self._term(tokens, dot, names))
            value = self._call(words, [] if first else [value], dot)
            first = False
            if not tokens or tokens.pop(0) == ")":
                break
        return value

    def _term(self, tokens: list[str], dot: Any, names: dict[str, Any]) -> Any:
        token = tokens.pop(0)
        if token == "(":
            value = self._pipeline(tokens, dot, names)
            return _path(value, tokens.pop(0)) if tokens and re.match(r"\.\w", tokens[0]) else value
        if token.startswith('"'):
            return json.loads(token)
        if token.isdigit():
            return int(token)
        if token.startswith("."):
            return _path(dot, token)
        if token.startswith("$"):
            name, _, rest = token.partition(".")
            return _path(names[name], "." + rest if rest else ".")
        if token == "include":
            return lambda name, at: self._all(self.defined[name], at, {"$": at})
        if token in FUNCTIONS:
            return FUNCTIONS[token]
        raise Unknown(token)

    @staticmethod
    def _call(words: list[Any], piped: list[Any], dot: Any) -> Any:
        if callable(words[0]):
            return words[0](*words[1:], *piped)
        if len(words) > 1 or piped:
            raise Unknown(f"{words} is no function")
        return words[0]


def _path(value: Any, path: str) -> Any:
    for name in [part for part in path.split(".") if part]:
        # a name that is not there is nothing, as in Go; of nothing there is no part
        value = value.get(name)
    return value


def _merged(base: Any, over: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return base | {key: _merged(base.get(key), value) for key, value in over.items()}


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    for found in re.finditer(r"\{\{(-)?(.*?)(-)?\}\}", text, re.DOTALL):
        before = text[at : found.start()]
        yield "text", before.rstrip() if found[1] else before
        yield "action", found[2].strip()
        at = found.end()
        if found[3]:
            at += len(text[at:]) - len(text[at:].lstrip())
    yield "text", text[at:]


def _parse(text: str) -> list[Any]:
    nodes, rest = _block(list(_pieces(text)))
    if rest:
        raise Unknown("an end too many")
    return nodes


def _block(pieces: list[tuple[str, str]]) -> tuple[list[Any], list[tuple[str, str]]]:
    nodes: list[Any] = []
    while pieces:
        kind, content = pieces.pop(0)
        word, _, rest = content.partition(" ")
        if kind == "text":
            nodes.append(("text", content))
        elif content == "end":
            return nodes, [("end", "")]
        elif word in ("if", "define", "range"):
            inner, closed = _block(pieces)
            if not closed:
                raise Unknown(f"{content}: no end")
            nodes.append(_opened(word, rest, inner))
        else:
            nodes.append(("do", content))
    return nodes, []


def _opened(word: str, rest: str, inner: list[Any]) -> Any:
    if word == "if":
        return ("if", rest, inner)
    if word == "define":
        return ("define", json.loads(rest), inner)
    named = re.fullmatch(r"(\$\w+), (\$\w+) := (.*)", rest)
    if not named:
        raise Unknown(f"range {rest}")
    return ("range", (named[1], named[2]), named[3], inner)
