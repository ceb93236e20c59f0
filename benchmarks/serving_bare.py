"""The least that can answer: Starlette, msgspec, LightGBM's call for single rows, nothing else.

It is sent the numbers that the trees read. No key, check, look-up, calibration, route, log.
`python -m benchmarks.serving_bare MODEL PORT`, MODEL being LightGBM's text file.
"""

from __future__ import annotations

import ctypes
import math
import sys

import lightgbm
import msgspec
import numpy as np
import uvicorn
from lightgbm.basic import _LIB  # type: ignore[attr-defined]
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

NORMAL, FLOAT64 = 0, 1


class Numbers(msgspec.Struct):
    """The body: a row's numbers in the order of the model, null where missing."""

    numbers: list[float | None]


def app(model: str) -> Starlette:
    """The application around one model."""
    booster = lightgbm.Booster(model_file=model)
    row = np.empty((1, booster.num_feature()), np.float64)
    config, length = ctypes.c_void_p(), ctypes.c_int64()
    result = (ctypes.c_double * booster.num_model_per_iteration())()  # a score, or one of each class
    columns, settings = ctypes.c_int32(row.shape[1]), b"num_threads=1"
    begin = _LIB.LGBM_BoosterPredictForMatSingleRowFastInit
    if begin(booster._handle, NORMAL, 0, -1, FLOAT64, columns, settings, ctypes.byref(config)):
        raise RuntimeError(_LIB.LGBM_GetLastError().decode())
    predict, data = _LIB.LGBM_BoosterPredictForMatSingleRowFast, row.ctypes.data_as(ctypes.c_void_p)
    decode, encode = msgspec.json.Decoder(Numbers).decode, msgspec.json.encode

    async def score(request: Request) -> Response:
        row[0] = [math.nan if number is None else number for number in decode(await request.body()).numbers]
        if predict(config, data, ctypes.byref(length), result):
            return Response(status_code=500)
        return Response(encode({"scores": list(result)}), media_type="application/json")

    async def ready(_: Request) -> Response:
        # Named here so that the booster lives as long as the application does.
        return Response(encode({"trees": booster.num_trees()}), media_type="application/json")

    return Starlette(routes=[Route("/score", score, methods=["POST"]), Route("/ready", ready)])


if __name__ == "__main__":
    uvicorn.run(
        app(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), loop="uvloop", http="httptools", lifespan="off",
        access_log=False, log_level="warning",
    )  # fmt: skip
