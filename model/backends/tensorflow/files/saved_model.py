"""
Read and load a SavedModel: choose its graph, list its signatures, restore it in a Session.

Signatures are read from the folder's protos, without running anything; only `load_saved_model`
opens a Session.  The folder may be written by TensorFlow 1 or 2.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np

from model.backends.tensorflow.error_text import one_line
from model.backends.tensorflow.files.literal_path import literal_path
from model.backends.tensorflow.image_operations import without_padding
from model.backends.tensorflow.rewriting.fed_constants import Feeds, feed_constants
from model.backends.tensorflow.session import Endpoint
from model.errors import ModelError
from model.images.layout import ImageLayout
from model.signature import STRING, Signature, TensorSpec, reason_to_run_alone

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

DEFAULT_SIGNATURE = "serving_default"

#: Signatures that only the loader, or a training program, runs.
_NOT_SERVED = ("__saved_model_init_op", "__saved_model_train_op")

#: The dtypes that requests and responses support, besides strings.
_DTYPES = (
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "bfloat16", "float32", "float64"),
)


@dataclass(frozen=True, slots=True)
class PixelInput:
    """An input that gets a variant for uint8 pixels, beside the one that its signature states."""

    signature: str
    input: str
    layout: ImageLayout
    convert: "Callable[[tf.Tensor], tf.Tensor]"
    """Adds to the graph the conversion of the uint8 pixels to the input."""


@dataclass(frozen=True, slots=True)
class RestoredGraph:
    """A Session that is ready to run, and its endpoints."""

    session: "tf.Session"
    endpoints: dict[str, Endpoint]  #: by signature name, in the order of `signatures_of`
    pixels: Endpoint | None = None  #: NAME:pixels: the same as NAME, but it takes uint8 pixels


@dataclass(frozen=True, slots=True)
class SavedGraph:
    """The graph of a file, with constants in place of some placeholders."""

    meta_graph: "tf.MetaGraphDef"
    constants: Mapping[str, np.ndarray]  #: by the name of the tensor that each replaces


def apply_feeds(meta_graph: "tf.MetaGraphDef", feeds: Feeds) -> SavedGraph:
    """
    Return *meta_graph* with constants in place of the placeholders and inputs that *feeds* names.

    *meta_graph* is changed in place.  Its signatures lose the inputs that are now constants.
    Raises `ModelError` as `feed_constants` does.
    """
    tensors = defaultdict[str, set[str]](set)  # signatures may use one name for different tensors
    for definition in meta_graph.signature_def.values():
        for name, info in definition.inputs.items():
            tensors[name].add(_tensor_name(info))
    named = {tensor: value for name, value in feeds.items() for tensor in tensors.get(name, {name})}
    constants = feed_constants(meta_graph.graph_def, named)
    for definition in meta_graph.signature_def.values():
        for name, info in list(definition.inputs.items()):
            if _tensor_name(info) in constants:
                del definition.inputs[name]
    return SavedGraph(meta_graph, constants)


def read_meta_graph(folder: Path) -> "tf.MetaGraphDef":
    """
    Return the graph in the SavedModel *folder* that is meant for serving.

    It is the graph with only the tag "serve", else the only graph, else the graph tagged "serve"
    with the fewest other tags.  Raises `ModelError` if there is no such graph, or no SavedModel.
    """
    graphs = list(_parse(folder).meta_graphs)
    tag_sets = [sorted(graph.meta_info_def.tags) for graph in graphs]
    if ["serve"] in tag_sets:
        return graphs[tag_sets.index(["serve"])]
    if len(graphs) == 1:
        return graphs[0]
    serving = sorted((tags for tags in tag_sets if "serve" in tags), key=len)
    if not serving or [len(tags) for tags in serving].count(len(serving[0])) > 1:
        found = ", ".join(f"[{', '.join(tags)}]" for tags in tag_sets) or "none"
        raise ModelError(f"{folder}: no graph is tagged [serve]: the graphs are {found}")
    return graphs[tag_sets.index(serving[0])]


def signatures_of(meta_graph: "tf.MetaGraphDef") -> tuple[tuple[Signature, ...], dict[str, str]]:
    """
    Return the signatures that can be served, and a dict that states why the others cannot.

    The default signature is the first.  The dict has the names of the others as keys.  Inputs and
    outputs are sorted by name.  Raises `ModelError` if no signature can be served.
    """
    served: list[Signature] = []
    unserved: dict[str, str] = {}
    definitions, shapes = meta_graph.signature_def, _GraphShapes(meta_graph)
    for name in sorted(definitions, key=lambda name: (name != DEFAULT_SIGNATURE, name)):
        definition = definitions[name]
        if name in _NOT_SERVED or not definition.outputs:
            continue
        reason = _reason_unservable(definition)
        if reason:
            unserved[name] = reason
            continue
        inputs = tuple(map(shapes.spec, *_sorted(definition.inputs)))
        outputs = tuple(map(shapes.spec, *_sorted(definition.outputs)))
        served.append(Signature(inputs, outputs, name, reason_to_run_alone(inputs, outputs)))
    if not served:
        reasons = "; ".join(f"{name!r}: {reason}" for name, reason in unserved.items())
        raise ModelError(f"no signature can be served: {reasons or 'there is none'}")
    return tuple(served), unserved


def load_saved_model(
    folder: Path,
    saved: SavedGraph,
    config: "tf.ConfigProto",
    pixels: PixelInput | None = None,
) -> RestoredGraph:
    """
    Load the SavedModel in *folder*, whose graph is *saved*, into a Session.

    Restores the variables and runs the init op; the caller closes the Session.  With *pixels*, the
    result has an endpoint for uint8 pixels too.  Raises `ModelError`, with a message of one line,
    if a file in the folder is missing or cannot be read.
    """
    import tensorflow.compat.v1 as tf

    meta_graph = saved.meta_graph
    signatures, _ = signatures_of(meta_graph)
    graph = tf.Graph()
    try:
        plain = literal_path(folder, graph)
    except OSError as error:
        raise ModelError(f"{folder}: {error.strerror}") from error
    _check_files(folder, plain, meta_graph)
    session = tf.Session(graph=graph, config=config)
    try:
        with session.graph.as_default():
            opened = {} if pixels is None else _build_pixel_input(meta_graph, pixels)
            inputs = {name: tensor for name, (tensor, _) in opened.items()}
            fixed = {name: tf.constant(value) for name, value in saved.constants.items()}
            tags = list(meta_graph.meta_info_def.tags)
            tf.saved_model.loader.load(session, tags, str(plain), input_map={**inputs, **fixed})
            loaded = RestoredGraph(
                session,
                {each.name: _endpoint(meta_graph, each, inputs, inputs) for each in signatures},
            )
            if pixels is None:
                return loaded
            feeds = {name: tensor for name, (_, tensor) in opened.items()}
            signature = loaded.endpoints[pixels.signature].signature
            endpoint = _endpoint(meta_graph, signature, feeds, inputs)
            return replace(loaded, pixels=_with_pixel_signature(endpoint, pixels))
    except (OSError, RuntimeError, TypeError, ValueError, LookupError, tf.errors.OpError) as error:
        session.close()
        reason = one_line(error).replace(str(plain), str(folder))
        raise ModelError(f"{folder}: cannot be loaded: {reason}") from error


def _parse(folder: Path) -> "SavedModel":
    from google.protobuf import text_format
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved_model = SavedModel()
    path, text = folder / "saved_model.pb", folder / "saved_model.pbtxt"
    try:
        if text.exists() and not path.exists():
            path = text
            text_format.Parse(path.read_bytes(), saved_model)
        else:
            saved_model.ParseFromString(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    except (DecodeError, UnicodeDecodeError, text_format.ParseError) as error:
        raise ModelError(f"{path}: not a SavedModel, or cut short ({error})") from error
    return saved_model


def _reason_unservable(definition: "tf.SignatureDef") -> str:
    """Return why requests cannot use the signature *definition*; empty if they can."""
    tensors: dict[str, str] = {}
    for kind, infos in (("input", definition.inputs), ("output", definition.outputs)):
        for name, info in sorted(infos.items()):
            encoding = info.WhichOneof("encoding")
            if encoding in ("coo_sparse", "composite_tensor"):
                return f"{kind} {name!r} is several tensors in one: sparse, ragged or the like"
            if not info.name:
                return f"{kind} {name!r} names no tensor"
            if _dtype(info) is None:
                return f"{kind} {name!r} is {_type_name(info)}, not supported in requests"
            if kind == "input" and tensors.setdefault(_tensor_name(info), name) != name:
                return f"inputs {tensors[_tensor_name(info)]!r} and {name!r} are the same tensor"
    return ""


def _sorted(infos: "Mapping[str, tf.TensorInfo]") -> "tuple[list[str], list[tf.TensorInfo]]":
    return sorted(infos), [infos[name] for name in sorted(infos)]


class _GraphShapes:
    """Finds the shape of a tensor in the signature, or in the graph if the signature has none."""

    def __init__(self, meta_graph: "tf.MetaGraphDef") -> None:
        self._graph_def = meta_graph.graph_def
        self._graph: tf.Graph | None = None

    def spec(self, name: str, info: "tf.TensorInfo") -> TensorSpec:
        """Return the spec of the tensor *info*, which the signature names *name*."""
        dtype = _dtype(info)
        if dtype is None:
            raise ValueError(f"{name!r} is {_type_name(info)}")
        if info.tensor_shape.unknown_rank:
            return TensorSpec(name, dtype, None)
        sizes = [size.size for size in info.tensor_shape.dim]
        if not sizes:
            return TensorSpec(name, dtype, self._graph_shape(info))
        return TensorSpec(name, dtype, tuple(None if size < 0 else size for size in sizes))

    def _graph_shape(self, info: "tf.TensorInfo") -> tuple[int | None, ...] | None:
        """
        Return the shape of *info* in the graph; None if its rank is unknown.

        A signature of TensorFlow 1 may omit the shape, which then looks like that of a scalar.
        """
        import tensorflow.compat.v1 as tf

        stated = () if info.HasField("tensor_shape") else None
        try:
            if self._graph is None:
                self._graph = tf.Graph()
                with self._graph.as_default():
                    tf.import_graph_def(self._graph_def, name="")
            tensor = self._graph.get_tensor_by_name(_tensor_name(info))
        except (ValueError, KeyError, tf.errors.OpError):
            return stated
        if tensor.shape.rank is not None:
            return tuple(tensor.shape.as_list())
        # The result of a function has no shape in the calling graph.
        return stated if "PartitionedCall" in tensor.op.type else None


def _dtype(info: "tf.TensorInfo") -> np.dtype | None:
    """Return the numpy dtype of *info*; None if requests do not support it."""
    import tensorflow.compat.v1 as tf

    name = _type_name(info)
    if name == "string":
        return STRING
    return np.dtype(tf.as_dtype(name).as_numpy_dtype) if name in _DTYPES else None


def _type_name(info: "tf.TensorInfo") -> str:
    """Return the name of the dtype of *info*; of a reference, the dtype that it refers to."""
    import tensorflow.compat.v1 as tf

    try:
        name: str = tf.as_dtype(info.dtype).base_dtype.name
    except TypeError:
        return f"of the unknown type {info.dtype}"
    return name


def _tensor_name(info: "tf.TensorInfo") -> str:
    return info.name if ":" in info.name else f"{info.name}:0"


def _check_files(folder: Path, plain: Path, meta_graph: "tf.MetaGraphDef") -> None:
    """Raise `ModelError` if a file that the graph needs is missing or outside *folder*."""
    import tensorflow.compat.v1 as tf

    variables = Path("variables", "variables")
    if meta_graph.HasField("saver_def") and not tf.train.checkpoint_exists(str(plain / variables)):
        raise ModelError(f"{folder}: the variables are missing: no {folder / variables}.index")
    for name in _assets(meta_graph):
        if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
            raise ModelError(f"{folder}: the asset {name!r} has a path outside of the model")
        if not (folder / "assets" / name).exists():
            raise ModelError(f"{folder}: the asset {name!r} is missing in {folder}/assets")


def _assets(meta_graph: "tf.MetaGraphDef") -> Iterator[str]:
    """Yield the names of the asset files that the init op reads."""
    from tensorflow.core.protobuf.meta_graph_pb2 import AssetFileDef

    yield from (asset.filename for asset in meta_graph.asset_file_def)
    if "saved_model_assets" in meta_graph.collection_def:
        for packed in meta_graph.collection_def["saved_model_assets"].any_list.value:
            asset = AssetFileDef()
            packed.Unpack(asset)
            yield asset.filename


def _build_pixel_input(
    meta_graph: "tf.MetaGraphDef", pixels: PixelInput
) -> "dict[str, tuple[tf.Tensor, tf.Tensor]]":
    """
    Add to the default graph a placeholder for pixels, and their conversion to the model's input.

    *pixels* names the input.  Returns a dict whose one key is the name of the input's tensor; its
    value is the tensor that replaces the input, and the placeholder for pixels.
    """
    import tensorflow.compat.v1 as tf

    info = meta_graph.signature_def[pixels.signature].inputs[pixels.input]
    names = {node.name.partition("/")[0] for node in meta_graph.graph_def.node}
    scope = "tensorferry"
    while scope in names:
        scope += "_"
    with tf.name_scope(scope):
        # Where functions are inlined, other nodes may wait for the input's node although it is fed.
        # The default of no rows lets that node run without pixels.
        shape = pixels.layout.pixels
        no_pixels = tf.zeros([size or 0 for size in shape], tf.uint8)
        images = tf.placeholder_with_default(no_pixels, shape)
        values = tf.cast(pixels.convert(images), tf.as_dtype(info.dtype).base_dtype)
        given = tf.placeholder_with_default(values, _GraphShapes(meta_graph).spec("", info).shape)
    return {_tensor_name(info): (given, images)}


def _endpoint(
    meta_graph: "tf.MetaGraphDef",
    signature: Signature,
    fed: "Mapping[str, tf.Tensor]",
    fetched: "Mapping[str, tf.Tensor]",
) -> Endpoint:
    """
    Return the endpoint of *signature* in the default graph.

    *fed* and *fetched* have the tensors that replace inputs and outputs, by the replaced tensor's
    name.
    """
    import tensorflow.compat.v1 as tf

    definition = meta_graph.signature_def[signature.name]
    graph = tf.get_default_graph()

    def tensor(info: "tf.TensorInfo", replaced: "Mapping[str, tf.Tensor]") -> "tf.Tensor":
        name = _tensor_name(info)
        return replaced[name] if name in replaced else graph.get_tensor_by_name(name)

    feeds = [tensor(definition.inputs[spec.name], fed) for spec in signature.inputs]
    fetches = [tensor(definition.outputs[spec.name], fetched) for spec in signature.outputs]
    # A Session cannot fetch a tensor that it is fed.
    fetches = [tf.identity(each) if any(each is fed for fed in feeds) else each for each in fetches]
    return Endpoint(signature, tuple(feeds), tuple(fetches))


def _with_pixel_signature(endpoint: Endpoint, pixels: PixelInput) -> Endpoint:
    """Return *endpoint* with a signature that states uint8 pixels for the input of *pixels*."""
    signature, layout = endpoint.signature, pixels.layout
    inputs = tuple(
        TensorSpec(spec.name, np.dtype(np.uint8), layout.pixels)
        if spec.name == pixels.input
        else spec
        for spec in signature.inputs
    )
    images = endpoint.feeds[[spec.name for spec in inputs].index(pixels.input)]
    ends = [
        without_padding(output, spec, images, layout)
        for spec, output in zip(signature.outputs, endpoint.fetches, strict=True)
    ]
    outputs = tuple(spec for spec, _ in ends)
    return replace(
        endpoint,
        signature=Signature(
            inputs,
            outputs,
            f"{signature.name}:pixels",
            reason_to_run_alone(inputs, outputs),
            layout.rows if layout.padded else None,
        ),
        fetches=tuple(output for _, output in ends),
    )
