r"""The prompts of benchmark problems (R-Zero, arXiv 2508.05004, and its public evaluation)."""

from pipeline.domain.problems import LETTERS, Problem
from pipeline.domain.prompts import Prompts, conversation
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

    The examples of the Solver's prompt come before the problem. With examples, the text of `choice` and `boxed` takes the place
    of the question in the run's user message, so that the problem and the examples look alike.
    """
    solver, own = prompts.solver, definition.prompt == "solver"
    instruction = "" if own else f"\n{BOXED}"
    asked = problem.question + instruction
    if definition.prompt == "choice":
        lines = (f"({letter}): {option}" for letter, option in zip(LETTERS, problem.options, strict=False))
        asked = "\n".join([problem.question, "Options are:", *lines, LETTER])
    frame = solver.user if own or solver.examples else "{question}"
    turns = [(frame.replace("{question}", example.question + instruction), example.answer or "") for example in solver.examples]
    system = solver.system if own and definition.system is None else definition.system
    return conversation(system, turns, frame.replace("{question}", asked))
