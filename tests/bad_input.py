"""Bad input that people type or write into files, case by case; `tests/unit/test_bad_input.py` puts it to the commands."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

Prepare = Callable[[Path], object]
LONG = "1" + "0" * 399


def case(
    name: str, command: str, arguments: str | list[str], *said: str, make: Prepare = lambda folder: None, status: int = 2
) -> tuple[object, ...]:
    """`arguments` are split at spaces; {here} is the test's folder. `said` are parts of the message, in order."""
    return pytest.param(command, arguments, said, make, status, id=name)  # type: ignore[return-value]


def setting(text: str, *said: str) -> tuple[object, ...]:
    """`make round SET=text`."""
    return case(text, "round", f"--set {text}", text.partition("=")[0], *said)


def holds(file: str, content: bytes | str) -> Prepare:
    return lambda folder: (folder / file).write_bytes(content.encode() if isinstance(content, str) else content)


def parquet(file: str, **columns: list[object]) -> Prepare:
    return lambda folder: pq.write_table(pa.table(columns), folder / file)


def heldout(name: str, file: str, content: bytes | str, *said: str) -> tuple[object, ...]:
    """A data file of held-out problems that cannot be used."""
    return case(f"benchmark {name}", "round", f"--set evaluation.sets=[{{here}}/{file}]", *said, make=holds(file, content))


def prompts(name: str, content: bytes | str, *said: str) -> tuple[object, ...]:
    return case(f"prompts {name}", "round", "--set prompts={here}/mine.yaml", "prompts", *said, make=holds("mine.yaml", content))


def profile(name: str, content: bytes | str, *said: str) -> tuple[object, ...]:
    return case(f"profile {name}", "round", "--profile {here}/mine.yaml", "mine.yaml", *said, make=holds("mine.yaml", content))


def definition(name: str, content: bytes | str, *said: str) -> tuple[object, ...]:
    return case(
        f"definition {name}", "round", "--set evaluation.sets=[{here}/sets.yaml]", *said, make=holds("sets.yaml", content)
    )


PLACES = ["runs_dir={here}/runs", "tracking_uri=sqlite:///{here}/mlruns/m.db"]

