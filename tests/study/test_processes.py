"""Trials in processes: each gets its outcome, whatever becomes of the process."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import pytest

from dots.study.execution.attempts import Record, run_all
from dots.study.execution.processes import ProcessPool
from dots.study.trial import Trial
from dots.training.loop import Interrupted
from helpers.work_for_trials import obey, trial


def run(
    trials: list[Trial], folder: Path, *, workers: int = 2, retries: int = 1
) -> dict[str, Record]:
    """The records of all trials."""
    records: dict[str, Record] = {}

    def finish(one: Trial, record: Record) -> list[Trial]:
        assert one.name not in records
        records[one.name] = record
        return []

    pool = ProcessPool(obey, workers)
    run_all(pool, trials, lambda one: folder / one.name, finish, retries=retries)
    return records


def test_results_come_from_other_processes_and_mistakes_are_said_once(tmp_path: Path) -> None:
    records = run([trial("a"), trial("b"), trial("c", "refuse")], tmp_path)
    pids = [records[name].result["pid"] for name in "ab"]
    assert os.getpid() not in pids
    assert len(set(pids)) == 2
    assert records["a"].error is None
    assert records["a"].attempts == 1
    assert records["c"] == Record(None, "the strategy 'x' does not fit", 1, records["c"].seconds), (
        "what would be refused again is not tried again"
    )


def test_a_trial_that_dies_is_repeated_then_reported_and_hurts_no_other(tmp_path: Path) -> None:
    records = run(
        [
            trial("exits", "exit"),
            trial("killed", "kill"),
            trial("raises", "raise"),
            trial("recovers", "exit", times=1),
            trial("good"),
        ],
        tmp_path,
    )
    assert len(records) == 5
    assert records["exits"].error == "its process ended with exit status 3"
    assert records["killed"].error == "its process was killed by signal 9 (SIGKILL)"
    assert records["raises"].error == "ValueError: a number too many (exit status 1)"
    assert {records[name].attempts for name in ("exits", "killed", "raises")} == {2}
    assert len(list((tmp_path / "exits").glob("mark-*"))) == 2
    assert records["recovers"].error is None
    assert records["recovers"].result["marks"] == 2
    assert records["good"].result["marks"] == 1
    log = (tmp_path / "raises" / "log.txt").read_text()
    assert log.count("Traceback") == 2
    assert "something on stdout" in log


def test_finishing_one_may_make_others_possible_and_no_more_run_than_workers(
    tmp_path: Path,
) -> None:
    seen: list[Counter[str]] = []
    names: list[str] = []

    def finish(one: Trial, record: Record) -> list[Trial]:
        names.append(one.name)
        return [trial("later-1"), trial("later-2")] if one.name == "first" else []

    run_all(
        ProcessPool(obey, 1),
        [trial("first")],
        lambda one: tmp_path / one.name,
        finish,
        retries=0,
        tick=lambda running: seen.append(Counter(running)),
    )
    assert names == ["first", "later-1", "later-2"]
    assert max(count.total() for count in seen) == 1


def test_a_signal_ends_all_attempts_before_it_is_passed_on(tmp_path: Path) -> None:
    pool = ProcessPool(obey, 2)
    began = time.monotonic()

    def asked() -> int | None:
        return 2 if len(list(tmp_path.glob("*/mark-0"))) == 2 else None

    with pytest.raises(Interrupted) as stopped:
        run_all(
            pool,
            [trial(f"long-{n}", "sleep", seconds=600) for n in range(3)],
            lambda one: tmp_path / one.name,
            lambda one, record: pytest.fail("nothing finished"),
            retries=1,
            stop_signal=asked,
        )
    assert stopped.value.signal == 2
    assert time.monotonic() - began < 60
    assert not (tmp_path / "long-2").exists()


def test_a_stale_outcome_of_an_earlier_attempt_is_not_taken(tmp_path: Path) -> None:
    run([trial("one")], tmp_path)
    assert run([trial("one", "exit")], tmp_path)["one"].result is None
