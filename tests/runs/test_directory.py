"""The run directory: begun once, continued by one at a time, never overwritten."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dots.common.errors import UserError
from dots.recipe import build_recipe, preset
from dots.runs import environment
from dots.runs.directory import RunDirectory

TINY = preset("tiny")


def complaint(kind: type[Exception], call: Any, *args: Any, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        call(*args, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- beginning -------------------------------------------------------------------------------


def test_runs_are_numbered_and_never_overwritten(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    for expected in ("digits-1", "digits-2"):
        with RunDirectory.create(TINY, name="digits", root=root) as run:
            assert run.path == root / expected
    (root / "digits-2" / "recipe.json").unlink()  # whatever became of it, the number is taken
    (root / "digits-7").touch()
    (root / "digits-x").mkdir()
    (root / "digits-2-9").mkdir()
    with RunDirectory.create(TINY, name="digits", root=root) as run:
        assert run.path == root / "digits-8"
    with RunDirectory.create(TINY, name="other", root=root) as run:
        assert run.path == root / "other-1"


def test_many_at_once_get_a_directory_each(tmp_path: Path) -> None:
    def begin(_: int) -> str:
        with RunDirectory.create(TINY, name="x", root=tmp_path) as run:
            return run.path.name

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(begin, range(16)))
    assert sorted(names, key=lambda name: int(name[2:])) == [f"x-{n}" for n in range(1, 17)]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc", "etc-1"),
        ("a/b c\n*", "a-b-c-1"),
        ("", "run-1"),
        ("..", "run-1"),
        ("ü", "run-1"),
        ("x" * 500, "x" * 64 + "-1"),
    ],
)
def test_a_name_cannot_leave_the_root(name: str, kept: str, tmp_path: Path) -> None:
    with RunDirectory.create(TINY, name=name, root=tmp_path) as run:
        assert run.path == tmp_path / kept


def test_a_new_run_holds_its_recipe_and_environment(tmp_path: Path) -> None:
    recipe = build_recipe("tiny", overrides=["seed=5"])
    command = ["/home/somebody/.venv/bin/dots", "run", "my data", "--seed", "5"]
    with RunDirectory.create(recipe, out=tmp_path / "a" / "b", command=command) as run:
        assert run.recipe == recipe
        assert {p.name for p in run.path.iterdir()} == {"recipe.json", "environment.json", "lock"}
        assert build_recipe(file=run.path) == recipe
        found = run.read_json("environment.json")
    assert found["command"] == "dots run 'my data' --seed 5"
    assert found["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert found["packages"]["torch"]
    assert found["cpus"] == os.cpu_count()
    assert "somebody" not in json.dumps(found)
    assert str(tmp_path) not in json.dumps(found)


def test_an_empty_directory_will_do(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()  # an earlier attempt that died early
    (tmp_path / ".recipe.json.part").write_text('{"see')
    with RunDirectory.create(TINY, out=tmp_path) as run:
        assert run.path == tmp_path


def test_directories_that_hold_something_are_refused_untouched(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    assert "is not empty" in complaint(UserError, RunDirectory.create, TINY, out=other)
    assert {path.name for path in other.iterdir()} == {"thesis.tex"}

    with RunDirectory.create(TINY, out=tmp_path / "run"):
        pass
    recipe = (tmp_path / "run" / "recipe.json").read_bytes()
    message = complaint(UserError, RunDirectory.create, preset("quick"), out=tmp_path / "run")
    assert "holds a run already" in message
    assert "--resume" in message
    assert (tmp_path / "run" / "recipe.json").read_bytes() == recipe

    file = tmp_path / "file"
    file.touch()
    assert "is no directory" in complaint(UserError, RunDirectory.create, TINY, out=file)
    assert "cannot begin" in complaint(UserError, RunDirectory.create, TINY, out=file / "below")
    assert "cannot begin" in complaint(UserError, RunDirectory.create, TINY, root=file)
    assert "cannot begin" in complaint(UserError, RunDirectory.create, TINY, out=Path("a\0b"))


def test_of_many_that_begin_in_one_directory_one_does(tmp_path: Path) -> None:
    def begin(_: int) -> RunDirectory | None:
        try:
            return RunDirectory.create(TINY, out=tmp_path / "run")
        except UserError:
            return None

    with ThreadPoolExecutor(8) as pool:
        [run] = [run for run in pool.map(begin, range(8)) if run is not None]
    run.close()


# --- continuing ------------------------------------------------------------------------------


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    for begin in (RunDirectory.open, RunDirectory.read):
        assert "no run" in complaint(UserError, begin, tmp_path / "nothing")
        (tmp_path / "file").touch()
        assert "is a file" in complaint(UserError, begin, tmp_path / "file")
        (tmp_path / "empty").mkdir(exist_ok=True)
        assert "has no recipe.json" in complaint(UserError, begin, tmp_path / "empty")
        assert "no run" in complaint(UserError, begin, Path("a\nb\0c"))
    assert list((tmp_path / "empty").iterdir()) == [], "not even a lock is left"


def test_the_folder_of_runs_is_answered_with_their_names(tmp_path: Path) -> None:
    for _ in range(2):
        RunDirectory.create(TINY, name="digits", root=tmp_path).close()
    assert "digits-1, digits-2" in complaint(UserError, RunDirectory.open, tmp_path)


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff", b"[]", b'{"seed": "x"}'])
def test_a_damaged_recipe_is_named(content: bytes, tmp_path: Path) -> None:
    RunDirectory.create(TINY, out=tmp_path).close()
    (tmp_path / "recipe.json").write_bytes(content)
    assert "recipe.json" in complaint(UserError, RunDirectory.open, tmp_path)


def test_one_at_a_time_but_anyone_may_look(tmp_path: Path) -> None:
    with RunDirectory.create(TINY, out=tmp_path) as run:
        assert "in use by process" in complaint(UserError, RunDirectory.open, tmp_path)
        run.metrics.append({"stage": "train", "epoch": 0, "loss": 1.0})
        looking = RunDirectory.read(tmp_path)
        assert looking.metrics.rows() == run.metrics.rows()
        for write in (
            lambda: looking.write_json("x.json", 1),
            lambda: looking.write_text("x", ""),
            lambda: looking.rewind("train", 0),
            looking.sync,
        ):
            assert "opened to be read" in complaint(RuntimeError, write)
    with RunDirectory.open(tmp_path) as again:
        assert again.recipe == TINY


def test_an_error_in_the_block_gives_the_lock_up(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), RunDirectory.create(TINY, out=tmp_path):
        raise KeyboardInterrupt
    with RunDirectory.open(tmp_path) as run:
        pass
    run.close()
    assert "is closed" in complaint(RuntimeError, run.sync)


def test_opening_mends_what_a_crash_tore(tmp_path: Path) -> None:
    with RunDirectory.create(TINY, out=tmp_path) as run:
        run.metrics.append({"stage": "train", "epoch": 0, "loss": 1.0})
        run.architecture.append({"stage": "operations", "epoch": 0, "alpha": {"normal": [[1.0]]}})
        run.checkpoints.write("train", 1, 0, {"x": 1})
    whole = {name: (tmp_path / name).read_bytes() for name in ROWS}
    for name in ROWS:
        with open(tmp_path / name, "ab") as file:
            file.write(b'{"stage": "tr')
    parts = [tmp_path / ".genotype.json.part", tmp_path / "checkpoints" / ".000002-x.part"]
    for part in parts:
        part.write_bytes(b"half")
    (tmp_path / "environment.json").unlink()
    with RunDirectory.open(tmp_path) as run:
        assert {name: (tmp_path / name).read_bytes() for name in ROWS} == whole
        assert not any(part.exists() for part in parts)
        assert run.has("environment.json")
        assert run.checkpoints.newest() is not None


ROWS = ("metrics.jsonl", "architecture.jsonl")


def test_files_come_back_and_bad_ones_are_named(tmp_path: Path) -> None:
    with RunDirectory.create(TINY, out=tmp_path) as run:
        assert not run.has("result.json")
        run.write_json("result.json", {"test_accuracy": 0.5, "test_top5": None})
        assert run.has("result.json")
        assert run.read_json("result.json") == {"test_accuracy": 0.5, "test_top5": None}
        run.write_text("report.html", "größer")
        assert (tmp_path / "report.html").read_text(encoding="utf-8") == "größer"
        assert "result.json" in complaint(UserError, run.read_json, "other/result.json")
        with pytest.raises(ValueError, match=r"NaN|JSON"):
            run.write_json("result.json", {"loss": float("nan")})
        assert run.read_json("result.json")["test_accuracy"] == 0.5


def test_a_run_rewound_goes_on_as_if_never_interrupted(tmp_path: Path) -> None:
    def epochs(run: RunDirectory, work: list[tuple[str, int]]) -> None:
        for stage, epoch in work:
            run.metrics.append({"stage": stage, "epoch": epoch, "loss": 1 / (epoch + 1)})
            run.architecture.append({"stage": stage, "epoch": epoch, "alpha": {}})
            run.checkpoints.write(stage, epoch + 1, 0, {"epoch": epoch})

    work = [(stage, epoch) for stage in ("operations", "topology") for epoch in range(3)]
    with RunDirectory.create(TINY, out=tmp_path / "whole") as run:
        epochs(run, work)
    with RunDirectory.create(TINY, out=tmp_path / "resumed") as run:
        epochs(run, work[:5])
    newest = max((tmp_path / "resumed" / "checkpoints").iterdir())
    newest.write_bytes(b"")
    with RunDirectory.open(tmp_path / "resumed") as run:
        found = run.checkpoints.newest()
        assert found is not None
        position, state = found
        assert (position.stage, position.epoch, state) == ("topology", 1, {"epoch": 0})
        assert newest.name in run.checkpoints.notices[0]
        run.rewind(position.stage, position.epoch)
        assert len(run.metrics.rows()) == 4
        epochs(run, work[work.index((position.stage, position.epoch)) :])
    for name in (*ROWS, "metrics.csv"):
        whole, resumed = (tmp_path / kind / name for kind in ("whole", "resumed"))
        assert resumed.read_bytes() == whole.read_bytes()


def test_a_moved_run_and_one_with_other_settings_go_on(tmp_path: Path) -> None:
    RunDirectory.create(TINY, out=tmp_path / "here").close()
    (tmp_path / "here").rename(tmp_path / "there")
    longer = build_recipe(file=tmp_path / "there", overrides=["train.epochs=9"])
    with RunDirectory.open(tmp_path / "there") as run:
        run.replace_recipe(longer)
        assert run.recipe == longer
    assert RunDirectory.read(tmp_path / "there").recipe == longer


# --- environment -----------------------------------------------------------------------------


def test_another_environment_is_told_in_words(tmp_path: Path) -> None:
    with RunDirectory.create(TINY, out=tmp_path) as run:
        assert run.environment_differences() == ()
        old = run.read_json("environment.json")
        old["packages"]["torch"] = "0.4.1"
        old.update(python="2.7.18", platform="another", commit=None)
        run.write_json("environment.json", old)
        now = environment.collect()
        assert set(run.environment_differences()) == {
            f"python was 2.7.18, is {now['python']}",
            f"torch was 0.4.1, is {now['packages']['torch']}",
        }


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["/x/dots/__main__.py", "run", "digits"], "dots run digits"),
        (["dots", "run", "a'b"], "dots run 'a'\"'\"'b'"),
        ([], ""),
    ],
)
def test_the_command_is_shown_as_typed(argv: list[str], shown: str) -> None:
    assert environment.collect(argv)["command"] == shown


def test_looking_at_a_run_needs_no_pytorch(tmp_path: Path) -> None:
    RunDirectory.create(TINY, out=tmp_path).close()
    code = (
        "import sys; from pathlib import Path; from dots.runs.directory import RunDirectory; "
        f"RunDirectory.read(Path({str(tmp_path)!r})).metrics.rows(); "
        "assert 'torch' not in sys.modules and 'tensorboard' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
