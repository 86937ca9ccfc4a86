"""What notebooks show: well-formed, with the facts, in the notebook's own colours."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest

from dots.api import Outcome
from dots.networks.saved import load_model
from dots.report import Report
from dots.runs.progress import Shown, in_notebook
from dots.zoo import load
from helpers import exported_run
from helpers.fabricated_run import fabricate


def parsed(html: str) -> ElementTree.Element:
    return ElementTree.fromstring(html)


def test_a_genotype_is_its_drawing() -> None:
    genotype = load("DARTS_V2").genotype
    assert parsed(genotype._repr_svg_()).tag.endswith("svg")
    html = genotype._repr_html_()
    (drawing,) = parsed(html)
    assert drawing.get("fill") == "currentColor"
    assert html.count("sep_conv_3x3</text>") == 5


def test_an_outcome_has_its_numbers_its_cell_and_its_report(tmp_path: Path) -> None:
    path = fabricate(tmp_path / "<run>")
    outcome = Outcome(load("DARTS_V2").genotype, {}, path)
    page = parsed(outcome._repr_html_())
    text = "".join(page.itertext())
    assert "Test accuracy" in text
    assert str(path) in text
    assert [part.tag.rpartition("}")[2] for part in page] == ["table", "svg"]
    frame = outcome.report._repr_html_()
    source = unescape(re.fullmatch(r'<iframe srcdoc="([^"]*)" [^<>]*></iframe>', frame)[1])  # type: ignore[index]
    assert source == Report(path).to_html()
    assert source.startswith("<!doctype html>")


def test_a_trained_network_says_what_it_takes(tmp_path: Path) -> None:
    network = load_model(exported_run.make_run(tmp_path / "run"))
    text = "".join(parsed(network._repr_html_()).itertext())
    assert "10: zero, one, two; or <2>" in text
    assert "3 × 12 × 12" in text


def test_no_colour_is_fixed_but_the_operations(tmp_path: Path) -> None:
    network = load_model(exported_run.make_run(tmp_path / "run"))
    styled = re.sub(r"<style>.*?</style>", "", network._repr_html_())
    colours = set(re.findall(r'(?:fill|stroke)="([^"]+)"', styled))
    assert {"currentColor", "none"} < colours
    assert not {"black", "white", "#000", "#fff"} & colours
    assert re.findall(r"[;\"]color:(\w+)", styled) == ["inherit"] * styled.count("color:inherit")


def test_progress_is_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Shown(in_notebook())
    shown.stage_started("train", 1, 2, 0)
    shown.stepped(0, 1)
    shown.epoch_done(
        {"stage": "train", "epoch": 0, "loss": 1.0, "accuracy": 0.5, "seconds": 1.0}, None
    )
    shown.stage_done("train")
    printed = capsys.readouterr().out
    assert printed == "train        epoch   1/1  loss 1.0000  accuracy  50.0 %  1 s\n"
