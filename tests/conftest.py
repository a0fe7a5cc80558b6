"""Settings that Ray reads while it is imported, made before any test module imports it; and those of Hypothesis."""

from hypothesis import settings

from actors.cluster import prepare_environment

prepare_environment()
settings.register_profile("r-zero", deadline=None)  # no test is one of speed
settings.load_profile("r-zero")
