"""For notebooks: a use case's rows, features, labels, models and evaluations, and features to try. It only reads.

import mlprod_tasks.notebook as mlprod

returns = mlprod.use_case("returns")
returns.labelled("2024-01-01", "2024-01-31")
returns.compare(add=[mlprod.declare.Expression("is_large", "amount > 100", "bool", "over 100 francs")])
"""

from mlprod_tasks import declaration as declare
from mlprod_tasks.notebook.use_case import UseCase, use_case

__all__ = ["UseCase", "declare", "use_case"]
