from __future__ import annotations

from pathlib import Path

from mnist_batch.config import TrainConfig
from mnist_batch.model.card import find_card, model_digest
from tools.bundle_model import bundle


def test_the_bundled_folder_holds_the_saved_model_and_a_card_that_speaks_for_it(
    idx_folder: Path, tmp_path: Path
) -> None:
    bundled = tmp_path / "bundled"
    for seed in (0, 1):  # the second takes the first one's place
        card = bundle(TrainConfig(bundled, idx_folder, seed=seed, epochs=1), say=lambda _: None)
    assert sorted(path.name for path in bundled.iterdir()) == ["seed", "seed.card.json"]
    assert (bundled / "seed" / "saved_model.pb").is_file()
    assert find_card(bundled / "seed", model_digest(bundled / "seed")) == card
    assert card.name == "seed"
    assert card.training["seed"] == 1
    assert card.training["validation"] == 0
    assert card.profile is not None
    assert card.profile["rows"] == card.training["rows"]
    assert 0 < sum(card.profile["confidence"]["counts"]) < card.profile["rows"]
    assert str(tmp_path) not in (bundled / "seed.card.json").read_text()
