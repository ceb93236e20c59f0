"""Features on request: the same declaration as for training and batch scoring, read from an online store in microseconds."""

from mlprod_tasks.online.features import Features, OnlineFeatures
from mlprod_tasks.online.fields import FieldProblem, FieldsRefused, RequestFields

__all__ = ["Features", "FieldProblem", "FieldsRefused", "OnlineFeatures", "RequestFields"]
