"""A budget in place of a guess: `search` finds method options that keep it, and trains the best of them."""
