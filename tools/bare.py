# ./dev bare: a bare Debian on this machine, and what a new user would type there. It is gone when the command ends.
"""Makes a bare Debian with git, python3 and ca-certificates, and runs a command in a clone of HEAD there.

    ./dev bare                                                        # ./dev demo as root, on every release
    ./dev bare --release trixie --user someone --place open -- ./dev test

What is installed there is debootstrap's minbase, in namespaces of its own; network, certificates and package indexes
are those of this machine, a Debian or Ubuntu. Who is not root there has no sudo: the apt line that the command ends
with is run as root, and the command once more. Needs root.
"""

from __future__ import annotations

import argparse
import configparser
import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from lab import cache  # noqa: E402 (needs the line above)
from lab.index import pip_settings  # noqa: E402
from lab.run import run  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

RELEASES = ("bookworm", "trixie")
PACKAGES = ("ca-certificates", "git", "python3")
AUTHORITIES = Path("usr/local/share/ca-certificates")
# Variables that say how package indexes are reached; the machine has no other of those here.
CARRIED = re.compile(
    r"(PIP|UV|PRIMUS)_\w+|(https?|all|no)_proxy|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE",
    re.IGNORECASE,
)
DOWNLOADS = "/var/cache/pip"
APT_LINE = re.compile(r": (sudo apt-get .+)$")


