"""A Dockerfile as stages and their instructions."""

import json
import re
from dataclasses import dataclass, field

VARIABLE = re.compile(r"\$(?:\{(\w+)(?::([-?])([^}]*))?\}|(\w+))")


@dataclass
class Instruction:
    line: int
    verb: str
    text: str
    flags: dict = field(default_factory=dict)

    def exec_form(self):
        """The words of `["program", "argument"]`; None where it is a shell's line."""
        try:
            words = json.loads(self.text)
        except ValueError:
            return None
        return words if isinstance(words, list) else None

    def words(self):
        return self.exec_form() or self.text.split()

    def assignments(self):
        """`A=1 B="two words"`, as LABEL, ENV and ARG have them; ARG's may have no value."""
        pairs = re.findall(r'([\w.]+)(?:=("(?:[^"\\]|\\.)*"|\S*))?', self.text)
        return {name: value.strip('"') if value else None for name, value in pairs}


@dataclass
class Stage:
    base: str
    name: str
    instructions: list = field(default_factory=list)

    def of(self, verb):
        return [instruction for instruction in self.instructions if instruction.verb == verb]

    def last(self, verb):
        found = self.of(verb)
        return found[-1] if found else None


def instructions(text):
    """Logical lines: comments are left out, what ends in a backslash goes on."""
    parts, start = [], None
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") or (not line.strip() and not parts):
            continue
        start = start or number
        parts.append(line.rstrip().removesuffix("\\").strip())
        if line.rstrip().endswith("\\"):
            continue
        verb, _, rest = " ".join(parts).partition(" ")
        flags = {}
        while match := re.match(r"--([\w-]+)=(\S+)\s+", rest):
            flags[match[1]], rest = match[2], rest[match.end():]
        yield Instruction(start, verb.upper(), rest.strip(), flags)
        parts, start = [], None


class Missing(Exception):
    """An argument that has to be given was not."""


def expand(text, variables):
    """`$A`, `${A}`, `${A:-otherwise}` and `${A:?what-is-said}`; one that is not known, and need not be, is nothing."""
    def value(match):
        name, otherwise = match[1] or match[4], match[3] or ""
        if match[2] == "?" and not variables.get(name):
            raise Missing(f"{name}: {otherwise}")
        return variables.get(name) or otherwise
    return VARIABLE.sub(value, text)


def parse(text):
    """The arguments before the first FROM with their defaults, and the stages."""
    arguments, stages = {}, []
    for instruction in instructions(text):
        if instruction.verb == "FROM":
            words = instruction.text.split()
            name = words[2] if len(words) == 3 and words[1].upper() == "AS" else str(len(stages))
            stages.append(Stage(words[0], name))
        elif stages:
            stages[-1].instructions.append(instruction)
        elif instruction.verb == "ARG":
            arguments |= instruction.assignments()
        else:
            raise SystemExit(f"line {instruction.line}: {instruction.verb} before the first FROM")
    return arguments, stages
