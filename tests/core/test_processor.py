"""The processor's name, by which results are kept."""

import re

import pytest

from mixup_rs.bench.processor import processor, processor_name, slug


def x86(vendor, family, model, stepping=1):
    facts = {"vendor_id": vendor, "cpu family": family, "model": model, "stepping": stepping, "model name": "CPU"}
    return {key: str(value) for key, value in facts.items()}


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (x86("AuthenticAMD", 23, 1), "AMD Zen"),
        (x86("AuthenticAMD", 23, 49), "AMD Zen 2"),
        (x86("AuthenticAMD", 25, 1), "AMD Zen 3"),
        (x86("AuthenticAMD", 25, 17), "AMD Zen 4"),
        (x86("AuthenticAMD", 25, 0x21), "AMD Zen 3"),
        (x86("AuthenticAMD", 25, 0xA0), "AMD Zen 4"),
        (x86("AuthenticAMD", 26, 2), "AMD Zen 5"),
        (x86("AuthenticAMD", 25, 0xF0), "AMD family 25 model 240"),
        (x86("AuthenticAMD", 99, 17), "AMD family 99 model 17"),
        (x86("GenuineIntel", 6, 207, 2), "Intel Emerald Rapids"),
        (x86("GenuineIntel", 6, 85, 4), "Intel Skylake"),
        (x86("GenuineIntel", 6, 85, 7), "Intel Cascade Lake"),
        (x86("GenuineIntel", 6, 85, 11), "Intel Cooper Lake"),
        (x86("GenuineIntel", 6, 999), "Intel family 6 model 999"),
        (x86("GenuineIntel", 19, 207), "Intel family 19 model 207"),
        ({"CPU implementer": "0x41", "CPU part": "0xd40"}, "Arm Neoverse V1"),
        ({"CPU implementer": "0x41", "CPU part": "0x999"}, "Arm implementer 65 part 2457"),
        ({"CPU implementer": "0xc0", "CPU part": "0xd40"}, "Arm implementer 192 part 3392"),
        ({"model name": "Apple M3 Pro"}, "Apple M3 Pro"),
    ],
)
def test_the_generation_where_it_is_known_else_the_numbers(facts, name):
    assert processor_name(facts) == name


def test_the_processor_of_this_machine_names_a_file():
    assert processor()
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug(processor()))


def test_names_of_files():
    assert slug("AMD Zen 4") == "amd-zen-4"
    assert slug("Intel family 6 model 999") == "intel-family-6-model-999"
    assert slug("Intel(R) Xeon(R) @ 2.6GHz") == "intel-r-xeon-r-2-6ghz"
