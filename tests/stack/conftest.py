"""The stack is run once, for all tests that look at what happened in it."""

import asyncio

import pytest

from stack.evidence import Evidence
from stack.queries import dashboard_queries, rule_queries
from stack.scenario import play


@pytest.fixture(scope="session")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """What was seen of the stack in ordinary traffic and in incidents."""
    return asyncio.run(play(tmp_path_factory.mktemp("stack"), [*dashboard_queries(), *rule_queries()]))
