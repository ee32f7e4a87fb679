"""How good is the mean of several teachers?

    python benchmarks/teachers.py --data cifar10-jpeg75.tar.xz --weights resnet32 resnet44 airbench94

Prints the test accuracy of the mean logits of each choice of the weights, from which ``train --teacher`` learns.
"""

from itertools import combinations

import harness
import numpy as np

import cifarnet


def main() -> None:
    """Classify the test images with each network, and print the table."""
    parser = harness.parser(__doc__, "data")
    parser.add_argument("--weights", nargs="+", default=["resnet32", "resnet44"], metavar="NAME")
    args = parser.parse_args()
    test = cifarnet.load_data(args.data).test
    logits = {name: cifarnet.Classifier(name).logits(test.images) for name in args.weights}
    choices = [choice for count in range(1, len(logits) + 1) for choice in combinations(logits, count)]
    rows = []
    for choice in choices:
        mean = np.mean([logits[name] for name in choice], axis=0)
        rows.append([", ".join(choice), f"{(mean.argmax(axis=1) == test.labels).mean():.2%}"])
    harness.print_table("Teachers", "teachers | accuracy of their mean logits", rows)


if __name__ == "__main__":
    main()
