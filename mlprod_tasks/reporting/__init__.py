"""The evaluation report and the model card of a training: what its evidence says, in chapters."""
