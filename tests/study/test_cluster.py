"""Trials under Ray end as they do in processes."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from dots.common.errors import UserError
from dots.study.execution.attempts import Record, run_all
from dots.study.execution.ray import RayCluster
from dots.study.trial import Trial
from helpers.work_for_trials import obey, trial

HERE = Path(__file__).resolve().parents[1]
installed = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not installed, reason="Ray is not installed: pip install ray")


@pytest.fixture
def importable_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's processes find the tests' modules."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))


@needs_ray
@pytest.mark.usefixtures("importable_there")
@pytest.mark.filterwarnings("ignore")  # Ray's own, of its sockets and of what it deprecates
def test_a_trial_that_dies_is_repeated_then_reported(tmp_path: Path) -> None:
    records: dict[str, Record] = {}

    def finish(one: Trial, record: Record) -> list[Trial]:
        assert one.name not in records
        records[one.name] = record
        return [trial("later")] if one.name == "good" else []

    run_all(
        RayCluster(obey, "local", 1),
        [
            trial("good"),
            trial("exits", "exit"),
            trial("raises", "raise"),
            trial("refused", "refuse"),
            trial("recovers", "exit", times=1),
        ],
        lambda one: tmp_path / one.name,
        finish,
        retries=1,
    )
    assert len(records) == 6
    assert records["good"].result["pid"] != os.getpid()
    assert records["later"].result is not None
    assert records["recovers"].result["marks"] == 2
    assert records["exits"].result is None
    assert "WorkerCrashedError" in str(records["exits"].error)
    assert "ValueError: a number too many" in str(records["raises"].error)
    assert {records[name].attempts for name in ("exits", "raises")} == {2}
    assert (records["refused"].error, records["refused"].attempts) == (
        "the strategy 'x' does not fit",
        1,
    )


@needs_ray
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_is_not_there_is_the_user_s_mistake() -> None:
    with pytest.raises(UserError, match=r"no Ray cluster at '127.0.0.1:1'"):
        RayCluster(obey, "127.0.0.1:1", 1)


@pytest.mark.skipif(installed, reason="Ray is installed")
def test_without_ray_the_remedy_is_said() -> None:
    with pytest.raises(UserError, match=r"pip install 'dots-nas\[ray\]'.*--workers"):
        RayCluster(obey, "local", 1)
