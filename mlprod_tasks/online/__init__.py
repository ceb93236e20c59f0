"""Features on request: the declaration of training and batch scoring, answered in microseconds from an online store."""

from mlprod_tasks.online.features import Features, OnlineFeatures
from mlprod_tasks.online.fields import FieldProblem, FieldsRefused, RequestFields

__all__ = ["Features", "FieldProblem", "FieldsRefused", "OnlineFeatures", "RequestFields"]
