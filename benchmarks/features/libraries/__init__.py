"""One module per library: a probe for each question that it can be asked."""
