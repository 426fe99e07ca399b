"""What schemathesis counts as a failure and is none: refusals for reasons that no schema can say.

Everything else that it finds fails the check. The report says how many were dropped here.
"""

import schemathesis

# A cursor is one that the gateway gave; a range begins before it ends and goes with its step; a metric is one that the
# catalogue has or some GPU reported, and for agg=rate a counter.
RULED = {"cursor", "start", "end", "step", "agg", "since", "metrics"}

# What GraphQL's `extensions.code` says of a request at fault; our own faults and a database that is away are not among them.
REFUSALS = {"NOT_FOUND", "INVALID_ARGUMENT", "INVALID_QUERY", "INVALID_REQUEST", "TOO_COMPLEX", "FORBIDDEN", "SWITCHED_OFF"}


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
    return bool(codes) and all(code in REFUSALS for code in codes)


def body_of(response) -> dict:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
