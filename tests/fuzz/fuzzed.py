"""Fuzzing: what must hold whatever a stranger sends, tried with what no test thought of.

Four doors are open to strangers or to an operator's typing: the wire's parsers, the settings, the
pictures, and a client that says that it comes back. Each has a file of properties here, and the
HTTP side one of its own, from its OpenAPI document (``tests/integration/test_openapi.py``). Rules:

1. A door gives what it promises or raises the error that it promises. Any other exception is a
   finding, and Hypothesis makes the input that raised it as small as it can.
2. What is sent is drawn by its structure, then torn: noise alone is refused at the first byte and
   tries nothing behind it. So a message, a chunk or a scan is left out, said twice, swapped,
   flooded, and its sizes and numbers lie; sums and lengths around it are made right again.
3. A refusal is one short sentence, and nothing of this program stands in it.
4. No input costs more than it may: CPU time of this thread, the best of three where the first was
   too long, so that a busy machine fails no test.

``make test`` tries each property for some seconds, each time with other examples; ``make soak``
for ten minutes a door (``tests/fuzz/test_soak.py``), without a database and by the profile
``fuzz`` of ``tests/conftest.py``.
"""

from __future__ import annotations

import functools
import re
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from types import ModuleType
from typing import Any, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy
from pydantic import BaseModel

from tests.integration.leaks import leaks

T = TypeVar("T")
Check = Callable[..., None]

SENTENCE_CHARS = 800
_TRIES = 3
_OURS = ("ingress", "models", "deployments", "client")

examples: Counter[str] = Counter()  # tried, by module
worst_ms: dict[str, float] = {}  # of one call, by module


def fuzzed(most: int, **drawn: SearchStrategy[Any]) -> Callable[[Check], Check]:
    """Make a test of a property: ``most`` examples of it; a soak has more (``campaign``)."""

    def decorate(check: Check) -> Check:
        @functools.wraps(check)
        def counted(**values: Any) -> None:
            examples[check.__module__] += 1
            check(**values)

        test: Any = settings(max_examples=most, suppress_health_check=list(HealthCheck))(
            given(**drawn)(counted)
        )
        test.campaign = settings(settings.get_profile("fuzz"))(given(**drawn)(counted))
        return test  # type: ignore[no-any-return]

    return decorate


def campaign(module: ModuleType, seconds: float) -> None:
    """Try every property of a module in turn until the time is over, each once at least."""
    properties = [value for value in vars(module).values() if hasattr(value, "campaign")]
    assert properties, module.__name__
    until = time.monotonic() + seconds
    while True:
        for prop in properties:
            prop.campaign()
        if time.monotonic() > until:
            return


def timed(step: Callable[[], T], most_ms: float, module: str) -> T:
    """What ``step`` gives or raises, for which it may take ``most_ms`` of this thread's CPU."""

    async def at_once() -> T:
        return step()

    return turned(at_once, most_ms, module)


def turned(step: Callable[[], Coroutine[Any, Any, T]], most_ms: float, module: str) -> T:
    """The same of a step that gives turns to others; each of its own may take ``most_ms``."""
    took: list[float] = []
    while not took or (took[-1] > most_ms and len(took) < _TRIES):
        longest_ms, outcome = _driven(step())
        took.append(longest_ms)
    worst_ms[module] = max(worst_ms.get(module, 0.0), min(took))
    assert min(took) <= most_ms, f"{min(took):.0f} ms, {most_ms:.0f} are allowed"
    return outcome()


def _driven(step: Coroutine[Any, Any, T]) -> tuple[float, Callable[[], T]]:
    """Its longest turn in milliseconds, and what gives or raises what came of it."""
    ended: Future[T] = Future()
    longest_ms = 0.0
    while not ended.done():
        begun = time.thread_time()
        try:
            step.send(None)
        except StopIteration as done:
            ended.set_result(done.value)
        except Exception as error:  # a refusal costs as well
            ended.set_exception(error)
        longest_ms = max(longest_ms, 1e3 * (time.thread_time() - begun))
    return longest_ms, ended.result


def check_sentence(sentence: str, sent: object, most_chars: int = SENTENCE_CHARS) -> None:
    """A refusal is short and tells nothing of the program; what it echoes is in ``sent``."""
    assert sentence
    assert len(sentence) <= most_chars, f"{len(sentence)} characters: {sentence[:200]}"
    own = str(sent)
    told = [*leaks(sentence), *_class_names().findall(sentence)]
    assert [leak for leak in told if leak not in own] == [], sentence


@functools.cache
def _class_names() -> re.Pattern[str]:
    """Of what pydantic checks here, which it would name, and how Python shows a class."""
    names, found = {"<class "}, [BaseModel]
    while found:
        model = found.pop()
        found += model.__subclasses__()
        if model.__module__.startswith(_OURS):
            names.add(rf"\b{model.__name__}\b")
    return re.compile("|".join(sorted(names)))
