"""What only a library that imports torch can say, asked in a process of its own and remembered.

A fingerprint and a dimension are wanted where torch must not be imported: it takes seconds and
hundreds of megabytes. A process that has torch already is asked directly.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from tasks.encoders.remembered import recall, remember
from tasks.errors import EncoderError, UnknownModel, VectorlineError


def ask(
    function: str, arguments: Mapping[str, object], packages: tuple[str, ...], files: str = ""
) -> dict[str, Any]:
    """What `function`, a "module:name", gives for these arguments: all of it plain JSON data.

    The answer holds for the installed versions of `packages` and, where the function reads files,
    for `files`, a digest of them. Raises EncoderError with the message
    of the VectorlineError that the function raised.
    """
    if "torch" in sys.modules:
        return _call(function, arguments)
    question = json.dumps([function, arguments], sort_keys=True)
    key: list[object] = [question, files, *(metadata.version(name) for name in packages)]
    known = recall("asked", question, key)
    if isinstance(known, dict):
        return known
    answer = _ask_apart(question)
    remember("asked", question, key, answer)
    return answer


def _call(function: str, arguments: Mapping[str, object]) -> dict[str, Any]:
    module, name = function.split(":")
    answer: dict[str, Any] = getattr(importlib.import_module(module), name)(**arguments)
    return answer


def _ask_apart(question: str) -> dict[str, Any]:
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", __name__],
        input=question,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    if done.returncode:
        raise EncoderError(f"a process that was asked for {question} failed: {done.stderr[-2000:]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    if "error" in answer:
        raise (UnknownModel if answer["unknown"] else EncoderError)(answer["error"])
    value: dict[str, Any] = answer["value"]
    return value


def main() -> None:
    """Answers the question on standard input."""
    function, arguments = json.loads(sys.stdin.read())
    try:
        answer: dict[str, object] = {"value": _call(function, arguments)}
    except VectorlineError as error:
        answer = {"error": str(error), "unknown": isinstance(error, UnknownModel)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
