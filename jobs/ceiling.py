"""The ceiling: what limits self-play where every label is right. USES THE ORACLE: its labels train the Solver, in this job alone.

No setting can do that. A run of this job is marked in its manifest, so that no other command resumes it. What it shows is a bound
for the loop without labels, never a result of it.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from random import Random

from jobs.ceiling_summary import SCREENED, summary
from jobs.cli import command
from jobs.lanes import options, run_plan
from jobs.plans import LARGER, Plan, Variant
from pipeline.curriculum import Relabel, as_labelled
from pipeline.domain.graders.exact import ExactGrader
from pipeline.domain.oracle import load_oracle
from pipeline.domain.tiny.read import BANDS, answer_of, effort_of, is_held_out
from pipeline.domain.tiny.words import FORMS, Problem
from pipeline.domain.tiny.write import write
from pipeline.store.tables import CurriculumRow

ORACLE = "pipeline.domain.tiny.read"
WARNING = "The Solver's labels come from the oracle of the tiny domain: this is an experiment about a bound, not self-play."


def by_oracle(rows: list[CurriculumRow], labels: str) -> list[CurriculumRow]:
    """The rows with `labels`: "well-posed" drops kept questions without an answer, "right" also those whose label is wrong, and
    "corrected" gives each question that has an answer the right label.
    """
    oracle = load_oracle(ORACLE)
    assert oracle is not None
    return [
        relabelled(row, oracle.true_answer(row.answered.question), labels) if row.kept and row.answered.question else row
        for row in rows
    ]


def relabelled(row: CurriculumRow, truth: str | None, labels: str) -> CurriculumRow:
    """A kept row; see `by_oracle`."""
    vote, canonical = row.answered.vote, ExactGrader().canonical
    if truth is None or (labels == "right" and canonical(vote.answer or "") != canonical(truth)):
        return replace(row, kept=False)
    corrected = replace(vote, answer=truth) if labels == "corrected" else vote
    return replace(row, answered=replace(row.answered, vote=corrected))


def posed(rows: list[CurriculumRow]) -> list[CurriculumRow]:
    """In place of every well-formed question one of the domain's own, drawn as those held out (and none of them), and its answer.

    What the loop would reach if the Challenger's questions were no limit either.
    """
    rng, made = Random("\n".join(row.answered.question or "" for row in rows)), []
    for row in rows:
        if row.answered.question is None:
            continue
        text, problem = pose(rng)
        vote = replace(row.answered.vote, answer=str(answer_of(problem)))
        made.append(replace(row, answered=replace(row.answered, question=text, vote=vote), kept=True))
    return made


def pose(rng: Random) -> tuple[str, Problem]:
    """A problem of any band and form that is not held out."""
    low, high = rng.choice(list(BANDS.values()))
    while True:
        text, problem = write(rng, rng.choice(FORMS), rng.randint(1, high), large=0.1)
        if not is_held_out(text) and low <= effort_of(problem) <= high:
            return text, problem


RELABEL: Mapping[str, Relabel] = {
    "votes": as_labelled,
    "posed": posed,
    **{labels: partial(by_oracle, labels=labels) for labels in ("well-posed", "right", "corrected")},
}


def one_change(name: str, label: str, *overrides: str, labels: str = "corrected", rounds: int = SCREENED) -> Variant:
    """Two seeds."""
    return Variant(name, label, rounds, overrides, range(2), labels)


REFERENCE = Variant("corrected", "larger phase, labels corrected", 6, (), range(2), "corrected")
# One thing varied at a time, what is expected to say most first. Labels are corrected unless named.
PLAN: Plan = Plan(
    name="ceiling",
    module="jobs.ceiling",
    command="python -m jobs.ceiling",
    title="What limits the loop, with labels from the oracle",
    variants=(
        REFERENCE,
        one_change("average", "mean of each phase's start and end", "solver.average=0.5", rounds=6),
        one_change("linear", "learning rate falling to 0", "solver.schedule=linear"),
        one_change("batch-320", "batch of 320", "solver.batch=320"),
        one_change("no-kl", "no KL", "grpo.kl=0"),
        one_change("lr-half", "half the learning rate", "solver.lr=5.5e-5"),
        one_change("posed", "questions of the domain's own", labels="posed"),
        one_change("lr-double", "twice the learning rate", "solver.lr=2.2e-4"),
        one_change("steps-96", "96 steps", "solver.steps=96"),
        one_change("kl-to-base", "KL to the base", "grpo.reference=base"),
        one_change("resample", "groups without a gradient drawn again", "solver.resample=2"),
        one_change("votes", "labels by vote", labels="votes", rounds=6),
        one_change("groups-10", "groups of 10", "solver.group=10"),
        one_change("questions-1000", "1000 questions written", "curriculum.questions=1000", "curriculum.part=250"),
        one_change("all", "all questions", "curriculum.delta=0.5"),
        one_change("warm", "rollouts at temperature 1.2", "sampling.temperature=1.2"),
        one_change("easy-too", "easy questions mixed in", "curriculum.keep=[3,8]"),
        one_change("scale-none", "advantages not scaled", "grpo.advantage_scale=none"),
        one_change("two-updates", "two updates a batch, clipped at 0.2 and 0.28", "grpo.updates_per_batch=2"),
        one_change("right", "wrong labels dropped", labels="right"),
        one_change("well-posed", "ill-posed questions dropped", labels="well-posed"),
        one_change("groups-16", "groups of 16", "solver.group=16"),
        one_change("scale-batch", "advantages scaled by the batch", "grpo.advantage_scale=batch"),
        one_change("baseline-batch", "baseline of the batch", "grpo.baseline=batch"),
        one_change("wide-clip", "two updates a batch, clipped at 0.2 and 0.5", "grpo.updates_per_batch=2", "grpo.clip_high=0.5"),
        one_change("steps-16", "16 steps", "solver.steps=16"),
        one_change("batch-80", "batch of 80", "solver.batch=80"),
        one_change("questions-2000", "2000 questions written", "curriculum.questions=2000", "curriculum.part=250"),
    ),
    reference=REFERENCE,
    folder="ceiling",
    settings=LARGER,
    appends=True,
    relabel=lambda variant: RELABEL[variant.labels],
    summary=lambda results: f"**{WARNING}**\n\n{summary(results, PLAN)}",
)


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 done, 1 a lane failed, 130 or 143 interrupted."""
    chosen = options(PLAN, f"What limits self-play where labels are right. USES THE ORACLE. {WARNING}").parse_args(arguments)
    if chosen.lane is None:
        print(WARNING)
    return run_plan(PLAN, arguments, chosen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
