"""An exported folder onto the Hugging Face hub, by the user's own login."""

import re
from pathlib import Path

HUB_PREFIX = "hub:"
_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def hub_id(target: str) -> str:
    """The repository of `hub:OWNER/NAME`. Raises ValueError for what is none."""
    name = target.removeprefix(HUB_PREFIX)
    if not target.startswith(HUB_PREFIX) or not _ID.fullmatch(name):
        raise ValueError(f"--to {target!r}: it is hub:OWNER/NAME, a model repository on the hub")
    return name


def upload(folder: Path, repository: str, is_public: bool) -> str:
    """Create the repository, if it is not there, and make the folder's files its newest commit; returns where that is.

    The token is the one that `hf auth login` or HF_TOKEN gives huggingface_hub. Raises RuntimeError, which says what to do; the folder
    stays as it is.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]

    hub = HfApi(library_name="laconic")
    again = f"the folder {folder} is whole, and the same command sends it"
    try:
        hub.create_repo(repository, private=not is_public, exist_ok=True)
        commit = hub.upload_folder(folder_path=folder, repo_id=repository, commit_message="Model exported by Laconic")
    except OfflineModeIsEnabled as error:
        raise RuntimeError(f"the hub is switched off (HF_HUB_OFFLINE); {again} once it is on") from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "none"
        remedy = "log in ('hf auth login') with a token that may write there" if status in (401, 403) else "see its message"
        raise RuntimeError(
            f"the hub refused {repository} (status {status}): {remedy}; {again}: {error.server_message or ''}"
        ) from error
    except (HTTPError, OSError) as error:
        raise RuntimeError(f"the hub at {hub.endpoint} could not be reached ({type(error).__name__}); {again}") from error
    return str(commit.commit_url)
