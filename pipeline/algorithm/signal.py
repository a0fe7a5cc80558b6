r"""Whether a GRPO phase still has something to learn from, and what to change where it has not.

Both are judged from recorded metrics and responses alone, so that a resumed phase stops where an undisturbed one would.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from conf.schema import Config
from pipeline.algorithm.advice import BASE_PROMPTS, Settings, longer_responses, warmer
from pipeline.types import Role

PATIENCE = 3  # steps in a row without a difference of rewards within any group

Missing = Literal["form", "difference"]
MARKS: dict[Role, str] = {"challenger": "<question>", "solver": "\\boxed"}


@dataclass(frozen=True, slots=True)
class Advice:
    """What to change, in words, and as settings of a new run (`settings` is empty where a file has to be written first)."""

    words: str
    settings: Settings = ()


def missing_signal(role: Role, steps: Sequence[Mapping[str, float]], groups: int) -> Missing | None:
    """What the last step of a phase lacks; None while there is something to learn from, or the Solver has learned it.

    "form": none of its responses is well-formed (Challenger) or has a boxed answer (Solver). "difference": in none of the last
    three steps did any of the `groups` groups have rewards that differ, so that there was no gradient; not where every answer of
    the Solver is its label, which is the phase's aim, and with `solver.members` the next one has yet to begin.

    Args:
        steps: the metrics of all steps of the phase so far, see `algorithm.metrics.step_metrics`.

    >>> missing_signal("solver", [{"well_formed": 0.0, "zero_variance_groups": 4.0}], groups=4)
    'form'
    """
    if steps and steps[-1].get("well_formed") == 0:
        return "form"
    last = steps[-PATIENCE:]
    even = all(step.get("zero_variance_groups", 0.0) >= groups for step in last)
    learned = role == "solver" and all(step.get("reward_mean") == 1 for step in last)
    return "difference" if len(last) == PATIENCE and even and not learned else None


def advice(
    config: Config, role: Role, missing: Missing, step: Mapping[str, float], texts: Sequence[str], for_base: bool = False
) -> Advice:
    """What to change, from the metrics and the responses of a phase's last step.

    `for_base`: whether the prompts are for base models already, plain text that a response continues.
    """
    cut_off = step.get("truncated", 0.0) >= 0.5
    if missing == "form":
        return longer(config) if cut_off and any(MARKS[role] in text for text in texts) else other_prompts(config, role, for_base)
    if role == "challenger" and step.get("p_hat_mean") == 0:  # no answer of the Solver was boxed, or each was cut off
        return other_prompts(config, "solver", for_base)
    if role == "challenger" and step.get("p_hat_mean") == 1:
        return hotter(config, "the Solver gives one answer to every question each time")
    if role == "challenger" and step.get("distinct_clusters") == 1:
        return hotter(config, "the questions are copies of one another")
    group = config.role(role).group
    return Advice(
        f"more responses per prompt: {role}.group={group} leave too few chances for a difference",
        (f"{role}.group={2 * group}", f"{role}.batch={2 * config.role(role).batch}"),
    )


def longer(config: Config) -> Advice:
    words = f"the length of a response: most were cut off at sampling.max_tokens={config.sampling.max_tokens}"
    return Advice(words, longer_responses(config))


def other_prompts(config: Config, role: Role, for_base: bool) -> Advice:
    who = role.capitalize()
    if for_base:
        return Advice(f"the {who}'s examples and stop strings, in a copy of {config.prompts} that is named as prompts=mine.yaml")
    return Advice(
        f"the {who}'s prompt: {config.prompts} does not lead this model to `{MARKS[role]}`; {BASE_PROMPTS} is for models that "
        "follow no instructions, in plain text with examples",
        (f"prompts={BASE_PROMPTS}",),
    )


def hotter(config: Config, cause: str) -> Advice:
    if not (settings := warmer(config)):
        return Advice(f"the prompts, for more variety: {cause}, at sampling.temperature={config.sampling.temperature:g} already")
    return Advice(f"the temperature, for more variety: {cause}", settings)
