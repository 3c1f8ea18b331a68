# Import checks: real imports in a fresh process, within a time limit, with caches of their own.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import re
import shutil
import site
import sys
import tempfile
import time
from typing import Any, Iterable, Mapping, Sequence

from . import _files, _importer, _processes
from ._errors import DefinitionError

# (Read now: this process may turn into one of a user who cannot read our files.)
_SOURCE = _importer.__spec__.loader.get_source(_importer.__name__)  # type: ignore[union-attr]
SHORTEST_SECRET = 4  # hiding every "1" would leave no version number readable
_LONGEST = 4000  # characters of an error or a traceback
_TEXTS = ("version", "cause", "error", "traceback")
_MAYBE_CUT = 16000  # characters from which on a text may have been cut before, maybe within a secret
_HOW = {
    "before": "with the change served from memory; nothing was written",
    "after": "with the change written",
    "none": "as the files are",
}
_CALL = re.compile(r'^[ |]*File "([^"]+)", line \d+(?:(,?) in (\S+))?', re.MULTILINE)  # (faulthandler has no comma)
_NO_GPU = "; a CUDA toolkit and no GPU: set TORCH_CUDA_ARCH_LIST (import_environment), e.g. 9.0"
_PRIVATE = (  # what libraries write below a user's home when they are merely imported
    "HOME",
    "XDG_CACHE_HOME",
    "TMPDIR",
    "TORCH_EXTENSIONS_DIR",
    "TRITON_CACHE_DIR",
    "HF_HOME",
)


def servable(path: str) -> bool:
    """Whether a change of a file can be shown to imports from memory: that of Python source that they themselves run.

    What ``site`` imports runs when the interpreter starts, before anything can be shown to it.
    """
    return path.endswith(".py") and os.path.basename(path) not in ("sitecustomize.py", "usercustomize.py")


def prove(
    imports: Sequence[str],
    previews: Mapping[str, bytes | None],
    roots: Sequence[str],
    timeout: float,
    environment: Mapping[str, str],
    only_roots: bool = False,
    proof: str = "none",
) -> list[dict[str, Any]]:
    """Try the imports; with proof ``before``, those that fail once more ``without`` the change.

    ``previews``: bytes to be served in place of files, by path; None where the file is to be away, or a directory that
    goes with the last file in it. ``roots`` come first on ``sys.path``. ``timeout``: seconds for all imports together,
    those without the change included. ``environment``: variables for the process, which win over its private caches.
    ``only_roots``: no code is run that anybody but root may write. ``proof``: ``before`` the change is written,
    ``after`` it was, or ``none`` where there is no change.
    Returns one result an import, in order, as documented for the modules' ``imports``, and ``same``: whether the import
    fails in the same way without the change. Raises DefinitionError for what cannot be variables.
    """
    found = _try(imports, previews, roots, timeout, environment, only_roots)
    results = [dict(result, proof=proof, blame=None, same=False) for result in found]
    return without(results, roots, timeout, environment, only_roots) if proof == "before" else results


def without(
    results: Sequence[Mapping[str, Any]],
    roots: Sequence[str],
    timeout: float,
    environment: Mapping[str, str],
    only_roots: bool = False,
) -> list[dict[str, Any]]:
    """The results of a change, with blame: imports that failed are tried with the files as they are, without it.

    All parameters as they were for ``prove``: of ``timeout`` what the results took is used up.
    """
    failed = [result["name"] for result in results if _is_comparable(result)]
    left = timeout - sum(result["seconds"] for result in results)
    return blame(results, _try(failed, {}, roots, left, environment, only_roots) if failed and left > 0 else [])


