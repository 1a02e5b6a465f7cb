"""
Load a model file of any kind into a Session, and check that it runs.

`load_files` blocks for seconds and runs on a model thread.
"""

import gc
import hashlib
from contextlib import suppress
from dataclasses import astuple, replace
from pathlib import Path

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
from model.backends.tensorflow.trials.row_independence import mark_dependent_rows
from model.backends.tensorflow.trials.sample_rows import runnable_row
from model.errors import ModelError, RowsRefused
from model.images.errors import BadImage
from model.images.input import ImageInput, report_images, requested_signatures
from model.images.probe_images import probe_images
from model.images.scores import check_scores, choose_scores
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
        image_input = choose_scores(
            graph.image_input,
            graph.endpoints[0].signature,
            output=facts.output,
            classes=classes,
            is_sigmoid=lambda images: is_sigmoid_output(graph, images),
        )
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
    report_images(image_input, facts.preprocessing, tried, on_progress)
    return LoadedModel(
        name=options.name,
        version=options.version,
        runner=runner,
        signatures=requested_signatures(runner.signatures, image_input),
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
    Run *sample*; raise `ModelError` if it fails, or as `check_scores` does.

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
    try:
        warning = check_scores(image_input, outputs, classes)
    except ModelError as error:
        raise ModelError(f"{files.path}: {error}") from error
    if warning:
        on_progress(warning)


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
