"""xdist: the items of one case go to one worker, so that its recipe runs once. Other tests are dealt one by one."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling


class CaseScheduling(LoadScopeScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        file, *parts = nodeid.split("::")
        return "::".join([file, *parts[:-1]]) if file.endswith((".yaml", ".yml")) else nodeid
