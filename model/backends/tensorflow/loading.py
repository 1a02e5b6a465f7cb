"""
Load a model file of any kind into a Session, and check that it runs.

`load_files` blocks for seconds and runs on a model thread.
"""

import gc
import hashlib
from contextlib import suppress
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np

from batcher.errors import OutOfMemory
from model.backend import LoadedModel, LoadOptions, OnProgress
from model.backends.tensorflow.error_text import one_line
from model.backends.tensorflow.files.graph_file import read_frozen_graph
from model.backends.tensorflow.files.keras_file import exported_saved_model
from model.backends.tensorflow.frozen_loading import load_frozen_graph
from model.backends.tensorflow.saved_loading import load_saved_folder
from model.backends.tensorflow.session import (
    LoadedGraph,
    SessionOptions,
    SessionRunner,
    create_thread_pools,
)
from model.backends.tensorflow.trials.image_trial import (
    find_accepted_image,
    is_sigmoid_output,
    usable_image_input,
)
from model.backends.tensorflow.trials.probe_images import probe_images
from model.backends.tensorflow.trials.row_independence import mark_dependent_rows
from model.backends.tensorflow.trials.sample_rows import runnable_row
from model.errors import ModelError, RowsRefused
from model.images.errors import BadImage
from model.images.input import ImageInput
from model.repository.model_kind import ModelFiles, ModelKind
from model.repository.model_toml import ModelFacts
from model.signature import STRING, Feed, Signature, blank_feed


def load_files(files: ModelFiles, options: LoadOptions) -> LoadedModel:
    """
    Load *files* into a Session, as `model.backend.Backend.load` describes.

    A run that fails is an error only if no other values or sizes can be expected to run.
    """
    facts, on_progress, classes = options.facts, options.on_progress, len(options.labels)
    session = SessionOptions.of(options)
    create_thread_pools(session)
    graph = _load_graph(files, options)
    try:
        graph = mark_dependent_rows(graph)
        runner = SessionRunner(
            graph, options.device, fingerprint=_fingerprint(files, facts, session)
        )
        graph = replace(graph, image_input=usable_image_input(graph, runner, on_progress))
        image_input = _choose_scores(graph, facts, classes)
        found = {each.name: _find_sample(each, graph, runner) for each in runner.signatures}
        samples = {name: sample for name, sample in found.items() if sample is not None}
        tried = image_input.signature if image_input is not None else runner.signatures[0]
        sample = samples.get(tried.name) or blank_feed(tried)
        _check_sample_run(runner, sample, files, image_input, classes, on_progress)
    except BaseException:
        graph.close()
        raise
    # The trial graphs hold all the weights in reference cycles; free that memory now.
    gc.collect()
    if image_input is not None:
        on_progress(f"images: {image_input.description}")
    elif facts.preprocessing.given_keys:
        on_progress(
            f"warning: {', '.join(facts.preprocessing.given_keys)}: given for images, but "
            f"the model takes none: {_describe_inputs(tried)}"
        )
    run = runner.signatures
    asked = () if image_input is None or image_input.requested in run else (image_input.requested,)
    return LoadedModel(
        name=options.name,
        version=options.version,
        runner=runner,
        signatures=(*asked, *run),
        image_input=image_input,
        labels=options.labels,
        top=options.top,
        samples=samples,
        decodes=graph.decodes,
        lanes=options.lanes,
    )


def _load_graph(files: ModelFiles, options: LoadOptions) -> LoadedGraph:
    if files.kind == ModelKind.FROZEN_GRAPH:
        return load_frozen_graph(read_frozen_graph(files.path, options.facts), options)
    if files.kind == ModelKind.SAVED_MODEL:
        return load_saved_folder(files.path, options)
    options.on_progress(f"converting {files.path.name}")  # of `ModelKind.KERAS`
    with exported_saved_model(files.path) as folder:
        return load_saved_folder(folder, options)


def _choose_scores(graph: LoadedGraph, facts: ModelFacts, classes: int) -> ImageInput | None:
    """
    Return the image input of *graph*, with the index of the output that holds the scores.

    Returns None if *graph* has no image input.  Raises `ModelError` if the model has labels
    but no image input, and as `_scores_index` does.  *classes* is the number of labels.
    """
    image_input = graph.image_input
    if image_input is None:
        if classes == 0:
            return None
        raise ModelError(
            f"labels are for images, but {_describe_inputs(graph.endpoints[0].signature)}: "
            "expected [rows, height, width, 3] of uint8 or floats, of a size that the model or "
            "--input-height and --input-width give, or encoded images"
        )
    images = replace(image_input, scores=_scores_index(image_input.signature, facts, classes))
    shape = images.signature.outputs[images.scores].shape
    one_score = shape is None or shape[-1:] in ((1,), (None,))
    two_classes = classes == 2 and one_score and is_sigmoid_output(graph, images)
    return replace(images, two_classes=two_classes)


def _describe_inputs(signature: Signature) -> str:
    return ", ".join(f"{spec.name!r} is {spec}" for spec in signature.inputs)


