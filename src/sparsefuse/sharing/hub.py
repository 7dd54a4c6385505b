"""Uploads to and downloads from the Hugging Face hub. It needs the extra `hub`, and for uploads the user's token
(`hf auth login`)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparsefuse.extras import need
from sparsefuse.sharing.parcel import LIMITS, check_needed, check_size


def upload(folder: Path, name: str, *, private: bool) -> str:
    """Creates the repository `name` if it does not exist and uploads all files of `folder`; returns its address. What
    another run left there goes: its calibration, or its old clips, are none of this one's.

    Raises ValueError if it is to be private but exists and is public, OSError if the hub refuses.
    """
    api = _api()
    with _plainly(name):
        address = str(api.create_repo(name, private=private, exist_ok=True))
        if private and not api.model_info(name).private:
            raise ValueError(f"{name} exists and is public; make it private on the hub, or give --public")
        files = sorted(path.name for path in folder.iterdir())
        api.upload_folder(
            repo_id=name,
            folder_path=folder,
            allow_patterns=files,
            delete_patterns=sorted(LIMITS.keys() - set(files)),
            commit_message="Upload a sparsefuse run",
        )
    return address


def download(name: str, folder: Path, revision: str | None) -> list[str]:
    """Downloads the files of a run into `folder`, from the commit whose sizes were checked; returns the names left out.

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
    return need("huggingface_hub", "hub", "the hub").HfApi(library_name="sparsefuse")


@contextmanager
def _plainly(name: str) -> Iterator[None]:
    """Turns the hub's errors into short ones that say what to do."""
    from huggingface_hub.errors import (
        HFValidationError,
        HTTPError,  # pyright: ignore[reportPrivateImportUsage]  # from requests or httpx
        RepositoryNotFoundError,
    )

    try:
        yield
    except HFValidationError as error:
        raise ValueError(f"{name!r} is not a repository name: {error}") from error
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(f"the hub has no {name}, or you have no access; log in with `hf auth login`") from error
    except HTTPError as error:  # no connection, or an error of the hub
        lines = str(error).strip().splitlines()
        raise OSError(f"the hub failed for {name}: {lines[-1] if lines else type(error).__name__}") from error
