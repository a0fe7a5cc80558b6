"""Settings that Ray reads while it is imported, made before any test module imports it; and those of Hypothesis."""

import os

from hypothesis import settings

from actors.cluster import prepare_environment

# Of the caller's environment, what would change what is tested.
for name in ("RAY_ADDRESS", "DO_NOT_TRACK", "FORCE_COLOR", "TTY_COMPATIBLE", "http_proxy", "all_proxy"):
    os.environ.pop(name, None)
    os.environ.pop(name.upper(), None)
prepare_environment()
settings.register_profile("r-zero", deadline=None)  # no test is one of speed
settings.load_profile("r-zero")
