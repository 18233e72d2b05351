"""A policy: values are JSON objects with a title that is not too long."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.validator import (
    About,
    Change,
    ConfigProblem,
    Refusal,
    Verdict,
    Verdict_Accept,
    Verdict_Refuse,
    Wants,
)
from wit_world.imports import log

SCHEMA = {
    "type": "object",
    "properties": {"max": {"type": "integer", "minimum": 1, "default": 80}},
    "additionalProperties": False,
}


def problems(config: dict) -> list[ConfigProblem]:
    """What is wrong with a config."""
    found = [ConfigProblem(f"/{name}", "it means nothing here") for name in config if name != "max"]
    longest = config.get("max", 80)
    if type(longest) is not int or longest < 1:
        found.append(ConfigProblem("/max", "it is no whole number from 1 on"))
    return found


def refuse(code: str, message: str, pointer: str | None) -> Verdict:
    return Verdict_Refuse(Refusal(code, message, pointer))


class Validator(exports.Validator):
    max = 80

    def describe(self) -> About:
        return About("titled-py", "0.1.0", json.dumps(SCHEMA))

    def configure(self, config: str) -> Wants:
        config = json.loads(config)
        if found := problems(config):
            raise Err(found)
        Validator.max = config.get("max", 80)
        log.write(log.Level.DEBUG, f"titles have at most {Validator.max} characters")
        return Wants([], False, False, 65536)

    def check(self, changes: list[Change]) -> list[Verdict]:
        return [self.verdict(change) for change in changes]

    def verdict(self, change: Change) -> Verdict:
        try:
            value = json.loads(change.value or b"")
        except (ValueError, RecursionError):
            return refuse("not-json", "the value is not JSON", None)
        title = value.get("title") if isinstance(value, dict) else None
        if not isinstance(title, str) or not title.strip():
            return refuse("untitled", "a title is missing", "/title")
        if len(title) > Validator.max:
            return refuse("long-title", f"the title has more than {Validator.max} characters", "/title")
        return Verdict_Accept()
