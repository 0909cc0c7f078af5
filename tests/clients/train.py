"""A small model, trained by all ranks on their parts of the data (PyTorch, gloo), found by PMIx through `rixa`.

Without PMIx one process trains on all of it. Prints the loss of each step.
"""

from __future__ import annotations

import os
import sys

import torch
import torch.distributed as dist

STEPS, SAMPLES, FEATURES = 20, 64, 8


def main() -> None:
    alone = "PMIX_RANK" not in os.environ
    rank, size = 0, 1
    if not alone:
        import rixa

        rixa.pytorch.init_process_group("gloo")
        rank, size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(5)
    torch.set_num_threads(1)
    data = torch.randn(SAMPLES, FEATURES, dtype=torch.float64)
    wanted = torch.sin(data.sum(1, keepdim=True))
    model = torch.nn.Sequential(torch.nn.Linear(FEATURES, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    mine = slice(rank * SAMPLES // size, (rank + 1) * SAMPLES // size)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(data[mine]), wanted[mine])
        loss.backward()
        if not alone:
            for parameter in model.parameters():
                dist.all_reduce(parameter.grad)
                parameter.grad /= size
            loss = loss.detach()
            dist.all_reduce(loss)
            loss /= size
        optimizer.step()
        losses.append(f"{loss.item():.9f}")
    sys.stdout.write(" ".join(losses) + "\n")
    sys.stdout.flush()
    if not alone:
        dist.destroy_process_group()


main()
