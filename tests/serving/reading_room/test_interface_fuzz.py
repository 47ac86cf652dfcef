"""The interface asked what nobody would ask: requests made from its own description."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from a2bgan.serving.reading_room.access import Access
from a2bgan.serving.reading_room.app import make_app

REQUESTS = 12
"""Of each kind to each operation."""


@pytest.fixture
def headers(token):
    return {"authorization": f"Bearer {token}"}


@pytest.fixture
def schema(room, token, headers):
    # Schemathesis calls every application "testserver".
    app = make_app(room, Access("testserver", 80, token))
    return schemathesis.openapi.from_asgi("/api/openapi.json", app, headers=headers)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_nothing_that_is_asked_breaks_the_server(schema, headers, mode):
    seen = []

    def ask_often(operation):
        @settings(
            max_examples=REQUESTS, deadline=None, database=None, derandomize=True,
            phases=(Phase.generate,), suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(operation.as_strategy(generation_mode=mode))
        def ask(case):
            answer = case.call(headers=headers)
            seen.append(answer.status_code)
            assert answer.status_code < 500, (case.method, case.path, case.query, case.body)

        ask()

    operations = [result.ok() for result in schema.exclude(path="/api/report").get_all_operations()]
    assert len(operations) > 8
    for operation in operations:
        # Without parameters there is nothing wrong to send.
        if mode is GenerationMode.POSITIVE or operation.query or operation.path_parameters:
            ask_often(operation)
    assert {True: 200, False: 422}[mode is GenerationMode.POSITIVE] in seen
    assert len(seen) > 60
