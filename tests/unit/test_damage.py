"""Damage to a run's files: found whatever byte it is in, named, and survived from the latest sound state."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from actors.weights.host import stored_weights
from conf.errors import ConfigError
from jobs.status import main, next_step
from pipeline.errors import DamagedError
from pipeline.store.checksums import damaged_file, write_checksums
from pipeline.store.damage import refuse_damage
from pipeline.store.lock import Lock
from pipeline.store.manifest import FILE, PREVIOUS, PhaseStage, Round, read_manifest, sound_manifest
from pipeline.store.state import RunState
from pipeline.store.tables import CurriculumRow, join_tables, kept_questions, read_table, remove_damaged, write_table
from pipeline.types import AnsweredQuestion, ScoredQuestion, Vote
from tests.made_runs import made_config, write_run

ROWS = [
    CurriculumRow(AnsweredQuestion(f"What is {n} + é?", (str(n), None, "x"), Vote(str(n), 2, 3), n / 7), bool(n % 2))
    for n in range(9)
] + [CurriculumRow(AnsweredQuestion(None), False)]


def flipped(content: bytes, place: int, bit: int) -> bytes:
    return content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]


def test_a_flipped_bit_anywhere_in_a_table_is_found_or_changes_no_row(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, CurriculumRow, ROWS)
    content, found = path.read_bytes(), 0
    for place in range(0, len(content), 7):
        path.write_bytes(flipped(content, place, 1 << place % 8))
        damage = remove_damaged([path], CurriculumRow)
        if damage:
            found += 1
            assert str(path) in damage[0]
            assert "\n" not in damage[0]
        else:
            assert read_table(path, CurriculumRow) == ROWS
    assert found > len(content) / 28  # most of the others are in statistics that nothing reads


def test_a_table_cut_off_anywhere_is_found(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, CurriculumRow, ROWS)
    content = path.read_bytes()
    for size in range(0, len(content), 31):
        path.write_bytes(content[:size])
        with pytest.raises(DamagedError, match="damaged"):
            read_table(path, CurriculumRow)


def test_a_joined_table_has_the_checksums_of_one_written_at_once(tmp_path: Path) -> None:
    parts = [tmp_path / f"{name}.parquet" for name in "abc"]
    for part, rows in zip(parts, (ROWS[:4], [], ROWS[4:]), strict=True):
        write_table(part, CurriculumRow, rows)
    join_tables(parts, tmp_path / "joined.parquet", CurriculumRow)
    assert read_table(tmp_path / "joined.parquet", CurriculumRow) == ROWS
    parts[0].write_bytes(parts[0].read_bytes()[:-1])
    with pytest.raises(DamagedError, match=r"a\.parquet is damaged"):
        join_tables(parts, tmp_path / "joined.parquet", CurriculumRow)
    assert [damage.split()[0] for damage in remove_damaged(parts, CurriculumRow)] == [str(parts[0])]
    assert not parts[0].exists()
    assert parts[2].exists()


@pytest.mark.parametrize("change", [lambda path: path.unlink(), lambda path: path.write_bytes(flipped(path.read_bytes(), 5, 4))])
def test_a_folder_knows_which_of_its_files_changed(change: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    for name in ("a.bin", "engine/b.pt", "c.json"):
        (tmp_path / name).write_bytes(b"0123456789")
    for rank in range(2):
        write_checksums(tmp_path, rank, 2)
    (tmp_path / "README.md").write_text("written later")
    assert damaged_file(tmp_path) is None
    change(tmp_path / "engine" / "b.pt")
    assert str(damaged_file(tmp_path)).startswith(str(tmp_path / "engine" / "b.pt"))


def checkpoint(state: RunState, step: int) -> Path:
    """What a phase saves after a step."""
    folder = state.round_folder(1) / "challenger" / f"checkpoint-{step:04d}"
    folder.mkdir(parents=True)
    (folder / "weights.pt").write_bytes(bytes(range(100)))
    write_checksums(folder)
    write_table(folder.parent / f"questions-{step:04d}.parquet", ScoredQuestion, [])
    stage = state.round(1).challenger
    stage.checkpoint, stage.metrics = state.relative(folder), [{"reward_mean": 0.5}] * step
    state.save()
    return folder


def test_the_previous_state_is_kept_with_its_checkpoint_and_no_more(tmp_path: Path) -> None:
    with RunState(made_config(tmp_path)) as state:
        kept = [checkpoint(state, step) for step in (1, 2, 3)]
        assert [folder.exists() for folder in kept] == [False, True, True]
        assert (read_manifest(state.folder).rounds, json.loads((state.folder / PREVIOUS).read_text())["rounds"]["1"]["challenger"]
                ["checkpoint"]) == (state.manifest.rounds, "round-1/challenger/checkpoint-0002")  # fmt: skip


def spoil(path: Path) -> None:
    path.write_bytes(flipped(path.read_bytes(), 50, 1))


@pytest.mark.parametrize("file", [FILE, "round-1/challenger/checkpoint-0002/weights.pt"])
@pytest.mark.parametrize("damage", [spoil, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_damaged_state_is_left_for_the_previous_one(file: str, damage: Callable[[Path], object], tmp_path: Path) -> None:
    config = made_config(tmp_path)
    with RunState(config) as state:
        checkpoint(state, 1)
        checkpoint(state, 2)
    damage(state.folder / file)
    with RunState(config) as state:
        assert state.round(1).challenger.checkpoint == "round-1/challenger/checkpoint-0001"
        assert len(state.notes) == 1
        assert file in state.notes[0]
        assert "previous" in state.notes[0]
    with RunState(config) as state:  # now without damage
        assert state.notes == []
        assert len(state.round(1).challenger.metrics) == 1


def test_without_any_checkpoint_the_phase_is_repeated(tmp_path: Path) -> None:
    config = made_config(tmp_path)
    with RunState(config) as state:
        for folder in [checkpoint(state, 1), checkpoint(state, 2)]:
            spoil(folder / "weights.pt")
    with RunState(config) as state:
        assert state.round(1).challenger == PhaseStage()
        assert state.notes == [
            f"{state.folder}/round-1/challenger/checkpoint-0002/weights.pt is not as it was written (its checksum differs): "
            "the run repeats round 1 from the start of its stage 'challenger'."
        ]


def test_a_damaged_curriculum_is_joined_from_its_parts_or_written_again(tmp_path: Path) -> None:
    config = made_config(tmp_path)
    config.curriculum.questions, config.curriculum.part = 10, 5
    run = write_run(config, 1, until="curriculum")
    table = run / "round-1" / "curriculum.parquet"
    rows = read_table(table, CurriculumRow)
    parts = [run / "round-1" / "curriculum" / f"part-000{part}.parquet" for part in (0, 1)]
    for part, path in enumerate(parts):
        write_table(path, CurriculumRow, rows[5 * part : 5 * part + 5])
    table.write_bytes(b"PAR1")
    with RunState(config) as state:
        assert state.notes == [state.notes[0]]
        assert "it was joined again from its parts" in state.notes[0]
        assert state.round(1).curriculum.finished
    assert read_table(table, CurriculumRow) == rows[:10]
    assert kept_questions(table.parent)
    table.write_bytes(b"PAR1")
    parts[1].unlink()
    with RunState(config) as state:
        assert not state.round(1).curriculum.finished
        assert state.round(1).challenger.finished
        assert "stage 'curriculum'" in state.notes[0]


@pytest.mark.parametrize("previous", ["none", "unfinished", "not begun"])
def test_what_was_made_from_a_policy_that_is_trained_again_is_removed(previous: str, tmp_path: Path) -> None:
    config = made_config(tmp_path)
    policy = write_run(config, 2, until="challenger") / "round-2" / "challenger" / "policy"
    (policy / "model.safetensors").write_bytes(bytes(100))
    write_checksums(policy)
    folder = policy.parents[1]
    if previous != "none":  # the state before the phase was finished, also that of a phase of one step
        with RunState(config) as state:
            finished = state.manifest.rounds.pop(2)
            if previous == "unfinished":
                state.round(2).challenger.metrics = finished.challenger.metrics[:1]
            state.save()
            state.manifest.rounds[2] = finished
            state.save()
    part, kept = folder / "curriculum" / "part-0000.parquet", folder.parent / "round-1"
    write_table(part, CurriculumRow, ROWS)
    with RunState(config) as state:  # undamaged, so that the part is of this policy
        assert state.notes == []
    before = sorted(kept.rglob("*"))
    spoil(policy / "model.safetensors")
    with RunState(config) as state:
        assert not state.round(2).challenger.finished
        assert not part.parent.exists()
        assert [str(part.parent) in note for note in state.notes] == [False, True]
        assert (folder / "challenger").exists()
    assert sorted(kept.rglob("*")) == before


def test_a_policy_that_is_lost_ends_in_one_line(tmp_path: Path) -> None:
    config = made_config(tmp_path)
    run = write_run(config, 1)
    policy = run / "round-1" / "solver" / "policy"
    (policy / "model.safetensors").write_bytes(bytes(100))
    write_checksums(policy)
    spoil(policy / "model.safetensors")
    for _ in range(2):  # the lock is free again, and nothing was changed
        with pytest.raises(
            ConfigError, match=r"solver/policy/model\.safetensors is not as it was written .*restore the file"
        ) as error:
            RunState(config)
        assert "\n" not in str(error.value)


def test_another_character_anywhere_in_a_manifest_is_found(tmp_path: Path) -> None:
    """Also in the last digit of a number, where it may be the same number."""
    with RunState(made_config(tmp_path)) as state:
        state.round(1).challenger.metrics = [{"reward_mean": 0.16874999999999998}]
        state.save()
    content = (state.folder / FILE).read_bytes()
    digit = content.index(b"99999998") + 7
    assert float(f"0.1687499999999999{chr(content[digit] ^ 1)}") == 0.16874999999999998
    version = content.index(b'"schema": ') + len(b'"schema": ')
    for place in [digit, version, *range(0, len(content), 7)]:
        (state.folder / FILE).write_bytes(flipped(content, place, 1))
        _, damage = sound_manifest(state.folder)
        assert "is damaged" in str(damage)


def test_both_manifests_damaged_are_told_and_one_is_used_by_every_reader(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = made_config(tmp_path)
    with RunState(config) as state:
        state.manifest.rounds[0] = replace(Round(), closed=True)
        state.save()
        state.save()
    (state.folder / FILE).write_text("{")
    assert read_manifest(state.folder).rounds[0].closed
    told = capsys.readouterr().err
    assert "manifest.json: the manifest is damaged" in told
    assert "the previous one is used" in told
    (state.folder / PREVIOUS).write_text("{")
    with pytest.raises(DamagedError, match=r"no previous one; how far the run was is lost: restore it"):
        read_manifest(state.folder)


def test_status_says_what_is_damaged_and_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = made_config(tmp_path)
    with RunState(config) as state:
        state.round(0).evaluation.finished = True
        checkpoint(state, 1)
        checkpoint(state, 2)

    def shown() -> str:
        assert main(["--runs-dir", str(tmp_path), "--name", "made"]) == 0
        return capsys.readouterr().out

    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert "next      challenger of round 1, step 3, from round-1/challenger/checkpoint-0002\n" in shown()
    spoil(state.folder / "round-1" / "challenger" / "checkpoint-0002" / "weights.pt")
    output = shown()
    assert f"damaged   {state.folder}/round-1/challenger/checkpoint-0002/weights.pt is not as it was written" in output
    assert "resumes from its previous state" in output
    assert "next      challenger of round 1, step 2, from round-1/challenger/checkpoint-0001\n" in output
    spoil(state.folder / "round-1" / "challenger" / "checkpoint-0002" / "weights.pt")  # as it was
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before  # looking changes nothing
    for file in (FILE, PREVIOUS):
        (state.folder / file).write_text("{")
    write_run(made_config(tmp_path, "other"), 1)
    assert main(["--runs-dir", str(tmp_path)]) == 0
    assert [line.split()[0:4] for line in capsys.readouterr().out.splitlines() if "damaged" in line] == [
        ["made", "-", "-", "damaged"]
    ]


def test_status_reads_each_policy_once_and_none_of_a_run_that_is_active(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = made_config(tmp_path)
    policies = sorted(write_run(config, 2).glob("round-*/*/policy"))
    for policy in policies:
        (policy / "model.safetensors").write_bytes(bytes(100))
        write_checksums(policy)
    spoil(policies[-1] / "model.safetensors")
    monkeypatch.setattr("pipeline.store.checksums.LARGE_BYTES", 99)  # so that a line is printed for each
    arguments = ["--runs-dir", str(tmp_path), "--name", "made"]
    assert main(arguments) == 0
    told = capsys.readouterr()
    assert "lost" in told.out  # the round is closed, so that no earlier state is complete
    assert sorted(told.err.splitlines()) == [f"comparing the checksums of {policy}, 0 GB" for policy in policies]
    assert len(policies) == 4
    lock = Lock(tmp_path / "made", "round")
    assert main(arguments) == 0
    lock.release()
    told = capsys.readouterr()
    assert "running" in told.out
    assert "damaged" not in told.out
    assert told.err == ""


def test_the_stages_follow_one_another(tmp_path: Path) -> None:
    """`run_stages` ends a stage where the manifest says that it is finished, wherever it began."""
    manifest = read_manifest(write_run(made_config(tmp_path), 2, until="solver"))
    assert [manifest.next_stage(number) for number in (0, 1, 2, 3)] == [None, None, "evaluation", "challenger"]
    assert next_step(manifest) == "evaluation of round 2"
    manifest.rounds[2].evaluation.finished = True
    assert next_step(manifest) == "summary of round 2"
    manifest.rounds[2].closed = True
    assert next_step(manifest) == "challenger of round 3, step 1"


def test_weights_that_were_damaged_since_the_start_are_not_read(tmp_path: Path) -> None:
    policy = tmp_path / "policy"
    policy.mkdir()
    (policy / "model.safetensors").write_bytes(b"weights")
    refuse_damage(policy)  # as a base model, without checksums
    write_checksums(policy)
    refuse_damage(policy)
    (policy / "model.safetensors").write_bytes(b"weighty")
    with pytest.raises(DamagedError, match=r"model\.safetensors is not as it was written .*: the same command repeats what made"):
        refuse_damage(policy)
    with pytest.raises(DamagedError):
        stored_weights(str(policy), torch.float32, 1.0).send([])
