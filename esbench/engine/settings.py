"""The settings of an optimisation; the defaults are those of the papers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Settings:
    """Settings of one optimisation: its parts by name, and its numbers.

    Attributes:
        iterations: T, the number of steps.
        learning_rate: the learning rate of Adam, with its default betas.
        depth: channels of z, if the input does not determine them.
        input_scale: z is uniform in [0, input_scale]; 0.1 in the DIP code, 1 in the text of the CIFS paper.
        perturbation: standard deviation of the fresh Gaussian noise added to z at each step.
        precision: float32, or bfloat16 for the network's products.
        task: the inverse problem.
        loss: the loss to minimise.
        regulariser: a term added to the loss; empty for none.
        network: the network that parametrises the picture.
        input: the input of the network.
    """

    iterations: int = 20_000
    learning_rate: float = 0.01
    depth: int = 32
    input_scale: float = 0.1
    perturbation: float = 1 / 30
    precision: str = "float32"
    task: str = "denoise"
    loss: str = "mse"
    network: str = "skip"
    input: str = "noise"
    regulariser: str = ""


#: The settings that a configuration and the options of a restoration have under the same name; there, None stands for
#: the default of the loss, the task or the network.
GIVEN = tuple(f.name for f in fields(Settings) if f.name not in ("iterations", "precision", "task", "network"))

#: The lowest value of the settings that are numbers.
LOWEST = {"iterations": 1, "learning_rate": 0, "depth": 1, "input_scale": 0, "perturbation": 0}


def given(options: object) -> dict[str, Any]:
    """Return the settings in a configuration or in options, by name."""
    return {name: getattr(options, name) for name in GIVEN}
