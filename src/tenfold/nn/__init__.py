"""Networks: first layers, body, last layers. Knows torch, but neither files nor devices' budgets."""
