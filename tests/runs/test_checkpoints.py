"""The checkpoints of a run: rotation, damage, and death at every step of a write."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dots.common.errors import UserError
from dots.runs.checkpoints import Checkpoints, Position
from helpers.dying import Disk, Recorder, Step, aftermaths, content_of, restore


def state(number: int) -> dict[str, Any]:
    return {"number": number, "w": torch.full((50,), float(number))}


def numbers(folder: Path) -> list[int]:
    return [int(name[:6]) for name in sorted(path.name for path in folder.iterdir())]


def filled(folder: Path, count: int) -> Checkpoints:
    checkpoints = Checkpoints(folder)
    for number in range(1, count + 1):
        checkpoints.write("train", number, 0, state(number))
    return checkpoints


def found(checkpoints: Checkpoints, stage: str | None = None) -> tuple[Position, int] | None:
    newest = checkpoints.newest(stage)
    if newest is None:
        return None
    position, kept = newest
    assert torch.equal(kept["w"], torch.full((50,), float(kept["number"])))
    return position, kept["number"]


def test_the_newest_comes_back_with_its_position(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.newest() is None
    path = checkpoints.write("operations", 4, 17, state(1))
    assert path.parent == tmp_path / "checkpoints"
    assert found(checkpoints) == (Position("operations", 4, 17), 1)
    assert checkpoints.notices == []


def test_the_oldest_make_room_for_the_new(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 5)
    assert numbers(tmp_path) == [3, 4, 5]
    assert found(checkpoints) == (Position("train", 5, 0), 5)
    checkpoints = Checkpoints(tmp_path)  # another process goes on counting
    checkpoints.write("train", 6, 0, state(6))
    assert numbers(tmp_path) == [4, 5, 6]


def test_the_last_of_every_stage_stays(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for number, stage in enumerate(["operations"] * 3 + ["train"] * 3 + ["train-random"] * 3, 1):
        checkpoints.write(stage, number, 0, state(number))
    assert numbers(tmp_path) == [3, 6, 7, 8, 9]
    assert found(checkpoints, "train") == (Position("train", 6, 0), 6)
    assert found(checkpoints, "topology") is None


def test_order_is_by_number_whatever_the_files_dates_say(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    for path in tmp_path.iterdir():
        os.utime(path, (10**9 - int(path.name[:6]),) * 2)
    assert found(Checkpoints(tmp_path)) == (Position("train", 3, 0), 3)


def test_damage_is_named_and_the_one_before_is_used(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 3)
    newest = max(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    assert found(checkpoints) == (Position("train", 2, 0), 2)
    [notice] = checkpoints.notices
    assert newest.name in notice
    assert "\n" not in notice
    checkpoints.write("train", 3, 0, state(33))
    assert found(Checkpoints(tmp_path)) == (Position("train", 3, 0), 33)


def test_with_nothing_intact_there_is_none_and_every_one_is_named(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 3)
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    assert checkpoints.newest() is None
    assert len(checkpoints.notices) == 3


def test_a_checkpoint_under_the_name_of_another_stage_is_damaged(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 2)
    max(tmp_path.iterdir()).rename(tmp_path / "000009-operations.safetensors")
    assert found(checkpoints) == (Position("train", 1, 0), 1)
    assert "000009-operations" in checkpoints.notices[0]


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    others = ["notes.txt", "1-train.safetensors", "000001-Train.safetensors", "x.safetensors"]
    for name in others:
        (tmp_path / name).touch()
    filled(tmp_path, 5)
    kept = {f"{number:06d}-train.safetensors" for number in (3, 4, 5)}
    assert {path.name for path in tmp_path.iterdir()} == {*others, *kept}


@pytest.mark.parametrize("stage", ["", "../x", "Train", "a b", "-x"])
def test_a_stage_that_is_no_name_is_refused(stage: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stage's name"):
        Checkpoints(tmp_path / "c").write(stage, 0, 0, {})


def test_what_the_checkpoint_rests_on_is_brought_to_disk_first(tmp_path: Path) -> None:
    seen: list[bool] = []
    checkpoints = Checkpoints(tmp_path / "c", before_write=lambda: seen.append(_empty(tmp_path)))
    checkpoints.write("train", 0, 0, {})
    assert seen == [True]


def _empty(folder: Path) -> bool:
    return not list(folder.glob("c/*"))


# --- death -----------------------------------------------------------------------------------


def recorded_write(folder: Path, patch: pytest.MonkeyPatch) -> tuple[Disk, list[Step]]:
    """The disk before the fourth write, which deletes the first, and the steps of that write."""
    checkpoints = filled(folder, 3)
    before = content_of(folder)
    with patch.context() as inner:
        recorder = Recorder(folder, inner)
        checkpoints.write("train", 4, 0, state(4))
    return before, recorder.steps


def test_a_write_takes_the_steps_that_make_it_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, steps = recorded_write(tmp_path, monkeypatch)
    kinds = [step.kind for step in steps]
    assert kinds == ["open", "write", "flush", "rename", "flush-folder", "unlink"]


def verdicts(tmp_path: Path, before: Disk, steps: list[Step]) -> dict[str, str]:
    """For every aftermath of `steps`: "old", "new", or what is wrong."""
    result = {}
    for how, disk in aftermaths(before, steps):
        folder = tmp_path / "found"
        restore(folder, disk)
        checkpoints = Checkpoints(folder)
        newest = found(checkpoints)
        if checkpoints.notices or newest not in [
            (Position("train", 3, 0), 3),
            (Position("train", 4, 0), 4),
        ]:
            result[how] = f"{newest}, {checkpoints.notices}"
            continue
        result[how] = "old" if newest[1] == 3 else "new"
        # and the next process can go on from there
        checkpoints.write("train", 5, 0, state(5))
        assert found(checkpoints) == (Position("train", 5, 0), 5)
    return result


def test_death_at_any_step_leaves_exactly_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c").mkdir()
    before, steps = recorded_write(tmp_path / "c", monkeypatch)
    answers = verdicts(tmp_path, before, steps)
    assert set(answers.values()) == {"old", "new"}, answers
    assert answers["killed after 0 steps"] == "old"
    assert answers[f"killed after {len(steps)} steps"] == "new"
    after_flush = [a for how, a in answers.items() if how.startswith("power cut after 5")]
    assert set(after_flush) == {"new"}, "a finished write survives a power cut"


@pytest.mark.parametrize("missing", ["flush", "flush-folder"])
def test_the_simulation_notices_a_missing_flush(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c").mkdir()
    before, steps = recorded_write(tmp_path / "c", monkeypatch)
    careless = [step for step in steps if step.kind != missing]
    answers = verdicts(tmp_path, before, careless)
    if missing == "flush":
        assert set(answers.values()) - {"old", "new"}
    else:
        end = {a for how, a in answers.items() if how.startswith("power cut after 5")}
        assert "old" in end, "a finished write could be lost"


KILLED = """
import os, sys
from pathlib import Path
import torch
import dots.common.files
from dots.runs.checkpoints import Checkpoints

