"""
Choose the output that has the scores of an image, and check that there is one score for each label.

Pure.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from model.errors import ModelError
from model.images.input import ImageInput, describe_inputs
from model.signature import STRING, Arrays, Signature


def choose_scores(
    images: ImageInput | None,
    default: Signature,
    *,
    output: str | None,
    classes: int,
    is_sigmoid: Callable[[ImageInput], bool],
) -> ImageInput | None:
    """
    Return *images* with the index of the output that holds the scores; None if *images* is None.

    *default* is the first signature of the model, *output* the name of an output that the user has
    set, and *classes* the number of labels.  *is_sigmoid* returns whether the scores are the output
    of a Sigmoid; it is called only if there are two labels and may be one score.  Raises
    `ModelError` if the model has labels but no image input, and as `_scores_index` does.
    """
    if images is None:
        if classes == 0:
            return None
        raise ModelError(
            f"labels are for images, but {describe_inputs(default)}: "
            "expected [rows, height, width, 3] of uint8 or floats, of a size that the model or "
            "--input-height and --input-width give, or encoded images"
        )
    chosen = replace(images, scores=_scores_index(images.signature, output, classes))
    shape = chosen.signature.outputs[chosen.scores].shape
    one_score = shape is None or shape[-1:] in ((1,), (None,))
    return replace(chosen, two_classes=classes == 2 and one_score and is_sigmoid(chosen))


def _scores_index(signature: Signature, output: str | None, classes: int) -> int:
    """
    Return the index of the output that holds the scores.

    It is the *output* that the user has set, if *signature* has it; else the first if there are no
    labels (*classes* is 0); else the only one that fits the number of labels, or the only one of
    numbers if none fits.  Raises `ModelError` if this does not select exactly one output.
    """
    outputs = signature.outputs
    names = [spec.name for spec in outputs]
    name = (output or "").removesuffix(":0")
    if name in names:
        return names.index(name)
    if classes == 0 or len(outputs) == 1:
        return 0
    # Some exports output the names of the classes beside the scores.
    numbers = [at for at, spec in enumerate(outputs) if spec.dtype != STRING]
    fitting = [at for at in numbers if (outputs[at].shape or (None,))[-1] == classes] or numbers
    if len(fitting) != 1:
        raise ModelError(f"--output-layer is needed: the outputs are {', '.join(names)}")
    return fitting[0]


def check_scores(images: ImageInput, outputs: Arrays, classes: int) -> str:
    """
    Check that *outputs*, those of a run for one image, hold a number for each of *classes* labels.

    Returns a warning if a score is not finite; else "".  Raises `ModelError` if the count or the
    dtype is wrong.
    """
    scores, spec = outputs[images.scores], images.signature.outputs[images.scores]
    if images.scores_of(outputs).size != classes or (
        not images.two_classes and scores.shape[-1:] != (classes,)
    ):
        raise ModelError(
            f"{spec.name!r} gives {list(scores.shape)} for 1 row, "
            f"but the number of labels is {classes}: expected [1, {classes}]"
            + (", or [1, 1] of a Sigmoid" if (classes, scores.size) == (2, 1) else "")
        )
    if not np.issubdtype(scores.dtype, np.number) and scores.dtype.name != "bfloat16":
        raise ModelError(f"{spec.name!r} gives {spec.type_name}, expected numbers")
    if not np.isfinite(scores.astype(np.float64)).all():
        return f"warning: {spec.name!r} is not a finite number for an image that was tried"
    return ""
