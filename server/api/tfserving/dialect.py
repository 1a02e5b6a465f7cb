"""
The dialect of TensorFlow Serving: what `:predict`, `:classify` and `:regress` ask for.

The functions that read a body run on decode threads; for a small body without examples, and a model
that reads no images, on the reactor thread.
"""

from functools import partial

from model.signature import Feed, Signature
from server.api.dialect import Dialect
from server.api.image_body import from_text, texts_in
from server.api.json_tensors import check_carried
from server.api.native import MAX_BYTES_READ_AT_ONCE
from server.api.tfserving import answers
from server.api.tfserving.documents import Body, Document
from server.api.tfserving.errors import invalid, write_error
from server.api.tfserving.examples import arrays_of_examples
from server.api.tfserving.paths import inference_target
from server.api.tfserving.tensors import Columns, are_flat, arrays_of, columns_of, is_row_format
from server.call import Call, Outputs, RequestOptions
from server.http.messages import HTTPRequest, HTTPResponse
from server.served_model import ServedModel


def is_small(body: Body) -> bool:
    """Whether *body* is read sooner than a decode thread begins to."""
    return len(body.data) <= MAX_BYTES_READ_AT_ONCE


def dialect(max_bytes: int) -> Dialect:
    """Return the dialect; *max_bytes* limits a body, and its examples with their context."""
    return Dialect(partial(_read, max_bytes), write_error)


def _read(
    max_bytes: int, model: ServedModel, request: HTTPRequest, options: RequestOptions
) -> Call[HTTPResponse]:
    action = inference_target(request).action
    body = Body(request.body, max_bytes)
    if action == "predict":
        predict = _Predict(model, body)
        at_once = is_small(body) and not model.reads_images
        return Call(predict.prepare, predict.finish, options, at_once, predict.takes_long)
    prepare, finish = partial(_examples_feed, model, body, action), answers.BY_ACTION[action][1]
    # Never at once: a small body may have many examples, each with a long context.
    return Call(prepare, finish, options, takes_long=Outputs.have_many_numbers)


class _Predict:
    """One predict request: its body decides in which form it is answered."""

    def __init__(self, model: ServedModel, body: Body) -> None:
        self._model = model
        self._body = body
        self._finish = answers.columns_answer
        self._flat = False  # see `are_flat`

    def prepare(self) -> Feed:
        """Return the feed; raises the errors of `Body.read`, and a 400 for wrong values."""
        model, document = self._model, self._body.read("predict")
        name = document.signature or model.default
        signature = model.signatures.get(name)
        if signature is None:
            raise invalid(f'Serving signature name: "{name}" not found in signature def')
        columns = columns_of(signature, document.content)
        if is_row_format(document.content):
            self._finish = answers.rows_answer
        check_carried(signature)
        texts = _images_in(model, signature, columns)
        if texts:
            return model.prepare_images(texts, from_text)
        arrays = arrays_of(signature, document.content, columns)
        self._flat = are_flat(signature, arrays)
        return model.prepare_tensors(signature, arrays)

    def finish(self, outputs: Outputs) -> HTTPResponse:
        """Return the answer in the form of the request."""
        return self._finish(answers.flat(outputs) if self._flat else outputs)

    def takes_long(self, outputs: Outputs) -> bool:
        """Whether `finish` takes long; see `Call.takes_long`."""
        if self._finish is answers.rows_answer and len(outputs.arrays) > 1:
            return outputs.have_many_numbers()  # an object for each row
        return outputs.are_large()


def _images_in(model: ServedModel, signature: Signature, columns: Columns) -> list[bytes]:
    """Return the base64 text of each image in *columns*; [] if they are values of *signature*."""
    if not model.takes_files_for(signature):
        return []
    (spec,) = signature.inputs
    texts = texts_in(columns[spec.name], spec.name)
    # Strings for several images of a signature that takes one are an error of its shape.
    return texts if len(texts) == 1 or signature.batched else []


def _examples_feed(model: ServedModel, body: Body, action: str) -> Feed:
    """Return the feed of a request with examples."""
    document: Document = body.read(action)
    name = document.signature or model.default
    signature = model.signatures.get(name)
    if signature is None:
        raise invalid(f"No signature was found with the name: {name}")
    answers.BY_ACTION[action][0](signature)
    return model.prepare_tensors(signature, arrays_of_examples(signature, document.examples))
