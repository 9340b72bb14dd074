"""Opens the containers among the files of a run, and among the members of their archives."""

from __future__ import annotations

import errno
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

import pyarrow as pa

from mnist_batch.config import AutoLabels, ReadOptions
from mnist_batch.errors import InputError, StorageError
from mnist_batch.names import to_text
from mnist_batch.records import first_line
from mnist_batch.signatures import describe_start, find_signature
from mnist_batch.sources.folder_labels import FolderLabels
from mnist_batch.sources.formats import FORMATS, Format, find_format, find_format_of_name, list_titles
from mnist_batch.sources.gzipped import has_same_content
from mnist_batch.sources.head import Head
from mnist_batch.sources.ids import check_ids_distinct
from mnist_batch.sources.labels_beside import add_labels_of_tables, is_label_table
from mnist_batch.sources.members import ArchiveSource, Skipped, is_junk
from mnist_batch.sources.protocol import Container, File, NotImages, Source, missing_file

_GZIP_SUFFIX = b".gz"
_LABEL_TABLE = "(table of labels)"


@dataclass(frozen=True, slots=True)
class Opened:
    """An open container.

    names: what the ids of its rows begin with.
    sources: its own and those of its members, each with its format.
    """

    names: Sequence[str]
    sources: Sequence[tuple[Format, Source]]


