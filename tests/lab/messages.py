# Every text of an error that the code can show, read from its syntax tree. Used by tests/integration/test_troubleshooting.py.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ast
import builtins
import re
from functools import cached_property
from pathlib import Path

import yaml

VARIABLE = "…"
_TASKS = {"fail": ("msg",), "assert": ("fail_msg", "msg")}
_DEEPEST = 6
_TELLING = {"fail_json", "error", "exit", "tell_error", "_failed"}
_LONG = 5  # words that make a variable part of a text one of its own
_DOCUMENTATION = {"DOCUMENTATION", "EXAMPLES", "RETURN"}
_KEYS = {"error", "problem"}
_EXCEPTIONS = {name for name, each in vars(builtins).items() if isinstance(each, type) and issubclass(each, Exception)}


def collect(root: Path) -> dict[str, str]:
    """Each text, its variable parts as one VARIABLE each, and the first place (file:line) that has it."""
    found: dict[str, str] = {}
    files = {path: _File(path) for folder in ("plugins", "playbooks") for path in sorted((root / folder).rglob("*.py"))}
    by_name = {path.stem: each for path, each in files.items()}
    errors = {name for each in files.values() for name in each.errors} | _EXCEPTIONS
    for path, each in files.items():
        for line, text in _Texts(each, by_name, errors).all():
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


class _File:
    """A module's tree, with its functions, its constants and the classes of errors that it defines."""

    def __init__(self, path: Path) -> None:
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(self.tree):
            for below in ast.iter_child_nodes(node):
                below.parent = node  # type: ignore[attr-defined]

    @cached_property
    def functions(self) -> dict[str, ast.FunctionDef]:
        return {node.name: node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)}

    @cached_property
    def given(self) -> dict[str, list[ast.AST]]:
        """What is given to a keyword or a variable of a name, anywhere in the file."""
        found: dict[str, list[ast.AST]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.keyword) and node.arg:
                found.setdefault(node.arg, []).append(node.value)
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                found.setdefault(node.targets[0].id, []).append(node.value)
        return found

    @cached_property
    def templates(self) -> set[str]:
        """Classes of errors that make their text themselves, of what they are given."""
        found: set[str] = set()
        for each in ast.walk(self.tree):
            if isinstance(each, ast.ClassDef) and "super().__init__(" in ast.unparse(each) and each.name in self.errors:
                found.add(each.name)
        return found

    @cached_property
    def errors(self) -> set[str]:
        """Classes of exceptions, by what they are called or inherit from."""
        classes = [node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)]
        known = set(_EXCEPTIONS) | {"SitePatchError", "AnsibleError"}
        for each in classes:
            if any(isinstance(base, (ast.Name, ast.Attribute)) and _called(base) in known for base in each.bases):
                known.add(each.name)
        imported = {
            alias.name for node in ast.walk(self.tree) if isinstance(node, ast.ImportFrom) for alias in node.names
        }
        return (known - _EXCEPTIONS) | {name for name in imported if re.fullmatch(r"Ansible\w*(Error|Fail)", name)}


