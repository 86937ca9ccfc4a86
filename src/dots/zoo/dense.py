"""Cells with dense convolutions, for small networks of few channels.

Depthwise separable convolutions save multiply-adds where channels are many. With 16 to 64 of
them, and on a CPU, a 3×3 convolution of all channels takes hardly longer and has more weights.
"""

from __future__ import annotations

from dots.space.genotype import Cell, Edge, Genotype

DENSE = "-dense"
"""Follows the name of a published cell to name its dense form."""
_SEPARABLE = frozenset(
    {
        "sep_conv_3x3",
        "sep_conv_5x5",
        "sep_conv_7x7",
        "dil_conv_3x3",
        "dil_conv_5x5",
        "dil_sep_conv_5x5",
    }
)


def dense_form(genotype: Genotype) -> Genotype:
    """The cells with one 3×3 convolution of all channels for each depthwise separable one."""

    def dense(edge: Edge) -> Edge:
        return Edge("nor_conv_3x3", edge.source) if edge.op in _SEPARABLE else edge

    cells = {
        kind: Cell(tuple(tuple(map(dense, edges)) for edges in cell.nodes), cell.concat)
        for kind, cell in genotype.cells.items()
    }
    return Genotype(cells, genotype.space, genotype.search_space)
