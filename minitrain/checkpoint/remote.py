"""A folder of checkpoints in an object store, reached through fsspec: S3, Google Cloud Storage, and what else it knows.

There is no rename there, but an object appears whole or not at all. So the files of a checkpoint are uploaded one by
one, each is read back and compared, and the manifest comes last: what has no manifest is not a checkpoint. Deleting
goes the other way round. Of several ranks each uploads its shard, and rank 0 the manifest when all have arrived.

A shared disk (``file:///mnt/runs/one``) works the same way; there the folders are made first and go last. So should
servers with folders, such as ``sftp://``, which were not tried.
"""

from __future__ import annotations

import contextlib
import posixpath
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from ..backend.arrays import Array
from ..errors import CheckpointError, ConfigError, MinitrainError, has_password, printable
from ..files import FileError
from .format import (
    Checkpoint,
    Contents,
    read_checkpoint,
    read_checkpoint_metrics,
    verify_checkpoint,
    write_checkpoint,
    write_file,
    write_rest,
)
from .manifest import EXTRA, MANIFEST, STATE, Entry, read_manifest, step_of
from .space import require_space, size_of
from .tensors import tensor_pieces

_ADVICE = {
    "NoCredentialsError": "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "PartialCredentialsError": "the credentials are incomplete; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "PermissionError": "access is denied; check the credentials, and that they may read, write, list and delete there",
    "FileNotFoundError": "there is no such bucket or folder; create the bucket or check the name",
    "EndpointConnectionError": "the server cannot be reached; check the network and the endpoint",
    "ConnectTimeoutError": "the server does not answer; check the network and the endpoint",
}
"""Advice about the errors of object stores, by the names of their classes: each has a library of its own."""

_WITH_FOLDERS = frozenset({"file", "local", "sftp", "ssh", "smb", "ftp", "hdfs", "arrow_hdfs", "webhdfs"})
"""File systems of fsspec that need a folder before a file in it. In an object store a name may have any slashes, and
making a "folder" may make a bucket."""


