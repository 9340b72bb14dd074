from __future__ import annotations

from pathlib import Path

from training.mnist_files import draw_arrays, write_idx_folder

from mnist_batch.config import TrainConfig
from mnist_batch.model.card import find_card, model_digest
from tools.bundle_model import bundle


def test_bundle_is_a_saved_model_and_its_card(tmp_path: Path) -> None:
    data = write_idx_folder(tmp_path / "idx", draw_arrays())
    bundled = tmp_path / "bundled"
    for seed in (0, 1):  # the second replaces the first
        card = bundle(TrainConfig(bundled, data, seed=seed, epochs=1), print_line=lambda _: None)
    assert sorted(path.name for path in bundled.iterdir()) == ["seed", "seed.card.json"]
    assert (bundled / "seed" / "saved_model.pb").is_file()
    assert find_card(bundled / "seed", model_digest(bundled / "seed")) == card
    assert card.name == "seed"
    assert card.training is not None
    assert card.training.seed == 1
    assert card.training.validation == 0
    assert card.profile is not None
    assert card.profile.rows == card.training.rows
    assert card.profile.confidence is not None
    assert 0 < sum(card.profile.confidence.counts) < card.profile.rows
    assert str(tmp_path) not in (bundled / "seed.card.json").read_text()
