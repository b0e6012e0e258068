"""What every front that mixes batches asks: what is an input and what a target, and what becomes of them."""
