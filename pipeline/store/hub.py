"""Errors of the Hub's client as one-line messages."""

import json

from httpx2 import HTTPError, TransportError
from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from conf.secrets import without_credentials
from pipeline.errors import chain

# Raised by the hub client for network, server and disk failures; ValueError for invalid replies and arguments.
HUB_ERRORS = (HTTPError, OSError, ValueError, RuntimeError)


def explain(error: Exception, repository: str) -> str:
    """One line without credentials: what failed with a repository of the Hub, and what to do."""
    return without_credentials(_explained(error, repository))


def _explained(error: Exception, repository: str) -> str:
    endpoint = constants.ENDPOINT
    causes = list(chain(error))
    error = next((cause for cause in causes if isinstance(cause, HfHubHTTPError)), error)
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in causes):
        return f"{repository}: HF_HUB_OFFLINE is set; unset it to reach the Hub."
    if isinstance(error, GatedRepoError):
        return f"{repository}: gated; accept its terms at {endpoint}, then set HF_TOKEN or run `hf auth login`."
    if isinstance(error, RepositoryNotFoundError):
        return f"{repository}: not on {endpoint}, or private; check the name, or set HF_TOKEN or run `hf auth login`."
    if isinstance(error, RevisionNotFoundError):
        return f"{repository}: the pinned revision does not exist; check `revision`."
    if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403):
        return f"{repository}: the token is not accepted ({_first_line(error)}); check HF_TOKEN or run `hf auth login`."
    if isinstance(error, json.JSONDecodeError):
        return f"{repository}: {endpoint} does not reply like a Hub; check HF_ENDPOINT and the proxy."
    if any(isinstance(cause, TransportError) for cause in causes):
        reason = next(str(cause) for cause in reversed(causes) if isinstance(cause, TransportError))
        return f"{repository}: {endpoint} cannot be reached ({reason}); check the network, or set HF_ENDPOINT to a mirror."
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return f"{repository}: a file was not found; check `revision` and `files`."
    return f"{repository}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
