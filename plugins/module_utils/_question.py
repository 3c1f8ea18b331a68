# What a node is asked before the module is sent to it: whether certainly nothing is to be done. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
"""Complete in itself, standard library only: its own text is sent (see plugin_utils/_asking), without the engine.

It knows one answer: every patch that is wanted is applied. It does not tell other states apart. Whatever is not as it
must be for that raises, and then the module has a look. So it may be stricter than the engine, and never less strict.

It works in two steps, each sent as a text of its own. Ansible's interpreter, without what starts with one (``-I -S``),
sets limits, and sees as root that nobody else has a say in what is started. Then it turns into the environment's
interpreter, which looks.
"""

from __future__ import annotations

import os
import sys
from stat import S_ISDIR, S_ISLNK, S_ISREG

TYPE_CHECKING = False  # (typing is not imported on a node)
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, Mapping, Sequence

SENTINEL = "primus.patches says: "
_MOST = 1 << 24  # bytes of a file, as in _files
_MOST_FACTS = 1000
_MEMORY = 1 << 30  # bytes, as in _child


# --- both steps; root's rules are those of _trust and _interpreter, but for the exceptions that they make


def walk(path: str) -> None:
    """Raise where anybody but root could change what a path leads to; links are followed."""
    os.stat(path)  # (it is there, and no link leads to itself)
    here, todo = "/", path.split("/")[::-1]
    while todo:
        name = todo.pop()
        entry = os.lstat(os.path.join(here, name))
        check_owner(here, sticky=not entry.st_uid)
        if S_ISLNK(entry.st_mode):
            target = os.readlink(os.path.join(here, name))
            here = "/" if target[0] == "/" else here
            todo += target.split("/")[::-1]
        else:
            here = os.path.normpath(os.path.join(here, name))
    check_owner(here, sticky=False)


def check_owner(path: str, sticky: bool) -> None:
    """Raise where others than root may write; ``sticky``: not where they cannot take away what is not theirs."""
    info = os.lstat(path)
    need(not info.st_uid and (not info.st_mode & 0o22 or bool(sticky and info.st_mode & 0o1000)))


def read(path: str, links: int = 0) -> bytes:
    """A regular file; raises for everything else. ``links``: how many hard links it may have; 0 for any number."""
    info = os.lstat(path)
    need(S_ISREG(info.st_mode) and info.st_size <= _MOST and links in (0, info.st_nlink))
    with open(path, "rb") as stream:
        return stream.read(_MOST)


def exists(path: str) -> bool:
    """Whether something is there. Raises where that cannot be told."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def need(truth: bool) -> None:
    """Raise unless something is as it must be; also with PYTHONOPTIMIZE, which asserts would be gone with."""
    if not truth:
        raise ValueError


# --- the first step


def start(asked: Mapping[str, Any]) -> None:
    """Turn into the environment's interpreter. Both limits go on there. Raises where root is not to start it."""
    import resource
    from _signal import alarm  # type: ignore[import-not-found]  # (signal itself imports enum and re first)

    alarm(asked["seconds"])
    most = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (min(most, _MEMORY) if most >= 0 else _MEMORY, most))
    python = asked["python"]
    if not os.geteuid():
        for path in (python, *places(python)):
            walk(path)
    os.chdir("/")
    # (What starts with the interpreter may print, or leave processes behind that would keep the answer from its end.)
    number, nothing = os.dup(1), os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.set_inheritable(number, True)
    info = os.fstat(number)
    where = "%d:%d:%d" % (number, info.st_dev, info.st_ino)
    os.execv(python, [python, "-B", "-c", asked["boot"], *sys.argv[3:], where])  # noqa: S606


def places(python: str) -> Iterator[str]:
    """The directories that an interpreter runs code from when it starts, and the files that it reads then."""
    prefixes = [os.path.dirname(os.path.dirname(path)) for path in (python, os.path.realpath(python))]
    for file in (os.path.dirname(python) + "/pyvenv.cfg", prefixes[0] + "/pyvenv.cfg"):
        if os.path.exists(file):
            yield file
            for line in read(file).decode("utf-8", "replace").splitlines():
                key, _equals, value = line.partition("=")
                if key.strip() == "home":
                    prefixes.append(os.path.dirname(value.strip()))
    for prefix in {*prefixes, "/usr/local"}:
        for library in (prefix + "/lib/", prefix + "/lib64/"):
            for name in names_in(library):
                if name.startswith("python3"):
                    yield from (library + name, *custom(library + name))
                    for site in (library + name + "/site-packages", library + name + "/dist-packages"):
                        yield from paths_of(site)


