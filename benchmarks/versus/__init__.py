"""Side by side: this library and its peers take turns on the same work."""
