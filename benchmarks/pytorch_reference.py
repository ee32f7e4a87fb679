"""The peer to beat: the same pre-activation ResNet in plain PyTorch, timed on this machine.

    python3 -m venv .torch && .torch/bin/pip install torch==2.13.0 numpy
    .torch/bin/python benchmarks/pytorch_reference.py --depth 20 --batch 128

Prints one JSON line: median training and inference throughput in images per second on random 32x32 RGB images (the
arithmetic does not depend on the pixels). Run it in turn with the program that is compared to it, on an otherwise idle
machine, and quote the ratio: absolute figures drift. It needs nothing but torch.
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from torch import nn


class Unit(nn.Module):
    """BN-ReLU-conv3x3-BN-ReLU-conv3x3 plus a parameter-free shortcut (average pool, zero channels)."""

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut_from_preact: bool):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels, eps=1e-3, momentum=0.01)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.stride, self.shortcut_from_preact = stride, shortcut_from_preact
        self.pad = (channels - in_channels) // 2

    def forward(self, x):
        """(batch, in, height, width) -> (batch, out, height / stride, width / stride)."""
        preact = F.relu(self.bn1(x), inplace=True)
        shortcut = preact if self.shortcut_from_preact else x
        if self.stride == 2:
            shortcut = F.pad(F.avg_pool2d(shortcut, 2), (0, 0, 0, 0, self.pad, self.pad))
        return self.conv2(F.relu(self.bn2(self.conv1(preact)), inplace=True)) + shortcut


class ResNet(nn.Module):
    """The network of ``cifarnet.models.network``, without its softmax."""

    def __init__(self, depth: int):
        super().__init__()
        units, channels = [], 16
        for stage, width in enumerate((16, 32, 64)):
            for k in range((depth - 2) // 6):
                units.append(Unit(channels, width, 2 if stage and not k else 1, stage == k == 0))
                channels = width
        self.stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.units = nn.Sequential(*units)
        self.bn = nn.BatchNorm2d(64, eps=1e-3, momentum=0.01)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        """Logits (batch, 10) of images (batch, 3, 32, 32)."""
        return self.head(F.relu(self.bn(self.units(self.stem(x)))).mean((2, 3)))


def median_throughput(step, batch: int, steps: int, device: str) -> float:
    """Images per second of ``step``, which takes ``batch`` of them; its first eight times don't count."""
    times = []
    for k in range(steps + 8):
        start = time.perf_counter()
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        if k >= 8:
            times.append(time.perf_counter() - start)
    return batch / statistics.median(times)


def main() -> None:
    """Time training and inference."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--train-only", action="store_true", help="spare the time that inference takes to compile")
    args = parser.parse_args()
    torch.manual_seed(0)
    model = ResNet(args.depth).to(args.device, memory_format=torch.channels_last)
    parameters = sum(p.numel() for p in model.parameters())
    net = torch.compile(model) if args.compile else model
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    images = torch.randn(args.batch, 3, 32, 32, device=args.device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (args.batch,), device=args.device)

    def train_step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(args.device, torch.bfloat16, enabled=args.bf16):
            loss = F.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()

    def infer_step():
        with torch.inference_mode(), torch.autocast(args.device, torch.bfloat16, enabled=args.bf16):
            net(images)

    result = {"framework": f"torch {torch.__version__}", **vars(args), "trainable_parameters": parameters}
    result["train_images_per_s"] = round(median_throughput(train_step, args.batch, args.steps, args.device), 1)
    if not args.train_only:
        model.eval()
        result["infer_images_per_s"] = round(median_throughput(infer_step, args.batch, args.steps, args.device), 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
