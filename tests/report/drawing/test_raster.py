"""Cells as pixels: the size of the drawing, and every box in its colour."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageColor

from dots import zoo
from dots.report.drawing.placement import Placement
from dots.report.drawing.raster import MARGIN, SCALE, cell_image
from dots.report.drawing.svg import style
from dots.space.genotype import Cell, Edge


@pytest.mark.parametrize("name", ["DOTS_C10", "NASNet_A_tf", "AmoebaNet_B_tf"])
def test_every_operation_has_its_colour(name: str) -> None:
    genotype = zoo.load(name).genotype
    for cell in genotype.cells.values():
        pixels = np.asarray(cell_image(cell, genotype.inputs))
        colours = {tuple(colour) for colour in pixels.reshape(-1, 3)}
        used = {edge.op for node in cell.nodes for edge in node}
        assert {ImageColor.getrgb(style(op)[0]) for op in used} <= colours


def test_the_picture_has_the_size_of_the_drawing_and_a_white_margin() -> None:
    cell = Cell(((Edge("sep_conv_3x3", 0), Edge("skip_connect", 1)),), (2,))
    at = Placement(cell, 2)
    image = cell_image(cell, 2)
    assert image.size == (
        round(SCALE * (at.width + 2 * MARGIN)),
        round(SCALE * (at.height + 2 * MARGIN)),
    )
    pixels = np.asarray(image)
    edge = round(SCALE * MARGIN) - SCALE - 1
    for side in (pixels[:edge], pixels[-edge:], pixels[:, :edge], pixels[:, -edge:]):
        assert (side == 255).all()
    assert (pixels < 255).any()
