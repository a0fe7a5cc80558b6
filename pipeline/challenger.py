"""The Challenger's task: write questions on which the frozen Solver agrees with itself half the time."""

from collections.abc import Iterator

import ray
from ray.exceptions import RayTaskError

from pipeline.answers import draw_verdicts, draw_votes, in_place
from pipeline.errors import ScorerError
from pipeline.phase import Scores
from pipeline.run import Run
from pipeline.types import NO_VOTE, Role, Sample, ScoredQuestion


def well_formed(run: Run, sample: Sample) -> str | None:
    """The question of a response, or None: cut off, not in the format, or too long for the Solver to answer."""
    question = None if sample.truncated else run.codec.question(sample.text)
    return question if question is not None and run.codec.fits(question) else None


class ChallengerTask:
    """Rewards what `reward.scorers` says; in the paper the Solver's uncertainty less repetition: r = max(0, r_unc - r_rep)."""

    role: Role = "challenger"

    def __init__(self, run: Run, round_: int) -> None:
        self.run, self.round = run, round_
        self.solver = run.finished_policy("solver", round_ - 1)

    def prompts(self, step: int) -> list[tuple[int, ...]]:
        settings = self.run.config.challenger
        return [self.run.codec.challenger] * (settings.batch // settings.group)

    def score(self, step: int, arriving: Iterator[tuple[int, list[Sample]]]) -> Scores:
        run, m = self.run, self.run.config.reward.samples
        groups = [group for _, group in sorted(arriving)]
        questions = [well_formed(run, sample) for group in groups for sample in group]
        usable = [question for question in questions if question is not None]
        drawn, voted = draw_votes(run, usable, m, self.solver, self.round, self.role, step)
        answers, votes = in_place(questions, drawn, []), in_place(questions, voted, NO_VOTE)
        verdicts = in_place(questions, draw_verdicts(run, usable, self.solver, self.round, self.role, step), [])
        with run.clock.part("scoring"):
            earlier = run.state.earlier_questions(self.round, step)
            try:
                scored: list[ScoredQuestion] = ray.get(
                    run.reward.score_questions.remote(questions, answers, votes, verdicts, earlier)
                )
            except RayTaskError as error:
                # Where a scorer is at fault, its own message is enough; Ray's adds the actor's traceback.
                raise (error.cause if isinstance(error.cause, ScorerError) else error) from None
            counts: dict[str, float] = ray.get(run.reward.stats.remote())
        size = run.config.challenger.group
        rewards = [scored_question.reward for scored_question in scored]
        return Scores(
            groups=groups,
            rewards=[rewards[start : start + size] for start in range(0, len(rewards), size)],
            metrics=challenger_metrics(scored) | counts,
            p_hats=[item.vote.share for item in scored if item.question is not None],
            questions=[question_row(item, self.solver.version) for item in scored],
        )


def challenger_metrics(scored: list[ScoredQuestion]) -> dict[str, float]:
    """How many questions are usable, and how much they repeat each other; shares are of the whole batch."""
    clusters = [item.cluster for item in scored if item.question is not None]
    sizes = {cluster: clusters.count(cluster) for cluster in set(clusters)}
    return {
        "well_formed": len(clusters) / len(scored),
        "distinct_clusters": len(sizes),
        "repetition_share": sum(sizes[cluster] for cluster in clusters) / len(scored) / max(1, len(clusters)),
    }


def question_row(item: ScoredQuestion, solver_version: str) -> dict[str, object]:
    """A row of `state.QUESTIONS`."""
    return {
        "question": item.question,
        "answers": list(item.answers),
        "majority": item.vote.answer,
        "count": item.vote.count,
        "total": item.vote.total,
        "p_hat": item.vote.share,
        "undecided": item.vote.undecided,
        "cluster": item.cluster,
        "reward": item.reward,
        "invalid": item.invalid,
        "solver_version": solver_version,
    }
