"""Parts of the fold of a run: like `apply`, they alone build and write its state."""
