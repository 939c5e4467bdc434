"""How long collecting takes: pytest's own start, then `pytest --co` over N generated case files, in fresh processes.

python benchmarks/collect.py [files]
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 5
CASE = """model: {{torch: model.py:net, weights: net.safetensors}}
data: model.py:splits
seed: {seed}
recipe:
  - prune: l1_unstructured
    amount: 0.5
    scope: global
  - finetune: {{epochs: 2, lr: 1e-3}}
  - quantize: static
    engine: onnxruntime
    per_channel: true
thresholds:
  accuracy_drop: 0.01
  size_ratio: 3.5
  speedup: 1.2
  nonzero: 60000
"""


def seconds(folder: Path, *arguments: str) -> list[float]:
    """Processor time of `ROUNDS` runs, which other work on the machine moves less than the clock on the wall.

    A first run, not counted, compiles what pytest rewrites.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    found = []
    for _ in range(ROUNDS + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "pytest", "--co", "-q", "-p", "no:cacheprovider", *arguments]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode in (0, 5), done.stdout + done.stderr
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return found[1:]


def main(files: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "cases").mkdir()
        (folder / "test_one.py").write_text("def test_one(): pass\n")
        for index in range(files):
            (folder / "cases" / f"case{index}.yaml").write_text(CASE.format(seed=index))
        rows = {
            "pytest, one test, without the plugin": seconds(folder, "-p", "no:weighbridge", "test_one.py"),
            "pytest, one test, with the plugin": seconds(folder, "test_one.py"),
            "pytest, 1 case file": seconds(folder, "cases/case0.yaml"),
            f"pytest, {files} case files": seconds(folder, "cases"),
        }
    own = statistics.median(rows["pytest, one test, without the plugin"])
    print(f"{'':40} {'median s':>9} {'min s':>7} {'on top s':>9} {'ratio':>6}")
    for what, times in rows.items():
        median = statistics.median(times)
        print(f"{what:40} {median:9.2f} {min(times):7.2f} {median - own:9.2f} {median / own:6.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
