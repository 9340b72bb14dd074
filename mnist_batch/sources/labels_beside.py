"""Tables of labels beside image files: `labels.csv`, and `metadata.csv` or `.jsonl` as in Hugging Face's imagefolder.

A table labels the images in its folder and below. It is taken only if it can be read as a table of ids and digits;
otherwise a warning says why not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from mnist_batch.errors import InputError, StorageError
from mnist_batch.names import to_text
from mnist_batch.records import text_array
from mnist_batch.sources.folder_labels import FolderLabels
from mnist_batch.sources.label_file import read_label_table
from mnist_batch.sources.protocol import File

_NAME = re.compile(r"(labels|metadata)\.(csv(\.gz)?|tsv|jsonl|parquet)", re.IGNORECASE)


def is_label_table(name: str) -> bool:
    """Whether a file has a name that people give to tables of labels beside images."""
    return _NAME.fullmatch(name) is not None


def add_labels_of_tables(
    labels: FolderLabels, paths: pa.BinaryArray, tables: Mapping[bytes, File]
) -> tuple[FolderLabels, int]:
    """Adds the labels in tables to those that the images have by their folders or `.cls` files.

    An image whose labels differ gets none, and a warning says so.

    paths: the image files. tables: the label tables by their paths, which are relative to the same folder or archive.
    Also returns the number of tables that are not taken. A warning says why not.
    """
    if not tables:
        return labels, 0
    digits, warnings, not_taken = labels.digits, [*labels.warnings], 0
    texts, doubtful = text_array(paths), pa.repeat(False, len(paths))
    for table, file in tables.items():
        folder = table[: table.rfind(b"/") + 1]
        below = pc.starts_with(paths, folder)
        names = pc.utf8_slice_codeunits(texts.filter(below), len(to_text(folder)))
        if not len(names):
            warnings.append(f"{file}: may hold labels, but no image files are beside it: name it with --labels")
            not_taken += 1
            continue
        try:
            read = read_label_table(file, lambda names=names: names)  # type: ignore[misc]  # bound at once
        except (InputError, StorageError) as error:
            warnings.append(f"not taken as labels: {error}")
            not_taken += 1
            continue
        found = read.digits.take(pc.index_in(names, read.ids)).cast(pa.int8())
        if found.null_count:
            labelled = len(found) - found.null_count
            warnings.append(
                f"{file}: {labelled:,} of its {len(read.ids):,} ids are images below it, and {found.null_count:,} of "
                f"{len(found):,} images are not in it"
            )
        more = pc.replace_with_mask(pa.nulls(len(paths), pa.int8()), below, found)
        differ = pc.fill_null(pc.not_equal(digits, more), False)
        if count := pc.sum(differ).as_py():
            example = texts[pc.index(differ, True).as_py()].as_py()
            warnings.append(
                f"{file}: {count:,} of its labels differ from those of folders or other tables (the first is that of "
                f"{example}): no label is taken for these images; name the right labels with --labels"
            )
        doubtful, digits = pc.or_(doubtful, differ), pc.coalesce(digits, more)
    return FolderLabels(pc.if_else(doubtful, pa.scalar(None, pa.int8()), digits), warnings), not_taken
