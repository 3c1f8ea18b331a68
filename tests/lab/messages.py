# Every text of an error that the code can show, read from its syntax tree (the rule: test_troubleshooting.py).
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ast
import builtins
import re
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

VARIABLE = "…"
_TASKS = {"fail": ("msg",), "assert": ("fail_msg", "msg")}
_TELLING = {"fail_json", "error", "exit", "tell_error", "_failed"}
_LONG = 5  # words that make a variable part of a text one of its own
_DOCUMENTATION = {"DOCUMENTATION", "EXAMPLES", "RETURN"}
_KEYS = {"error", "problem"}
_KEPT = {*_KEYS, "limit", "missing", "reason"}  # attributes that hold such a text
_PARTS = {
    ast.IfExp: ("body", "orelse"),
    ast.BoolOp: ("values",),
    ast.List: ("elts",),
    ast.Tuple: ("elts",),
    ast.Dict: ("values",),
    ast.Subscript: ("value",),
    ast.ListComp: ("elt",),
    ast.GeneratorExp: ("elt",),
}
_EXCEPTIONS = {name for name, each in vars(builtins).items() if isinstance(each, type) and issubclass(each, Exception)}


def collect(root: Path) -> dict[str, str]:
    """Each text, its variable parts as one VARIABLE each, and the first place (file:line) that has it."""
    found: dict[str, str] = {}
    files = _Files([path for folder in ("plugins", "playbooks") for path in sorted((root / folder).rglob("*.py"))])
    texts = _Texts(files)
    for path, tree in files.trees.items():
        for line, text in texts.of(tree):
            found.setdefault(_plain(text), f"{path.relative_to(root)}:{line}")
    for folder in ("playbooks", "roles"):
        for path in sorted((root / folder).rglob("*.yml")):
            for text in _of_tasks(yaml.safe_load(path.read_text(encoding="utf-8"))):
                found.setdefault(_plain(text), str(path.relative_to(root)))
    return {text: where for text, where in found.items() if re.search(r"\w\W* \W*\w", text.replace(VARIABLE, ""))}


def _plain(text: str) -> str:
    """One line; what stands for a value becomes VARIABLE, also where several follow each other."""
    text = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", VARIABLE, text, flags=re.DOTALL)
    text = re.sub(r"%(?:\.\d+|,)?[sdrgxo]", VARIABLE, text).replace("%%", "%")
    return re.sub(f"{VARIABLE}+", VARIABLE, " ".join(text.split()))


def _of_tasks(value: object) -> list[str]:
    """The messages of `fail` and `assert` in a YAML file, wherever they stand in it."""
    if isinstance(value, list):
        return [text for each in value for text in _of_tasks(each)]
    if not isinstance(value, dict):
        return []
    texts = [text for each in value.values() for text in _of_tasks(each)]
    for name, keys in _TASKS.items():
        for given in (value.get(name), value.get(f"ansible.builtin.{name}")):
            texts += [given[key] for key in keys if isinstance(given, dict) and isinstance(given.get(key), str)]
    return texts


