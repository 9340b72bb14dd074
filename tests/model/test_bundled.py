import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_batch.config import DEFAULT_MODEL
from mnist_batch.errors import ModelError
from mnist_batch.model.bundled import BUNDLED, list_bundled, resolve_model
from mnist_batch.model.card import model_digest
from mnist_batch.model.loading import load_model

PROJECT = Path(__file__).parents[2]


def test_bundled_cards_match_their_models() -> None:
    models = {model.name: model for model in list_bundled()}
    assert DEFAULT_MODEL in models
    for model in models.values():
        assert model_digest(model.path) in model.card.digests.values()
        assert model.size > 0


def test_bundled_models_pass_the_self_test() -> None:
    for bundled in list_bundled():
        model = load_model(bundled.path, None)
        assert model.card is not None
        assert model.scale is bundled.card.scale


def test_bundled_name_wins_over_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / DEFAULT_MODEL).mkdir()
    (tmp_path / DEFAULT_MODEL / "saved_model.pb").touch()
    assert resolve_model(DEFAULT_MODEL) == BUNDLED / DEFAULT_MODEL
    assert resolve_model(f"./{DEFAULT_MODEL}").resolve() == tmp_path / DEFAULT_MODEL


@pytest.mark.parametrize("name", ["sed", "", "../bundled", "models/nowhere.h5"])
def test_unknown_model_lists_the_names(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=rf"^{name}: a model must be a bundled one \(.*{DEFAULT_MODEL}.*\)") as caught:
        resolve_model(name)
    assert "\n" not in str(caught.value)


def test_unusable_path_is_refused_unread(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, found in ((tmp_path, "a folder without saved_model.pb"), (tmp_path / "pipe", "neither file nor folder")):
        with pytest.raises(ModelError, match=f"^{path}: a model must be .*, found {found}: check the path"):
            resolve_model(str(path))


LIST_IN_A_NEW_PROCESS = """
import json, sys
from mnist_batch.model.bundled import list_bundled
list_bundled()
print(json.dumps(list(sys.modules)))
"""


def test_listing_imports_no_tensorflow() -> None:
    command = [sys.executable, "-c", LIST_IN_A_NEW_PROCESS]
    modules = json.loads(subprocess.run(command, cwd=PROJECT, capture_output=True, check=True).stdout)
    assert not {"tensorflow", "keras", "h5py"} & set(modules)
