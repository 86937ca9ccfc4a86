"""Watching a run in the terminal, while another writes it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from dots.common.errors import UserError
from dots.report.progress import watch
from helpers.fabricated_plan import Plan
from helpers.fabricated_run import fabricate


def terminal() -> Console:
    return Console(file=io.StringIO(), width=100, force_terminal=False)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def never(seconds: float) -> None:
    raise AssertionError("nothing to wait for")


def test_a_finished_run_is_shown_once(tmp_path: Path) -> None:
    console = terminal()
    watch(fabricate(tmp_path / "run"), console=console, sleep=never)
    text = printed(console)
    for words in ("finished: test accuracy 97.50 %", "Topology search", "20/20", "normal: "):
        assert words in text, words


def test_follows_a_run_to_its_end(tmp_path: Path) -> None:
    """Each sleep, the writer gets a little further; the last line is torn in between."""
    run = fabricate(tmp_path / "run", Plan(epochs=(2, 2, 3)))
    whole = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    result = (run / "result.json").read_text()
    (run / "result.json").unlink()
    (run / "metrics.jsonl").write_text("".join(whole[:5]) + whole[5][:20])
    looks = 0

    def sleep(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            (run / "metrics.jsonl").write_text("".join(whole[:6]))
        elif looks == 2:
            (run / "metrics.jsonl").write_text("".join(whole))
            (run / "result.json").write_text(result)
        else:
            raise AssertionError("the run was over")

    console = terminal()
    watch(run, console=console, sleep=sleep)
    assert looks == 2
    assert "finished" in printed(console)
    last = json.loads(whole[-1])
    assert f"{last['loss']:.4f}" in printed(console)


def test_a_run_that_nobody_works_on_ends_the_watch(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run", Plan(until="topology"))
    (run / "lock").write_text("")
    console = terminal()
    watch(run, console=console, sleep=never)
    assert "no process works on this run; --resume continues it" in printed(console)


def test_ctrl_c_ends_the_watch_quietly(tmp_path: Path) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    console = terminal()
    watch(fabricate(tmp_path / "run", Plan(until="topology")), console=console, sleep=interrupted)
    assert "Training the found cell" in printed(console)


def test_markup_in_names_is_text(tmp_path: Path) -> None:
    console = terminal()
    watch(fabricate(tmp_path / "[red]run"), console=console, sleep=never)
    assert "[red]run" in printed(console)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run"):
        watch(tmp_path, sleep=never)
