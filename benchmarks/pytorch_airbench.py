"""The peer to beat: airbench94 (Jordan 2024, arXiv:2404.00498) in plain PyTorch, trained and tested on this machine.

    python3 -m venv .torch && .torch/bin/pip install torch==2.13.0 numpy
    .torch/bin/python benchmarks/pytorch_airbench.py --data images.npz --epochs 8

``images.npz`` has the arrays x_train and x_test, uint8 (n, 32, 32, 3), and y_train and y_test, as
``time_to_accuracy.py`` writes them. Prints a line after each epoch, and one JSON line at the end. ``epochs`` in it has
(seconds, test accuracy) for each epoch: seconds since the start of this file, with the import of PyTorch, the data and
compilation, and without the tests. It needs nothing but torch and numpy.

Everything is as in the paper, for batches of 500: the network with its whitening of 2x2 patches, frozen kernel and
partial identity, logits divided by 9; SGD with Nesterov's momentum of 0.85, a learning rate that rises to its peak in
23 % of the run and falls to 7 % of it at the end, 64 times higher for the biases of batch normalization; label
smoothing of 0.2; shifts of up to 2 pixels with reflected edges, and flips in turn. Left out are lookahead, the freezing
of the whitening's bias after three epochs, and averages over views in tests. All epochs have images of 32x32 pixels.
"""

import time

STARTED = time.monotonic()

import argparse  # noqa: E402 - the time of the imports counts
import json  # noqa: E402
import math  # noqa: E402
from itertools import pairwise  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402, N812 - its name everywhere
from torch import nn  # noqa: E402

BATCH = 500
MOMENTUM = 0.85
# The paper states both for the sum of the losses of 1,024 images, times (1 + 1 / (1 - momentum)); see
# cifarnet/models/airbench.py. These are for the mean of BATCH losses.
LEARNING_RATE = 11.5 / (1024 * (1 + 1 / (1 - MOMENTUM))) * BATCH
WEIGHT_DECAY = 0.0153 / 11.5
BIAS_FACTOR = 64
SHIFT = 2
WIDTHS = (64, 256, 256)


class Group(nn.Module):
    """conv3x3-maxpool-BN-GELU-conv3x3-BN-GELU. Only the biases of batch normalization are trained."""

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1, self.bn2 = (nn.BatchNorm2d(channels, eps=1e-12, momentum=0.4) for _ in range(2))
        for conv in (self.conv1, self.conv2):
            nn.init.dirac_(conv.weight.data[: conv.in_channels])
        for bn in (self.bn1, self.bn2):
            bn.weight.requires_grad = False

    def forward(self, x):
        """(batch, in, height, width) -> (batch, out, height // 2, width // 2)."""
        x = F.gelu(self.bn1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.bn2(self.conv2(x)))


class Airbench(nn.Module):
    """The network of ``cifarnet.models.airbench``. ``whitening`` is the kernel of its first convolution."""

    def __init__(self, whitening: torch.Tensor, classes: int):
        super().__init__()
        self.whiten = nn.Conv2d(3, len(whitening), 2)
        self.whiten.weight.data = whitening
        self.whiten.weight.requires_grad = False
        nn.init.zeros_(self.whiten.bias)
        channels = (len(whitening), *WIDTHS)
        self.groups = nn.Sequential(*(Group(*pair) for pair in pairwise(channels)))
        self.head = nn.Linear(WIDTHS[-1], classes, bias=False)

    def forward(self, x):
        """Logits (batch, classes) of normalized images (batch, 3, 32, 32)."""
        x = self.groups(F.gelu(self.whiten(x)))
        return self.head(x.amax((2, 3))) / 9


def whitening_kernel(images: torch.Tensor) -> torch.Tensor:
    """The scaled principal components of the 2x2 patches of ``images`` (n, 3, height, width), and their negatives."""
    patches = images.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    variances, components = torch.linalg.eigh(torch.cov(patches.T))
    scaled = (components / torch.sqrt(variances + 5e-4)).T.flip(0).reshape(12, 3, 2, 2)
    return torch.cat([scaled, -scaled])


