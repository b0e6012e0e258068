"""Pictures for files, where matplotlib is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mixup_rs.cli.fault import Fault


def draw(path: Path, make: Callable[[Any], object]) -> None:
    """Save a picture, made by a function of `mixup_rs.plot`; without matplotlib say what is missing."""
    try:
        from mixup_rs import plot

        make(plot)
    except ModuleNotFoundError as error:
        print(f"no picture: {error.name} is not installed; pip install 'mixup-rs[plot]'")
    except OSError as error:
        raise Fault(f"the picture cannot be written: {error}") from error
    except ValueError as error:
        if "is not supported" not in str(error):
            raise
        raise Fault(f"the picture cannot be written to {path}: {error}") from error
    else:
        print(f"picture: {path}")
