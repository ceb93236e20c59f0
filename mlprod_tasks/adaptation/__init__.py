"""What keeps scores right between trainings: a small layer over the champion that learns from outcomes as they come in."""