def paths_of(site: str) -> Iterator[str]:
    """A directory for packages, and what .pth files in it name."""
    if os.path.isdir(site):
        yield from (site, *custom(site))
        for name in names_in(site):
            if name.endswith(".pth"):
                yield os.path.join(site, name)
                for line in os.fsdecode(read(os.path.join(site, name))).splitlines():
                    path = os.path.join(site, line.strip())
                    if os.path.isdir(path):
                        yield from (path, *custom(path))


def custom(directory: str) -> list[str]:
    """Modules in a directory that site imports."""
    names = ("sitecustomize", "usercustomize")
    found = [os.path.join(directory, name) for name in names_in(directory) if name.partition(".")[0] in names]
    return found + [path + "/__init__.py" for path in found if os.path.exists(path + "/__init__.py")]


def names_in(directory: str) -> list[str]:
    """The names in a directory; none where it is none. Raises where it cannot be listed."""
    return os.listdir(directory) if exists(directory) else []


# --- the second step


def say(found: Mapping[str, Any]) -> None:
    """Give an answer in one line, to where it is asked for and nowhere else. Raises where that is gone."""
    import json

    text = json.dumps(found)
    number, *there = map(int, sys.argv[3].split(":"))
    info = os.fstat(number)
    need([info.st_dev, info.st_ino] == there)
    with os.fdopen(number, "w") as stream:
        stream.write(SENTINEL + text + "\n")


