"""The server is gone for a while in the middle of a run: the run goes on by itself, and is exact."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import evolve

from tests.faults.test_exact import FLOW, expected, has_begun, take_results, with_patience
from tests.project import Project
from tests.servers import redis_server, why_no_redis
from tests.support import eventually

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_no_redis()), reason=why_no_redis())]

OUTAGE_SECONDS = 10.0


def test_a_run_goes_on_when_the_server_was_gone(project: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = Path(tmp_path_factory.mktemp("gone"))
    with ExitStack() as running:
        with redis_server(folder) as url:
            project = evolve(project, url=url)
            project.write("flow.py", FLOW)
            supervisor = running.enter_context(project.started("run", "flow.py", "--quiet"))
            eventually(lambda: has_begun(project), within=30, what="results come")
        with_patience(supervisor, OUTAGE_SECONDS)
        with redis_server(folder):
            _, errors = supervisor.communicate(timeout=60)
            assert supervisor.returncode == 0, errors
            assert take_results(project) == expected()