@dataclass(frozen=True)
class Machine:
    """A bare machine, and who works there where."""

    root: Path
    binds: tuple[str, ...]
    """Options of bwrap for what it sees of this machine."""
    variables: Mapping[str, str]
    user: str
    home: str
    checkout: str

    def administer(self, *words: str) -> None:
        """Run a command there as root; an error ends all."""
        environment = self._environment("root", "/root")
        subprocess.run([*self._enter("/"), *words], env=environment, stdin=subprocess.DEVNULL, check=True)

    def type(self, words: Sequence[str]) -> tuple[int, str]:
        """Run a command there as the user, in the checkout and in sight; return its exit status and its last line."""
        become = ("setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--init-groups", "--")
        print(f"$ {shlex.join(words)}")
        last = ""
        with subprocess.Popen(
            [*self._enter(self.checkout), *become, *words],
            env=self._environment(self.user, self.home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                for line in process.stdout or ():
                    print(line, end="")
                    last = line.strip() or last
            except BaseException:
                process.kill()  # (or it would write on while its root directory is removed)
                raise
        return process.returncode, last

    def _enter(self, directory: str) -> list[str]:
        return [
            *("bwrap", "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--cap-add", "ALL"),
            *("--dev-bind", str(self.root), "/", "--proc", "/proc", "--dev", "/dev", "--ro-bind", "/sys", "/sys"),
            *("--perms", "1777", "--tmpfs", "/dev/shm"),  # noqa: S108 (bwrap's own is for root alone)
            *(*self.binds, "--chdir", directory, "--"),
        ]

    def _environment(self, user: str, home: str) -> dict[str, str]:
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {**self.variables, "PATH": path, "HOME": home, "USER": user}


def main() -> int:
    """Make each machine, run the command there, and say how long it took."""
    parser = argparse.ArgumentParser(
        prog="./dev bare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--release", choices=RELEASES, action="append", help="default: every one; may be repeated")
    parser.add_argument("--user", default="root", metavar="NAME", help="who runs the command; default: root")
    parser.add_argument(
        "--place", choices=("home", "open"), default="home", help="of the checkout: home (default) or /srv"
    )
    parser.add_argument(
        "--keep-downloads", action="store_true", help="let pip keep its downloads for the next such run"
    )
    parser.add_argument("command", nargs="*", help="after --; default: ./dev demo")
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # (what it starts writes there, too)
    left = run("git", "-C", ROOT, "status", "--porcelain")
    if left:
        print(f"HEAD is what runs there; these changes are not committed:\n{left}", end="")
    words = options.command or ["./dev", "demo"]
    told = []
    for release in options.release or RELEASES:
        with machine(release, options.user, options.place, keep_downloads=options.keep_downloads) as bare:
            start = time.monotonic()
            code = attempt(bare, words)
            seconds = time.monotonic() - start
        told.append(
            (code, f"{release}: {options.user}, {bare.checkout}: {shlex.join(words)}: exit {code}, {seconds:.0f} s")
        )
        print(f"=== {told[-1][1]}")
    print("\n".join(("", *(line for _code, line in told))))
    return max(code for code, _line in told)


def attempt(bare: Machine, words: Sequence[str]) -> int:
    """Run the command there, and again after the apt line that it ends with for who may not install."""
    code, last = bare.type(words)
    if bare.user != "root" and (line := apt_line(last)):
        print(f"# {line}")
        bare.administer(
            "sh", "-c", f"export DEBIAN_FRONTEND=noninteractive; {line.replace('sudo ', '')} --quiet --quiet"
        )
        code, last = bare.type(words)
        if line := apt_line(last):
            print(f"expected one apt line with all that is missing, found a second one: {line}")
    return code


def apt_line(text: str) -> str | None:
    """Return the command for an administrator in a line that ./dev ends with, if it has one."""
    found = APT_LINE.search(text)
    return found[1] if found else None


@contextlib.contextmanager
def machine(release: str, user: str, place: str, *, keep_downloads: bool) -> Iterator[Machine]:
    """Yield a fresh machine with the user and a clone of HEAD in the place; it goes with the context."""
    start = time.monotonic()
    original = system(release)
    # (In the cache, as a directory for temporary files may be in memory. Mode 0700: only root gets to it.)
    with tempfile.TemporaryDirectory(prefix="bare-", dir=cache.root()) as name:
        root = Path(name, "root")
        run("cp", "--archive", original, root)
        settings = pip_settings()
        configure(root, settings)
        variables = {key: value for key, value in os.environ.items() if CARRIED.fullmatch(key)}
        binds = []
        for path in seen(root, [*settings.values(), *variables.values()]):
            # (What bwrap makes of a missing parent is for root alone.)
            root.joinpath(path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            binds += ["--ro-bind", path, path]
        if keep_downloads:
            downloads = cache.root() / "bare-downloads" / user
            downloads.mkdir(parents=True, exist_ok=True)
            binds += ["--bind", str(downloads), DOWNLOADS]
            variables["PIP_CACHE_DIR"] = DOWNLOADS
        home = "/root" if user == "root" else f"/home/{user}"
        checkout = f"{home if place == 'home' else '/srv'}/patches"
        bare = Machine(root, tuple(binds), variables, user, home, checkout)
        bare.administer("update-ca-certificates")
        if user != "root":
            bare.administer("useradd", "--create-home", user)
        run("git", "clone", "--quiet", "--no-hardlinks", ROOT, f"{root}{checkout}")
        bare.administer("chown", "--recursive", f"{user}:", checkout, *([DOWNLOADS] if keep_downloads else []))
        print(f"=== {release}: made in {time.monotonic() - start:.0f} s; {user} works in {checkout}")
        yield bare


def system(release: str) -> Path:
    """Return the root directory of a bare ``release``, made once. Treat it as read-only."""
    known = mirrors()
    mirror = known.get(release) or next(iter(known.values()), "")

    def build(directory: Path) -> None:
        print(f"=== {release}: debootstrap (once, a minute or two): {directory}")
        include = f"--include={','.join(PACKAGES)}"
        # (In a mount namespace: what it mounts there is gone, even if it fails.)
        run(
            "unshare",
            "--mount",
            "debootstrap",
            "--variant=minbase",
            include,
            release,
            directory,
            *filter(None, [mirror]),
        )

    return cache.once("bare", cache.digest(release, PACKAGES, mirror), build)


def mirrors() -> dict[str, str]:
    """Return Debian's releases in this machine's apt sources and their mirrors; none on another system."""
    listing = run("apt-get", "indextargets", "--format", "$(ORIGIN) $(CODENAME) $(REPO_URI)", "Created-By: Packages")
    rows = [line.split() for line in listing.splitlines() if line.startswith("Debian ")]
    return {release: uri for _origin, release, uri in rows if release in RELEASES}


def configure(root: Path, settings: Mapping[str, str]) -> None:
    """Give the machine this one's names, certificate authorities and pip settings, and apt's way to its mirrors."""
    for name in ("etc/resolv.conf", "etc/hosts"):
        shutil.copy(f"/{name}", root / name)
    for path in Path("/", AUTHORITIES).glob("**/*.crt"):
        shutil.copy(path, root / AUTHORITIES)
    apt = run("apt-config", "dump", "Acquire::http", "Acquire::https")
    (root / "etc" / "apt" / "apt.conf.d" / "99machine").write_text(apt)
    config = configparser.RawConfigParser()
    config["global"] = dict(settings)
    with (root / "etc" / "pip.conf").open("w") as file:
        config.write(file)


def seen(root: Path, values: Sequence[str]) -> list[str]:
    """Return the files and directories of this machine that settings name and that the other one has not."""
    found = []
    for word in " ".join(values).split():
        path = Path(word.removeprefix("file://"))
        if path.is_absolute() and path.exists() and not (root / path.relative_to("/")).exists():
            # (An index on disk has links to files beside it.)
            found.append(str(path.parent if word.startswith("file://") else path))
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    sys.exit(main())
