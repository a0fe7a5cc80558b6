"""Settings that Ray reads while it is imported, made before any test module imports it."""

from actors.cluster import prepare_environment

prepare_environment()
