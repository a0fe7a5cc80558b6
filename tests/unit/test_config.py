"""Settings: what is wrong is said before anything starts, with the setting, its value and what would be valid."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import Field, asdict
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import pytest
from omegaconf import OmegaConf

from conf.errors import ConfigError
from conf.load import ROOT, load_config, profiles
from conf.settings import NULL, flatten, help_text, settings, shown
from jobs.round import main, make_command, parse
from jobs.round import settings as settings_of
from pipeline.errors import NoSignalError


def test_defaults_and_overrides() -> None:
    config = load_config("tiny", ["challenger.steps=2", "reward.lambda=0.5", "evaluation.samples=4"])
    assert config.challenger.steps == 2
    assert config.reward.lambda_ == 0.5
    assert config.evaluation.samples == 4
    assert config.evaluation.sets == ["assets/heldout.parquet"]


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
        ("evaluation.samples=many", ["evaluation.samples=many", "valid: int or null at least 0"]),
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


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["curriculum.delta=0.05", "reward.samples=5"],
            "curriculum.delta=0.05: no share of reward.samples=5 votes .* at least 0.1",
        ),
        (["curriculum.delta=0", "reward.samples=9"], "at least 0.0556"),
        (["reward.scorers=[official,repetition]"], "official takes off the repetition penalty itself"),
        (["grpo.reference=base", "grpo.kl=0"], "grpo.reference=base: .* valid: start, or grpo.kl above 0"),
        (["solver.batch=5", "solver.group=5", "solver.verdicts=0.5"], "valid: 0, or a larger solver.batch"),
        (["solver.batch=20", "solver.group=5", "solver.verdicts=0.1"], "valid: 0, or at least 0.25, of up to 0.5"),
    ],
)
def test_settings_that_contradict_each_other(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config("tiny", overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ["curriculum.delta=0", "reward.samples=10"],
        ["curriculum.delta=0.1", "reward.samples=5"],
        ["curriculum.delta=0", "reward.samples=9", "curriculum.keep=[4,8]"],  # in place of delta
        ["reward.scorers=[official,memory]"],
    ],
)
def test_settings_that_go_together(overrides: list[str]) -> None:
    load_config("tiny", overrides)


NUMBERS = [(shown(name), field) for name, field in settings() if {int, float} & {field.type, *get_args(field.type)}]


@pytest.mark.parametrize(("name", "field"), NUMBERS, ids=[name for name, _ in NUMBERS])
def test_a_number_is_one_within_its_bounds(name: str, field: Field[Any]) -> None:
    low, high, choices = (field.metadata.get(key) for key in ("low", "high", "choices"))
    wrong = ["nan", "NaN", ".nan", "inf", "-inf", "Infinity", ".inf", "1e999", "two", "true", "null", "", "[1]", "{}", "1;2"]
    if NoneType in get_args(field.type):
        wrong = [text for text in wrong if text not in NULL]
    wrong += ["1.5", "1e2"] if field.type is int else []
    wrong += [str(low - 1)] if low is not None else []
    wrong += [str(high + 1)] if high is not None else []
    wrong += [str(max(choices) + 1)] if choices else []
    for text in wrong:
        with pytest.raises(ConfigError, match=rf"^{name}="):
            load_config("tiny", [f"{name}={text}"])


OTHERS = ("evaluation.limit", "rollout.engines", "curriculum.keep")  # null, and a list


def test_no_number_of_a_run_is_left_out_of_that() -> None:
    numbers = {name for name, value in flatten(asdict(load_config())) if type(value) in (int, float)}
    assert numbers == {name for name, field in NUMBERS if name not in OTHERS}


SPELLINGS = ["1.10", "001", "on", "null", "1e5", "0x10", "1_000", "2024-01-01", "Yes", "12:30", "true", ".5"]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", ["model.path", "runs_dir"])
def test_a_text_keeps_its_spelling(name: str, spelling: str, tmp_path: Path) -> None:
    profile = tmp_path / "mine.yaml"
    section, _, leaf = name.rpartition(".")
    profile.write_text(f"{section}: {{{leaf}: {spelling}}}\n" if section else f"{leaf}: {spelling}\n")
    for config in (
        load_config("tiny", [f"{name}={spelling}"]),
        load_config("tiny", [f"{name}='{spelling}'"]),
        load_config(str(profile)),
    ):
        assert dict(flatten(asdict(config)))[name] == spelling


@pytest.mark.parametrize("name", ["1.10", "1e3", "0x10", "on", "null", "007", "2026-11-25", "1_000", "True", "1.0", "12"])
def test_a_run_has_the_name_that_was_written(name: str) -> None:
    for arguments in (["--name", name], ["--set", f"name={name}"], ["--name", name, "--set", "seed=1"]):
        assert settings_of(parse(arguments, "jobs.round")).name == name


@pytest.mark.parametrize("path", ["a b", "[a]", "{a}", "a: b", "a #b", "*a", "&a", "${a}", "???", "%a", "@a", "a=b", "|"])
def test_a_text_is_no_yaml(path: str) -> None:
    assert load_config("tiny", [f"model.path={path}"]).model.path == path


def test_null_is_a_value_where_there_may_be_none() -> None:
    assert load_config("tiny", ["evaluation.oracle=null"]).evaluation.oracle is None
    assert load_config("tiny", ["evaluation.oracle=on"]).evaluation.oracle == "on"
    assert load_config("tiny", ["reward.scorers=[1.10,on,null]"]).reward.scorers == ["1.10", "on", "null"]


def test_what_is_no_text_is_read_as_its_type() -> None:
    config = load_config("tiny", ["solver.lr=1e-6", "learner.gradient_checkpointing=on", "seed=010", "reward.lambda=2"])
    assert (config.solver.lr, config.learner.gradient_checkpointing, config.seed, config.reward.lambda_) == (1e-6, True, 10, 2.0)
    assert type(config.reward.lambda_) is float


def test_the_sets_of_a_profile_can_be_dropped_and_replaced(tmp_path: Path) -> None:
    assert load_config("tiny", ["evaluation.sets=[]"]).evaluation.sets == []
    assert load_config("tiny", ["evaluation.sets=[math500,aime24]"]).evaluation.sets == ["math500", "aime24"]
    profile = tmp_path / "mine.yaml"
    profile.write_text("evaluation:\n  sets: []\n")
    assert load_config(str(profile)).evaluation.sets == []
    assert load_config("tiny", ["evaluation.samples=null"]).evaluation.samples is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"- 1\n- 2\n", ["['1', '2']", "settings by name"]),
        (b"seed\n", ["'seed'", "settings by name"]),
        (b"seed: 1\nseed: 2\n", ["seed is given twice"]),
        (b"seed: [1\n", ["cannot be read as YAML"]),
        (b"name: caf\xe9\n", ["cannot be read as YAML", "utf-8"]),
        (b"challenger: 5\n", ["challenger=5", "no such setting", "challenger.steps"]),
        (b"solver: {lr: .nan}\n", ["solver.lr=.nan", "float at least 0 and finite"]),
        (b"base: other\n", ["base=other", "conf/presets"]),
        (b"evaluation: {benchmarks: [a]}\n", ["evaluation.benchmarks=['a']", "no such setting"]),
    ],
)
def test_a_profile_that_cannot_be_used_is_named(content: bytes, said: list[str], tmp_path: Path) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(str(profile))
    for words in [str(profile), *said]:
        assert words in str(caught.value)


def test_a_profile_may_begin_with_a_byte_order_mark_and_merge_mappings(tmp_path: Path) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_bytes(b"\xef\xbb\xbfchallenger: &role {lr: 0.5}\nsolver: {<<: *role, batch: 100}\n")
    config = load_config(str(profile))
    assert (config.challenger.lr, config.solver.lr, config.solver.batch) == (0.5, 0.5, 100)


def test_the_settings_that_a_run_records_are_a_profile(tmp_path: Path) -> None:
    config = load_config("tiny", ["name=1.10", "evaluation.oracle=null", "reward.scorers=[on]", "solver.lr=1e-7"])
    profile = tmp_path / "config.yaml"
    profile.write_text(OmegaConf.to_yaml(OmegaConf.structured(config)))
    assert load_config(str(profile)) == config


def test_a_wrong_setting_ends_the_command_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--set", "solver.lr=nan"]) == 2
    assert capsys.readouterr().err == "error: solver.lr=nan: valid: float at least 0 and finite.\n"


def test_a_role_has_its_own_settings() -> None:
    config = load_config("tiny")
    assert config.role("challenger") is config.challenger
    assert config.role("solver") is config.solver


def test_stale_batches_have_to_be_corrected_for() -> None:
    with pytest.raises(ConfigError, match=r"rollout\.ahead=1: .*grpo\.importance=token_tis"):
        load_config("tiny", ["rollout.ahead=1", "grpo.importance=none"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["rollout.transfer=nccl"], "rollout.transfer=nccl: NCCL refuses two processes on one GPU.*ipc or host"),
        (["rollout.transfer=nccl", "rollout.fleets=per_role"], "rollout.transfer=nccl: NCCL refuses two processes on one GPU"),
        (["rollout.transfer=ipc", "rollout.engines=2"], "rollout.transfer=ipc: every learner rank has to share its GPU"),
        (["rollout.transfer=ipc", "rollout.fleets=per_role"], "rollout.transfer=ipc: every learner rank has to share its GPU"),
        (
            ["rollout.transfer=nccl", "resources.learner_gpus=1", "rollout.engines=2"],
            "rollout.transfer=nccl: NCCL refuses two engines on one GPU",
        ),
        (["resources.learner_gpus=1.5"], "resources.learner_gpus=1.5: valid: a fraction to share one GPU, or a whole number"),
        (["rollout.tensor_parallel=2"], "resources.rollout_gpus=0.5: an engine of rollout.tensor_parallel=2 needs whole GPUs"),
        (["rollout.transfer=shared"], "rollout.transfer=shared: valid with resources.device=cuda: host, nccl or ipc"),
        (["rollout.transfer=ipc", "rollout.ahead=1"], "rollout.transfer=ipc: keeps only the latest weights"),
    ],
)
def test_weights_cannot_go_a_way_that_the_gpus_do_not_have(settings: list[str], said: str) -> None:
    load_config("one-gpu", ["rollout.transfer=ipc"])
    with pytest.raises(ConfigError, match=said):
        load_config("one-gpu", settings)


@pytest.mark.parametrize(
    ("profile", "settings", "said"),
    [
        ("one-gpu", ["rollout.transfer=host", "rollout.ahead=1", "grpo.importance=token_tis"], "rollout.ahead=1: engines would"),
        ("tiny", ["resources.placement=colocated", "rollout.ahead=1"], "rollout.ahead=1: engines would sample while the learner"),
        ("qwen3-4b", ["rollout.transfer=host", "rollout.engines=4"], "as many rollout.engines as learner.ranks=8"),
        ("qwen3-4b", ["rollout.transfer=host", "resources.learner_gpus=1"], "learner_gpus=0.5 and resources.rollout_gpus=0.5"),
        ("one-gpu", ["rollout.transfer=host", "rollout.fleets=per_role"], "learner_gpus=0.4 and resources.rollout_gpus=0.3"),
        ("tiny", ["resources.placement=colocated", "resources.rollout_gpus=1"], "each GPU has a learner rank and an engine"),
        ("tiny", ["resources.placement=together"], "resources.placement=together: valid: split | colocated"),
    ],
)
def test_engines_and_learner_that_could_not_take_turns(profile: str, settings: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_config(profile, settings)


def test_engines_and_learner_take_turns_on_a_cpu_and_with_a_fleet_per_role() -> None:
    assert load_config("tiny", ["resources.placement=colocated", "rollout.engines=2"]).colocated
    load_config("one-gpu", ["rollout.fleets=per_role", "resources.learner_gpus=0.4", "resources.rollout_gpus=0.3"])


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
    ("arguments", "variable", "command"),
    [
        ("", None, "make round ITER=2"),
        ("--iter 3 --seed 0", None, "make round ITER=4 SEED=0"),
        ("--profile mine.yaml --name tiny", None, "make round ITER=2 PROFILE=mine.yaml NAME=tiny"),
        ("--set a.b=1 c=[d,e]", None, "make round ITER=2 SET='a.b=1 c=[d,e]'"),
        ("--profile qwen3-4b", "RAY_JOB_CONFIG_JSON_ENV_VAR", "make submit ITER=2 PROFILE=qwen3-4b"),
        ("--profile qwen3-4b", "RAY_ADDRESS", "make round ITER=2 PROFILE=qwen3-4b"),  # as in an allocation of Slurm
    ],
)
def test_the_command_for_another_round_says_all_that_this_one_was_told(
    arguments: str, variable: str | None, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable:
        monkeypatch.setenv(variable, "head:6379")
    options = parse(arguments.split(), "jobs.round")
    assert make_command(options, options.iter + 1, options.name) == command


def test_the_command_for_a_run_with_other_settings_replaces_those_of_this_one() -> None:
    options = parse(["--iter", "2", "--seed", "1", "--set", "a.b=1", "c=[d,e]"], "jobs.round")
    assert make_command(options, 2, "x-2", ("a.b=2", "f=3")) == "make round ITER=2 NAME=x-2 SEED=1 SET='c=[d,e] a.b=2 f=3'"


def test_the_command_gives_back_what_this_one_was_told(tmp_path: Path) -> None:
    """Through a shell, make and the shell of its recipe."""
    kept = [line for line in (ROOT / "Makefile").read_text().splitlines() if re.match("(FLAGS|ITER|PROFILE) ", line)]
    assert len(kept) == 3
    (tmp_path / "print.py").write_text("import json, sys; print(json.dumps(sys.argv[1:]))")
    recipe = f"round:\n\t@{shlex.quote(sys.executable)} print.py $(FLAGS)\n"
    (tmp_path / "Makefile").write_text("\n".join([*kept, recipe]))
    told = ["a=1", "b=[c,d]", 'prompts=it\'s "mine".yaml', "runs_dir=/a $HOME $(NAME) `id`", "e=#f; g & h \\", "i=*", "j=ü!"]
    options = parse(["--iter", "2", "--profile", "my own.yaml", "--set", *told], "jobs.round")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # of `make test`
    command = ["sh", "-c", make_command(options, 3, "x-2")]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.stderr == ""
    again = parse(json.loads(ended.stdout), "jobs.round")
    assert (again.iter, again.name, again.profile) == (3, "x-2", "my own.yaml")
    assert again.set == told


def test_a_run_without_a_signal_ends_with_the_command_for_another_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*arguments: object) -> None:
        raise NoSignalError("no question", ("prompts=conf/prompts/base.yaml",))

    monkeypatch.setattr("jobs.round.run", stopped)
    assert main(["--name", "x"]) == 1
    told = "error: no question\nIn a new run:\n  make round ITER=1 NAME=x-2 SET=prompts=conf/prompts/base.yaml\n"
    assert capsys.readouterr().err == told
