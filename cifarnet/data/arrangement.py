"""Assigns the pictures of an image folder to splits and classes."""

import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from cifarnet.data.leftovers import Leftovers, is_heic
from cifarnet.data.tree import FileTree
from cifarnet.data.walk import is_picture
from cifarnet.errors import DataError
from cifarnet.plurals import counted
from cifarnet.preprocessing import CLASS_LIMIT, name_fault

ROLES = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
}
"""The names of split folders, in lower case, with the split that each holds."""

Classes = dict[str, list[str]]
"""The names of a split's pictures by class, both sorted."""

# A word of a folder name, separated by punctuation or capitals (TestImages).
_WORD = re.compile("[A-Z]?[a-z]+|[A-Z]+")
# Endings that may follow the name of a split directly (trainset).
_ENDINGS = ("set", "sets", "data", "images", "imgs")

_NOUNS = {"train": "training", "test": "test", "validation": "validation"}


def role_of(folder: str) -> str | None:
    """Return the split that a folder of this name usually holds, ignoring case: train, test or validation."""
    return ROLES.get(folder.strip().casefold())


def holds_images(tree: FileTree) -> bool:
    """Return whether ``tree`` has any picture, including HEIC pictures even if they can't be read."""
    return any(map(_is_image, tree.files))


def picture_in_folder(tree: FileTree, without: str = "") -> str | None:
    """Return the name of a picture in a folder of ``tree`` other than ``without``; None if there is none."""
    names = (name for name in tree.files if "/" in name and not name.startswith(f"{without}/"))
    return next(filter(_is_image, names), None)


def without_outer_folders(tree: FileTree, left_out: Leftovers) -> FileTree:
    """Return ``tree`` without outer folders that contain all pictures, such as ``images/``.

    Files next to such a folder are added to ``left_out``.
    """
    while len(tops := _tops(tree, "")) == 1 and not any(map(_is_image, tree.top_files())):
        ((top, folder),) = tops.items()
        if not folder.holds_classes or (folder.direct and len(folder.subfolders) < 2):
            break
        inner = tree.inside(top)
        if role_of(top) and not _holds_splits(inner):
            break
        for name in tree.top_files():
            left_out.add_kind(name)
        tree = inner
    return tree


def arrange(tree: FileTree, left_out: Leftovers) -> dict[str, Classes]:
    """Sort the pictures of ``tree`` by split (train, test, validation) and class.

    Splits are folders with a name in ``ROLES``, at the top level or in every class folder. Without them the folders at
    the top level are the classes of the training split. A folder that directly contains pictures, next to other class
    folders, is a class even if it is named train or test. Pictures may lie at any depth below their class folder. Files
    that belong to no class are added to ``left_out``.

    Raises:
        DataError: when there is no training split, fewer than two classes, a class without pictures, two folders for
            one split, or folders that could be either splits or classes.
    """
    for name in tree.files:
        if not is_picture(name):
            left_out.add_kind(name)
    tops = _tops(tree, "")
    found = _splits_at_the_top(tree, tops, left_out) or _splits_in_every_class(tree, tops, left_out)
    if not found:
        _refuse_equal_folders(tree, tops)
        found = {"train": _classes(tree, "", left_out)}
    if len(found["train"]) < 2:
        raise DataError(
            f"{tree.origin} has only one class: a network needs a folder of pictures for each of at least 2 classes."
            f" Received: {', '.join(found['train'])}"
        )
    return found


@dataclass
class _Folder:
    """A folder with its pictures: ``direct`` are in the folder itself, ``nested`` in its ``subfolders``."""

    direct: list[str] = field(default_factory=list)
    nested: list[str] = field(default_factory=list)
    subfolders: set[str] = field(default_factory=set)

    @property
    def pictures(self) -> list[str]:
        return self.direct + self.nested

    @property
    def holds_classes(self) -> bool:
        """Whether it contains class folders, as a split does."""
        return bool(self.nested or (self.subfolders and not self.direct))


def _is_image(name: str) -> bool:
    return is_picture(name) or is_heic(name)


def _tops(tree: FileTree, prefix: str) -> dict[str, _Folder]:
    """Return the folders directly in ``prefix``, which is empty or ends with a slash, by name."""
    found: dict[str, _Folder] = {}
    for name in sorted(tree.folders):
        if name.startswith(prefix):
            top, _, below = name[len(prefix) :].partition("/")
            folder = found.setdefault(top, _Folder())
            if below:
                folder.subfolders.add(below.split("/")[0])
    for name in tree.files:
        if name.startswith(prefix) and _is_image(name):
            top, slash, below = name[len(prefix) :].partition("/")
            if slash:
                (found[top].nested if "/" in below else found[top].direct).append(name)
    return found


def _holds_splits(tree: FileTree) -> bool:
    roles = {role_of(top) for top, folder in _tops(tree, "").items() if folder.holds_classes}
    return {"train", "test"} <= roles or {"train", "validation"} <= roles