def answer(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What only the node knows of its environment, where every patch is applied. Raises where that is not certain.

    ``asked``: ``python`` and ``interpreter`` (Ansible's own), ``path`` or None, ``store``, ``facts``, ``schema`` and
    ``suffix`` as in _store and _files, ``fact`` and ``listed`` (what ``shape`` says of a fact and of a patch in it),
    ``packages``: for each its name, the distributions that it may be of, and its patches: name and files. A file is
    its path in the package, its path from the root, the hash of that, and the digest of the patch's entry in a fact.
    """
    need(sys.version_info >= (3, 8))
    need(all(entry[:1] == "/" for entry in (os.environ.get("PYTHONPATH") or "/").split(":")))
    python, interpreter = asked["python"], asked["interpreter"]
    need(sys.executable == python)
    if python != interpreter and os.path.realpath(python) == os.path.realpath(interpreter):
        # (the engine would work in Ansible's own process, and tell its name of the interpreter)
        need(sys.prefix != sys.base_prefix)
        need(os.path.realpath(interpreter + "/../..") != os.path.realpath(sys.prefix))
    return {
        "python": python,
        "python_version": sys.version.split()[0],
        "prefix": sys.prefix,
        "found": [installed(asked, *package) for package in asked["packages"]],
    }


def installed(asked: Mapping[str, Any], package: str, names: Sequence[str], patches: Sequence[Any]) -> tuple[str, str]:
    """The directory of a package, and its version. Raises where not all of its patches are certainly applied."""
    import json
    import re

    directory = find(package, asked["path"])
    root = inside = os.path.realpath(directory)
    for _part in package.split("."):
        root = os.path.dirname(root)
    need(inside == os.path.join(root, *package.split(".")))
    there = os.listdir(root)
    need(os.path.basename(root) != "src" and "EGG-INFO" not in there and "PKG-INFO" not in there)
    (info,) = [
        name
        for name in there
        if name.endswith((".dist-info", ".egg-info"))
        and re.sub("[-_.]+", "-", name.rpartition(".")[0].split("-")[0]).lower() in names
    ]
    record = read(os.path.join(root, info, "RECORD"))
    version = version_in(read(os.path.join(root, info, "METADATA")))
    store = os.path.join(root, asked["store"])
    where = os.path.join(store, asked["facts"])
    need(S_ISDIR(os.lstat(store).st_mode) and S_ISDIR(os.lstat(where).st_mode))
    need(os.lstat(store).st_uid in (0, os.stat(root).st_uid))
    if not os.geteuid():
        walk(where)
    kept = [name for name in os.listdir(where) if name.endswith(".json")]
    need(len(kept) < _MOST_FACTS)
    facts = {name: json.loads(read(os.path.join(where, name))) for name in kept}
    for patch, files in patches:
        relatives = [file[1] for file in files]
        for fact in facts.values():  # (it may be in a file that is no longer one of its)
            need(fact["path"] in relatives or all(listed["name"] != patch for listed in fact["patches"]))
        for file, relative, key, digest in files:
            path = os.path.join(directory, file)
            need(os.path.realpath(os.path.dirname(path)) == os.path.dirname(os.path.join(root, relative)))
            check_around(path, asked["suffix"])
            written = sha(read(path, links=1))
            fact = facts["%s-%s.json" % (key, written)]
            check_form(fact, asked)
            need((fact["path"], fact["written"], fact["proven"]) == (relative, written, "pristine"))
            need(fact["proof"] in ("before", "after", "none") and not fact["directories"])
            need(fact["dist"][1:] == [version, info, sha(record)] and isinstance(fact["dist"][0], str))
            original = fact["original"]
            need(original != written and bytes.fromhex(original).hex() == original)
            need(recorded(record, relative) == original)
            need(all((other["path"], other["written"]) != (relative, original) for other in facts.values()))
            (listed,) = [listed for listed in fact["patches"] if listed["name"] == patch]
            need(sha(json.dumps(listed, sort_keys=True).encode()) == digest)
    return directory, version


def find(package: str, path: str | None) -> str:
    """The directory of a regular package; it is not imported. Raises where there is none, or it cannot be told."""
    parts = package.split(".")
    if path:
        need(not exists(path + "/easy-install.pth"))
        places = [os.path.join(path, *parts), os.path.join(path, "src", *parts)]
        if path.split("/")[-len(parts) :] == parts:
            places.insert(0, path)
        return next(place for place in places if exists(place + "/__init__.py"))
    where: Any = None
    for count, part in enumerate(parts, 1):
        name = ".".join(parts[:count])
        need(name not in sys.modules)
        spec: Any = next(filter(None, (finder.find_spec(name, where) for finder in sys.meta_path)))
        if not spec.has_location:  # (Python's finders take what cannot be read for absent)
            for entry in sys.path if where is None else where:
                exists(os.path.join(os.path.abspath(entry), part, "__init__.py"))
        where = [os.path.abspath(entry) for entry in spec.submodule_search_locations]
    need(spec.has_location and len(where) == 1)
    return str(where[0])


def version_in(metadata: bytes) -> str:
    """The version that METADATA has in its first lines, as in _environment."""
    found: dict[str, str] = {}
    for line in metadata[: 1 << 16].decode("utf-8", "replace").splitlines():
        key, _colon, value = line.partition(":")
        if key in ("Name", "Version"):
            found[key] = value.strip()
        if len(found) == 2 or not line.strip():
            break
    need(0 < len(found["Version"]) <= 200)
    return found["Version"]


def recorded(record: bytes, relative: str) -> str:
    """The SHA-256, in hex, that RECORD has of a file. Raises where it has none."""
    import binascii

    line = (b"\n" + record).partition(b"\n" + os.fsencode(relative) + b",")[2].split(b"\n")[0]
    algorithm, _equals, value = line.split(b",")[0].partition(b"=")
    need(algorithm == b"sha256")
    digest = binascii.a2b_base64(value.replace(b"-", b"+").replace(b"_", b"/") + b"=")
    need(binascii.b2a_base64(digest, newline=False).rstrip(b"=").replace(b"+", b"-").replace(b"/", b"_") == value)
    return digest.hex()


def check_form(fact: Any, asked: Mapping[str, Any]) -> None:
    """Raise where a fact has not the form of this schema."""
    need(shape(fact) == asked["fact"] and fact["schema"] == asked["schema"])
    for listed in fact["patches"]:
        need(shape(listed) == asked["listed"])
        for text in listed["after"] + listed["files"]:
            text.encode()
            need("\0" not in text)
        need(not any({"", ".", ".."} & set(file.split("/")) for file in listed["files"]))


def shape(value: Mapping[str, Any]) -> list[list[str]]:
    """The keys of a JSON object, in their order, and the kinds of their values."""
    return [[key, type(value[key]).__name__] for key in sorted(value)]


def check_around(path: str, suffix: str) -> None:
    """Raise where a killed run may have left something beside a file, or where git has a say in it, or others have."""
    directory = os.path.dirname(path)
    for where in (directory, directory + "/__pycache__"):
        need(not exists(where) or not any(name.endswith(suffix) for name in os.listdir(where)))
    above = os.path.realpath(directory)
    while True:
        need(not os.path.lexists(above + "/.git"))
        if above == os.path.dirname(above):
            break
        above = os.path.dirname(above)
    if not os.geteuid():
        walk(path)


def sha(data: bytes) -> str:
    """SHA-256 in hex."""
    try:
        from _sha256 import sha256  # type: ignore[import-not-found]  # (hashlib loads OpenSSL; gone with Python 3.12)
    except ImportError:
        from hashlib import sha256
    digest: str = sha256(data).hexdigest()
    return digest


# --- of a look, after the second step; the text of _storage is sent along


def look(asked: Mapping[str, Any], copy_id: Callable[[str], str | None]) -> dict[str, Any]:
    """The answer; for each patch of a package also what tells the copy apart that its first file is in.

    ``copy_id``: that of _storage. Raises as ``answer``, and where nothing tells a copy apart.
    """
    found = answer(asked)
    for number, (_package, _names, patches) in enumerate(asked["packages"]):
        place = found["found"][number]
        copies = [copy_id(os.path.dirname(os.path.join(place[0], files[0][0]))) for _patch, files in patches]
        need(all(copies))
        found["found"][number] = (*place, *copies)
    return found