@dataclass
class ContainerOpener:
    """Opens containers among the files below one folder, or among the members of one archive, in order of their paths.

    skipped: how many files were skipped, by suffix.
    warnings: one line each.
    label_tables: the tables of labels beside images, by their paths.
    """

    options: ReadOptions
    skipped: Skipped = field(default_factory=Skipped)
    warnings: list[str] = field(default_factory=list)
    label_tables: dict[bytes, File] = field(default_factory=dict)
    _opened: dict[bytes, File] = field(default_factory=dict)
    # The name of the format of each file that only accompanies another one, whether or not that one is there.
    _sidecars: dict[File, str] = field(default_factory=dict)
    _used_sidecars: set[File] = field(default_factory=set)

    def open(self, path: bytes, container: Container, head: Head) -> Opened | None:
        """Opens a file that is not an image. Returns None if the file is skipped.

        path: relative to the folder or archive.
        Raises InputError if the file is damaged, or if it is not a container and is named as an input.
        """
        with _input_errors(container.file):
            return self._open(path, container, head)

    def add_labels(self, labels: FolderLabels, paths: pa.BinaryArray) -> pa.Int8Array:
        """Adds the labels in the tables that were found to those of the images at `paths`."""
        found, not_taken = add_labels_of_tables(labels, paths, self.label_tables)
        self.warnings += found.warnings
        if not_taken:
            self.skipped[_LABEL_TABLE] += not_taken
        return found.digits

    def finish(self) -> None:
        """Counts the files that would only accompany others, which are not there."""
        for file, name in self._sidecars.items():
            if file not in self._used_sidecars:
                self.skipped[f"({name})"] += 1

    def _open(self, path: bytes, container: Container, head: Head) -> Opened | None:
        if any(path.rpartition(b"/")[2] in format.rowless_names for format in FORMATS):
            self.skipped.add(path)
            return None
        if not container.named and self._is_label_option(container.file):
            self.skipped[_LABEL_TABLE] += 1
            return None
        format = find_format(head)
        if format is None:
            self._skip_unknown(path, container, head)
            return None
        if format.is_archive and not isinstance(container.file, Path):  # an archive in an archive
            self.skipped.add(path)
            return None
        if path.endswith(_GZIP_SUFFIX) and (plain := self._opened.get(path.removesuffix(_GZIP_SUFFIX))) is not None:
            self._skip_gzip_copy(plain, container.file)
            return None
        sources = self._open_known(path, format, container)
        if sources is None:
            return None
        if format.is_sidecar:
            self._sidecars[container.file] = format.name
        elif sources:
            self._opened[path] = container.file
        for source in sources:
            self._used_sidecars.update(source.list_sidecars())
            self.skipped.update(source.count_skipped())
        opened = [(format, source) for source in sources]
        if format.is_archive:
            opened = [pair for source in sources for pair in self._open_members(format, source)]
        return Opened([source.name for source in sources], opened)

    def _open_known(self, path: bytes, format: Format, container: Container) -> Sequence[Source] | None:
        """Opens the sources in a file of a known format. Returns None if it was only found, and holds no images."""
        try:
            return format.open(container)
        except NotImages as found:
            if container.named:
                raise InputError(
                    f"{container.file}: must be a collection of images, is {found.kind}: name the images themselves"
                ) from found
            self.skipped[f"({found.kind})"] += 1
        except InputError:
            if container.named or not is_label_table(container.file.name):
                raise
            self._note_label_table(path, container.file)
        return None

    def _open_members(self, format: Format, source: Source) -> Sequence[tuple[Format, Source]]:
        """Opens the members of an archive that are containers themselves.

        Returns the source of the archive's images, with the labels in tables among the members, and those of the
        members.
        """
        if not isinstance(source, ArchiveSource):
            raise AssertionError(f"{source.name} must be an archive")
        if not source.containers:
            return [(format, source)]
        inside, opened = ContainerOpener(self.options), list[Opened]()
        folders: dict[PurePath, dict[str, File]] = defaultdict(dict)
        for member in source.containers:
            folders[member.parent][member.name] = member
        for member in sorted(source.containers, key=lambda member: member.path):
            member.check()
            name = f"{source.name}!{to_text(member.path)}"
            container = Container(member, name, self.options, folders[member.parent], named=False)
            if (found := inside.open(member.path, container, Head(member))) is not None:
                opened.append(found)
        inside.finish()
        source = inside._label_images(source)
        names = [name.removeprefix(f"{source.name}!") for member in opened for name in member.names]
        check_ids_distinct(source.members["name"].combine_chunks().cast(pa.binary()), names)
        self.skipped.update(inside.skipped)
        self.warnings += inside.warnings
        images = [(format, source)] if source.rows else []
        return [*images, *(pair for member in opened for pair in member.sources)]

    def _label_images(self, source: ArchiveSource) -> ArchiveSource:
        """The source of an archive's images, with the labels in the tables that were found among its members."""
        paths = source.members["name"].combine_chunks().cast(pa.binary())
        labels = self.add_labels(FolderLabels(source.members["label"].combine_chunks(), source.warnings), paths)
        members = source.members.set_column(1, "label", labels)
        return replace(source, members=members, labelled=labels.null_count < len(labels), containers=(), warnings=())

    def _skip_unknown(self, path: bytes, container: Container, head: Head) -> None:
        """Counts a file of no known format. Raises InputError if its name or the user says that it should have one."""
        known = find_format_of_name(to_text(path))
        if not container.named and is_label_table(container.file.name):
            self._note_label_table(path, container.file)
        elif container.named or (known is not None and not is_junk(path)):
            must = f"{known.title}, as its name says" if known else f"an image, {list_titles()}"
            start = head.content() if known else head.stored()
            signature = find_signature(start)
            remedy = "check the file" if signature is None else signature.remedy
            raise InputError(f"{container.file}: must be {must}, but {describe_start(start)}: {remedy}")
        else:
            self.skipped.add(path)

    def _note_label_table(self, path: bytes, file: File) -> None:
        if self.options.labels is AutoLabels.AUTO:
            self.label_tables[path] = file
        else:
            self.skipped[_LABEL_TABLE] += 1

    def _is_label_option(self, file: File) -> bool:
        """Whether a file is the one that `--labels` names."""
        labels = self.options.labels
        if not isinstance(labels, Path) or not isinstance(file, Path):
            return False
        return labels.name == file.name and labels.exists() and labels.samefile(file)

    def _skip_gzip_copy(self, plain: File, packed: File) -> None:
        """Counts a gzip file whose content is in the file beside it. Raises InputError if the contents differ."""
        if not has_same_content(plain, packed):
            raise InputError(
                f"{packed}: must hold the same as {plain.name} beside it, whose name it has, but differs: "
                "rename or remove one of them"
            )
        self.skipped["(gzip copy)"] += 1
        self.warnings.append(f"{packed}: not read, because {plain.name} beside it has the same content")


@contextmanager
def _input_errors(file: File) -> Iterator[None]:
    """Translates the OSErrors that opening a container does not handle itself."""
    try:
        yield
    except FileNotFoundError as error:
        raise missing_file(error.filename) from error
    except OSError as error:
        # Not a failure of the storage: an offset in the file points outside it.
        if error.errno in (None, errno.EINVAL):
            raise InputError(f"{file}: must be whole, but: {first_line(error)}; fetch it again") from error
        raise StorageError(f"{file}: must be readable, but: {error.strerror}; start again once it is") from error
