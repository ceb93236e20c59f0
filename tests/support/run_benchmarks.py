"""Run benchmarks at a small size, one after the other in this process, and tell how each ended as a line of JSON.

Their imports and the year of flights take longer than they do: so they share them.
"""

import importlib
import io
import json
import sys
import traceback
from contextlib import redirect_stdout


def main() -> None:
    """Run those named as arguments, each as `python -m benchmarks.NAME --small` would."""
    for name in sys.argv[1:].copy():
        sys.argv = [f"benchmarks.{name}", "--small"]
        printed, failed = io.StringIO(), ""
        try:
            with redirect_stdout(printed):
                if code := importlib.import_module(f"benchmarks.{name}").main():
                    failed = f"exit status {code}"
        except (Exception, SystemExit):
            failed = traceback.format_exc()
        print(json.dumps({"name": name, "printed": printed.getvalue(), "failed": failed}), flush=True)


if __name__ == "__main__":
    main()