torch.set_num_threads(1)
root = Path(sys.argv[1])

def state(number):
    return {"number": number, "w": torch.full((50_000,), float(number))}

def die_at(moment):
    '''Kill this process at the moment-th call, half way through if it is a write.'''
    count = 0
    def counting(call, half=None):
        def wrapped(*args, **kwargs):
            nonlocal count
            if count == moment:
                if half is not None:
                    half(*args)
                os.kill(os.getpid(), 9)
            count += 1
            return call(*args, **kwargs)
        return wrapped
    class File:
        def __init__(self, file):
            self.file = file
            self.write = counting(file.write, self.write_half)
        def write_half(self, content):
            self.file.write(content[: len(content) // 2])
            self.file.flush()
        def __enter__(self): return self
        def __exit__(self, *error): self.file.close()
        def __getattr__(self, name): return getattr(self.file, name)
    opened = counting(open)
    dots.common.files.open = lambda *args, **kwargs: File(opened(*args, **kwargs))
    for name in ("open", "fsync", "replace", "unlink", "close"):
        setattr(os, name, counting(getattr(os, name)))

for moment in range(100):
    folder = root / str(moment)
    checkpoints = Checkpoints(folder)
    for number in (1, 2, 3):
        checkpoints.write("train", number, 0, state(number))
    child = os.fork()
    if child == 0:
        die_at(moment)
        checkpoints.write("train", 4, 0, state(4))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    found = Checkpoints(folder)
    position, kept = found.newest()
    assert found.notices == [], found.notices
    assert torch.equal(kept["w"], state(kept["number"])["w"])
    print(moment, kept["number"], "killed" if status else "lived", flush=True)
    if status == 0:
        break
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_process_really_killed_at_every_call_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = [line.split()[1:] for line in done.stdout.splitlines()]
    killed = [number for number, fate in answers if fate == "killed"]
    assert answers[-1] == ["4", "lived"]
    assert len(killed) >= 7
    assert killed == sorted(killed), "first the old, from the rename on the new"
    assert {"3", "4"} == set(killed)


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_is_told_and_costs_nothing(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = filled(tmp_path, 3)
    before = content_of(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    @contextmanager
    def opened(path: Path, mode: str) -> Iterator[Any]:
        with open(path, mode) as file:

            def write(content: bytes) -> None:
                file.write(content[: len(content) // 2])
                full()

            yield SimpleNamespace(write=write)

    with monkeypatch.context() as patch:
        if call == "write":
            patch.setattr("dots.common.files.open", opened, raising=False)
        else:
            patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"no room left on the disk for .*000004-train"):
            checkpoints.write("train", 4, 0, state(4))
    assert content_of(tmp_path) == before, "no part is left either"
    checkpoints.write("train", 4, 0, state(4))
    assert found(checkpoints) == (Position("train", 4, 0), 4)
