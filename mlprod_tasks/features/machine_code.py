"""Compile loops over arrays to machine code once per machine.

numba compiles; what it made is kept beside Python's bytecode, or in the user's cache folder. Loading it takes 40 ms, numba and
its own cache 700 ms.
"""

from __future__ import annotations

import ctypes
import hashlib
import inspect
import logging
import os
from collections.abc import Callable
from functools import wraps
from importlib.metadata import version
from importlib.util import cache_from_source
from pathlib import Path
from threading import Lock
from types import FunctionType
from typing import Any, ParamSpec, get_type_hints

import llvmlite.binding as llvm
import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.platform.files import write_bytes

log = logging.getLogger(__name__)

P = ParamSpec("P")
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

DIGEST_BYTES = 32


def machine_code(function: Callable[P, None]) -> Callable[P, None]:
    """Let a function run as machine code, without Python's lock.

    Each parameter is annotated as `int` (64 bits), `Ints` or `Floats`. Inside, an array is only its elements one after another
    (C order), indexed by one non-negative number; no index is checked. The function may call `range`, and functions of numbers
    and such arrays that its module defines; these become part of it.

    The function that is returned raises TypeError for an array of another type, or one that is not contiguous.
    """
    kinds = _kinds(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        if kwargs or len(args) != len(kinds):
            raise TypeError(f"{function.__name__} takes {len(kinds)} arguments by position")
        # `args` keeps the arrays alive while their memory is in use.
        _loaded(function)(*(_argument(value, name, kind) for value, (name, kind) in zip(args, kinds.items(), strict=True)))

    return call


def _argument(value: Any, name: str, kind: Any) -> int:
    if kind is int:
        return int(value)
    wanted = np.int64 if kind == Ints else np.float64
    if not isinstance(value, np.ndarray) or value.dtype != wanted or not value.flags.c_contiguous:
        raise TypeError(f"{name} is to be a contiguous array of {np.dtype(wanted).name}")
    return int(value.ctypes.data)


def _kinds(function: Callable[..., None]) -> dict[str, Any]:
    """The parameters of a loop, each with `int`, `Ints` or `Floats`."""
    return {name: kind for name, kind in get_type_hints(function).items() if name != "return"}


_one_at_a_time = Lock()  # threads that need the same loop for the first time would each compile it
_linked: dict[Callable[..., None], Callable[..., None]] = {}
_in_use: list[llvm.ExecutionEngine] = []  # an engine that is collected would free the machine code


def _loaded(function: Callable[..., None]) -> Callable[..., None]:
    """The machine code of a function, linked into this process."""
    with _one_at_a_time:
        if function not in _linked:
            name = f"mlprod_{function.__name__}"
            jit = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target())
            jit.add_object_file(llvm.ObjectFileRef.from_data(_object_file(function, name)))
            jit.finalize_object()
            types = [ctypes.c_int64 if kind is int else ctypes.c_void_p for kind in _kinds(function).values()]
            _linked[function] = ctypes.CFUNCTYPE(None, *types)(jit.get_function_address(name))
            _in_use.append(jit)
        return _linked[function]


def _target() -> llvm.TargetMachine:
    """This machine's processor, with all that it can."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        opt=3, cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), reloc="pic", jit=True
    )


def _object_file(function: Callable[..., None], name: str) -> bytes:
    """The kept object file of this very function, compiler and processor; else a new one, which is kept if that is possible."""
    file = f"{name}.{_identity(function)}.o"
    folders = (Path(cache_from_source(inspect.getfile(function))).parent, _user_cache())
    for folder in folders:
        try:
            content = (folder / file).read_bytes()
        except OSError:
            continue
        if hashlib.sha256(content[DIGEST_BYTES:]).digest() == content[:DIGEST_BYTES]:
            return content[DIGEST_BYTES:]
    made = _compiled(function, name)
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_bytes(folder / file, hashlib.sha256(made).digest() + made)
            break
        except OSError as error:  # the code belongs to another user, as in the image
            log.info("%s: machine code cannot be kept in %s: %s", function.__name__, folder, error)
    return made


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "mlprod"


def _identity(function: Callable[..., None]) -> str:
    """Changes with the function, this file, the compiler and the processor."""
    features = llvm.get_host_cpu_features().flatten()
    files = [Path(inspect.getfile(function)), Path(__file__)]
    parts = [
        *(file.read_text(encoding="utf-8") for file in files),
        llvm.get_default_triple(),
        llvm.get_host_cpu_name(),
        features,
    ]
    parts += [version("numba"), version("llvmlite"), os.name]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _compiled(function: Callable[..., None], name: str) -> bytes:
    """Compile a function with numba: an object file with the function under this name."""
    import numba

    pointer: Any = numba.types.CPointer
    pointers = {Ints: pointer(numba.int64), Floats: pointer(numba.float64), int: numba.int64}
    scope = dict(function.__globals__)
    for called in set(function.__code__.co_names) & set(scope):
        if inspect.isfunction(scope[called]):
            scope[called] = numba.njit(inline="always", error_model="numpy")(scope[called])
    # numpy's error model: a division by zero is no exception, so the code needs nothing of Python.
    signature = numba.void(*(next(to for of, to in pointers.items() if of == kind) for kind in _kinds(function).values()))
    made = numba.cfunc(signature, error_model="numpy")(FunctionType(function.__code__, scope, function.__name__))
    module = llvm.parse_assembly(made.inspect_llvm().replace(made.native_name, name))
    compiled: bytes = _target().emit_object(module)
    return compiled
