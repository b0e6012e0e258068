"""`python -m mixup_rs` runs the command `mixup-rs`."""

import sys

from mixup_rs.cli import main

if __name__ == "__main__":
    sys.exit(main())
