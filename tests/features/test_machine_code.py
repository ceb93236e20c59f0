import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mlprod_tasks.features import machine_code as code
from mlprod_tasks.features.machine_code import Floats, Ints, machine_code


def _twice(value: float) -> float:
    return 2 * value


@machine_code
def double(n: int, numbers: Floats, out: Floats) -> None:
    for i in range(n):
        out[i] = _twice(numbers[i])


@machine_code
def ratios(n: int, above: Ints, below: Ints, out: Floats) -> None:
    for i in range(n):
        out[i] = above[i] / below[i]


LOOP = """
from mlprod_tasks.features.machine_code import Ints, machine_code

@machine_code
def add(n: int, numbers: Ints, out: Ints) -> None:
    for i in range(n):
        out[0] += numbers[i]
"""
USE = """
import sys
import numpy as np
from loop import add
out = np.zeros(1, np.int64)
add(3, np.array([1, 2, 39]), out)
print(out[0], "numba" in sys.modules)
"""


def run(folder: Path) -> list[str]:
    command = [sys.executable, "-c", USE]
    environment = {"PYTHONPATH": f"{folder}:{Path(code.__file__).parents[2]}", "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "loop.py").write_text(LOOP)
    return tmp_path


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "__pycache__").glob("*.o"))


def test_a_loop_computes_what_it_says() -> None:
    out = np.empty(2)
    double(2, np.array([1.5, -3.0]), out)
    assert out.tolist() == [3.0, -6.0]


def test_a_division_by_zero_is_no_error() -> None:
    out = np.empty(2)
    ratios(2, np.array([0, 1]), np.array([0, 0]), out)
    assert np.isnan(out[0])
    assert out[1] == np.inf


def test_the_compiler_is_loaded_by_the_first_process_only(folder: Path) -> None:
    assert run(folder) == ["42", "True"]
    assert len(kept(folder)) == 1
    assert run(folder) == ["42", "False"]


def test_another_text_is_compiled_anew(folder: Path) -> None:
    run(folder)
    (folder / "loop.py").write_text(LOOP.replace("numbers[i]", "2 * numbers[i]"))
    assert run(folder) == ["84", "True"]


@pytest.mark.parametrize("content", [b"", b"x" * 500], ids=["empty", "something else"])
def test_a_damaged_file_is_compiled_anew(folder: Path, content: bytes) -> None:
    run(folder)
    kept(folder)[0].write_bytes(content)
    assert run(folder) == ["42", "True"]
    assert run(folder) == ["42", "False"]


def test_code_of_another_user_is_kept_in_the_user_s_cache(folder: Path) -> None:
    (folder / "__pycache__").write_text("not a folder")
    assert run(folder) == ["42", "True"]
    assert run(folder) == ["42", "False"]


def test_it_runs_where_nothing_can_be_kept(folder: Path) -> None:
    (folder / "__pycache__").write_text("not a folder")
    (folder / "cache").write_text("neither")
    assert run(folder) == ["42", "True"]
    assert run(folder) == ["42", "True"]


def test_threads_that_need_a_loop_for_the_first_time_compile_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    monkeypatch.setattr(code, "_linked", {})
    monkeypatch.setattr(code, "_user_cache", lambda: Path("/proc/nowhere"))
    monkeypatch.setattr(code, "cache_from_source", lambda _: "/proc/nowhere/x.pyc")
    real = code._compiled
    monkeypatch.setattr(code, "_compiled", lambda *given: compiled.append(given[1]) or real(*given))
    outs = [np.empty(1) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda out: double(1, np.array([21.0]), out), outs))
    assert [out[0] for out in outs] == [42.0] * 4
    assert compiled == ["mlprod_double"]


@pytest.mark.parametrize(
    "array", [np.zeros(2, np.int64), np.zeros(4)[::2], [0.0, 0.0]], ids=["integers", "with gaps", "a list"]
)
def test_what_is_no_contiguous_array_of_the_type_is_refused(array: object) -> None:
    with pytest.raises(TypeError, match="numbers is to be a contiguous array of float64"):
        double(2, array, np.empty(2))  # type: ignore[arg-type]


def test_arguments_are_given_by_position() -> None:
    with pytest.raises(TypeError, match="takes 3 arguments by position"):
        double(2, numbers=np.zeros(2), out=np.zeros(2))
