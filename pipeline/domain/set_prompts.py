r"""The prompts of benchmark problems (R-Zero, arXiv 2508.05004, and its public evaluation)."""

from pipeline.domain.problems import LETTERS, Problem
from pipeline.domain.prompts import Prompts
from pipeline.domain.sets import BenchmarkSet

BOXED = r"Please reason step by step, and put your final answer within \boxed{}."
LETTER = (
    r"Please reason step by step, and put the letter of the right option, and nothing but the letter, within \boxed{}. "
    "Exactly one option is right."
)


def set_messages(definition: BenchmarkSet, problem: Problem, prompts: Prompts) -> list[dict[str, str]]:
    r"""The Solver's conversation for a problem.

    `solver`: the run's own Solver prompt. `choice`: the question, a line per option, and the instruction to box a letter.
    `boxed`: the question and the instruction to box the answer, also if the question lists options itself. The set's system
    message comes first; with `solver` it replaces the run's.
    """
    match definition.prompt:
        case "solver":
            messages = prompts.solver_messages(problem.question)
        case "choice":
            lines = (f"({letter}): {option}" for letter, option in zip(LETTERS, problem.options, strict=False))
            messages = _user("\n".join([problem.question, "Options are:", *lines, LETTER]))
        case "boxed":
            messages = _user(f"{problem.question}\n{BOXED}")
    if definition.system is None:
        return messages
    return [{"role": "system", "content": definition.system}, *(each for each in messages if each["role"] != "system")]


def _user(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]