class _Files:
    """The syntax trees of all files, and what of them is asked again and again."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
        self.functions: dict[str, dict[str, ast.FunctionDef]] = {}  # file -> name -> where it is made
        self.given: dict[str, list[ast.AST]] = {}  # keyword or variable -> all that it is given anywhere
        self.assigned: dict[tuple[ast.AST, str], list[ast.AST]] = {}  # function or module, name -> what it is given
        self.classes: dict[str, ast.ClassDef] = {}
        for path, tree in self.trees.items():
            tree.name = path.stem  # type: ignore[attr-defined]
            self._learn(tree)
        self.errors = self._errors()
        self.telling = {  # classes of errors that make their text themselves, of what they are given
            name
            for name in self.errors & set(self.classes)
            if re.search(r"super\(\).__init__\(|def __str__", ast.unparse(self.classes[name]))
        }

    def _learn(self, tree: ast.Module) -> None:
        functions = self.functions.setdefault(tree.name, {})  # type: ignore[attr-defined]
        for node in ast.walk(tree):
            for below in ast.iter_child_nodes(node):
                below.parent = node  # type: ignore[attr-defined]
            if isinstance(node, ast.FunctionDef):
                functions[node.name] = node
            elif isinstance(node, ast.ClassDef):
                self.classes[node.name] = node
            elif isinstance(node, ast.keyword) and node.arg:
                self.given.setdefault(node.arg, []).append(node.value)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "append":
                self._note(node.func.value, node.args[0], node)
            if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)) and node.value is not None:
                for target in getattr(node, "targets", None) or [node.target]:
                    self._note(target, node.value, node)

    def _note(self, target: ast.AST, value: ast.AST, at: ast.AST) -> None:
        for name in (each.id for each in ast.walk(target) if isinstance(each, ast.Name)):
            self.given.setdefault(name, []).append(value)
            self.assigned.setdefault((next(_scopes(at)), name), []).append(value)

    def _errors(self) -> set[str]:
        """The names of all classes of errors: Python's, Ansible's, and those that inherit from them."""
        names = {node.id for tree in self.trees.values() for node in ast.walk(tree) if isinstance(node, ast.Name)}
        known = {*_EXCEPTIONS, *(name for name in names if re.fullmatch(r"Ansible\w*(Error|Fail)", name))}
        for _generation in self.classes:
            known |= {name for name, each in self.classes.items() if known & set(map(_called, each.bases))}
        return known


class _Texts:
    """What each expression may say."""

    def __init__(self, files: _Files) -> None:
        self.files = files
        self.known: dict[ast.AST, list[str]] = {}

    def of(self, tree: ast.Module) -> Iterator[tuple[int, str]]:
        """All texts of errors in a file, with their lines."""
        for node in ast.walk(tree):
            for each in self._said(node):
                for text in self._heads(each):
                    yield node.lineno, text  # type: ignore[attr-defined]
            text = _literal(node)
            if text is not None and re.search(r"\b[Ee]xpected\b|, found none", text) and not _is_part(node):
                yield node.lineno, text  # type: ignore[attr-defined]

    def _said(self, node: ast.AST) -> list[ast.AST]:
        """The expressions of which the first rule says that they are an error's text."""
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            return self._arguments(node.exc)
        if isinstance(node, ast.Return) and node.value and self._is_in_error(node):
            return [node.value] if next(_scopes(node)).name == "__str__" else []  # type: ignore[attr-defined]
        if isinstance(node, ast.Call):
            keywords = {each.arg: each.value for each in node.keywords}
            found = [
                value for key, value in keywords.items() if key in _KEYS or (key == "msg" and "failed" in keywords)
            ]
            is_error = _called(node.func) in self.files.errors | _TELLING or self._is_own_text(node.func)
            return found + (self._arguments(node) if is_error else [])
        if isinstance(node, ast.Dict):
            names = [_literal(key) if key else None for key in node.keys]
            wanted = _KEYS | ({"msg"} if "failed" in names else set())
            return [value for name, value in zip(names, node.values, strict=True) if name in wanted]
        return []

    def _arguments(self, call: ast.Call) -> list[ast.AST]:
        if _called(call.func) in self.files.telling:
            return []
        return [call, *call.args, *(each.value for each in call.keywords if each.arg in ("msg", "message"))]

    def _is_own_text(self, function: ast.AST) -> bool:
        """Whether a call gives a class of errors its text: the one that it makes itself."""
        return ast.unparse(function) == "super().__init__" and self._is_in_error(function)

    def _is_in_error(self, node: ast.AST) -> bool:
        return any(isinstance(above, ast.ClassDef) and above.name in self.files.errors for above in _above(node))

    def _heads(self, node: ast.AST) -> list[str]:
        """The texts that an expression may be; what cannot be followed is none."""
        if node not in self.known:
            self.known[node] = []  # (for one that leads back to itself)
            self.known[node] = self._read(node)
        return self.known[node]

    def _read(self, node: ast.AST) -> list[str]:
        text = _literal(node)
        if text is not None:
            return [text]
        if isinstance(node, ast.BinOp):
            left, right = self._heads(node.left), self._heads(node.right)
            long = [each for each in right if len(re.findall(r"\w+", each)) >= _LONG]
            if isinstance(node.op, ast.Mod):
                return left + long
            if _literal(node.left) is None and _literal(node.right) is None:
                return left + right
            return [a + b for a in _literals(node.left, left) for b in _literals(node.right, right)] + long
        return [each for part in self._parts(node) for each in self._heads(part)]

    def _parts(self, node: ast.AST) -> list[ast.AST]:
        """The expressions that one may be, or is put together of."""
        if isinstance(node, ast.Attribute):
            return self.files.given.get(node.attr, []) if node.attr in _KEPT else []
        if isinstance(node, ast.Name):
            scopes = (self.files.assigned.get((scope, node.id)) for scope in _scopes(node))
            return next(filter(None, scopes), [])
        if isinstance(node, ast.Call):
            is_join = isinstance(node.func, ast.Attribute) and node.func.attr == "join"
            return node.args if is_join else self._returned(node)
        return [value for field in _PARTS.get(type(node), ()) for value in _list(getattr(node, field))]

    def _returned(self, call: ast.Call) -> list[ast.AST]:
        """What a function of ours may return, where a call of it stands for a text."""
        tree = list(_above(call))[-1]
        module = call.func.value.id if isinstance(call.func, ast.Attribute) and hasattr(call.func.value, "id") else ""
        functions = self.files.functions
        order = [functions.get(module, {}), functions[tree.name], *functions.values()]  # type: ignore[attr-defined]
        function = next((each[_called(call.func)] for each in order if _called(call.func) in each), None)
        nodes = ast.walk(function) if function else ()
        return [each.value for each in nodes if isinstance(each, ast.Return) and each.value]


def _literal(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(each.value if isinstance(each, ast.Constant) else VARIABLE for each in node.values)
    return None


def _literals(node: ast.AST, heads: list[str]) -> list[str]:
    """What one side of a concatenation says: its own text, or that it varies."""
    return heads if _literal(node) is not None or isinstance(node, ast.BinOp) else [VARIABLE]


def _is_part(node: ast.AST) -> bool:
    """A piece of an f-string, a docstring, or the documentation of a plugin."""
    parent = node.parent  # type: ignore[attr-defined]
    return isinstance(parent, (ast.JoinedStr, ast.Expr)) or (
        isinstance(parent, ast.Assign)
        and isinstance(parent.parent, ast.Module)
        and ast.unparse(parent.targets[0]) in _DOCUMENTATION
    )


def _called(function: ast.AST) -> str:
    return getattr(function, "id", None) or getattr(function, "attr", "")


def _above(node: ast.AST) -> Iterator[ast.AST]:
    while not isinstance(node, ast.Module):
        node = node.parent  # type: ignore[attr-defined]
        yield node


def _scopes(node: ast.AST) -> Iterator[ast.AST]:
    """Where a name is looked for: in its functions, from the inside out, and then in the module."""
    return (each for each in _above(node) if isinstance(each, (ast.FunctionDef, ast.Module)))


def _list(value: Any) -> list[ast.AST]:
    return value if isinstance(value, list) else [value]