def _scores_index(signature: Signature, facts: ModelFacts, classes: int) -> int:
    """
    Return the index of the output that holds the scores.

    It is the output that *facts* name; else the first if there are no labels (*classes* is 0); else
    the only one that fits the number of labels, or the only one of numbers if none fits.  Raises
    `ModelError` if this does not select exactly one output.
    """
    outputs = signature.outputs
    names = [spec.name for spec in outputs]
    output = (facts.output or "").removesuffix(":0")
    if output in names:
        return names.index(output)
    if classes == 0 or len(outputs) == 1:
        return 0
    # Some exports output the names of the classes beside the scores.
    numbers = [at for at, spec in enumerate(outputs) if spec.dtype != STRING]
    fitting = [at for at in numbers if (outputs[at].shape or (None,))[-1] == classes] or numbers
    if len(fitting) != 1:
        raise ModelError(f"--output-layer is needed: the outputs are {', '.join(names)}")
    return fitting[0]


def _find_sample(signature: Signature, graph: LoadedGraph, runner: SessionRunner) -> Feed | None:
    """
    Return a feed of one row for *signature* that the model runs; None if none was found.

    The row is an image if *signature* takes images.
    """
    image_input = graph.image_input
    if image_input is not None and image_input.signature == signature:
        if signature.inputs[0].dtype == STRING:
            taken = find_accepted_image(image_input, runner)
            if isinstance(taken, Feed):
                return taken
        else:
            with suppress(BadImage):  # the probe may exceed max_pixels
                return image_input.feed(probe_images()["JPEG"][0])
    # With side effects a trial could, for example, write to a file named by its input string.
    return runnable_row(signature, runner.run, blank_only=graph.has_side_effects)


def _is_guess(sample: Feed) -> bool:
    """Whether *sample* is a guess: its signature has open sizes, or strings of unknown meaning."""
    return any(
        spec.dtype == STRING or spec.shape is None or None in spec.row_shape
        for spec in sample.signature.inputs
    )


def _check_sample_run(
    runner: SessionRunner,
    sample: Feed,
    files: ModelFiles,
    image_input: ImageInput | None,
    classes: int,
    on_progress: OnProgress,
) -> None:
    """
    Run *sample*; raise `ModelError` if it fails or the scores do not match *classes*.

    A failure is ignored if other values or sizes may run.  Calls *on_progress* with a warning if a
    score is not finite.
    """
    import tensorflow.compat.v1 as tf

    try:
        outputs = runner.run(sample)
    except (tf.errors.OpError, RowsRefused, OutOfMemory) as error:
        if image_input is None and (files.kind != ModelKind.FROZEN_GRAPH or _is_guess(sample)):
            return  # other values or sizes may run: warm-up reports a failure
        if any(array.dtype == STRING and not array.any() for array in sample.arrays):
            return  # every probe image exceeds max_pixels, so the sample is an empty string
        raise ModelError(f"{files.path}: a run of one row failed: {one_line(error)}") from error
    if image_input is None or classes == 0:
        return
    scores, spec = outputs[image_input.scores], image_input.signature.outputs[image_input.scores]
    if image_input.scores_of(outputs).size != classes or (
        not image_input.two_classes and scores.shape[-1:] != (classes,)
    ):
        raise ModelError(
            f"{files.path}: {spec.name!r} gives {list(scores.shape)} for 1 row, "
            f"but the number of labels is {classes}: expected [1, {classes}]"
            + (", or [1, 1] of a Sigmoid" if (classes, scores.size) == (2, 1) else "")
        )
    if not np.issubdtype(scores.dtype, np.number) and scores.dtype.name != "bfloat16":
        raise ModelError(f"{files.path}: {spec.name!r} gives {spec.type_name}, expected numbers")
    if not np.isfinite(scores.astype(np.float64)).all():
        on_progress(f"warning: {spec.name!r} is not a finite number for an image that was tried")


def _fingerprint(files: ModelFiles, facts: ModelFacts, options: SessionOptions) -> str:
    """
    Return a hash of everything that determines the run time.

    Of a file of weights, only the size is hashed.
    """
    import tensorflow.compat.v1 as tf

    hashed = hashlib.sha256()
    for path in _files(files.path):
        if path.suffix.startswith(".data-"):
            hashed.update(str(path.stat().st_size).encode())
        else:
            hashed.update(path.read_bytes())
    # Not hashed: labels, which do not change the run time, and paths, which differ by machine.
    chosen = (facts.input, facts.output, facts.feeds, astuple(facts.preprocessing))
    timed = (chosen, options, tf.__version__)
    hashed.update(repr(timed).encode())
    return hashed.hexdigest()


def _files(path: Path) -> list[Path]:
    """Return the files of the model at *path* that TensorFlow reads."""
    found = (
        each
        for name in ("saved_model.pb*", "variables/*", "assets/**/*")
        for each in path.glob(name)
    )
    return sorted(each for each in found if each.is_file()) or [path]
