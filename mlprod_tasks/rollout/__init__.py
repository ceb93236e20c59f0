"""The gradual rollout of a challenger: share by share, each judged before the next, taken back by itself where one fails."""
