"""How an optimisation is done, in plain values, with those of the papers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Settings of one optimisation: its parts by name, and its numbers.

    Attributes:
        iterations: T, the number of steps.
        learning_rate: of Adam, with its default betas.
        depth: channels of z, where the input does not say it.
        input_scale: z is uniform in [0, input_scale]; 0.1 in the DIP code, 1 in the text of the CIFS paper.
        perturbation: standard deviation of the fresh Gaussian noise that is added to z at each step.
        decay: of the exponential average of the outputs.
        precision: float32, or bfloat16 for the network's products.
        task: what was observed.
        loss: what is minimised.
        regulariser: what is added to it; empty for nothing.
        network: what parametrises the picture.
        input: what the network is given.
    """

    iterations: int = 20_000
    learning_rate: float = 0.01
    depth: int = 32
    input_scale: float = 0.1
    perturbation: float = 1 / 30
    decay: float = 0.99
    precision: str = "float32"
    task: str = "denoise"
    loss: str = "mse"
    network: str = "skip"
    input: str = "noise"
    regulariser: str = ""