def _splits_at_the_top(tree: FileTree, tops: Mapping[str, _Folder], left_out: Leftovers) -> dict[str, Classes] | None:
    """Return the classes of each split folder at the top level; None if there is no such folder."""
    splits = {top: role for top in tops if (role := role_of(top))}
    if len(set(splits.values())) < 2:
        splits = _splits_by_part_of_name(tops) or splits
    others = [top for top in tops if top not in splits and tops[top].pictures]
    if not splits:
        return None
    if not any(tops[top].holds_classes for top in splits):
        if others and sum(bool(tops[top].pictures) for top in splits) == 1:
            return None  # Classes named train or test.
        raise DataError(
            f"{tree.origin} has {_listed_folders(splits)} without class folders in"
            f" {'it' if len(splits) == 1 else 'them'}. A split needs a folder of pictures for each class:"
            f" {next(iter(splits))}/cat/1.png. If these are classes, put all class folders into a folder train/."
            f" Received: {_listed_folders(tops)}"
        )
    _refuse_two_of_a_role(tree, splits)
    if "train" not in splits.values():
        raise DataError(
            f"{tree.origin} has {_listed_folders(splits)} but no train/ beside it. Put the class folders of the"
            f" training images into train/. Received: {_listed_folders(tops)}"
        )
    for top in splits:
        if tops[top].direct and not tops[top].nested:
            raise DataError(
                f"{tree.display_name(top)} holds {counted(len(tops[top].direct), 'picture')} without class folders, so"
                f" their classes are unknown. Put them into class folders ({top}/cat/1.png), or move {top}/ elsewhere."
                f" Received: {tops[top].direct[0]}"
            )
    if others and len(splits) == 1:
        (top,) = splits
        raise DataError(
            f"{tree.origin} has a folder {top}/ with folders in it, and other folders of pictures beside it:"
            f" {_listed_folders(others)}. If {top}/ is the training split, give it as the source:"
            f" {tree.display_name(top)}. If it is a class, put all class folders into a folder train/."
            f" Received: {_listed_folders(tops)}"
        )
    beside = f"pictures beside {_listed_folders(splits)}"
    for name in _pictures(tree.top_files()):
        left_out.add(beside, name)
    for top in others:
        for name in _pictures(tops[top].pictures):
            left_out.add(f"pictures in folders beside {_listed_folders(splits)}", name)
    order = sorted(splits, key=lambda top: list(_NOUNS).index(splits[top]))
    return {splits[top]: _classes(tree, _inside_itself(tree, top), left_out) for top in order}


def _inside_itself(tree: FileTree, split: str) -> str:
    """Return the prefix of the class folders of the folder ``split``, which may lie in a folder of its own name.

    Archives that were packed twice have ``seg_train/seg_train/<class>``.
    """
    prefix = f"{split}/"
    while len(tops := _tops(tree, prefix)) == 1:
        ((top, folder),) = tops.items()
        if top.casefold() != split.casefold() or folder.direct or len(folder.subfolders) < 2:
            break
        prefix += f"{top}/"
    return prefix


def _splits_by_part_of_name(tops: Mapping[str, _Folder]) -> dict[str, str]:
    """Return the split of each folder of class folders, by a word of the folder's name (``seg_train``, ``TestSet``).

    The result is empty unless there are a training split and another one, since classes can have such names too
    (``train_station``).
    """
    found = {}
    for top, folder in tops.items():
        roles = {role for word in _WORD.findall(top) if (role := _role_of_word(word.casefold()))}
        if folder.holds_classes and len(roles) == 1:
            (found[top],) = roles
    return found if "train" in found.values() and len(set(found.values())) > 1 else {}


def _role_of_word(word: str) -> str | None:
    """Return the split of a lower-case ``word``, which may end in one of ``_ENDINGS``."""
    return role_of(word) or next(
        (role for end in _ENDINGS if word.endswith(end) and (role := role_of(word.removesuffix(end)))), None
    )


def _refuse_two_of_a_role(tree: FileTree, splits: Mapping[str, str], prefix: str = "") -> None:
    by_role: dict[str, str] = {}
    for folder, role in splits.items():
        if role in by_role:
            raise DataError(
                f"{tree.origin} has two folders for the {_NOUNS[role]} images. Keep one of them, or merge them."
                f" Received: {prefix}{by_role[role]}/ and {prefix}{folder}/"
            )
        by_role[role] = folder