class RemoteFolder:
    """A `CheckpointFolder` at a URL.

    Credentials and endpoint come from where the library of the store looks for them: for S3 the environment
    (``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_ENDPOINT_URL``) and the files in ``~/.aws``.

    Args:
        url: such as ``s3://bucket/run``, whose bucket must exist, or ``file:///mnt/shared/run``.

    Raises:
        ConfigError: if fsspec or its library for such a URL is not installed, or the URL is of an unknown kind.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        if has_password(url):
            raise ConfigError(
                f"{printable(url)} has a password in it, which would be printed and stored: leave it out, and give it "
                "by the environment (for S3, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY) or a credentials file"
            )
        try:
            import fsspec
        except ImportError as error:
            raise ConfigError(f"{url}: remote folders need fsspec; pip install 'minitrain[cloud]'") from error
        try:  # others may change the folder meanwhile: no listing is kept
            self._files, self._root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"{url} cannot be used: {error}; 'minitrain[cloud]' has S3 and Google Cloud") from error
        protocol = self._files.protocol  # a name, or several of which any fits
        self._with_folders = not _WITH_FOLDERS.isdisjoint([protocol] if isinstance(protocol, str) else protocol)

    def location(self, name: str = "") -> str:
        """Where a checkpoint is, or the folder itself."""
        return f"{self.url}/{name}" if name else self.url

    def make(self) -> None:
        """Nothing: an object store has no folders, and elsewhere each upload makes its own."""

    def names(self) -> list[str]:
        """The names that have a manifest."""
        return [name for name, files in self._listing().items() if MANIFEST in files]

    def exists(self, name: str) -> bool:
        """Whether there is a manifest under that name."""
        with self.asking("read", name):
            return bool(self._files.exists(self._path(name, MANIFEST)))

    def write(self, name: str, contents: Contents) -> None:
        """Upload a checkpoint, in place of a damaged one if there is one, and compare what arrived.

        Raises:
            FileError: if the store refuses; what was uploaded is removed then, as far as the store lets it be.
            CheckpointError: if something else arrived than was sent.
        """
        with self.asking("save the checkpoint", name), _scratch(name) as local:
            require_space(f"a copy of {self.location(name)}", size_of(contents), local.parent)
            local.mkdir()
            write_checkpoint(local, contents)
            try:
                self.delete(name)  # a damaged one, its manifest first
                for file in [*read_manifest(local).files, MANIFEST]:
                    self.upload(local / file, name)
            except BaseException:
                with contextlib.suppress(Exception):
                    self.delete(name)
                raise

    def assembly(self, name: str) -> RemoteAssembly:
        """For several ranks that reach the store."""
        return RemoteAssembly(self, name)

    def verify(self, name: str) -> int:
        """Read all of a checkpoint, compare it with its manifest, and return its step."""
        with self._downloaded(name) as local:
            return verify_checkpoint(local)

    def read(self, name: str) -> Checkpoint:
        """Verify and read a checkpoint."""
        with self._downloaded(name) as local:
            checkpoint = read_checkpoint(local)
        return replace(checkpoint, path=self.location(name))

    def read_metrics(self, name: str) -> dict[str, float]:
        """The metrics of a checkpoint."""
        with self._downloaded(name, (MANIFEST, STATE)) as local:
            return read_checkpoint_metrics(local)

    def remove(self, names: Iterable[str]) -> None:
        """Delete checkpoints, and uploads that were never finished.

        Raises:
            FileError: if the store refuses.
        """
        unfinished = [name for name, files in self._listing().items() if MANIFEST not in files]
        with self.asking("delete old checkpoints in"):
            for name in [*names, *unfinished]:
                self.delete(name)

    def free_space(self) -> int | None:
        """Nobody knows."""
        return None

    def _path(self, *parts: str) -> str:
        return posixpath.join(self._root, *parts)

    def _listing(self) -> dict[str, set[str]]:
        """Names that are a checkpoint's, with the files under each."""
        found: dict[str, set[str]] = {}
        with self.asking("read the folder"):
            for path in self._files.find(self._root):
                folder, _, file = path.rpartition("/")
                name = folder.rpartition("/")[2]
                if step_of(name) is not None and folder == self._path(name):
                    found.setdefault(name, set()).add(file)
        return found

    def upload(self, file: Path, name: str) -> None:
        """Upload a file and read it back."""
        remote = self._path(name, file.name)
        if self._with_folders:
            self._files.makedirs(self._path(name), exist_ok=True)
        self._files.put_file(str(file), remote)
        with open(file, "rb") as sent, self._files.open(remote, "rb") as arrived:
            while part := sent.read(1 << 20):
                if arrived.read(len(part)) != part:
                    raise CheckpointError(f"{self.location(name)}/{file.name} was damaged on its way; save it again")
            if arrived.read(1):
                raise CheckpointError(f"{self.location(name)}/{file.name} was damaged on its way; save it again")

    def delete(self, name: str) -> None:
        """Delete what is under a name, the manifest first: without it the rest counts for nothing."""
        paths = sorted(self._files.find(self._path(name)), key=lambda path: not path.endswith(f"/{MANIFEST}"))
        for path in paths:
            self._files.rm_file(path)
        if self._with_folders:
            with contextlib.suppress(Exception):  # it is not there, or has something of somebody else
                self._files.rmdir(self._path(name))

    @contextlib.contextmanager
    def _downloaded(self, name: str, files: Iterable[str] = ()) -> Iterator[Path]:
        """A copy of a checkpoint on the local disk, or of some files; what is wrong with them is said of the URL."""
        with _scratch(name) as local:
            local.mkdir()
            with self.asking("read", name):
                for file in files or (MANIFEST,):
                    self._download(name, file, local)
                if not files:
                    with contextlib.suppress(CheckpointError):  # which the verification will tell, too
                        for file in read_manifest(local).files:
                            self._download(name, file, local)
            try:
                yield local
            except CheckpointError as error:
                raise CheckpointError(str(error).replace(str(local), self.location(name))) from error

    def _download(self, name: str, file: str, local: Path) -> None:
        with contextlib.suppress(FileNotFoundError):  # which the verification will tell
            self._files.get_file(self._path(name, file), str(local / file))

    @contextlib.contextmanager
    def asking(self, what: str, name: str = "") -> Iterator[None]:
        """Put whatever the store's library raises into a sentence: each has its own classes of errors."""
        try:
            yield
        except MinitrainError:
            raise
        except Exception as error:
            kinds = [kind.__name__ for kind in type(error).__mro__]
            reason = next((_ADVICE[kind] for kind in kinds if kind in _ADVICE), None)
            said = " ".join(str(error).split()) or type(error).__name__
            raise FileError(f"cannot {what} {self.location(name)}: {reason or said}") from error


class RemoteAssembly:
    """A `minitrain.checkpoint.local.Assembly` in an object store. The place of a shard is the name of the checkpoint.

    Args:
        folder: of the run.
        name: of the checkpoint.
    """

    def __init__(self, folder: RemoteFolder, name: str) -> None:
        self._folder, self._name = folder, name

    def begin(self, contents: Contents) -> str:
        """Remove what is under the name: a damaged checkpoint, its manifest first, or what ranks that died left."""
        with self._folder.asking("save the checkpoint", self._name):
            self._folder.delete(self._name)
        return self._name

    def write_shard(self, place: str, file: str, shard: Mapping[str, Array]) -> Entry:
        """See the base class."""
        with self._folder.asking("save the checkpoint", place), _scratch(place) as local:
            nbytes = sum(array.nbytes for array in shard.values())
            require_space(f"a copy of {file} of {self._folder.location(place)}", nbytes, local.parent)
            local.mkdir()
            entry = write_file(local / file, tensor_pieces(shard))
            self._folder.upload(local / file, place)
        return entry

    def commit(self, place: str, contents: Contents, shards: Mapping[str, Entry]) -> None:
        """See the base class. Each rank has compared its own shard."""
        with self._folder.asking("save the checkpoint", place), _scratch(place) as local:
            local.mkdir()
            write_rest(local, contents, shards)
            for file in (EXTRA, STATE, MANIFEST):
                self._folder.upload(local / file, place)

    def abandon(self, place: str) -> None:
        """See the base class."""
        with contextlib.suppress(Exception):
            self._folder.delete(place)


@contextlib.contextmanager
def _scratch(name: str) -> Iterator[Path]:
    """A path called ``name`` in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="minitrain-") as folder:
        yield Path(folder) / name
