"""Give units more and more to what earns most: shares of arms from rewards as they come in."""
