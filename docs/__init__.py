"""Pages of the documentation, and what builds the site of them."""
