"""What columns and features look like: their values, how these change over time, and how they relate to the label."""
