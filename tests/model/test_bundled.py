import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_batch.config import DEFAULT_MODEL
from mnist_batch.errors import ModelError
from mnist_batch.model import bundled
from mnist_batch.model.bundled import list_bundled, resolve_model
from mnist_batch.model.card import model_digest

ROOT = Path(__file__).parents[2]


def test_every_bundled_model_has_a_card_that_fits_its_bytes():
    models = {model.name: model for model in list_bundled()}
    assert DEFAULT_MODEL in models
    for model in models.values():
        assert model_digest(model.path) in model.card.digests.values()
        assert model.size > 0


def test_the_bundled_models_pass_their_own_self_test():
    from mnist_batch.model.loading import load_model

    for described in list_bundled():
        model = load_model(described.path, None)
        assert model.carded
        assert model.scale is described.card.scale


def test_an_exact_name_wins_over_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / DEFAULT_MODEL).mkdir()
    (tmp_path / DEFAULT_MODEL / "saved_model.pb").touch()
    assert resolve_model(DEFAULT_MODEL) == bundled.BUNDLED / DEFAULT_MODEL
    assert resolve_model(f"./{DEFAULT_MODEL}").resolve() == tmp_path / DEFAULT_MODEL


@pytest.mark.parametrize("name", ["sed", "", "../bundled", "models/nowhere.h5"])
def test_what_is_neither_a_name_nor_a_path_is_refused_with_the_names(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=rf"^{name}: a model must be a bundled one \(.*{DEFAULT_MODEL}.*\)") as caught:
        resolve_model(name)
    assert "\n" not in str(caught.value)


def test_what_can_be_no_model_is_refused_before_anything_in_it_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, found in ((tmp_path, "a folder without saved_model.pb"), (tmp_path / "pipe", "neither file nor folder")):
        with pytest.raises(ModelError, match=f"^{path}: a model must be .*, found {found}: check the path"):
            resolve_model(str(path))


LIST_IN_A_FRESH_PROCESS = """
import json, sys
from mnist_batch.model.bundled import bundled_cards
bundled_cards()
print(json.dumps(list(sys.modules)))
"""


def test_listing_the_bundled_models_imports_no_tensorflow():
    command = [sys.executable, "-c", LIST_IN_A_FRESH_PROCESS]
    modules = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    assert not {"tensorflow", "keras", "h5py"} & set(modules)
