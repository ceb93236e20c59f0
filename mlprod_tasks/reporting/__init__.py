"""The evaluation report and the model card of a training."""
