"""Requests made of the API's own document: none brings about a failure, and every answer is as the document says."""

from __future__ import annotations

from loadtest.fuzz_api import ApiFuzz
from tests.running_service import RunningService

REQUESTS = 344  # eight for each operation


def test_no_request_is_answered_otherwise_than_the_document_says(service: RunningService) -> None:
    fuzz = ApiFuzz(service, seed=2)
    fuzz.restock()
    for number in range(REQUESTS):
        fuzz.send(number)
    fuzz.clear()
    findings = fuzz.findings
    assert findings.broken == []
    assert findings.sent == REQUESTS
    assert len(findings.statuses) == len(fuzz.maker.operations), "every operation had its turn"
    answered = {status for each in findings.statuses.values() for status in each}
    assert {200, 202, 400, 404, 409, 415} <= answered, "requests of many kinds were made"