class Images:
    """Images, uint8 (n, 32, 32, 3), on the device, from which normalized batches are made."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, mean: np.ndarray, std: np.ndarray, device: str):
        margins = ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0))
        self.padded = torch.from_numpy(np.pad(images, margins, "reflect")).to(device)
        self.labels = torch.from_numpy(labels.astype(np.int64)).to(device)
        self.mean, self.std = (torch.tensor(each, dtype=torch.float32, device=device) for each in (mean, std))
        self.size = images.shape[1]

    def batch(self, rows, down=None, right=None, flipped=None) -> torch.Tensor:
        """Normalized images (rows, 3, size, size), shifted by up to SHIFT pixels and flipped where ``flipped`` is."""
        at = torch.arange(self.size, device=self.padded.device)[None] + SHIFT
        y, x = (at.expand(len(rows), -1) if moved is None else at + moved[:, None] for moved in (down, right))
        if flipped is not None:
            x = torch.where(flipped[:, None], x.flip(1), x)
        pixels = self.padded[rows[:, None, None], y[:, :, None], x[:, None, :]]
        return ((pixels.float() - self.mean) / self.std).permute(0, 3, 1, 2)


def schedule(position: float) -> float:
    """The share of the highest learning rate at a position from 0, the beginning of the run, to 1, its end."""
    return float(np.interp(position, (0, 0.23, 1), (0.2, 1, 0.07)))


def test_accuracy(net, test: Images, autocast) -> float:
    """The fraction of the test images that are classified correctly."""
    net.eval()
    right = 0
    with torch.inference_mode(), autocast():
        for rows in torch.arange(len(test.labels), device=test.labels.device).split(BATCH):
            right += int((net(test.batch(rows)).argmax(1) == test.labels[rows]).sum())
    net.train()
    return right / len(test.labels)


def sgd(model: Airbench) -> torch.optim.SGD:
    """The optimizer. ``peak`` of a group of parameters is its highest learning rate."""
    biases = [bn.bias for bn in model.modules() if isinstance(bn, nn.BatchNorm2d)]
    known = {id(bias) for bias in biases}
    others = [each for each in model.parameters() if each.requires_grad and id(each) not in known]
    # The decay of a step is the same for all, so that it does not grow with the learning rate of the biases.
    groups = [
        {"params": biases, "peak": BIAS_FACTOR * LEARNING_RATE, "weight_decay": WEIGHT_DECAY / BIAS_FACTOR},
        {"params": others, "peak": LEARNING_RATE, "weight_decay": WEIGHT_DECAY},
    ]
    return torch.optim.SGD(groups, LEARNING_RATE, momentum=MOMENTUM, nesterov=True)


def read(file: str, device: str) -> tuple[Images, Images]:
    """The training and the test images of an .npz file, normalized by the mean and deviation of the training images."""
    with np.load(file) as arrays:
        train, test = ((arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in ("train", "test"))
    mean, std = train[0].mean((0, 1, 2)), train[0].std((0, 1, 2))
    return Images(*train, mean, std, device), Images(*test, mean, std, device)


def train(args: argparse.Namespace) -> dict:
    """Train and test after each epoch, and return the result; ``refused`` alone when the budget is too small."""
    device = args.device
    torch.manual_seed(args.seed)
    train, test = read(args.data, device)
    images = len(train.labels)
    whitening = whitening_kernel(train.batch(torch.arange(min(5000, images), device=device)))
    model = Airbench(whitening, int(train.labels.max()) + 1).to(device, memory_format=torch.channels_last)
    net, optimizer = torch.compile(model) if args.compile else model, sgd(model)
    first_sides = torch.rand(images, device=device) < 0.5
    steps = max(1, round((args.epochs or 0) * math.ceil(images / BATCH)))
    epochs, tested, step = [], 0.0, 0

    def autocast():
        return torch.autocast(device, torch.bfloat16, enabled=args.bf16)

    def elapsed() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return time.monotonic() - STARTED - tested

    begun = elapsed()
    if args.budget and args.budget <= begun:
        return {"refused": f"The start takes {begun:.1f} s. Received: --budget {args.budget:g}"}

    def position() -> float:
        return (elapsed() - begun) / (args.budget - begun) if args.budget else step / steps

    while position() < 1:
        flipped = first_sides ^ bool(len(epochs) % 2)
        for rows in torch.randperm(images, device=device).split(BATCH):
            if (now := position()) >= 1:
                break
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * schedule(now)
            moves = torch.randint(-SHIFT, SHIFT + 1, (2, len(rows)), device=device)
            batch = train.batch(rows, *moves, flipped[rows])
            optimizer.zero_grad(set_to_none=True)
            with autocast():
                logits = net(batch)
            F.cross_entropy(logits.float(), train.labels[rows], label_smoothing=0.2).backward()
            optimizer.step()
            step += 1
        seconds, began = elapsed(), time.monotonic()
        epochs.append((seconds, test_accuracy(net, test, autocast)))
        tested += time.monotonic() - began
        print(f"Epoch {len(epochs)}: {seconds:.0f} s, {epochs[-1][1]:.2%}", flush=True)
    precision = "bfloat16" if args.bf16 else "float32"
    return {"precision": precision, "steps": step, "epochs": epochs, "accuracy": epochs[-1][1]}


def main() -> None:
    """Train, test and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="FILE.npz")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--epochs", type=float)
    length.add_argument("--budget", type=float, metavar="SECONDS", help="of the process, without the tests")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true")
    print(json.dumps({"framework": f"torch {torch.__version__}", **train(parser.parse_args())}))


if __name__ == "__main__":
    main()
