"""Runs of the command line in real processes that are killed: a server, and its client.

`python killing.py` imports everything once and forks a process for each request, one JSON
object a line; so a kill costs no start-up. The client is `Killer`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from helpers.children import one_thread

QUICKEST = (
    "--preset", "tiny", "--quiet", "--device", "cpu", "--set", "nodes=2",
    "--set", "data.limit=160", "--set", "operations.cells=2", "--set", "topology.cells=2",
    "--set", "train.cells=2", "--set", "checkpoint_minutes=0.001",
    "--set", "train.auxiliary=0", "--set", "train.drop_path=0.1",
)  # fmt: skip
"""The options of a run of a few seconds that saves its state every few steps."""


@dataclass(frozen=True)
class End:
    """How a process ended: exit status (negative: the signal), what it said, how long it took."""

    status: int
    said: str
    seconds: float


class Killer:
    """Starts commands and lets them be killed by SIGKILL at a time or at a system call."""

    def __enter__(self) -> Self:
        self.server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=one_thread(),
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.kill()
        self.server.communicate()

    def run(
        self,
        *words: str,
        after: float | None = None,
        at: tuple[str, int] | tuple[str, int, str] | None = None,
        signal: int = signal.SIGKILL,
    ) -> End:
        """Run `dots WORDS`; it gets `signal` after so many seconds, or at its n-th call (from 1)
        of "replace", "fsync", "write", "unlink" or "report"; with a third word, only calls whose
        last argument ends with it count.
        """
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        request = {"words": words, "after": after, "at": at, "signal": signal}
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return End(**json.loads(self.server.stdout.readline()))


def _serve() -> None:
    import sklearn.datasets
    import tensorboard.summary.writer.event_file_writer  # noqa: F401 - imported ahead
    import torch

    import dots.cli.app
    import dots.report
    import dots.runs.stages  # noqa: F401 - imported ahead
    from dots.runs import launch as jobs  # noqa: F401 - imported ahead
    from dots.training.processes import start_processes

    torch.set_num_threads(1)
    start_processes("cpu")
    sklearn.datasets.load_digits()
    for line in sys.stdin:
        print(json.dumps(_do(**json.loads(line))), flush=True)


def _do(words: list[str], after: float | None, at: list[Any] | None, signal: int) -> dict[str, Any]:
    heard = Path(f"/tmp/killing-{os.getpid()}.txt")
    heard.touch()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(words, at, signal, heard)
    status = None
    while status is None:
        done, code = os.waitpid(child, os.WNOHANG)
        if done:
            status = os.waitstatus_to_exitcode(code)
        elif after is not None and time.monotonic() - began > after:
            os.kill(child, signal)
            after = None if signal != 9 else after
        time.sleep(0.002)
    said = heard.read_text()
    heard.unlink()
    return {"status": status, "said": said, "seconds": time.monotonic() - began}


def _become(words: list[str], at: list[Any] | None, signal: int, heard: Path) -> None:
    """In the child: run the command and leave."""
    handle = os.open(heard, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if at is not None:
        _signal_at(signal, *at)
    from dots.cli.app import run

    status = 99
    try:
        status = run(words)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def _signal_at(number: int, name: str, count: int, ending: str = "") -> None:
    left = count

    def passed() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), number)

    if name == "report":
        import dots.report.page as place

        attribute, owner = "render", place
    else:
        attribute, owner = name, os
    real = getattr(owner, attribute)

    def counted(*words: Any, **options: Any) -> Any:
        if not ending or str(words[-1]).endswith(ending):
            passed()
        return real(*words, **options)

    setattr(owner, attribute, counted)


if __name__ == "__main__":
    _serve()
