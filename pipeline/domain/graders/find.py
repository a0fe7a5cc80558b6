"""Graders by name: those that are here, and those of the user's, as `path/to/file.py:Class`."""

from conf.plugin import from_file
from pipeline.domain.graders.choice import ChoiceGrader
from pipeline.domain.graders.exact import ExactGrader
from pipeline.domain.graders.math.grader import MathGrader
from pipeline.domain.graders.protocol import Grader

GRADERS: dict[str, Grader] = {"math": MathGrader(), "choice": ChoiceGrader(), "exact": ExactGrader()}
_METHODS = ("extract", "canonical", "equivalent")


def find_grader(name: str | Grader) -> Grader:
    """The grader of that name, or an instance of the class of a file: `path/to/file.py:Class`. A grader is returned as it is.

    Raises:
        ValueError: there is no such grader, file or class, or the file cannot be run, or the class is no grader.
    """
    if not isinstance(name, str):
        return name
    if name in GRADERS:
        return GRADERS[name]
    grader = from_file(name, "grader", "class", GRADERS)
    try:
        made: Grader = grader()
    except (Exception, SystemExit) as error:  # user code may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{name}: cannot be made: {reason}; valid: a class that is made without arguments") from error
    if missing := [method for method in _METHODS if not callable(getattr(made, method, None))]:
        raise ValueError(f"{name}: no grader: it lacks the method {missing[0]}; valid: a class with {', '.join(_METHODS)}")
    return made