CONFIGURATION = [
    setting("solver.lr=nan", "float at least 0 and finite"),
    setting("solver.lr=inf", "float at least 0 and finite"),
    setting("challenger.lr=-inf", "float at least 0 and finite"),
    setting("grpo.kl=1e999", "finite"),
    setting("reward.lambda=NaN", "finite"),
    setting("solver.steps=1e2", "int at least 0"),
    setting("solver.steps=2.5", "int at least 0"),
    setting("solver.steps=true", "int at least 0"),
    setting("solver.steps=", "int at least 0"),
    setting("solver.batch=0", "at least 1"),
    setting("solver.batch=7", "multiple of solver.group=5", "for example 5"),
    setting("solver.group=1", "at least 2"),
    setting("sampling.top_p=0", "at least 0.01 and at most 1"),
    setting("sampling.temperature=-1", "at least 0.01"),
    setting("seed=-1", "at least 0"),
    setting("learner.gradient_checkpointing=maybe", "bool"),
    setting("learner.liger=true", "resources.device=cpu: false"),
    setting("learner.zero_stage=4", "0 | 1 | 2 | 3"),
    setting("grpo.aggregation=sum", "token_mean | sequence_mean"),
    setting("evaluation.limit=0", "int or null at least 1"),
    setting("evaluation.sets=heldout", "a list such as [a,b]"),
    setting("reward.scorers=[nothing]", "nothing: no such scorer"),
    setting("reward.scorers=[{here}/none.py:mine]", "none.py"),
    setting("reward.grader=chemistry", "math, choice, exact"),
    setting("evaluation.oracle=no.such.module", "no.such.module"),
    setting("tracking_uri=mlruns", "sqlite:///PATH"),
    setting("tracking_uri=sqlite:///", "sqlite:///PATH"),
    setting("name=a/b", "letters, digits"),
    setting("name=", "letters, digits"),
    setting("name=-x", "letters, digits"),
    setting("prompts={here}/nowhere.yaml", "no such file"),
    setting("prompts={here}", "no such file"),
    setting("chalenger.steps=1", "no such setting", "challenger.steps"),
    setting("challenger=1", "no such setting", "challenger.steps"),
    setting("grpo.kl=1e400", "finite"),
    setting("solver.steps=" + "9" * 30, "at most 1000000000"),
    case("400 digits", "round", f"--set solver.steps={LONG}", "solver.steps=1000", "at most 1000000000"),
    case("400 digits, with a bound", "round", f"--set seed={LONG}", "seed=1000", "at most 4294967295"),
    case("400 digits below zero", "round", f"--set seed=-{LONG}", "seed=-1000", "int at least 0"),
    case("400 digits in a list", "round", f"--set curriculum.keep=[4,{LONG}]", "curriculum.keep=[4, 1000", "at most 1000000000"),
    case("400 digits of a float", "round", f"--set solver.lr={LONG}", "solver.lr=inf", "finite"),
    case("5000 digits", "round", f"--set seed={LONG * 13}", "seed=1000", "int at least 0"),  # more than Python reads
    setting("resources.wait_s=1e30", "at most 1000000000"),
    setting("reward.timeout_s=1e300", "at most 1000000000"),
    setting("reward.memory_mb=99999999999999999999", "at most 1000000000"),
    setting("reward.workers=1000000", "at most 1024"),
    setting("rollout.max_num_seqs=99999999", "at most 65536"),
    setting("seed=99999999999999999999", "at most 4294967295"),
    setting("learner.ranks=0x2", "int at least 1"),
    setting("learner.ranks=0o17", "int at least 1"),
    setting("learner.ranks=~", "int at least 1"),
    setting("rollout.engines=0", "int or null at least 1"),
    setting("rollout.chunk=0", "int at least 1"),
    setting("rollout.ahead=2", "at least 0 and at most 1"),
    setting("stop_without_signal=2", "bool"),
    setting("model.dtype=float16", "float32 | bfloat16"),
    setting("runs_dir=", "not empty"),
    setting("model.path=", "not empty"),
    setting("evaluation.folder=", "not empty"),
    setting("evaluation.sets=", "evaluation.sets= (override)", "a list such as [a,b]"),
    setting("evaluation.sets=[[a]]", "a list such as [a,b]"),
    setting("evaluation.sets=[,]", "not valid YAML"),
    setting("evaluation.sets=[math500,math500]", "math500 is named more than once"),
    setting("reward.scorers=[]", "one or more"),
    setting("reward.scorers=[repetition,triangular]", "triangular replaces what the scorers before it gave"),
    setting("solver.verdicts=0.01", "less than one of the"),
    setting("reward.scorers=[triangular,triangular]", "each once"),
    setting("reward.scorers=[conf/load.py:ROOT]", "has no function ROOT", "valid"),
    setting("reward.grader=README.md:x", "valid", "ends in .py"),
    setting("evaluation.oracle=os", "has no function true_answer", "valid"),
    setting("curriculum.keep=[a,b]", "a list of whole numbers such as [4,7]"),
    setting("curriculum.keep=[7,4]", "the fewest and the most votes"),
    setting("curriculum.agreement=11", "at most reward.samples=10"),
    case("adapters of no effect", "round", "--set lora.rank=4 lora.alpha=0", "lora.alpha=0", "at least 1"),
    case("adapters of no layer", "round", "--set lora.rank=4 lora.targets=[nothing]", "no layer nothing", "valid", "q_proj"),
    setting("solver.average=0.5 solver.steps=0", "solver.average=0.5", "solver.steps of at least 1"),
    setting("challenger.start=solver", "challenger.start=solver", "previous | base"),
    setting("challenger.start=base policies=shared", "challenger.start=base", "policies=separate"),
    setting("solver.members=3 solver.steps=0", "solver.members=3", "valid: 1"),
    setting("solver.averages=0.5", "no such setting", "solver.average"),
    setting("rollout.ahead=1 grpo.importance=none", "rollout.ahead=1", "grpo.importance=token_tis"),
    setting("name=" + "a" * 300, "at most 200"),
    setting("name=2026/11/26", "letters, digits"),
    setting("name=~", "letters, digits"),
    setting("tracking_uri=sqlite:///{here}/m.db?mode=ro", "sqlite:///PATH"),
    setting("tracking_uri=postgresql://a/b", "sqlite:///PATH"),
    case("a text of control characters", "round", ["--set", "runs_dir=a\x1b[2Jb"], "runs_dir=a\\x1b[2Jb", "control characters"),
    case("a text of no encoding", "round", ["--set", "model.path=\udcff"], "model.path=\\udcff", "control characters"),
    case("a path too long", "round", ["--set", "model.path=/" + "a" * 5000], "File name too long", "valid: another path"),
    case("a list too deep", "round", ["--set", "evaluation.sets=" + "[" * 3000], "evaluation.sets=[", "not valid YAML"),
    profile("a NUL", 'prompts: "a\\0b"\n', "cannot be read as YAML", "a NUL"),
    profile("too deep", "seed: " + "[" * 3000, "cannot be read as YAML"),
    profile("a tag that does not fit", "seed: !!int x\n", "cannot be read as YAML", "ValueError"),
    profile("an alias inside itself", "challenger: &a {steps: *a}\n", "cannot be read as YAML", "RecursionError"),
    case("a value of a tag", "round", ["--set", "challenger.steps=!!bool x"], "challenger.steps=!!bool x", "not valid YAML"),
    case("a time of a tag", "round", ["--set", "seed=!!timestamp x"], "seed=!!timestamp x", "not valid YAML"),
    setting("steps", "setting=value"),
    setting("=1", "setting=value"),
    setting("lora.targets=[", "not valid YAML"),
    setting("lora.targets=[a", "not valid YAML"),
    setting("rollout.transfer=nccl", "host or shared"),
    setting("rollout.tensor_parallel=2", "resources.device=cpu: 1"),
    case("a learner on no GPU", "round", "--set resources.device=cuda", "resources.learner_gpus=0", "needs a GPU"),
    setting("sampling.max_tokens=256", "less than model.max_length"),
    setting("learner.offload=all", "learner.zero_stage 1, 2 or 3"),
    case("profile unknown", "round", "--profile huge", "PROFILE=huge", "Valid:", "tiny"),
    case("profile a folder", "round", "--profile {here}/a.yaml", "a.yaml", make=lambda folder: (folder / "a.yaml").mkdir()),
    profile("a list", "- 1\n", "settings by name"),
    profile("not UTF-8", b"name: caf\xe9\n", "cannot be read as YAML"),
    profile("a binary", b"\x00\x01\x02", "cannot be read as YAML"),
    profile("a setting twice", "seed: 1\nseed: 2\n", "seed is given twice"),
    case("profile with NaN", "round", "--profile {here}/mine.yaml", "solver.lr=.nan", "mine.yaml", "finite",
         make=holds("mine.yaml", "solver: {lr: .nan}\n")),
    profile("a base of itself", "base: nowhere\n", "conf/presets"),
    case("ITER of 0", "round", "--iter 0", "ITER=0", "1 or more"),
    case("ITER no number", "round", "--iter two", "--iter", "'two'"),
    case("SEED no number", "round", "--seed 1.5", "--seed", "'1.5'"),
    case("NAME empty", "round", ["--name", ""], "name=", "letters, digits"),
    case("SET given twice", "round", "--set solver.steps=x --set seed=1", "solver.steps=x", "int at least 0"),
    case("another option", "round", "--fast", "--fast"),
    case("submit", "submit", "--set solver.lr=nan", "solver.lr=nan", "finite"),
    case("evaluate with NaN", "evaluate", "--policy assets/tiny-base --set sampling.top_p=nan", "sampling.top_p=nan", "at most"),
    case("evaluate nothing", "evaluate", "--policy assets/tiny-base --set evaluation.sets=[]", "SETS", "no set is named"),
    case("evaluate no policy", "evaluate", "--policy {here}/none --sets math500", "POLICY={here}/none", "no such folder"),
]  # fmt: skip

