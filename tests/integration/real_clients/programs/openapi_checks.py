"""A check of schemathesis: which answers with 5xx are faults."""

import schemathesis


@schemathesis.check
def no_fault(_, response, case):
    """No request makes the server fail; one with a deadline may be too late."""
    status = response.status_code
    headers = {name.lower() for name in case.headers or {}}
    has_deadline = "x-request-timeout-ms" in headers
    assert status < 500 or (has_deadline and status in (503, 504)), response.text
