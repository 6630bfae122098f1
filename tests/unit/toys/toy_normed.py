"""An architecture from outside of the package: a residual block with a LayerNorm."""

from typing import Literal

import torch

from nearsight.study.sections import Section


class Settings(Section):
    """Width of the block."""

    kind: Literal["normed"]
    width: int = 12


class Block(torch.nn.Module):
    def __init__(self, inputs, width):
        super().__init__()
        self.first, self.second = torch.nn.Linear(inputs, width), torch.nn.Linear(width, width)
        self.norm = torch.nn.LayerNorm(width)

    def forward(self, x):
        x = self.first(x)
        return x + torch.nn.functional.silu(self.second(self.norm(x)))


def build_trunk(settings, inputs):
    return Block(inputs, settings.width)
