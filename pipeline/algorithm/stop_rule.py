"""Whether another round will help, without any label: from votes, verdicts and the agreement between rounds; pure.

A curriculum's trust is an estimate of how many of its labels are right: the share of the previous Solver's answers that agree
with the label, times the share of verdicts that do not call the question ill-posed. The rule is provisional: `TRUSTED` is below
what runs that rose had. Of three runs that fell it stopped one in time (docs/results/limits.md).
"""

from collections.abc import Sequence
from statistics import fmean

from pipeline.types import AnsweredQuestion

TRUSTED = 0.3  # provisional
JUDGED_FROM = 3  # round 2's labels are compared with answers of the base model, which gives few of them whatever the labels are


def trust(items: Sequence[tuple[AnsweredQuestion, float | None]]) -> float | None:
    """Mean over the (question, agreement) whose agreement was drawn; None in a round without, such as the first.

    Also over those that `curriculum.agreement` then drops, so that the mean does not depend on that setting.

    >>> trust([(AnsweredQuestion("x?", invalid=0.5), 0.5), (AnsweredQuestion("y?"), 0.75), (AnsweredQuestion("z?"), None)])
    0.5
    """
    drawn = [agreement * (1 - item.invalid) for item, agreement in items if agreement is not None]
    return fmean(drawn) if drawn else None


def picked_round(trusts: Sequence[float | None], trusted: float = TRUSTED) -> int:
    """The last round before the first whose labels are not trusted; `trusts` are of rounds 1, 2, ...; unknown is trusted.

    Another round will not help where this is not the last round.

    >>> picked_round([None, 0.2, 0.6, 0.3, 0.6], 0.4), picked_round([None, 0.2], 0.4)
    (3, 2)
    """
    judged = list(enumerate(trusts, start=1))[JUDGED_FROM - 1 :]
    return next((number - 1 for number, each in judged if each is not None and each < trusted), len(trusts))
