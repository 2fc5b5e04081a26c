"""The domain packs, one folder each: what cases are about. A pack says nothing of leases, logs or HTTP."""
