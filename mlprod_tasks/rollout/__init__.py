"""Gradual rollout of a challenger: share by share, each checked before the next, taken back automatically if one fails."""
