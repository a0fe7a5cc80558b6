"""Settings: what is wrong is said before anything starts, with the setting, its value and what would be valid."""

import pytest

from conf.load import ConfigError, help_text, load_config, profiles, settings
from jobs.round import another_round, parse


def test_defaults_and_overrides() -> None:
    config = load_config("tiny", ["challenger.steps=2", "reward.lambda=0.5", "evaluation.benchmarks.heldout.samples=4"])
    assert config.challenger.steps == 2
    assert config.reward.lambda_ == 0.5
    assert config.evaluation.benchmarks["heldout"].samples == 4
    assert config.evaluation.benchmarks["heldout"].path == "assets/heldout.parquet"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("chalenger.steps=2", ["chalenger.steps=2", "no such setting", "challenger.steps"]),
        ("challenger.steps=two", ["challenger.steps=two", "int at least 0"]),
        ("challenger.steps=-1", ["challenger.steps=-1", "at least 0"]),
        ("challenger.batch=63", ["challenger.batch=63", "multiple of challenger.group=4", "60"]),
        ("grpo.aggregation=sum", ["grpo.aggregation=sum", "token_mean | sequence_mean | fixed_length"]),
        ("reward.threshold=1.5", ["reward.threshold=1.5", "at least 0 and at most 1"]),
        ("sampling.max_tokens=999", ["sampling.max_tokens=999", "model.max_length=256"]),
        ("rollout.tensor_parallel=2", ["rollout.tensor_parallel=2", "resources.device=cpu: 1"]),
        ("rollout.ahead=2", ["rollout.ahead=2", "at most 1"]),
        ("rollout.transfer=nccl", ["rollout.transfer=nccl", "resources.device=cpu: host or shared"]),
        ("resources.device=cuda", ["resources.learner_gpus=0", "valid: 1"]),
        ("prompts=nowhere.yaml", ["prompts=nowhere.yaml", "no such file"]),
        ("evaluation.benchmarks.amc.path=amc.jsonl", ["evaluation.benchmarks.amc.path=amc.jsonl", "no such file"]),
        ("name=../up", ["name=../up", "letters"]),
        ("steps", ["steps", "setting=value"]),
        ("learner.offload=all", ["learner.offload=all", "learner.zero_stage 1, 2 or 3"]),
        ("lora.targets=q_proj", ["lora.targets=q_proj", "a list such as"]),
        ("preset=old", ["preset=old", "paper | modern"]),
        ("grpo.kl_estimator=k4", ["grpo.kl_estimator=k4", "k1 | k2 | k3"]),
        ("grpo.updates_per_batch=0", ["grpo.updates_per_batch=0", "at least 1"]),
    ],
)
def test_errors_name_setting_value_and_what_is_valid(override: str, said: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("tiny", [override])
    for words in said:
        assert words in str(caught.value)


def test_stale_batches_have_to_be_corrected_for() -> None:
    with pytest.raises(ConfigError, match=r"rollout\.ahead=1: .*grpo\.importance=token_tis"):
        load_config("tiny", ["rollout.ahead=1", "grpo.importance=none"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["rollout.transfer=nccl"], "rollout.transfer=nccl: NCCL refuses two processes on one GPU.*ipc or host"),
        (["rollout.transfer=ipc", "rollout.engines=2"], "rollout.transfer=ipc: every learner rank shares its GPU"),
        (["rollout.transfer=shared"], "rollout.transfer=shared: valid with resources.device=cuda: host, nccl or ipc"),
        (["rollout.transfer=ipc", "rollout.ahead=1"], "rollout.transfer=ipc: keeps no weights but the newest"),
    ],
)
def test_weights_cannot_go_a_way_that_the_gpus_do_not_have(settings: list[str], said: str) -> None:
    load_config("one-gpu", ["rollout.transfer=ipc"])
    with pytest.raises(ConfigError, match=said):
        load_config("one-gpu", settings)


def test_unknown_profile_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"PROFILE=huge: no such profile. Valid: .*tiny"):
        load_config("huge")


@pytest.mark.parametrize("profile", profiles())
def test_every_profile_is_valid(profile: str) -> None:
    assert load_config(profile).profile == profile


def test_help_names_every_setting() -> None:
    text = help_text()
    assert all(name.replace("lambda_", "lambda") in text for name, _ in settings())
    assert all(field.metadata["help"] for _, field in settings())


@pytest.mark.parametrize(
    ("arguments", "address", "command"),
    [
        ("", None, "make round ITER=2"),
        ("--iter 3 --seed 0", None, "make round ITER=4 SEED=0"),
        ("--profile mine.yaml --name tiny", None, "make round ITER=2 PROFILE=mine.yaml NAME=tiny"),
        ("--set a.b=1 c=[d,e]", None, "make round ITER=2 SET='a.b=1 c=[d,e]'"),
        ("--profile qwen3-4b", "head:6379", "make submit ITER=2 PROFILE=qwen3-4b"),
    ],
)
def test_the_command_for_another_round_says_all_that_this_one_was_told(
    arguments: str, address: str | None, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    assert another_round(parse(arguments.split(), "jobs.round")) == command
