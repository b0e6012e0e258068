"""The name of the processor, by which the results of a run are kept: a virtual machine's model name says too little."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

__all__ = ["processor", "processor_name", "slug"]

#: AMD's generations by family and, from the given one on, model; None for those that are not known.
_AMD: dict[int, list[tuple[int, str | None]]] = {
    0x17: [(0x00, "Zen"), (0x30, "Zen 2"), (0x50, "Zen"), (0x60, "Zen 2"), (0xB0, None)],
    0x19: [(0x00, "Zen 3"), (0x10, "Zen 4"), (0x20, "Zen 3"), (0x60, "Zen 4"), (0xB0, None)],
    0x1A: [(0x00, "Zen 5"), (0x50, "Zen 6"), (0x60, "Zen 5"), (0x80, "Zen 6"), (0xB0, None)],
}
#: Intel's of family 6 by model.
_INTEL: dict[int, str] = {
    63: "Haswell", 79: "Broadwell", 106: "Ice Lake", 108: "Ice Lake", 143: "Sapphire Rapids", 207: "Emerald Rapids",
    173: "Granite Rapids", 174: "Granite Rapids", 175: "Sierra Forest", 78: "Skylake", 94: "Skylake", 142: "Kaby Lake",
    158: "Kaby Lake", 140: "Tiger Lake", 141: "Tiger Lake", 151: "Alder Lake", 154: "Alder Lake", 183: "Raptor Lake",
    186: "Raptor Lake", 191: "Raptor Lake", 170: "Meteor Lake", 172: "Meteor Lake",
}  # fmt: skip
#: Those of the one model that has several, from the given stepping on.
_INTEL_85: list[tuple[int, str | None]] = [(0, "Skylake"), (5, "Cascade Lake"), (10, "Cooper Lake")]
_ARM = {
    0xD0C: "Neoverse N1", 0xD40: "Neoverse V1", 0xD49: "Neoverse N2", 0xD4F: "Neoverse V2", 0xD84: "Neoverse V3",
    0xD8E: "Neoverse N3",
}  # fmt: skip


def processor() -> str:
    """The maker and generation of this machine's processor, such as "AMD Zen 4"."""
    return processor_name(_facts())


def processor_name(facts: Mapping[str, str]) -> str:
    """The maker and generation of a processor.

    Parameters
    ----------
    facts : mapping of str to str
        The entries of a processor in Linux's /proc/cpuinfo, or those that are known.

    Returns
    -------
    str
        Family and model where the generation is not known; the model name where there are no numbers.

    Examples
    --------
    >>> processor_name({"vendor_id": "AuthenticAMD", "cpu family": "25", "model": "17", "model name": "AMD EPYC"})
    'AMD Zen 4'
    >>> processor_name({"vendor_id": "GenuineIntel", "cpu family": "6", "model": "255"})
    'Intel family 6 model 255'
    """
    vendor, part = facts.get("vendor_id", ""), facts.get("CPU part", "")
    if vendor in ("AuthenticAMD", "GenuineIntel"):
        family, model, stepping = (_number(facts.get(key, "")) for key in ("cpu family", "model", "stepping"))
        maker = "AMD" if vendor == "AuthenticAMD" else "Intel"
        if maker == "AMD":
            generation = _from(_AMD.get(family, []), model)
        else:
            generation = (_from(_INTEL_85, stepping) if model == 85 else _INTEL.get(model)) if family == 6 else None
        return f"{maker} {generation or f'family {family} model {model}'}"
    if part:
        implementer = _number(facts.get("CPU implementer", ""))
        arm = _ARM.get(_number(part)) if implementer == 0x41 else None
        return f"Arm {arm}" if arm else f"Arm implementer {implementer} part {_number(part)}"
    return facts.get("model name", "") or platform.processor() or platform.machine() or "unknown"


def slug(name: str) -> str:
    """A name for files: "AMD Zen 4" is "amd-zen-4"."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        return -1


def _from(generations: list[tuple[int, str | None]], number: int) -> str | None:
    return next((name for first, name in reversed(generations) if first <= number), None)


def _facts() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
        return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    except OSError:
        pass
    if platform.system() == "Darwin":
        name = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False)
        return {"model name": name.stdout.strip()}
    # On Windows: "AMD64 Family 25 Model 17 Stepping 1, AuthenticAMD".
    found = re.fullmatch(r".*Family (\d+) Model (\d+) Stepping (\d+), (\w+)", platform.processor())
    return dict(zip(("cpu family", "model", "stepping", "vendor_id"), found.groups(), strict=True)) if found else {}
