"""Credentials that an address or a setting may hold: found before they are kept, and hidden in what is printed."""

import re

# The part of an address before its host, up to the last @ in it, and tokens of the Hub.
CREDENTIALS = re.compile(r"(?<=://)(?!/)\S{0,500}@|\bhf_[A-Za-z0-9]{30,}")


def holds_credentials(text: str) -> bool:
    """
    >>> holds_credentials("https://me:secret@tracking:5000"), holds_credentials("sqlite:////home/me@work/mlflow.db")
    (True, False)
    """
    return CREDENTIALS.search(text) is not None


def without_credentials(text: str) -> str:
    """
    >>> without_credentials("https://me:sec/ret@tracking:5000 does not respond")
    'https://...@tracking:5000 does not respond'
    """
    return CREDENTIALS.sub(lambda found: "...@" if found[0].endswith("@") else "hf_...", text)
