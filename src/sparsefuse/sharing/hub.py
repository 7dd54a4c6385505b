"""The Hugging Face hub: the only file that talks to it. It wants the extra `hub`, and to write a token of its own
(`hf auth login`)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparsefuse.sharing.parcel import LIMITS, check_needed, check_size


def upload(folder: Path, name: str, *, private: bool) -> str:
    """Makes the repository `name` if there is none and uploads all files of `folder`; returns its address.

    Raises ValueError if it is to be private but is there already and public, OSError if the hub refuses.
    """
    api = _api()
    with _plainly(name):
        address = str(api.create_repo(name, private=private, exist_ok=True))
        if private and not api.model_info(name).private:
            raise ValueError(f"{name} is there and public; make it private on the hub, or leave out --private")
        files = sorted(path.name for path in folder.iterdir())
        api.upload_folder(
            repo_id=name, folder_path=folder, allow_patterns=files, commit_message="Upload a sparsefuse run"
        )
    return address


def download(name: str, folder: Path, revision: str | None) -> list[str]:
    """Downloads the files of a run into `folder`, by the commit that its sizes were read of; returns what was left out.

    Raises ValueError for a file that is too large before anything is downloaded, FileNotFoundError for a repository
    that holds no run, OSError if the hub refuses.
    """
    api = _api()
    with _plainly(name):
        info = api.model_info(name, revision=revision, files_metadata=True)
        sizes = {file.rfilename: file.size for file in info.siblings or ()}
        shared = [file for file in sizes if file in LIMITS]
        check_needed(shared, name)
        for file in shared:
            check_size(file, sizes[file])
        for file in shared:
            api.hf_hub_download(name, file, revision=info.sha, local_dir=folder)
    return sorted(sizes.keys() - set(shared))


def _api() -> Any:
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise ImportError("the hub needs huggingface_hub: pip install 'sparsefuse[hub]'") from error
    return HfApi(library_name="sparsefuse")


@contextmanager
def _plainly(name: str) -> Iterator[None]:
    """The hub's errors as OSError that says what to do; its own are pages long."""
    from huggingface_hub.errors import (
        HFValidationError,
        HTTPError,  # pyright: ignore[reportPrivateImportUsage]  # whichever library it stands on
        RepositoryNotFoundError,
    )

    try:
        yield
    except HFValidationError as error:
        raise ValueError(f"{name!r} is no name of a repository: {error}") from error
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"the hub has no {name}, or you may not see it; `hf auth login` gives a token"
        ) from error
    except HTTPError as error:  # of the library below: no connection, or a refusal
        lines = str(error).strip().splitlines()
        raise OSError(f"the hub did not do it for {name}: {lines[-1] if lines else type(error).__name__}") from error
