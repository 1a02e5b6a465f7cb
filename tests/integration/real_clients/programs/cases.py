"""Run the cases of a program, and print the failed ones: a JSON object of tracebacks by name."""

import asyncio
import inspect
import json
import sys
import traceback

ADDRESS = f"127.0.0.1:{sys.argv[1]}"
TOKEN = {"Authorization": f"Bearer {sys.argv[2]}"}

CASES = []


def case(function):
    """Make *function*, which takes a client, a case of the program."""
    CASES.append(function)
    return function


async def main(client):
    """Run all cases with *client*, and print the failed ones."""
    failures = {}
    for each in CASES:
        try:
            result = each(client)
            if inspect.isawaitable(result):
                await result
        except Exception:
            failures[each.__name__] = traceback.format_exc()
    print(json.dumps(failures))


def run(client):
    """Run all cases with *client*."""
    asyncio.run(main(client))


def refusal(kind, call, *arguments, **named):
    """Return the text of the error of *kind* that *call* raises."""
    try:
        call(*arguments, **named)
    except kind as error:
        return str(error)
    raise AssertionError(f"no {kind.__name__}")


async def async_refusal(kind, awaitable):
    """Return the text of the error of *kind* that *awaitable* raises."""
    try:
        await awaitable
    except kind as error:
        return str(error)
    raise AssertionError(f"no {kind.__name__}")
