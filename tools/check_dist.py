"""Proves what is in dist: `python tools/check_dist.py dist [--newest]`.

The sdist and the wheel hold what they should and nothing else. The wheel is then installed into two empty environments,
with the oldest and the newest NumPy (--newest: with that alone), and passes the sdist's own tests of the core there:
far from the sources, which could stand in for what the wheel lacks.
"""

import re
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from fnmatch import fnmatch
from pathlib import Path

# Every other file of the repository is in the sdist, whose list Cargo.toml has.
LEFT_OUT = [".*", "deny.toml", "docs/*.json", "docs/*.png", "docs/*.webp", "tests/*.supp"]
TEST_REQUIREMENTS = ["hypothesis", "ml_dtypes", "mypy", "numpydoc", "pytest", "scipy"]
# Runs where only the wheel is installed.
SMOKE = """
import sys, numpy, mixup_rs
x = numpy.arange(12, dtype=numpy.float32).reshape(3, 4)
assert (mixup_rs.mix_batch(x, [0, 1, 2], lam=0.75, partner=[1, 2, 0], num_classes=3).x[0] == [1, 2, 3, 4]).all()
assert mixup_rs.__file__.startswith(sys.prefix), mixup_rs.__file__
print(mixup_rs.__file__, "with NumPy", numpy.__version__)
"""


def only(folder, pattern):
    [path] = folder.glob(pattern)
    return path


def same(what, got, expected):
    assert len(got) == len(set(got)), f"{what} holds a file twice"
    got, expected = set(got), set(expected)
    assert got == expected, f"{what}: unexpected {sorted(got - expected)}, missing {sorted(expected - got)}"
    print(f"{what}: {len(got)} files, as expected")


def tracked_files():
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    return [name for name in subprocess.check_output(listing, text=True).splitlines() if Path(name).exists()]


def check_sdist(sdist, files):
    top = sdist.name.removesuffix(".tar.gz")
    with tarfile.open(sdist) as archive:
        got = [member.name.removeprefix(f"{top}/") for member in archive.getmembers() if member.isfile()]
    same(sdist.name, got, ["PKG-INFO", *(name for name in files if not any(fnmatch(name, out) for out in LEFT_OUT))])


def check_wheel(wheel, files):
    info = "-".join(wheel.name.split("-")[:2]) + ".dist-info"
    metadata = ["METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "sboms/mixup-rs.cyclonedx.json"]
    package = [name.removeprefix("python/") for name in files if name.startswith("python/")]
    with zipfile.ZipFile(wheel) as archive:
        got = [name for name in archive.namelist() if not name.endswith("/")]
        [module] = [name for name in got if re.fullmatch(r"mixup_rs/_core\..*(so|pyd)", name)]
        same(wheel.name, got, [module, *package, *(f"{info}/{name}" for name in metadata)])
        # The oldest NumPy that the wheel claims to work with.
        return re.search(r"^Requires-Dist: (numpy)>=(\S+)$", archive.read(f"{info}/METADATA").decode(), re.MULTILINE)


def check_installed(wheel, sdist, numpy):
    print(f"{wheel.name} with {numpy}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        root = only(folder, "mixup_rs-*")

        def run(*command):
            # -P: the folder is no place to import from.
            subprocess.run([python, "-P", *command], cwd=root, check=True)

        install = ["-m", "pip", "install", "--quiet", numpy]
        # What a user installs needs no compiler.
        run(*install, "--only-binary=:all:", wheel.resolve())
        run("-c", SMOKE)
        run("-m", "mixup_rs", "info")
        run(*install, *TEST_REQUIREMENTS)
        run("-m", "pytest", "-q", "tests/core")


def main():
    dist, *newest = sys.argv[1:]
    sdist, wheel = only(Path(dist), "*.tar.gz"), only(Path(dist), "*.whl")
    files = tracked_files()
    check_sdist(sdist, files)
    oldest = check_wheel(wheel, files).expand(r"\1==\2")
    for numpy in ["numpy"] if newest == ["--newest"] else [oldest, "numpy"]:
        check_installed(wheel, sdist, numpy)


if __name__ == "__main__":
    main()