class _Texts:
    def __init__(self, file: _File, files: dict[str, _File], errors: set[str]) -> None:
        self.file, self.files, self.errors = file, files, errors

    def all(self) -> list[tuple[int, str]]:
        found: list[tuple[int, str]] = []
        for node in ast.walk(self.file.tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                found += self._arguments(node.exc)
            elif isinstance(node, ast.Call) and (_called(node.func) in self.errors | _TELLING):
                found += self._arguments(node)
            elif isinstance(node, ast.Call) and {"failed", "msg"} <= {each.arg for each in node.keywords}:
                value = next(each.value for each in node.keywords if each.arg == "msg")
                found += [(node.lineno, text) for text in self._heads(value, self.file, 0)]
            elif isinstance(node, ast.keyword) and node.arg in _KEYS:
                found += [(node.value.lineno, text) for text in self._heads(node.value, self.file, 0)]
            elif isinstance(node, ast.Dict):
                names = [_literal(key) if key else None for key in node.keys]
                wanted = _KEYS | ({"msg"} if "failed" in names else set())
                given = [value for name, value in zip(names, node.values) if name in wanted]
                found += [(node.lineno, text) for each in given for text in self._heads(each, self.file, 0)]
            elif isinstance(node, (ast.Constant, ast.JoinedStr)) and not _is_part(node):
                text = _literal(node)
                if text is not None and re.search(r"\b[Ee]xpected\b|, found none", text):
                    found += [(node.lineno, text)]
        return found

    def _arguments(self, call: ast.Call) -> list[tuple[int, str]]:
        if any(_called(call.func) in each.templates for each in self.files.values()):
            return []
        given = [*call.args, *(each.value for each in call.keywords if each.arg in ("msg", "message"))]
        texts = [(call.lineno, text) for each in given for text in self._heads(each, self.file, 0)]
        return texts + [(call.lineno, text) for text in self._heads(call, self.file, 0)]

    def _heads(self, node: ast.AST, file: _File, depth: int) -> list[str]:
        """The texts that an expression may be; what cannot be followed is none."""
        if depth > _DEEPEST:
            return []

        def again(each: ast.AST) -> list[str]:
            return self._heads(each, file, depth + 1)

        text = _literal(node)
        if text is not None:
            return [text]
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
            parts = [text for text in again(node.right) if len(re.findall(r"\w+", text)) >= _LONG]
            return again(node.left) + parts
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return [a + b for a in again(node.left) or [VARIABLE] for b in again(node.right) or [VARIABLE]]
        if isinstance(node, ast.IfExp):
            return again(node.body) + again(node.orelse)
        if isinstance(node, ast.BoolOp):
            return [text for each in node.values for text in again(each)]
        if isinstance(node, (ast.List, ast.Tuple)):
            return [text for each in node.elts for text in again(each)]
        if isinstance(node, ast.Subscript):
            return again(node.value)
        if isinstance(node, ast.Dict):
            return [text for each in node.values for text in again(each)]
        if isinstance(node, ast.Name):
            return [text for each in _assigned(node) for text in again(each)]
        if isinstance(node, ast.Attribute):
            return [
                text
                for name, each in self.files.items()
                for value in each.given.get(node.attr, ())
                for text in self._heads(value, each, depth + 1)
            ]
        if isinstance(node, (ast.ListComp, ast.GeneratorExp)):
            return again(node.elt)
        if isinstance(node, ast.Call):
            return self._returned(node, file, depth)
        return []

    def _returned(self, call: ast.Call, file: _File, depth: int) -> list[str]:
        """What a function of ours may return, where a call of it stands for a text."""
        if isinstance(call.func, ast.Attribute) and call.func.attr == "join":
            return [text for each in call.args for text in self._heads(each, file, depth + 1)]
        at = file
        if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
            at = self.files.get(call.func.value.id, file)
        at = next((each for each in (at, *self.files.values()) if _called(call.func) in each.functions), file)
        function = at.functions.get(_called(call.func))
        if function is None:
            return []
        returns = [each.value for each in ast.walk(function) if isinstance(each, ast.Return) and each.value]
        return [text for each in returns for text in self._heads(each, at, depth + 1)]


def _literal(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(each.value if isinstance(each, ast.Constant) else VARIABLE for each in node.values)
    return None


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


def _assigned(name: ast.Name) -> list[ast.AST]:
    """What a name is given, in its function or, where it has nothing there, in the module."""
    scope: ast.AST = name
    while not isinstance(scope, ast.Module):
        scope = scope.parent  # type: ignore[attr-defined]
        if isinstance(scope, (ast.FunctionDef, ast.Module)):
            found = [
                node.value
                for node in (ast.walk(scope) if isinstance(scope, ast.FunctionDef) else scope.body)
                if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign))
                and node.value is not None
                and any(name.id in _names(each) for each in getattr(node, "targets", None) or [node.target])
            ]
            if found:
                return found
    return []


def _names(target: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}
