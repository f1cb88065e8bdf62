"""Engine: steps of a pipeline, the passes that they share, and their execution."""
