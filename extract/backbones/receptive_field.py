"""The receptive field: the part of a backbone's input that one cell of a layer depends on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .table import Backbone


@dataclass(frozen=True)
class ReceptiveField:
    """The receptive field of the cells of a layer, in pixels of the backbone's input.

    Height and width are alike: all kernels are square.

    Attributes:
        size: side of the square that a cell depends on; it may reach beyond the input.
        stride: distance between the squares of neighbouring cells.
        start: row and column of the first cell's square, negative if it begins outside the input.
        input_size: height and width of the backbone's input.
    """

    size: int
    stride: int
    start: int
    input_size: tuple[int, int]

    def joined(self, side: int) -> ReceptiveField:
        """Return the field of squares of `side` x `side` cells.

        Args:
            side: number of cells at each side of a square.
        """
        size = self.size + (side - 1) * self.stride
        return ReceptiveField(size, side * self.stride, self.start, self.input_size)

    def edges(self, rows: int, columns: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the edges at which cells are drawn, in pixels of the input.

        Args:
            rows: number of rows of cells.
            columns: number of columns of cells.

        Returns:
            Row numbers of shape (rows + 1,), and column numbers of shape (columns + 1,). The last
            cell is smaller if the cells do not divide the input.
        """
        height, width = self.input_size
        y = np.minimum(np.arange(rows + 1) * self.stride, height)
        x = np.minimum(np.arange(columns + 1) * self.stride, width)
        return y, x

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Return the part of the input that a cell depends on: left, top, right, bottom.

        Right and bottom are exclusive. Outside the input there are zeros only.

        Args:
            row: number of the cell's row, from 0 on.
            column: number of its column.
        """
        height, width = self.input_size
        top, left = (self.start + self.stride * place for place in (row, column))
        return (
            max(0, left),
            max(0, top),
            min(width, left + self.size),
            min(height, top + self.size),
        )


def receptive_field(backbone: Backbone, layer: str) -> ReceptiveField:
    """Compute the receptive field of a layer from the backbone's table of layers.

    Layers with a kernel are convolutions of stride 1 with zeros around their input. The others are
    poolings, whose windows do not overlap. See Araujo, Norris and Sim, "Computing receptive fields
    of convolutional neural networks", Distill 2019.

    Args:
        backbone: the network, or `pixels-N`, each of whose cells is a pixel.
        layer: name of one of its layers.

    Examples:
        >>> from .table import find_backbone
        >>> receptive_field(find_backbone("vgg16"), "block3_pool").size
        44
        >>> receptive_field(find_backbone("vgg16"), "block5_pool")
        ReceptiveField(size=212, stride=32, start=-90, input_size=(224, 224))
    """
    # The input is the first layer of every backbone but `pixels-N`, which has no other.
    size, stride, start = 1, 1, 0
    sides = [backbone.input_size[0], *(height for height, _, _ in backbone.layers.values())]
    for name, (above, below) in zip(backbone.layers, pairwise(sides), strict=True):
        kernel = backbone.tensors.get(f"{name}/kernel")
        if kernel is not None:
            # Zeros on both sides keep the number of positions.
            start -= (kernel[0] - 1) // 2 * stride
            size += (kernel[0] - 1) * stride
        else:
            window = above // below
            size += (window - 1) * stride
            stride *= window
        if name == layer:
            break
    return ReceptiveField(size, stride, start, backbone.input_size)
