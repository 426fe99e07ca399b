"""What schemathesis counts as a failure and is none: refusals for reasons that no schema can say.

Everything else that it finds fails the check. The report says how many were dropped here.
"""

import schemathesis

# A cursor is one that the gateway gave; a range begins before it ends and goes with its step.
RULED = {"cursor", "start", "end", "step", "agg", "since"}

# Our own faults, by GraphQL's `extensions.code`: these are never excused.
FAULTS = {"INTERNAL", "INTERNAL_ERROR", "INTERNAL_SERVER_ERROR"}


@schemathesis.hook
def filter_failure(context, failure, case, response) -> bool:
    """Whether the failure stands."""
    kind = type(failure).__name__
    if kind == "RejectedPositiveData":
        return not rule_of_parameter(response)
    if kind in ("GraphQLClientError", "GraphQLServerError"):
        return not refused_with_reason(response)
    return True


def rule_of_parameter(response) -> bool:
    """A 400 that names the parameter and says which rule it breaks."""
    problem = body_of(response)
    return response.status_code == 400 and problem.get("parameter") in RULED and bool(problem.get("detail"))


def refused_with_reason(response) -> bool:
    """Every error says by its code that the request was at fault: a wrong cursor, no such host, too complex."""
    codes = [(error.get("extensions") or {}).get("code") for error in body_of(response).get("errors", [])]
    return bool(codes) and all(isinstance(code, str) and code.upper() not in FAULTS for code in codes)


def body_of(response) -> dict:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
