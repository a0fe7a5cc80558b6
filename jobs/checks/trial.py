"""The model, by trying: questions of the base as the Challenger, and answers of the base to some of them, on one engine."""

import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from statistics import fmean

from actors.cluster import ray_cluster
from conf.schema import Config
from pipeline.algorithm.bleu import cluster_labels
from pipeline.algorithm.seeds import seeded_requests
from pipeline.answers import answer_of, well_formed
from pipeline.examples import ChallengerPrompts
from pipeline.inputs import Inputs
from pipeline.observe.clock import Clock
from pipeline.observe.terminal import say
from pipeline.types import Policy, Sample, Vote

QUESTIONS, ASKED, ANSWERS = 64, 16, 4


@dataclass(frozen=True, slots=True)
class Trial:
    """What the base wrote: questions, and to the first `ASKED` usable ones `ANSWERS` answers each, with a vote.

    `questions` has None for a malformed response; `complete` is the same if a response that was cut off counted as any other.
    `boxed` says of each answer whether it is in a box. `clusters` are the distinct usable questions, as the repetition penalty
    counts them. `seconds` are those of sampling, by one engine.
    """

    written: Sequence[Sample]
    questions: Sequence[str | None]
    complete: Sequence[str | None]
    answers: Sequence[Sample]
    boxed: Sequence[bool]
    votes: Sequence[Vote]
    clusters: int
    seconds: float

    @property
    def usable(self) -> list[str]:
        return [question for question in self.questions if question is not None]

    @property
    def tokens_per_s(self) -> float:
        return sum(len(sample.token_ids) for sample in [*self.written, *self.answers]) / max(self.seconds, 1e-9)

    @property
    def lengths(self) -> tuple[float, float]:
        """Mean tokens of a question's and of an answer's response; without answers those of a question for both."""
        question = fmean(len(sample.token_ids) for sample in self.written)
        return question, fmean(len(sample.token_ids) for sample in self.answers) if self.answers else question


def try_model(config: Config, inputs: Inputs) -> Trial:
    """Starts Ray and one engine and draws from the base as a run would.

    Raises:
        RolloutError: the engine did not start.
        ConfigError: this machine lacks a GPU, or a prompt does not fit.
    """
    import torch

    from actors.rollout.fleet import rollout_fleets
    from actors.weights.host import stored_weights
    from pipeline.inference import start_inference

    alone = one_engine(config)
    say("starting Ray and one engine to try the model")
    with (
        ray_cluster(alone, say, learner=False) as placement,
        rollout_fleets(alone, inputs.base_path, placement) as fleets,
    ):
        base = start_inference(alone, inputs, fleets, Clock())
        weights = stored_weights(inputs.base_path, getattr(torch, config.model.dtype), config.rollout.transfer_timeout_s)
        policy = Policy("base", weights)
        fleets["solver"].load(policy)
        say(f"drawing {QUESTIONS} questions")
        clock = time.monotonic()
        prompts = ChallengerPrompts(base, 1).draw(QUESTIONS, "check")
        posing = seeded_requests(config.seed, prompts, 1, "check", "question")
        drawn = dict(base.stream("challenger", posing, policy, config.sampling))
        written = [drawn[index][0] for index in range(QUESTIONS)]
        questions = [well_formed(base, sample) for sample in written]
        usable = [question for question in questions if question is not None]
        asked, grader, voting = usable[:ASKED], base.reward.grader, base.reward.voting()
        say(f"{len(usable)} are well-formed; drawing {ANSWERS} answers to {len(asked)} of them")
        asking = seeded_requests(config.seed, [base.codec.solver(question) for question in asked], ANSWERS, "check", "answer")
        answers: list[Sample] = []
        boxed: list[bool] = []
        for index, samples in base.stream("solver", asking, policy, config.sampling):
            read = [answer_of(sample, grader) for sample in samples]
            voting.add(index, read)
            answers += samples
            boxed += [answer is not None for answer in read]
        seconds = time.monotonic() - clock
        votes = voting.results()
    complete = [base.codec.question(sample.text, sample.prompt_ids) for sample in written]
    clusters = len(set(cluster_labels(usable, config.reward.threshold).tolist())) if usable else 0
    return Trial(written, questions, complete, answers, boxed, votes, clusters, seconds)


def one_engine(config: Config) -> Config:
    """The settings with one engine and one reward process, and no learner."""
    alone = deepcopy(config)
    alone.rollout.engines, alone.rollout.fleets, alone.rollout.transfer = 1, "shared", "host"
    alone.learner.ranks, alone.resources.learner_gpus, alone.reward.workers = 1, 0.0, 1
    alone.resources.placement = "split"
    return alone
