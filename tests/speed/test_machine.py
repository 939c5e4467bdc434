"""The machine's own account: limits of containers, and when it is too busy to judge."""

import json

import pytest

from weighbridge.environment import machine


def test_the_description_is_json_and_names_what_matters():
    described = machine.describe()
    json.dumps(described)
    assert {"cpu", "isa", "cores", "usable_cores", "load_average", "governor", "memory_bytes", "os"} <= set(
        described
    )
    assert 0 < described["usable_cores"] <= described["cores"]
    assert described["memory_bytes"] > 0


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "150000 100000"}, 1.5),
        ("0::/a", {"a/cpu.max": "max 100000"}, None),
        ("0::/", {}, None),
        ("4:cpu,cpuacct:/x\n0::/", {"cpu/x/cpu.cfs_quota_us": "50000", "cpu/x/cpu.cfs_period_us": "100000"}, 0.5),
        ("4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
    ],
)  # fmt: skip
def test_cpu_quota_of_either_cgroup_version(tmp_path, membership, files, cores):
    root, own = tmp_path / "cgroup", tmp_path / "self"
    own.write_text(membership)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    assert machine.cpu_quota(root, own) == cores


def test_memory_limit_of_a_container(tmp_path):
    (tmp_path / "self").write_text("0::/job")
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "memory.max").write_text("1048576")
    assert machine.memory_limit(tmp_path, tmp_path / "self") == 1 << 20
    (tmp_path / "job" / "memory.max").write_text("max")
    assert machine.memory_limit(tmp_path, tmp_path / "self") > 1 << 20


def test_what_makes_times_doubtful_is_said(monkeypatch):
    monkeypatch.setattr(machine, "usable_cores", lambda: 2.0)
    monkeypatch.setattr(machine, "load_average", lambda: 0.4)
    monkeypatch.setattr(machine, "governor", lambda: "performance")
    assert machine.complaints(1) == []
    assert "8 threads share 2 usable cores" in machine.complaints(8)[0]
    monkeypatch.setattr(machine, "load_average", lambda: 5.2)
    assert "busy" in machine.complaints(1)[0]
    monkeypatch.setattr(machine, "governor", lambda: "powersave")
    assert "powersave" in machine.complaints(1)[1]
