"""Features on request, from the same declaration as for training and batch scoring."""

from mlprod_tasks.online.features import Features, OnlineFeatures
from mlprod_tasks.online.fields import FieldProblem, FieldsRefused, RequestFields

__all__ = ["Features", "FieldProblem", "FieldsRefused", "OnlineFeatures", "RequestFields"]
