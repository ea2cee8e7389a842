"""Four small units for every executor."""

from __future__ import annotations

import pytest

from esbench.bench.config import Config


@pytest.fixture
def config(pictures) -> Config:
    return Config(
        dataset=str(pictures("a", "b")),
        criterion=("emv", "loss"),
        sigma=(15.0, 25.0),
        network="skip[channels=4,scales=2]",
        iterations=40,
        patience=5,
        device="cpu",
    )