PROMPTS = (  # of which {system} is the Solver's system message
    "challenger: {{system: null, user: Write.}}\nsolver: {{system: {system}, user: '{{question}}'}}\n"
    "validity: {{system: null, user: '{{question}}'}}\n"
)

FILES = [
    prompts("not UTF-8", b"challenger: \xff\n", "mine.yaml", "cannot be read"),
    prompts("a binary", b"PAR1\x00\x00", "mine.yaml"),
    prompts("broken YAML", "challenger: [\n", "mine.yaml", "cannot be read"),
    prompts("a tag that does not fit", "challenger: !!bool x\n", "mine.yaml", "cannot be read"),
    prompts("empty", "", "mine.yaml", "challenger"),
    prompts("a question in the system message", PROMPTS.format(system="'{question}'"), "solver.system must not contain"),
    prompts("half a pair", PROMPTS.format(system='"\\ud800"'), "mine.yaml", "cannot be read", "half a surrogate pair"),
    prompts("a NUL", PROMPTS.format(system='"\\0"'), "mine.yaml", "cannot be read", "a NUL"),
    prompts("two documents", "a: 1\n---\nb: 2\n", "mine.yaml", "cannot be read", "single document"),
    prompts("a list", "- a\n", "mine.yaml", "challenger"),
    prompts("a text", "hello\n", "mine.yaml", "challenger"),
    prompts("an unknown tag", "challenger: !!python/object:os.system {}\n", "mine.yaml", "cannot be read"),
    heldout("missing column", "a.jsonl", '{"question": "q"}\n', "set a, row 1", "no column 'answer'"),
    heldout("UTF-16", "a.jsonl", '{"question": "q", "answer": "1"}\n'.encode("utf-16"), "a.jsonl", "cannot be read as jsonl"),
    heldout("Latin-1", "a.csv", "question,answer\ncafé,1\n".encode("latin-1"), "a.csv", "cannot be read as csv"),
    heldout("semicolons", "a.csv", "question;answer\nq;1\n", "no column 'question'", "question;answer"),
    heldout("tabs", "a.csv", "question\tanswer\nq\t1\n", "no column 'question'"),
    heldout("a NUL", "a.csv", "question,answer\nq\x00,1\n", "row 1", "'question' holds a NUL", "UTF-8"),
    heldout("a missing cell", "a.csv", "question,answer\nq\n", "row 1", "'answer' is empty"),
    heldout("a cell too many", "a.csv", "question,answer\nq,1,2\n", "row 1 has more cells"),
    heldout("a null answer", "a.jsonl", '{"question": "q", "answer": null}\n', "row 1", "'answer' is empty"),
    heldout("a NaN answer", "a.jsonl", '{"question": "q", "answer": NaN}\n', "row 1", "'answer' is empty"),
    heldout("an infinite answer", "a.jsonl", '{"question": "q", "answer": Infinity}\n', "row 1", "a text or a number"),
    heldout("a huge number", "a.jsonl", '{"question": "q", "answer": ' + "9" * 5000 + "}\n", "a.jsonl"),
    heldout("half a pair", "a.jsonl", '{"question": "q", "answer": "\\ud800"}\n', "row 1", "surrogate"),
    heldout("an object as answer", "a.jsonl", '{"question": "q", "answer": {"a": 1}}\n', "row 1", "a text or a number"),
    heldout("empty JSONL", "a.jsonl", "", "set a: has 0 problems"),
    heldout("empty CSV", "a.csv", "", "set a: has 0 problems"),
    heldout("empty JSON", "a.json", "", "a.json", "cannot be read as json"),
    heldout("empty Parquet", "a.parquet", b"", "a.parquet", "cannot be read as parquet"),
    heldout("truncated Parquet", "a.parquet", b"PAR1" + bytes(100), "a.parquet", "cannot be read as parquet"),
    heldout("a line cut off", "a.jsonl", '{"question": "q", "answer": "1"}\n{"quest', "line 2"),
    heldout("a JSON object", "a.json", '{"question": "q"}', "one object for each problem"),
    heldout("another suffix", "a.txt", "q", "no such set", ".parquet"),
    heldout("a name for no file", "a+b.jsonl", '{"question": "q", "answer": "1"}\n', "set 'a+b'", "letters, digits"),
    heldout("a column twice", "a.csv", "question,question,answer\nq,r,1\n", "first line has 'question' twice", "valid"),
    heldout("a null option", "a.jsonl", '{"question": "q", "answer": "A", "options": ["x", null]}\n', "an option that is null"),
    heldout("an answer of no option", "a.jsonl", '{"question": "q", "answer": "C", "options": ["x", "y"]}\n', "one of AB"),
    heldout("an id twice", "a.csv", "question,answer,id\nq,1,1\nr,1,1\n", "row 2", "also that of row 1", "unique ids"),
    heldout("blanks as answer", "a.jsonl", '{"question": "q", "answer": "  "}\n', "row 1", "'answer' is empty"),
    heldout("gzip under another name", "a.jsonl", b"\x1f\x8b\x08\x00", "cannot be read as jsonl"),
    heldout("gzip", "a.jsonl.gz", b"\x1f\x8b\x08\x00", "no such set", ".jsonl"),
    heldout("too deep", "a.jsonl", "[" * 100000, "cannot be read as jsonl"),
    heldout("a column too many in name", "a.csv", "Question,Answer\nq,1\n", "no column 'question'", "Question, Answer"),
    case("benchmark that is not there", "round", "--set evaluation.sets=[{here}/none.jsonl]", "none.jsonl", "no such file"),
    case("benchmark a folder", "round", "--set evaluation.sets=[{here}/a.jsonl]", "a.jsonl", "no such file",
         make=lambda folder: (folder / "a.jsonl").mkdir()),
    case("benchmark of dates", "round", "--set evaluation.sets=[{here}/a.parquet]", "row 1", "a text or a number",
         make=parquet("a.parquet", question=["q"], answer=[date(2026, 1, 1)])),
    case("benchmark of bytes", "round", "--set evaluation.sets=[{here}/a.parquet]", "row 1", "a text or a number",
         make=parquet("a.parquet", question=["q"], answer=[b"\xff"])),
    case("benchmark of nulls", "round", "--set evaluation.sets=[{here}/a.parquet]", "row 1", "is empty",
         make=parquet("a.parquet", question=["q"], answer=[None])),
    definition("empty", "", "defines no sets"),
    definition("not UTF-8", b"mine: \xff\n", "cannot be read as YAML"),
    definition("named by a number", "1.10: {hub: me/mine}\n", "set 1.1", "its name is read as 1.1", "quotes"),
    definition("of a number", "mine: {hub: me/mine, config: 2.10}\n", "set mine", "config is read as 2.1", "quotes"),
    definition("with a column of a number", "mine: {hub: me/mine, columns: {question: 1.10}}\n", "columns.question", "quotes"),
    definition("of the environment", "mine: {hub: '${oc.env:HOME}/b'}\n", "set mine", "holds ${...}", "the value itself"),
    definition("left open", "mine: {hub: '???'}\n", "set mine", "???"),
    definition("of samples without end", "mine: {hub: a/b, samples: 99999999999}\n", "samples=99999999999", "at most 1000000000"),
    definition("of samples yes", "mine: {hub: a/b, samples: yes}\n", "set mine: samples", "valid: see conf/benchmarks.yaml"),
    definition("of another field", "mine: {hub: a/b, colums: {}}\n", "no field 'colums'", "columns"),
    definition("no source", "mine: {grader: math}\n", "exactly one of the two"),
    definition("missing data", "mine: {path: none.jsonl}\n", "none.jsonl"),
    case("benchmark fetched by nobody", "round", "--set evaluation.sets=[math500] evaluation.folder={here}", "set math500",
         "make benchmarks"),
]  # fmt: skip
