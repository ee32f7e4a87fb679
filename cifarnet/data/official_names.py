"""The official data sets: their files, their labels and the names of their classes."""

from dataclasses import dataclass

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
class OfficialSet:
    """An official data set: its title, training and test batches, pickled meta file, and kinds of labels.

    The first kind of labels is the default. A binary record has one byte for each kind, and 3,072 pixels. With
    ``usual_names``, files must have the names of all batches to be taken for the data set; otherwise one is enough.
    """

    title: str
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
    tuple(f"data_batch_{number}" for number in range(1, 6)),
    "test_batch",
    "batches.meta",
    (LabelKind("labels", 0, "label_names", "batches.meta.txt", CIFAR10_CLASSES),),
)
CIFAR100 = OfficialSet(
    "CIFAR-100",
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


@dataclass(frozen=True)
class Wanted:
    """The official data set, and its labels, that a name means."""

    dataset: OfficialSet
    labels: LabelKind
