"""The public API, as a type checker sees it in the code of a user."""
