"""What becomes of the hard cases in fastai, with its callbacks and ours: `python tools/hard_cases.py docs/fastai.md`.

The cases are those of `tests/support/fastai_cases.py`, where each is a test.
"""

import sys
import warnings
from pathlib import Path

import fastai

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
from fastai_cases import CASES


def outcome(case, callback):
    """ "works", or how it fails in one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case(callback)
    except Exception as error:
        text = str(error).strip().splitlines() or [""]
        return f"{type(error).__name__}: {text[-1].strip()[:70]}"
    return "works"


def table():
    rows = ["| callback | case | fastai's | ours |", "|---|---|---|---|"]
    for theirs, ours, name, case in CASES:
        cells = (theirs.__name__, name, outcome(case, theirs()), outcome(case, ours()))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


HEAD = """# The hard cases in fastai

What becomes of each with fastai's own callback and with ours, as `make hard-cases` found it with fastai {version}.
Each is a test (`tests/fastai/test_cases.py`).

Apple's MPS long had no Beta to draw from, on which mixing callbacks failed. Ours draws on the host, whatever torch's
default device, and the batch stays where it is: `tests/torch/test_device.py` and
`tests/fastai/test_device.py` follow every operation on a device whose memory cannot be read.

"""

if __name__ == "__main__":
    Path(sys.argv[1]).write_text(HEAD.format(version=fastai.__version__) + table() + "\n")
