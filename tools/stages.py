# The stages of ./dev test, in lanes that run at the same time: most stages keep one processor busy, a machine has more.
from __future__ import annotations

import asyncio
import shlex
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def run(program: Path, *lanes: Sequence[Sequence[str]]) -> list[tuple[str, int, float]]:
    """Run the stages of each lane one after the other, all lanes at once; a stage is the arguments of ``program``.

    What a stage prints is shown when it ends, so that no two are mixed. Every stage runs, whatever another one finds.
    Returns name, exit code and seconds of each, in the order in which they ended.
    """
    return asyncio.run(_run(program, lanes))


async def _run(program: Path, lanes: Sequence[Sequence[Sequence[str]]]) -> list[tuple[str, int, float]]:
    ended: list[tuple[str, int, float]] = []

    async def follow(lane: Sequence[Sequence[str]]) -> None:
        for words in lane:
            name = shlex.join(words)
            _say(f"begins: {name}")
            start = time.monotonic()
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, program, *words),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            output, _errors = await process.communicate()
            seconds = time.monotonic() - start
            print(output.decode(errors="replace"), end="", flush=True)
            code = process.returncode or 0
            _say(f"ended after {seconds:.0f} s, exit {code}: {name}")
            ended.append((name, code, seconds))

    await asyncio.gather(*map(follow, lanes))
    return ended


def _say(text: str) -> None:
    print(f"[dev] {text}", flush=True)
