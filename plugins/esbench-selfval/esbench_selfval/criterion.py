"""Self-Validation: an autoencoder learns the latest outputs; its error on the next one is the value.

Outputs that become more similar are easy to learn; once they contain noise, they are not. After `DIP+AE` of
sun-umn/Self-Validation (MIT), whose pictures are 512 x 512.
"""

import math
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from esbench import Range, Value
from torch import nn
from torch.nn import functional

BATCH, LEARNING_RATE = 32, 1e-3

#: Height and width of the code, and the channels of the encoder before it, one per halving but the last.
CODE, WIDTHS = 4, (32, 64, 128, 128, 128, 128, 128, 128)


class SelfValidation:
    """e_t = |x_t - AE(x_t)|, with an autoencoder trained on the outputs before x_t; no value for fewer than W.

    At each measured step the newest output is scored, and then learned: one epoch over the last W, in random order.
    """

    def __init__(
        self,
        *,
        window: Annotated[int, Range(2)] = 32,
        side: Annotated[int | Literal["auto"], Range(8, 1024)] = "auto",
        faithful: bool = True,
        seed: Annotated[int, Range(0)] = 0,
    ) -> None:
        if side != "auto" and side & (side - 1):
            raise ValueError(f"side must be a power of two, because it is halved down to {CODE}, got {side}")
        self.window, self.side, self.faithful, self.seed = window, side, faithful, seed
        self.generator = torch.Generator().manual_seed(seed)
        self.outputs: list[torch.Tensor] = []
        self.autoencoder: Autoencoder | None = None
        self.optimiser: torch.optim.Optimizer | None = None
        self.trained = False

    def update(self, frame) -> Value:
        """Score the next output, then learn it."""
        x = self._sized(frame.tensor)
        self.outputs = [*self.outputs[1 - self.window :], x]
        if len(self.outputs) < self.window:
            return Value(None, reason=f"needs {self.window} outputs")
        with torch.enable_grad():
            f = self._autoencoder(x)
            error = float(_error(f, x)) / (1 if self.faithful else math.sqrt(x.numel()))
            value = Value(error) if self.faithful or self.trained else Value(None, reason="nothing is learned yet")
            self._learn(f)
        return value

    def _sized(self, x: torch.Tensor) -> torch.Tensor:
        """Return an output in [0, 1] as (3, side, side)."""
        x = x.detach().float().clamp(0, 1)
        x = x.expand(3, -1, -1) if x.shape[0] == 1 else x
        if self.side == "auto":  # the power of two that fits into the picture; 512 for those of the paper
            self.side = min(512, max(8, 2 ** int(math.log2(min(x.shape[1:])))))
        size = (self.side, self.side)
        if x.shape[1:] == size:
            return x.clone()
        return functional.interpolate(x[None], size=size, mode="bilinear", antialias=True)[0]

    def _autoencoder(self, x: torch.Tensor) -> "Autoencoder":
        if self.autoencoder is None:
            with torch.random.fork_rng(devices=[]):  # layers draw from the global generator
                torch.manual_seed(self.seed)
                self.autoencoder = Autoencoder(int(self.side)).to(x.device)
        if self.optimiser is None or self.faithful:  # the original makes a new one each time
            # the original has three, one per part; one is equivalent, because Adam treats each weight separately
            self.optimiser = torch.optim.Adam(self.autoencoder.parameters(), lr=LEARNING_RATE)
        return self.autoencoder

    def _learn(self, f: "Autoencoder") -> None:
        f.train()
        assert self.optimiser is not None
        order = torch.randperm(len(self.outputs), generator=self.generator).tolist()
        for i in range(0, len(order), BATCH):
            batch = torch.stack([self.outputs[j] for j in order[i : i + BATCH]])
            self.optimiser.zero_grad()
            functional.mse_loss(f(batch), batch).backward()
            self.optimiser.step()
        self.trained = True

    def state_dict(self) -> dict[str, Any]:
        """Return the outputs of the window, the weights, the optimiser and the generator; what changes is copied."""
        f, optimiser = self.autoencoder, self.optimiser
        return {
            "side": self.side,
            "outputs": list(self.outputs),
            "weights": None if f is None else {name: w.clone() for name, w in f.state_dict().items()},
            "optimiser": None if optimiser is None or self.faithful else _copy(optimiser.state_dict()),
            "generator": self.generator.get_state(),
            "trained": self.trained,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.side, self.outputs, self.trained = state["side"], list(state["outputs"]), state["trained"]
        self.generator.set_state(state["generator"])
        self.autoencoder = self.optimiser = None
        if state["weights"] is not None:
            self._autoencoder(self.outputs[-1]).load_state_dict(state["weights"])
        if state["optimiser"] is not None:
            assert self.optimiser is not None
            self.optimiser.load_state_dict(_copy(state["optimiser"]))


class Autoencoder(nn.Module):
    """(B, 3, side, side) in [0, 1] to 4 x 4 numbers and back; at 512 the published one, with 1,076,552 weights."""

    def __init__(self, side: int) -> None:
        super().__init__()
        widths = [3, *WIDTHS[: int(math.log2(side // CODE)) - 1], 1]
        encoder = [_halve(a, b) for a, b in pairwise(widths)]
        decoder = [_double(a, b, last=b == 3) for a, b in pairwise(reversed(widths))]
        # linear layers without activations: an implicit bias towards codes of low rank
        latent = [nn.Linear(CODE**2, CODE**2, bias=False) for _ in range(4)]
        self.encoder, self.latent, self.decoder = (nn.Sequential(*part) for part in (encoder, latent, decoder))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x, reconstructed from its code of 16 numbers."""
        code = self.encoder(x)
        return self.decoder(self.latent(code.flatten(1)).view_as(code))


def _halve(a: int, b: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU())


def _double(a: int, b: int, last: bool) -> nn.Module:
    up = nn.Upsample(scale_factor=2, mode="bilinear")
    end = nn.Sigmoid() if last else nn.ReLU()
    return nn.Sequential(up, nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), end)


@torch.no_grad()
def _error(f: Autoencoder, x: torch.Tensor) -> torch.Tensor:
    f.eval()
    return (x - f(x[None])[0]).norm()


def _copy(value: Any) -> Any:
    """Return a state with copies of its tensors."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value
