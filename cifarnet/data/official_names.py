"""The official data sets: their files, their labels and the names of their classes."""

from dataclasses import dataclass

from cifarnet.data.download import RemoteFile
from cifarnet.preprocessing import CIFAR10_CLASSES

CIFAR100_CLASSES = (
    "apple",
    "aquarium_fish",
    "baby",
    "bear",
    "beaver",
    "bed",
    "bee",
    "beetle",
    "bicycle",
    "bottle",
    "bowl",
    "boy",
    "bridge",
    "bus",
    "butterfly",
    "camel",
    "can",
    "castle",
    "caterpillar",
    "cattle",
    "chair",
    "chimpanzee",
    "clock",
    "cloud",
    "cockroach",
    "couch",
    "crab",
    "crocodile",
    "cup",
    "dinosaur",
    "dolphin",
    "elephant",
    "flatfish",
    "forest",
    "fox",
    "girl",
    "hamster",
    "house",
    "kangaroo",
    "keyboard",
    "lamp",
    "lawn_mower",
    "leopard",
    "lion",
    "lizard",
    "lobster",
    "man",
    "maple_tree",
    "motorcycle",
    "mountain",
    "mouse",
    "mushroom",
    "oak_tree",
    "orange",
    "orchid",
    "otter",
    "palm_tree",
    "pear",
    "pickup_truck",
    "pine_tree",
    "plain",
    "plate",
    "poppy",
    "porcupine",
    "possum",
    "rabbit",
    "raccoon",
    "ray",
    "road",
    "rocket",
    "rose",
    "sea",
    "seal",
    "shark",
    "shrew",
    "skunk",
    "skyscraper",
    "snail",
    "snake",
    "spider",
    "squirrel",
    "streetcar",
    "sunflower",
    "sweet_pepper",
    "table",
    "tank",
    "telephone",
    "television",
    "tiger",
    "tractor",
    "train",
    "trout",
    "tulip",
    "turtle",
    "wardrobe",
    "whale",
    "willow_tree",
    "wolf",
    "woman",
    "worm",
)
CIFAR100_COARSE_CLASSES = (
    "aquatic_mammals",
    "fish",
    "flowers",
    "food_containers",
    "fruit_and_vegetables",
    "household_electrical_devices",
    "household_furniture",
    "insects",
    "large_carnivores",
    "large_man-made_outdoor_things",
    "large_natural_outdoor_scenes",
    "large_omnivores_and_herbivores",
    "medium_mammals",
    "non-insect_invertebrates",
    "people",
    "reptiles",
    "small_mammals",
    "trees",
    "vehicles_1",
    "vehicles_2",
)


@dataclass(frozen=True)
class LabelKind:
    """Labels of an official data set.

    Attributes:
        key: their key in a pickled batch.
        offset: their byte in a binary record.
        names_key: the key of the class names in the pickled meta file.
        names_file: the text file with the class names of the binary layout.
        class_names: the names that are used if the file is missing.
    """

    key: str
    offset: int
    names_key: str
    names_file: str
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class PythonCopies:
    """The names of the copies in the Python layout that Keras and torchvision keep.

    Attributes:
        folder: the folder in the archive.
        keras: the name that Keras 3 gives the data set.
        archive: the published name of the archive, which torchvision keeps.
        sha256: the checksum of the archive. It is the one that Keras checks.
    """

    folder: str
    keras: str
    archive: str
    sha256: str

    @property
    def keras_folders(self) -> tuple[str, ...]:
        """The folders into which Keras 3 and Keras 2 unpack the archive, relative to Keras's folder of data sets."""
        return f"{self.keras}/{self.folder}", self.folder

    @property
    def keras_archives(self) -> tuple[str, ...]:
        """The names of the archive with Keras 3 and Keras 2."""
        return f"{self.keras}_archive", f"{self.folder}.tar.gz"


@dataclass(frozen=True)
class OfficialSet:
    """An official data set: where it is published and kept, its batches, and its kinds of labels.

    Attributes:
        title: its name in prose.
        archive: the archive that cifarnet downloads.
        python: the copies that other programs keep.
        train: the training batches.
        test: the test batch.
        meta: the pickled file with the class names.
        labels: the kinds of labels. The first is the default. A binary record has one byte for each, and 3,072 pixels.
        usual_names: whether files must have the names of all batches to be taken for the data set; otherwise one is
            enough.
    """

    title: str
    archive: RemoteFile
    python: PythonCopies
    train: tuple[str, ...]
    test: str
    meta: str
    labels: tuple[LabelKind, ...]
    usual_names: bool = False

    @property
    def batches(self) -> tuple[str, ...]:
        """The training batches and the test batch."""
        return (*self.train, self.test)


CIFAR10 = OfficialSet(
    "CIFAR-10",
    RemoteFile(
        "cifar-10-binary.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        170_052_171,
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ),
    PythonCopies(
        "cifar-10-batches-py",
        "cifar-10-batches-py-target",
        "cifar-10-python.tar.gz",
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    ),
    tuple(f"data_batch_{number}" for number in range(1, 6)),
    "test_batch",
    "batches.meta",
    (LabelKind("labels", 0, "label_names", "batches.meta.txt", CIFAR10_CLASSES),),
)
_CIFAR100_SHA256 = "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"
CIFAR100 = OfficialSet(
    "CIFAR-100",
    RemoteFile(
        "cifar-100-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        169_001_437,
        _CIFAR100_SHA256,
    ),
    PythonCopies("cifar-100-python", "cifar-100-python-target", "cifar-100-python.tar.gz", _CIFAR100_SHA256),
    ("train",),
    "test",
    "meta",
    (
        LabelKind("fine_labels", 1, "fine_label_names", "fine_label_names.txt", CIFAR100_CLASSES),
        LabelKind("coarse_labels", 0, "coarse_label_names", "coarse_label_names.txt", CIFAR100_COARSE_CLASSES),
    ),
    usual_names=True,
)
OFFICIAL_SETS = (CIFAR10, CIFAR100)
"""The official data sets. A new one in these layouts is a row here, and a row of ``NAMED`` for each kind of labels."""


@dataclass(frozen=True)
class Wanted:
    """An official data set, and its labels, that a name means."""

    dataset: OfficialSet
    labels: LabelKind
