"""Classify images with trained weights and the preprocessing that is stored with them."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from cifarnet.choices import DEFAULT_WEIGHTS, TTA, WEIGHTS_PLACE
from cifarnet.data.progress import Progress, silent
from cifarnet.errors import CifarnetError, DataError, InvalidValueError, WeightsError, invalid, unknown_value
from cifarnet.fields import require_whole
from cifarnet.files import StrPath, as_path
from cifarnet.inference.engines import Engine, choose_engine, choose_precision, default_batch_size, start_engine
from cifarnet.inference.tta import Averaged, average_views
from cifarnet.plurals import counted
from cifarnet.weights.record import Weights

if TYPE_CHECKING:
    import keras
    from PIL.Image import Image

    from cifarnet.evaluation.evaluate import Evaluation
    from cifarnet.export import Exported
    from cifarnet.inference.explain import Explanation
    from cifarnet.inference.pictures import Picture
    from cifarnet.inference.predict import Prediction


def load(
    weights: Weights | StrPath = DEFAULT_WEIGHTS, *, engine: str = "auto", precision: str | None = None
) -> "Classifier":
    """Return the classifier with the trained ``weights``.

    Args:
        weights: the weights, or the name, run directory or weight file to read them from. Names are those that
            ``cifarnet weights`` lists.
        engine: what computes: ``"onnx"``, ``"keras"`` or ``"openvino"``. By default ``"keras"`` on a GPU and ``"onnx"``
            on a CPU.
        precision: the data type of the computation, as for ``Classifier``.

    Raises:
        InvalidValueError: as for ``Classifier``.
        BackendError: when the package that the engine runs on is not installed.
        WeightsError: when there are no readable weights.
    """
    return Classifier(weights, engine=engine, precision=precision)


class Classifier:
    """A trained network that classifies images.

    The engine starts at its first use, which may take seconds.

    Args:
        weights: the weights, or the run directory, weight file or name to read them from.
        engine: ``"auto"`` or one of ``cifarnet.inference.engines.ENGINES``; see ``choose_engine``.
        precision: the data type of the computation. By default float32. The engine ``openvino`` also computes in
            ``"bfloat16"`` on CPUs that multiply it.
        on_start: called with the engine's name before the engine starts.

    Attributes:
        weights: the weights.
        place: the run directory, weight file or name that they were read from; None for weights in memory.
        weights_file: the weight file at ``place``; None for weights in memory.
        engine_name: the name of the engine.
        precision: the data type of the computation; ``"int8"`` for an exported network in 8-bit integers.

    Raises:
        InvalidValueError: when ``weights`` is neither weights nor a path or name, for an unknown ``engine``, for a
            ``precision`` that the engine does not compute in, or for one with an exported network in 8-bit integers.
        BackendError: when the package that the engine runs on is not installed.
        WeightsError: when there are no readable weights.
    """

    def __init__(
        self,
        weights: Weights | StrPath,
        *,
        engine: str = "auto",
        precision: str | None = None,
        on_start: Callable[[str], object] = lambda engine: None,
    ):
        self.engine_name = choose_engine(engine)
        self.place: Path | None = None
        self.weights_file: Path | None = None
        if not isinstance(weights, Weights):
            from cifarnet.weights import catalog
            from cifarnet.weights.formats import load_network

            self.place = as_path(weights, "weights", taken=WEIGHTS_PLACE)
            self.weights_file, loaded = catalog.read(weights, load_network)
            weights = loaded
        if weights.graph is not None and self.engine_name == "keras":
            if engine == "keras":
                raise InvalidValueError(
                    "`engine` keras can't run an exported network: use onnx, or the weights that it was made from."
                    " Received: keras",
                    field="engine",
                    value=engine,
                )
            self.engine_name = choose_engine("onnx")
        if weights.graph_precision == "int8" and self.engine_name == "openvino":
            raise invalid(
                "engine",
                "openvino can't run an exported network in int8",
                engine,
                remedy="Use onnx, or an export without `int8`.",
            )
        self._engine_precision = choose_precision(self.engine_name, precision)
        self.precision = self._engine_precision
        if weights.graph_precision != "float32":
            if precision is not None:
                raise invalid(
                    "precision",
                    f"can't be chosen for an exported network in {weights.graph_precision}",
                    precision,
                    remedy="Leave `precision` out.",
                )
            self.precision = weights.graph_precision
        self.weights = weights
        self._on_start = on_start

    def __repr__(self) -> str:
        spec = self.weights.spec
        return f"<Classifier: {spec.title}, {counted(spec.classes, 'class')}, engine {self.engine_name}>"

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class, in the order of the logits."""
        return self.weights.class_names

    @cached_property
    def engine(self) -> Engine:
        """The engine, which starts at the first access."""
        self._on_start(self.engine_name)
        return start_engine(self.engine_name, self.weights, precision=self._engine_precision)

    @overload
    def predict(
        self,
        pictures: "Image | bytes",
        *,
        top_k: int | None = None,
        crop: str = "center",
        tta: str = "none",
        reject: bool = False,
        report: Progress = silent,
    ) -> "Prediction": ...

    @overload
    def predict(
        self,
        pictures: "list[Any] | tuple[Any, ...] | Iterator[Picture]",
        *,
        top_k: int | None = None,
        crop: str = "center",
        tta: str = "none",
        reject: bool = False,
        report: Progress = silent,
    ) -> "list[Prediction]": ...

    @overload
    def predict(
        self,
        pictures: Any,
        *,
        top_k: int | None = None,
        crop: str = "center",
        tta: str = "none",
        reject: bool = False,
        report: Progress = silent,
    ) -> Any: ...

    def predict(
        self,
        pictures: Any,
        *,
        top_k: int | None = None,
        crop: str = "center",
        tta: str = "none",
        reject: bool = False,
        report: Progress = silent,
    ) -> "Prediction | list[Prediction]":
        """Return the prediction for one picture, or a list of predictions for many.

        A picture is a path, a PIL image of any mode, a uint8 array (height, width, 3) or (height, width), or the
        content of a file as bytes. It may have any size. EXIF orientation is applied, and transparent pixels are
        blended with white.

        Args:
            pictures: one picture; or many as a list, a tuple, another iterable, or a uint8 array (n, height, width, 3).
                A folder stands for all pictures in and below it, and a pattern such as ``"photos/*.jpg"`` for the
                pictures that match, as for ``cifarnet predict``.
            top_k: number of classes in a prediction. By default 3, or all where there are fewer.
            crop: how pictures become square: ``"center"`` cuts out the centre, ``"pad"`` adds grey margins,
                ``"stretch"`` distorts.
            tta: test-time augmentation. ``"flip"`` averages over a picture and its mirror image, ``"shift"`` over views
                shifted by a pixel too, ``"views"`` over all crops and their mirror images.
            reject: whether to mark pictures that probably belong to none of the classes (``Prediction.rejected``),
                because they are far from the training images, or their largest logit is small for weights without
                embedding statistics (``cifarnet.inference.rejection``).
            report: called with the progress after every batch.

        Raises:
            DataError: when the only picture can't be read. Of many pictures, the prediction has an ``error``.
            InvalidValueError: for values that are no pictures, such as arrays of floats; for no pictures; and for an
                invalid ``top_k``, ``crop``, ``tta`` or ``reject``.
        """
        from cifarnet.inference.pictures import picture_sources
        from cifarnet.inference.predict import predict

        groups, is_one = picture_sources(pictures)
        options: dict[str, Any] = {"top_k": top_k, "crop": crop, "tta": tta, "reject": reject, "report": report}
        found = [prediction for group in groups for prediction in predict(group, self, **options)]
        if not is_one:
            return found
        (prediction,) = found
        if prediction.error is not None:
            raise DataError(prediction.error)
        return prediction

    def logits(
        self,
        images: np.ndarray,
        *,
        tta: str = "none",
        batch_size: int | None = None,
        compiled: bool = True,
        report: Progress | None = None,
    ) -> np.ndarray:
        """Return logits, float32 (n, classes), of uint8 ``images`` (n, size, size, 3).

        Args:
            images: the images. Normalization is part of the network.
            tta: test-time augmentation. ``"flip"`` averages the logits of each image and its mirror image, ``"shift"``
                those of its views shifted by a pixel too, and ``"shift-unsure"`` these for the least confident quarter
                of ``images`` only; see ``cifarnet.inference.tta.average_views``.
            batch_size: images per batch. None means 250, or fewer large images.
            compiled: whether to compile the network, as in ``Engine.logits``.
            report: called with the progress, as in ``Engine.logits``.

        Raises:
            DataError: for images of the wrong type or size.
            InvalidValueError: for an unknown ``tta``, or a ``batch_size`` below 1.
            WeightsError: when a logit is not a finite number.
        """
        averaged = self.averaged_logits(images, tta=tta, batch_size=batch_size, compiled=compiled, report=report)
        return averaged.logits

    def averaged_logits(
        self,
        images: np.ndarray,
        *,
        tta: str,
        distances: bool = False,
        batch_size: int | None = None,
        compiled: bool = True,
        report: Progress | None = None,
    ) -> Averaged:
        """Return the logits of ``images`` with test-time augmentation, and those with fewer views; see ``logits``.

        With ``distances`` the result has those of the images from the training images too, the means of all views with
        the weights of the logits (``cifarnet.models.embeddings``).

        Raises:
            DataError: as for ``logits``.
            InvalidValueError: as for ``logits``.
            WeightsError: as for ``logits``, and for ``distances`` when the weights have no ``reject_beyond``.
        """
        self._require_images(images)
        if tta not in TTA:
            raise unknown_value("tta", tta, TTA)
        if batch_size is None:
            batch_size = default_batch_size(self.weights.spec)
        require_whole("batch_size", batch_size, low=1)
        if distances and self.weights.reject_beyond is None:
            raise WeightsError(f"The {self.weights.spec.title} has no embedding statistics, which distances need.")
        per_batch, classes = batch_size, self.weights.spec.classes

        def compute(views: np.ndarray, report: Progress | None) -> np.ndarray:
            run = self.engine.logits_and_distances if distances else self.engine.logits
            outputs = run(views, batch_size=per_batch, compiled=compiled, report=report)
            require_finite(outputs[:, :classes], self.weights.spec.title)
            return outputs

        options = {"batch_size": batch_size, "classes": classes}
        try:
            return average_views(compute, images, tta, **options, calibrated=self.weights.calibrated, report=report)
        except Exception as error:
            # Only a crafted file, whose checksum is right, can hold a graph that does not run.
            if self.weights.graph is None or isinstance(error, CifarnetError):
                raise
            raise WeightsError(f"The exported {self.weights.spec.title} can't be run: {error!s:.200}.") from error

    def embeddings(self, images: np.ndarray) -> np.ndarray:
        """Return the embeddings, the input of the last layer, float32 (n, size), of uint8 ``images``.

        They are Keras's, whatever the engine of the classifier. The first call imports Keras and its backend, which
        takes seconds.

        Args:
            images: uint8 (n, image size, image size, 3).

        Raises:
            DataError: for images of another shape or type.
            WeightsError: for an exported network, which has no tensors.
        """
        self._require_images(images)
        self.weights.require_tensors("embeddings")
        from cifarnet.inference.engines.keras import KerasEngine

        engine = self._with_keras.engine
        assert isinstance(engine, KerasEngine)
        return engine.embeddings(images, batch_size=default_batch_size(self.weights.spec))

    def _require_images(self, images: np.ndarray) -> None:
        size = self.weights.spec.image_size
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != (size, size, 3):
            received = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
            raise DataError(
                f"{self.weights.spec.title} takes uint8 images of shape (n, {size}, {size}, 3). Received: {received}"
            )

    def evaluate(
        self,
        data: StrPath | None = None,
        *,
        tta: str = "none",
        test_split: float | None = None,
        mirrors: Sequence[str] = (),
        skip_broken: bool = False,
        batch_size: int | None = None,
        fair: bool = False,
        corrupt: bool = False,
        corrupt_images: int | None = None,
        report: Progress = silent,
    ) -> "Evaluation":
        """Return the scores of the weights on the test images of ``data``; see ``cifarnet.evaluate``.

        By default the data are those that the weights record, or else CIFAR-10.

        Raises:
            DataError: as for ``cifarnet.evaluate``.
            InvalidValueError: as for ``cifarnet.evaluate``.
        """
        from cifarnet.data.sources import source_name
        from cifarnet.evaluation.evaluate import score
        from cifarnet.evaluation.source import find_source, source_in_memory

        name = None if data is None else source_name(data)
        source = source_in_memory(self.weights, name) if self.place is None else find_source(self.place, name)
        return score(
            self,
            source,
            tta=tta,
            test_split=test_split,
            mirrors=mirrors,
            skip_broken=skip_broken,
            batch_size=batch_size,
            fair=fair,
            corrupt=corrupt,
            corrupt_images=corrupt_images,
            report=report,
        )

    def explain(self, picture: "Picture", *, crop: str = "center") -> "Explanation":
        """Return a heat map of the places in ``picture`` that support its likeliest class (Grad-CAM).

        The gradients are Keras's, whatever the engine of the classifier. The first call imports Keras and its backend,
        which takes seconds.

        Args:
            picture: one picture, as for ``predict``.
            crop: how the picture becomes square, as for ``predict``.

        Raises:
            DataError: when the picture can't be read.
            InvalidValueError: for anything else than one picture, and for an invalid ``crop``.
            WeightsError: for an exported network, which has no tensors.
        """
        self.weights.require_tensors("an explanation")
        from cifarnet.inference.explain import explain_picture

        return explain_picture(picture, self, self._with_keras, crop)

    @cached_property
    def _with_keras(self) -> "Classifier":
        return self if self.engine_name == "keras" else Classifier(self.weights, engine="keras")

    def export(
        self,
        path: StrPath | None = None,
        format: str | None = None,
        *,
        int8: bool = False,
        data: StrPath | None = None,
        test_split: float | None = None,
        replace: bool = False,
    ) -> "Exported":
        """Write the network to the file ``path`` for other programs, and compare the file; see ``export_model``.

        Raises:
            ExportError: as for ``cifarnet.export_model``.
            InvalidValueError: as for ``cifarnet.export_model``.
            StorageError: when the system refuses to write.
            WeightsError: for an exported network, which has no tensors.
        """
        from cifarnet.export import export_model

        return export_model(self.weights, path, format, int8=int8, data=data, test_split=test_split, replace=replace)

    def keras_model(self, *, normalization: bool = True) -> "keras.Model":
        """Return the network as a Keras model of stock layers, which can be trained, saved and loaded without cifarnet.

        Its layers have the names, shapes and parameters of the documented table, beside some without parameters. It
        returns calibrated probabilities, float32 (n, classes), as ``predict`` does. The first call imports Keras and
        its backend, which takes seconds.

        Args:
            normalization: whether the model normalizes uint8 images (n, size, size, 3) itself. Otherwise it takes
                images that are normalized already, float32 of the same shape; see ``Weights.normalization``.

        Raises:
            WeightsError: for an exported network, which has no tensors.
        """
        self.weights.require_tensors("a Keras model")
        from cifarnet.backend.select import use_backend

        use_backend()
        from cifarnet.models.serving import documented_model

        weights = self.weights
        return documented_model(
            weights.spec, weights.tensors, weights.normalization if normalization else None, weights.temperature
        )


def require_finite(logits: np.ndarray, title: str) -> np.ndarray:
    """Return ``logits``, after a check that all are finite. The message names the network by its ``title``.

    Raises:
        WeightsError: when a logit is not a finite number.
    """
    if not np.isfinite(logits).all():
        raise WeightsError(
            f"The {title} gives logits that are not finite numbers: its training diverged, or its weights are damaged."
            " Train it again, with a lower learning rate if it diverged."
            f" Received: {np.count_nonzero(~np.isfinite(logits)):,} non-finite logits"
        )
    return logits
