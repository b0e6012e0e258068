"""The values of tests/goldens/drawn.txt, which the Rust tests read as well: what rules draw by a key, for all time."""

import dataclasses
from pathlib import Path

import numpy as np

import mixup_rs

PATH = Path(__file__).parents[1] / "goldens" / "drawn.txt"
#: More values than these are pinned by their hash.
LONGEST = 16


@dataclasses.dataclass(frozen=True)
class Golden:
    """A rule, what it draws for, and the lines that say what it draws."""

    rule: str
    n: int
    shape: tuple
    key: tuple
    lines: tuple = ()

    def drawn(self):
        """What is drawn now."""
        plan = eval(self.rule, vars(mixup_rs)).plan(self.n, self.shape or None, rng=self.key)
        return dataclasses.replace(self, lines=shown(plan))

    def __str__(self):
        numbers = [str(self.n), " ".join(map(str, self.shape)), " ".join(map(str, self.key))]
        return "\n".join([" | ".join([self.rule, *numbers]), *self.lines])


def goldens():
    """All of them."""
    _, *paragraphs = PATH.read_text(encoding="utf-8").rstrip().split("\n\n")
    return [_read(*paragraph.split("\n")) for paragraph in paragraphs]


def _read(head, *lines):
    rule, n, shape, key = head.split("|")
    return Golden(rule.strip(), int(n), tuple(map(int, shape.split())), tuple(map(int, key.split())), lines)


def shown(plan):
    """What a plan says, in lines of text: weights and partners, and boxes, or the share and a hash of masks."""
    if plan.masks is not None:
        lines = [_line("lam", plan.lam), _hashed("masks", plan.masks)]
    else:
        lines = [_line("weight", plan.weights if plan.partner.ndim > 1 else plan.weight)]
    lines.append(_line("partner", plan.partner))
    if plan.boxes is not None:
        lines.append("boxes " + ", ".join(" ".join(map(str, box)) for box in plan.boxes.tolist()))
    return tuple(lines)


def _line(name, values):
    flat = values.ravel().tolist()
    if len(flat) > LONGEST:
        return _hashed(name, values)
    written = ["1" if value == 1.0 else value.hex() if isinstance(value, float) else str(value) for value in flat]
    return " ".join([name, *written])


def _hashed(name, values):
    """FNV-1a, 64 bits, of the values as 64-bit words."""
    state = 0xCBF29CE484222325
    for byte in np.ascontiguousarray(values, "<f8" if values.dtype.kind == "f" else "<u8").tobytes():
        state = (state ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{name} fnv {state:016x}"


def written(rule):
    """The expression that makes a rule, with the options that are not the defaults."""
    if dataclasses.is_dataclass(rule):
        chosen = {
            field.name: getattr(rule, field.name)
            for field in dataclasses.fields(rule)
            if getattr(rule, field.name) != field.default
        }
        return f"{type(rule).__name__}({', '.join(f'{name}={written(value)}' for name, value in chosen.items())})"
    if isinstance(rule, tuple):
        return f"({''.join(f'{written(item)}, ' for item in rule).rstrip(' ' if len(rule) == 1 else ', ')})"
    return f'"{rule}"' if isinstance(rule, str) else repr(rule)
