"""Prompts and searches inside test specifications of TypeScript and JavaScript, found by a parser of these languages.

A string is a prompt or a search by the name it has: of its variable, of its key, or of the function it is given to.
Nothing is run: a string that only running would tell (a call, a value from elsewhere) is left out and counted.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tree_sitter_javascript
import tree_sitter_typescript
from tree_sitter import Language, Node, Parser

from corpus.check import words
from corpus.seed.cases import Found, Source
from corpus.server.texts import is_french
from errors import CorpusError

_LANGUAGES = {
    **dict.fromkeys((".ts", ".mts", ".cts"), Language(tree_sitter_typescript.language_typescript())),
    **dict.fromkeys((".tsx",), Language(tree_sitter_typescript.language_tsx())),
    **dict.fromkeys((".js", ".jsx", ".mjs", ".cjs"), Language(tree_sitter_javascript.language())),
}
_SPEC = re.compile(r"\.(?:spec|test|e2e|cy)\.[cm]?[jt]sx?$")
_SEARCHES = re.compile(r"search|recherche|requ[eê]te|query", re.IGNORECASE)
_PROMPTS = re.compile(r"prompt|message|question|[ée]nonc[ée]|saisie|case_?text|cas\b", re.IGNORECASE)
_TYPING = frozenset("fill type pressSequentially insertText setValue sendMessage ask submit search".split())
_EXPECTED = frozenset("attendu expected target cible".split())
LEAST_WORDS: Mapping[Source, int] = {"spec": 8, "search": 2}  # a shorter one is a label or a greeting
_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0", "\n": ""}


@dataclass
class Read:
    """What a tree of specifications holds.

    Attributes:
        found: Prompts and searches.
        files: How many specifications were read.
        unread: Places of strings that only running would tell.
        damaged: Files that are not quite of their language; what could be read of them is in `found`.
    """

    found: list[Found] = field(default_factory=list)
    files: int = 0
    unread: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def read_specs(place: Path) -> Read:
    """Read a specification, or every one under a folder, by path.

    Raises:
        CorpusError: There is no such place, or a file is of no known language or not of UTF-8.
    """
    if place.is_file():
        if place.suffix not in _LANGUAGES:
            raise CorpusError(f"{place}: expected one of {', '.join(_LANGUAGES)}.")
        paths, root = [place], place.parent
    elif place.is_dir():
        skipped = {"node_modules", "dist", "build"}
        paths = [path for path in sorted(place.rglob("*")) if _SPEC.search(path.name) and not skipped & set(path.parts)]
        root = place
    else:
        raise CorpusError(f"{place}: no such file or folder; pass test specifications.")
    read = Read(files=len(paths))
    for path in paths:
        content = path.read_bytes()
        try:
            content.decode()
        except UnicodeDecodeError as error:
            raise CorpusError(f"{path}: byte {error.start} is not UTF-8; save it so.") from None
        tree = Parser(_LANGUAGES[path.suffix]).parse(content)
        name = str(path.relative_to(root))
        if tree.root_node.has_error:
            read.damaged.append(name)
        _Spec(name, read).walk(tree.root_node)
    return read


class _Spec:
    """One file on its way through."""

    def __init__(self, name: str, read: Read) -> None:
        self._name, self._read = name, read
        self._strings: dict[str, str] = {}  # constants that are told as they are

    def walk(self, node: Node) -> None:
        """Look at every statement, in order, so that constants are known before their use."""
        named = _named(node)
        if named is not None:
            name, value = named
            if node.type == "variable_declarator" and (text := self._text(value)) is not None:
                self._strings[name] = text
            self._take(value, _kind(name), node)
        elif node.type == "call_expression":
            self._call(node)
        for child in node.children:
            self.walk(child)

    def _call(self, node: Node) -> None:
        function, arguments = node.child_by_field_name("function"), node.child_by_field_name("arguments")
        if function is None or arguments is None:
            return
        called = _source(function)
        method = called.rpartition(".")[2]
        if method not in _TYPING:
            return
        kind: Source = "search" if _SEARCHES.search(called) else "spec"
        for argument in arguments.named_children:
            if argument.type != "identifier":  # its own declaration was taken, if its name says so
                self._take(argument, kind, None)

    def _take(self, value: Node, kind: Source | None, owner: Node | None) -> None:
        """Keep the strings of a value that is a prompt or a search."""
        if kind is None:
            return
        if value.type in ("as_expression", "satisfies_expression", "parenthesized_expression"):
            self._take(value.named_children[0], kind, owner)
            return
        if value.type == "array":
            for inner in value.named_children:
                self._take(inner, kind, None)
            return
        if value.type not in ("string", "template_string", "binary_expression"):
            return
        where = f"{self._name}:{value.start_point[0] + 1}"
        text = self._text(value)
        if text is None:
            self._read.unread.append(where)
            return
        said = re.sub(r"[ \t]*\n[ \t]*", "\n", text).strip()  # a template's indentation is the file's, not the text's
        if len(words(said)) < LEAST_WORDS[kind] or (kind == "spec" and not is_french(said)):
            return
        dimensions, target = self._beside(owner)
        self._read.found.append(Found(kind, where, said, dimensions, target))

    def _beside(self, owner: Node | None) -> tuple[dict[str, str], dict[str, Any] | None]:
        """Return the dimensions and the expected object that stand in the same object literal."""
        dimensions: dict[str, str] = {}
        target = None
        for pair in owner.parent.named_children if owner and owner.type == "pair" and owner.parent else []:
            named = _named(pair)
            if named is None:
                continue
            if named[0] == "dimensions" and isinstance(told := self._literal(named[1]), dict):
                dimensions = {str(key): str(level) for key, level in told.items()}
            if named[0] in _EXPECTED and isinstance(told := self._literal(named[1]), dict):
                target = told
        return dimensions, target

    def _text(self, node: Node) -> str | None:
        """Return the string that an expression is, None where only running would tell."""
        if node.type == "identifier":
            return self._strings.get(_source(node))
        if node.type in ("parenthesized_expression", "as_expression", "satisfies_expression"):
            return self._text(node.named_children[0])
        if node.type == "binary_expression":
            sides = [self._text(node.named_children[0]), self._text(node.named_children[-1])]
            plus = node.child_by_field_name("operator")
            return None if None in sides or plus is None or plus.type != "+" else f"{sides[0]}{sides[1]}"
        if node.type not in ("string", "template_string"):
            return None
        return self._joined(node)

    def _joined(self, node: Node) -> str | None:
        parts = []
        for child in node.named_children:
            if child.type == "template_substitution":
                part = self._text(child.named_children[0])
                if part is None:
                    return None
                parts.append(part)
            else:
                parts.append(_unescaped(_source(child)) if child.type == "escape_sequence" else _source(child))
        # An emoji may be written as two escapes, which are one character together.
        return "".join(parts).encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def _literal(self, node: Node) -> Any:
        """Return the value of a literal; None where it is none, which no target holds."""
        if node.type == "object":
            pairs = [_named(child) for child in node.named_children if child.type != "comment"]
            if any(pair is None for pair in pairs):
                return None
            told = {pair[0]: self._literal(pair[1]) for pair in pairs if pair is not None}
            return None if None in told.values() else told
        if node.type == "array":
            many = [self._literal(child) for child in node.named_children if child.type != "comment"]
            return None if None in many else many
        if node.type in ("number", "unary_expression"):
            try:
                number = float(_source(node).replace("_", ""))
            except ValueError:
                return None
            return int(number) if number.is_integer() else number
        if node.type in ("true", "false"):
            return node.type == "true"
        return self._text(node)


def _source(node: Node) -> str:
    return (node.text or b"").decode()


def _named(node: Node) -> tuple[str, Node] | None:
    """Return the name and the value of a declaration or of a key."""
    if node.type not in ("variable_declarator", "pair"):
        return None
    name = node.child_by_field_name("name" if node.type == "variable_declarator" else "key")
    value = node.child_by_field_name("value")
    return None if name is None or value is None else (_source(name).strip("\"'"), value)


def _kind(name: str) -> Source | None:
    if _SEARCHES.search(name):
        return "search"
    return "spec" if _PROMPTS.search(name) else None


def _unescaped(sequence: str) -> str:
    r"""Return the character of an escape.

    >>> _unescaped("\\u00e9"), _unescaped("\\u{1F600}"), _unescaped("\\x41"), _unescaped("\\'")
    ('é', '😀', 'A', "'")
    """
    code = sequence[1:].replace("\r\n", "\n")
    if match := re.fullmatch(r"u\{([0-9a-fA-F]+)\}|u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})", code):
        return chr(int(next(digits for digits in match.groups() if digits), 16))
    return _SIMPLE.get(code, code)
