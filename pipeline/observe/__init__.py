"""What a run records and shows. MLflow reads these variables when imported, so they are set before a module here does that."""

import os

# No telemetry, and no links printed between our lines.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# A call of a server that is away ends within seconds; `pipeline/observe/sender.py` repeats it.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # a machine without git has no commit to record
