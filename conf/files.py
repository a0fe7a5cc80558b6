"""Files that people name."""

import errno
import os
from pathlib import Path


def read_text(path: Path) -> str:
    """The text of a file, in UTF-8.

    Raises:
        OSError: it cannot be read, also where it is a pipe or a device, which might never end.
        UnicodeDecodeError: it is not UTF-8.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "it is a pipe or a device", os.fspath(path))
    return path.read_text(encoding="utf-8")
