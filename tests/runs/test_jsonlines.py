"""JSON lines: whatever is torn is cut off, whatever is rewound is as if it never was."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dots.common.errors import UserError
from dots.runs.jsonlines import JsonLines

ROWS = [
    {"stage": "operations", "epoch": 0, "loss": 2.5, "note": "größer\nzwei"},
    {"stage": "operations", "epoch": 1, "loss": 1.25},
    {"stage": "topology", "epoch": 0, "beta": {"normal": [[0.5, 0.5]]}},
]


@pytest.fixture
def lines(tmp_path: Path) -> JsonLines:
    return JsonLines(tmp_path / "rows.jsonl")


def fill(lines: JsonLines, rows: list[dict[str, Any]]) -> bytes:
    for row in rows:
        lines.append(row)
    return lines.path.read_bytes()


def test_rows_come_back_in_order_one_a_line(lines: JsonLines) -> None:
    assert lines.rows() == []
    content = fill(lines, ROWS)
    assert lines.rows() == ROWS
    assert [json.loads(line) for line in content.decode().splitlines()] == ROWS
    lines.sync()


def test_a_tear_at_any_byte_costs_the_torn_line_and_no_other(lines: JsonLines) -> None:
    content = fill(lines, ROWS)
    for cut in range(len(content) + 1):
        lines.path.write_bytes(content[:cut])
        whole = content[:cut].count(b"\n")
        assert lines.rows() == ROWS[:whole], "reading does not need the repair"
        assert lines.path.stat().st_size == cut, "reading changes nothing"
        lines.repair()
        for row in ROWS[whole:]:
            lines.append(row)
        assert lines.path.read_bytes() == content


@pytest.mark.parametrize("tail", [b"\0" * 40, b"\0" * 40 + b"\n", b"{}\n", b"[1]\n", b"NaN\n"])
def test_what_a_power_cut_leaves_at_the_end_is_cut_off(tail: bytes, lines: JsonLines) -> None:
    content = fill(lines, ROWS)
    lines.path.write_bytes(content + tail)
    lines.repair()
    assert lines.path.read_bytes() == content


def test_damage_before_the_end_is_named_and_nothing_is_lost(lines: JsonLines) -> None:
    content = fill(lines, ROWS).replace(b'"loss": 1.25', b'"loss": 1.25x')
    lines.path.write_bytes(content)
    with pytest.raises(UserError, match=r"line 2 of .*rows\.jsonl.* is damaged"):
        lines.repair()
    assert lines.path.read_bytes() == content


@pytest.mark.parametrize(
    ("stage", "epoch", "kept"),
    [
        ("operations", 0, 0),
        ("operations", 1, 1),
        ("topology", 0, 2),
        ("topology", 1, 3),
        ("train", 0, 3),
        ("operations", 2, 3),
    ],
)
def test_rewinding_drops_the_epoch_and_all_that_followed(
    stage: str, epoch: int, kept: int, lines: JsonLines
) -> None:
    fill(lines, ROWS)
    lines.rewind(stage, epoch)
    assert lines.rows() == ROWS[:kept]


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_resumed_files_equal_uninterrupted_ones(data: st.DataObject, tmp_path: Path) -> None:
    """Crashes anywhere, torn lines included, each followed by a resume at an earlier epoch."""
    work = [{"stage": s, "epoch": e, "x": 0.1 * e} for s in ("operations", "train") for e in (0, 1)]
    whole = JsonLines(tmp_path / "whole.jsonl")
    whole.path.unlink(missing_ok=True)
    expected = fill(whole, work)
    lines = JsonLines(tmp_path / "resumed.jsonl")
    lines.path.unlink(missing_ok=True)
    done = 0
    for _ in range(data.draw(st.integers(0, 4), label="crashes")):
        start = data.draw(st.integers(0, done), label="checkpoint")
        lines.repair()
        lines.rewind(work[start]["stage"], work[start]["epoch"])  # type: ignore[arg-type]
        done = data.draw(st.integers(start, len(work) - 1), label="dies before")
        content = fill(lines, work[start:done]) if done > start else _content(lines)
        lines.path.write_bytes(content + data.draw(st.sampled_from([b"", b'{"sta', b"{}"])))
    lines.repair()
    lines.rewind(work[done]["stage"], work[done]["epoch"])  # type: ignore[arg-type]
    assert fill(lines, work[done:]) == expected


def _content(lines: JsonLines) -> bytes:
    return lines.path.read_bytes() if lines.path.exists() else b""


def test_what_is_not_finite_is_null_at_any_depth(lines: JsonLines) -> None:
    nan, inf = float("nan"), float("inf")
    lines.append({"stage": "train", "epoch": 0, "a": nan, "b": [inf, {"c": (-inf, 1.0)}]})
    assert lines.rows() == [
        {"stage": "train", "epoch": 0, "a": None, "b": [None, {"c": [None, 1]}]}
    ]


@pytest.mark.parametrize("row", [{}, {"stage": "x"}, {"stage": 1, "epoch": 0}, {"epoch": 0}])
def test_a_row_without_its_place_is_refused(row: dict[str, Any], lines: JsonLines) -> None:
    with pytest.raises(ValueError, match="needs a stage"):
        lines.append(row)


def test_hostile_lines_are_refused_not_parsed_to_death(lines: JsonLines) -> None:
    content = fill(lines, ROWS)
    lines.path.write_bytes(content + b"[" * 200_000 + b"\n" + b'{"epoch": ' + b"9" * 5000 + b"}\n")
    assert lines.rows() == ROWS


def test_a_full_disk_leaves_no_part_of_a_line(
    lines: JsonLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = fill(lines, ROWS)

    def half(file: Any, line: bytes) -> None:
        file.write(line[: len(line) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("dots.runs.jsonlines._write_all", half)
        with pytest.raises(UserError, match=r"no room left on the disk for .*rows\.jsonl"):
            lines.append(ROWS[0])
    assert lines.path.read_bytes() == content
    lines.append(ROWS[0])
    assert lines.rows() == [*ROWS, ROWS[0]]
