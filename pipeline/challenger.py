"""The Challenger's task: write questions on which the frozen Solver agrees with itself half the time."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline.algorithm.rewards import score_questions
from pipeline.answers import answer_parts, well_formed
from pipeline.examples import ChallengerPrompts
from pipeline.types import EncodedPrompt, Policy, Role, Sample, ScoredGroups, ScoredQuestion, in_groups

if TYPE_CHECKING:
    from pipeline.run import Run


class ChallengerTask:
    """Rewards questions by `reward.scorers`; in the paper the Solver's uncertainty less repetition: r = max(0, r_unc - r_rep)."""

    role: Role = "challenger"

    def __init__(self, run: "Run", round_: int) -> None:
        self.run, self.round = run, round_
        self.labelling = run.stored_policy("solver", round_ - 1)
        self._prompts = ChallengerPrompts(run, round_, run.state.round_folder(round_ - 1))

    def prompts(self, step: int) -> list[EncodedPrompt]:
        settings = self.run.config.challenger
        return self._prompts.draw(settings.batch // settings.group, self.role, step)

    def score(self, step: int, arriving: Iterator[tuple[int, list[Sample]]], policy: Policy) -> ScoredGroups:
        run = self.run
        groups = [group for _, group in sorted(arriving)]
        written = [well_formed(run, sample) for group in groups for sample in group]
        verdicts = "verdicts" in run.needs
        ((_, answered),) = answer_parts(run, {(self.round, self.role, step): written}, self.labelling, verdicts)
        with run.clock.part("scoring"):
            earlier = run.state.earlier_questions(self.round, step) if "earlier" in run.needs else None
            scored = score_questions(answered, run.scorers, run.config.reward, self.labelling.version, earlier)
        return ScoredGroups(
            groups=groups,
            rewards=in_groups([question.reward for question in scored], run.config.challenger.group),
            metrics=challenger_metrics(scored),
            p_hats=[item.vote.share for item in answered if item.question is not None],
            questions=scored,
        )


def challenger_metrics(scored: Sequence[ScoredQuestion]) -> dict[str, float]:
    """How many questions are usable, how much they repeat each other, and what each scorer added to the mean reward.

    `well_formed` and the means of the reward's parts are over the whole batch, malformed responses included, and
    `repetition_share`, the mean share of the batch that is in a question's cluster, over the well-formed ones.
    """
    clusters = [question.cluster for question in scored if question.answered.question is not None]
    sizes = Counter(clusters)
    names = scored[0].parts
    return {
        "well_formed": len(clusters) / len(scored),
        "distinct_clusters": len(sizes),
        "repetition_share": sum(sizes[cluster] for cluster in clusters) / len(scored) / max(1, len(clusters)),
        **{f"reward_part_{name}": sum(question.parts[name] for question in scored) / len(scored) for name in names},
    }
