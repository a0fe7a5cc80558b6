"""The Challenger's prompts, each with examples drawn for it where the prompts file names a source of them."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.algorithm.seeds import derive_seed
from pipeline.domain.prompt_file import OWN
from pipeline.domain.prompts import Example
from pipeline.store.tables import kept_questions
from pipeline.types import EncodedPrompt

if TYPE_CHECKING:
    from pipeline.inference import Inference


class ChallengerPrompts:
    """The prompts of one round; `previous` is the previous round's folder, whose curriculum has the run's own examples."""

    def __init__(self, run: "Inference", round_: int, previous: Path | None = None) -> None:
        self._run, self._round = run, round_
        source = run.codec.example_source
        self._per_prompt = source.per_prompt if source else 0
        self._examples = list(source.questions) if source else []
        if source and source.file == OWN and previous and round_ > 1:
            kept = (Example(item.question or "", item.vote.answer) for item in kept_questions(previous))
            self._examples = [example for example in kept if run.codec.can_show(example)]

    def draw(self, count: int, *path: int | str) -> list[EncodedPrompt]:
        """`count` prompts, whose examples are drawn by seeds under (round, `path`, prompt index)."""
        if not self._examples:
            return [self._run.codec.challenger()] * count
        return [self._run.codec.challenger(self._drawn(*path, "examples", index)) for index in range(count)]

    def _drawn(self, *path: int | str) -> Sequence[Example]:
        seed = derive_seed(self._run.config.seed, self._round, *path)
        return random.Random(seed).sample(self._examples, min(self._per_prompt, len(self._examples)))