def _splits_in_every_class(
    tree: FileTree, tops: Mapping[str, _Folder], left_out: Leftovers
) -> dict[str, Classes] | None:
    """Return the classes of each split if the class folders contain split folders; otherwise None."""
    inside = {
        top: {sub: role for sub in sorted(folder.subfolders) if (role := role_of(sub))}
        for top, folder in tops.items()
        if folder.pictures
    }
    divided = [top for top, splits in inside.items() if len(set(splits.values())) > 1]
    if not divided:
        return None
    if undivided := [top for top, splits in inside.items() if not splits]:
        raise DataError(
            f"{tree.origin} has class folders with the splits {_listed_folders(inside[divided[0]])} in them"
            f" ({_listed_folders(divided)}) and class folders without ({_listed_folders(undivided)}). Divide all class"
            f" folders, or none. Received: {_listed_folders(tops)}"
        )
    roles = [role for role in _NOUNS if any(role in splits.values() for splits in inside.values())]
    if "train" not in roles:
        raise DataError(
            f"The class folders of {tree.origin} hold {_listed_folders(inside[divided[0]])} but no train/. Put the"
            f" training images of each class into CLASS/train. Received: {_listed_folders(tops)}"
        )
    found: dict[str, Classes] = {role: {top: [] for top in tops} for role in roles}
    for top, splits in inside.items():
        _refuse_two_of_a_role(tree, splits, f"{top}/")
        for name in _pictures(tops[top].pictures):
            sub, slash, _ = name[len(top) + 1 :].partition("/")
            if slash and sub in splits:
                found[splits[sub]][top].append(name)
            else:
                left_out.add("pictures beside the splits of a class", name)
    for name in _pictures(tree.top_files()):
        left_out.add("pictures beside the class folders", name)
    for role, classes in found.items():
        for top, names in classes.items():
            if not names:
                raise DataError(
                    f"{tree.display_name(top)} holds no {_NOUNS[role]} pictures, but other class folders do. Give every"
                    f" class some. Received: {_listed_folders(tops[top].subfolders) or 'an empty folder'}"
                )
        _require_names(tree.display_name(""), classes)
    return found


def _refuse_equal_folders(tree: FileTree, tops: Mapping[str, _Folder]) -> None:
    """Refuse top-level folders that all contain the same subfolders: they could be splits with unusual names.

    Raises:
        DataError: when there are several outer and several inner folders, and no outer folder directly has pictures.
    """
    inner = {frozenset(folder.subfolders) for folder in tops.values()}
    if len(tops) < 2 or len(inner) > 1 or any(folder.direct for folder in tops.values()):
        return
    (subfolders,) = inner
    if len(subfolders) > 1:
        raise DataError(
            f"All folders in {tree.origin} hold the same folders, {_listed_folders(subfolders)}, so it is unclear which"
            " are the classes. Name splits train/, test/ and val/. If the outer folders are the classes, put"
            f" all of them into a folder train/. Received: {_listed_folders(tops)}"
        )


def _classes(tree: FileTree, prefix: str, left_out: Leftovers) -> Classes:
    """Return the pictures of each folder directly in ``prefix``, which is empty or ends with a slash."""
    depth = prefix.count("/")
    loose = _pictures(name for name in tree.files if name.startswith(prefix) and name.count("/") == depth)
    for name in loose:
        left_out.add("pictures beside the class folders", name)
    classes = {top: _pictures(folder.pictures) for top, folder in _tops(tree, prefix).items()}
    what = tree.display_name(prefix.rstrip("/"))
    if not classes:
        raise DataError(
            f"{what} has no class folders: put the pictures of each class into a folder of its name."
            f" Received: {counted(len(loose), 'picture')} in one folder"
        )
    for name, pictures in classes.items():
        if not pictures:
            raise DataError(
                f"The class folder {tree.display_name(prefix + name)} holds no pictures{_unread(tree, prefix + name)}"
            )
    _require_names(what, classes)
    return classes


def _unread(tree: FileTree, folder: str) -> str:
    """Return the end of the error about a folder without pictures, with the files it contains instead."""
    files = Leftovers()
    for name in tree.files:
        if name.startswith(f"{folder}/"):
            files.add_kind(name)
    lines = [line.line.removeprefix("Left out: ") for line in files.summary()]
    return f" that are read. Received: {'; '.join(lines)}" if lines else ". Remove the folder, or add pictures."


def _require_names(what: str, classes: Collection[str]) -> None:
    """Check the names of class folders.

    Raises:
        DataError: when there are too many, or a name can't be stored or is not distinct.
    """
    if len(classes) > CLASS_LIMIT:
        raise DataError(f"{what} must have at most {CLASS_LIMIT:,} class folders. Received: {len(classes):,}")
    by_text: dict[str, str] = {}
    for name in classes:
        if not _is_text(name):
            raise DataError(
                f"{what} has a class folder whose name is not valid UTF-8. Rename it. Received: {os.fsencode(name)!r}"
            )
        if fault := name_fault(name):
            raise DataError(f"The name of a class folder in {what} {fault}")
        if (other := by_text.setdefault(name.strip(), name)) != name:
            raise DataError(
                f"{what} has two class folders whose names differ only in leading or trailing spaces. Merge or rename"
                f" them. Received: {other!r} and {name!r}"
            )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _pictures(names: Iterable[str]) -> list[str]:
    return sorted(filter(is_picture, names))


def _listed_folders(names: Collection[str], most: int = 10) -> str:
    folders = [f"{name}/" for name in sorted(names)[:most]]
    if len(names) > most:
        return f"{', '.join(folders)}, ... ({len(names)} folders)"
    return " and ".join([*([", ".join(folders[:-1])] if folders[1:] else []), *folders[-1:]])