def blame(results: Sequence[Mapping[str, Any]], again: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The results, with whose failure each is.

    ``again``: what became of imports that failed, without the change; in the same order, as an import may be named
    twice. Where that ended by the time limit, or is not there, nobody is to blame.
    """
    found = []
    others = list(again)
    for result in results:
        other = others.pop(0) if others and _is_comparable(result) else None
        found.append(dict(result) if other is None else {**result, **_blamed(result, other)})
    return found


def refusal(results: Sequence[Mapping[str, Any]], accept_unchanged: bool = False) -> str | None:
    """What is said of failed imports; None where all passed, or where failures that are no patch's are accepted."""
    failed = [result for result in results if not result["ok"]]
    if not failed or (accept_unchanged and all(map(_is_unchanged, failed))):
        return None
    message = "import failed, %s: %s" % (_HOW[failed[0]["proof"]], "; ".join(map(_said, failed)))
    if all(map(_is_unchanged, failed)):
        message += ". With validate_failure: accept_unchanged, site_patch writes all the same"
    return message


def accepted(results: Sequence[Mapping[str, Any]]) -> str:
    """What is said of imports that fail in the same way without the change; nothing where none does."""
    failed = [_said(result) for result in results if not result["ok"]]
    return "failed imports accepted (validate_failure: accept_unchanged): %s" % "; ".join(failed) if failed else ""


def _is_comparable(result: Mapping[str, Any]) -> bool:
    """Whether a failure can be held against another one; the time limit says nothing of an import."""
    return not result["ok"] and result["cause"] not in ("timeout", "not_tried")


def _is_unchanged(result: Mapping[str, Any]) -> bool:
    return bool(result["blame"] == "environment" and result["same"])


def _blamed(result: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What a failed result has to say beyond itself, by the same import without the change."""
    if other["ok"]:
        return {"blame": "patch"}
    if not _is_comparable(other):
        return {}
    same = _essence(result) == _essence(other)
    error = "fails without the patch as well: " + _located(other)
    if not same:
        error = "%s; without the patch it fails, too, otherwise: %s" % (result["error"], _located(other))
    return {"blame": "environment", "same": same, "error": error[:_LONGEST]}


def _essence(result: Mapping[str, Any]) -> tuple[str, str, str]:
    """What two failures have in common that are the same one: addresses and times differ from run to run."""
    error = re.sub(r"\b0x[0-9a-fA-F]+|\d+(?:\.\d+)?(?= ?(?:s|ms|sec|seconds?)\b)", "N", result["error"])
    return result["cause"], error, _innermost(result)[0]


def _located(result: Mapping[str, Any]) -> str:
    """The error, where it came from, and what to do where that is known."""
    file = _innermost(result)[0]
    for directory in ("/site-packages/", "/dist-packages/"):
        file = file.rpartition(directory)[2]
    where = " in %s" % file if file else ""
    return "%s%s%s" % (result["error"], where, _hint(result))


def _hint(result: Mapping[str, Any]) -> str:
    """What to do about a failure, where that is known."""
    if result["error"].startswith("IndexError") and _innermost(result)[1] == "_get_cuda_arch_flags":
        return _NO_GPU
    return ""


def _innermost(result: Mapping[str, Any]) -> tuple[str, str]:
    """File and function in which an import failed, by its traceback; empty where that has none."""
    calls = [call for call in _CALL.findall(result["traceback"] or "") if not call[0].startswith("<")]
    if not calls:
        return "", ""
    crashed = not any(comma for _file, comma, _function in calls)  # (then the innermost comes first)
    file, _comma, function = calls[0 if crashed else -1]
    return file, function


def _said(result: Mapping[str, Any]) -> str:
    """One failed import, and whose failure it is."""
    whose = {"patch": "; without the patch it can be imported", "environment": ""}.get(result["blame"], _hint(result))
    return "%s (%s%s)" % (result["name"], result["error"], whose)


def _try(
    imports: Sequence[str],
    previews: Mapping[str, bytes | None],
    roots: Sequence[str],
    timeout: float,
    environment: Mapping[str, str],
    only_roots: bool,
) -> list[dict[str, Any]]:
    """Try the imports in one fresh process of this interpreter, and in another one for what a crash left over."""
    results: list[dict[str, Any]] = []
    private = tempfile.mkdtemp(prefix="primus-imports-")
    deadline = time.monotonic() + timeout
    try:
        variables = _variables(private, environment)
        while len(results) < len(imports):
            left = deadline - time.monotonic()
            if left <= 0:
                late = {"cause": "not_tried", "error": "not tried: the time limit of %g s was used up before" % timeout}
                results.append(_failed(imports[len(results)], late))
                continue
            tried = imports[len(results) :]
            results += _attempt(tried, previews, roots, left, timeout, variables, private, only_roots)
    finally:
        shutil.rmtree(private, ignore_errors=True)
    secrets = _secrets(environment.values())
    for result in results:
        for key, cut_at_end in (("error", True), ("traceback", False), ("version", True)):
            result[key] = result[key] and _shown(result[key].replace(private, "PRIVATE"), secrets, cut_at_end)
        result["error"] = result["error"] and " ".join(result["error"].split())[:_LONGEST]
        result["traceback"] = result["traceback"] and result["traceback"][-_LONGEST:]
        result["version"] = result["version"] and result["version"][:_LONGEST]
    return results


def _secrets(values: Iterable[str]) -> list[str]:
    """The forms in which texts may hold the values: as they are, quoted, line by line; the longest first."""
    forms = {form for value in values for form in (value, repr(value)[1:-1], *value.splitlines())}
    return sorted((form for form in forms if len(form) >= SHORTEST_SECRET), key=len, reverse=True)


def _shown(text: str, secrets: Sequence[str], cut_at_end: bool) -> str:
    """The text without secrets, and as UTF-8 has it: Ansible refuses a whole result that holds a lone surrogate."""
    partial = len(secrets[0]) if secrets and len(text) >= _MAYBE_CUT else 0
    for secret in secrets:
        text = text.replace(secret, "********")
    text = text[: len(text) - partial] if cut_at_end else text[partial:]
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _variables(private: str, environment: Mapping[str, str]) -> dict[str, str]:
    variables = dict(os.environ)
    if "PYTHONUSERBASE" not in variables:  # the user site stays where it is when HOME moves
        variables["PYTHONUSERBASE"] = site.getuserbase()
    for name in _PRIVATE:
        variables[name] = os.path.join(private, name.lower())
        os.mkdir(variables[name])
    variables["PYTHONDONTWRITEBYTECODE"] = "1"  # for interpreters that an import starts
    for name, value in environment.items():
        if not name or "=" in name or "\0" in name + value:
            raise DefinitionError(
                "import_environment: expected names and values of variables, found the name %r" % name
            )
    variables.update(environment)
    return variables


def _attempt(
    imports: Sequence[str],
    previews: Mapping[str, bytes | None],
    roots: Sequence[str],
    left: float,
    timeout: float,
    variables: Mapping[str, str],
    private: str,
    only_roots: bool,
) -> list[dict[str, Any]]:
    """Results up to and with the import that ended the process."""
    results_file = os.path.join(private, "results-%d" % len(imports))
    request = {
        "imports": list(imports),
        "previews": {path: text if text is None else text.decode("latin-1") for path, text in previews.items()},
        "roots": list(roots),
        "timeout": left,
        "results": results_file,
        "only_roots": only_roots,
    }
    start = time.monotonic()
    answer = _processes.run(
        [sys.executable, "-B", "-c", _SOURCE],
        json.dumps(request).encode("utf-8"),
        _processes.Limits(left + 2.0),  # (at `left` it ends itself, and says where it was)
        environment=variables,
        for_parent=True,  # (nobody is to wait for minutes until an import ends that nobody asks for any more)
    )
    seconds = round(time.monotonic() - start, 3)
    results = _results(results_file, imports)
    if len(results) < len(imports):
        what: dict[str, Any]
        if seconds >= left:
            what = {"cause": "timeout", "error": "did not end within the time limit of %g s" % timeout}
        else:
            what = {"cause": "crash", "error": "the interpreter died: %s" % answer.ending}
        what["traceback"] = _place(answer.output.decode("utf-8", "replace").strip()) or None
        results.append(_failed(imports[len(results)], what, seconds - sum(result["seconds"] for result in results)))
    return results


def _results(file: str, imports: Sequence[str]) -> list[dict[str, Any]]:
    """What was written of the imports, in order, up to a line that is none of ours: an import may write there, too."""
    results: list[dict[str, Any]] = []
    try:
        for name, line in zip(imports, (_files.read(file, 40 * _importer.LONGEST * len(imports)) or b"").split(b"\n")):
            result = json.loads(line)
            kinds = [type(result[key]) for key in ("ok", "seconds", *_TEXTS)]
            if result["name"] != name or kinds[:2] != [bool, float] or not {str, type(None)}.issuperset(kinds[2:]):
                break
            results.append(result)
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        pass
    return results


def _failed(name: str, what: Mapping[str, Any], seconds: float = 0.0) -> dict[str, Any]:
    result = {"name": name, "ok": False, "seconds": round(seconds, 3), "version": None, "traceback": None}
    result.update(what)
    return result


def _place(output: str) -> str:
    """Where the interpreter was when it died or its time was up, else the last that it printed.

    faulthandler writes the innermost call first. Of the threads the one that died counts, else the first one, which is
    the last in the list and does the imports.
    """
    trace = max(output.rfind(start) for start in ("Fatal Python error: ", "Timeout ("))
    if trace < 0:
        return output
    threads = output[trace:].split("\n\n")
    lines = next((thread for thread in threads if "Current thread" in thread), threads[-1]).splitlines()
    return "\n".join(line for line in lines if "<frozen importlib" not in line)[:_LONGEST]
