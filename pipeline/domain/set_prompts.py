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
    message comes first; with `solver` it replaces the run's. The Solver's examples come before the problem, each with the user
    message that a problem without options has in this set.
    """
    own = definition.prompt == "solver"

    def ask(question: str) -> str:
        return prompts.solver.user.replace("{question}", question) if own else f"{question}\n{BOXED}"

    user = ask(problem.question)
    if definition.prompt == "choice":
        lines = (f"({letter}): {option}" for letter, option in zip(LETTERS, problem.options, strict=False))
        user = "\n".join([problem.question, "Options are:", *lines, LETTER])
    system = prompts.solver.system if own and definition.system is None else definition.system
    return conversation(system, [(ask(example.question), example.answer or "") for example in prompts.solver.examples], user)
