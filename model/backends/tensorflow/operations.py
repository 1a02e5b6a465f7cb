"""
Find the operations that a graph's outputs depend on: those with side effects, and image decoders.

Operations with side effects read or write files, run Python or contact other machines.  Pure: the
protos are read and nothing is run.  Operations that no output depends on are not examined, such as
those that save and restore the variables.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from model.backends.tensorflow.rewriting.graph_cut import edge

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

#: Python, files, checkpoints, data sets, records of runs and other machines, in this order.  A
#: lookup table that is filled from an asset is no risk: the asset is a part of the model.
RISKY_OPERATION = re.compile(
    r"""
    (Eager)?PyFunc(Stateless)?
    | ReadFile | WriteFile | MatchingFiles | ImmutableConst | FileSystemSetConfiguration
    | (WholeFile|TextLine|TFRecord|FixedLengthRecord|LMDB)Reader(V2)?
    | (Distributed)?Save(V2|Slices)? | (DTensor)?Restore(V2|Slice)? | MergeV2Checkpoints
    | LoadAndRemapMatrix | GenerateVocabRemapping
    | (Experimental)?(TextLine|TFRecord|FixedLengthRecord|CSV|LMDB|Sql|MatchingFiles)Dataset(V\d)?
    | (Cache|Save|Load)Dataset(V\d)? | Snapshot(Nested|Chunk)?Dataset(V\d|Reader)?
    | ListSnapshotChunksDataset | (Experimental)?DatasetToTFRecord
    | CreateSummary(File|Db)Writer | Debug(Identity|NanCount|NumericSummary)(V\d)? | DumpTensor
    | CalibrationStatisticsSaver
    | DataServiceDataset(V\d)? | Rpc(Client|Call|Server|ServerStart)
    """,
    re.VERBOSE,
)


#: Operations that decode an encoded image to pixels.
DECODES_IMAGES = re.compile("Decode(Jpeg|Png|Image|Gif|Bmp|WebP|AndCropJpeg)")


def report_risks(
    graph: "tf.MetaGraphDef | tf.GraphDef",
    outputs: Iterable[str],
    on_progress: Callable[[str], object],
) -> bool:
    """
    Return whether *outputs* depend on risky operations.

    If they do, calls *on_progress* once with a warning that lists up to eight of them.
    """
    found = [f"{operation} ({node})" for operation, node in risky_operations(graph, outputs)]
    if found:
        more = f", and {len(found) - 8} more" if len(found) > 8 else ""
        on_progress(
            "warning: the model may read or write files, run Python or contact other machines: "
            f"{', '.join(found[:8])}{more}"
        )
    return bool(found)


def risky_operations(
    graph: "tf.MetaGraphDef | tf.GraphDef", outputs: Iterable[str]
) -> list[tuple[str, str]]:
    """
    Return the risky operations that *outputs* depend on, as sorted pairs (operation, node).

    *outputs* are names of tensors or nodes.  Operations that a SavedModel runs at load count too,
    and so do those in the bodies of functions, whose nodes are named FUNCTION/NODE.
    """
    found = {(node.op, name) for name, node in _dependencies(graph, outputs) if _is_risky(node)}
    return sorted(found)


def decodes_images(graph: "tf.MetaGraphDef | tf.GraphDef", outputs: Iterable[str]) -> bool:
    """Whether *outputs*, names of tensors or nodes, depend on images that the graph decodes."""
    return any(DECODES_IMAGES.fullmatch(node.op) for _, node in _dependencies(graph, outputs))


def _dependencies(
    graph: "tf.MetaGraphDef | tf.GraphDef", outputs: Iterable[str]
) -> "Iterator[tuple[str, tf.NodeDef]]":
    """Yield the nodes that *outputs* depend on or that run at load, each with its full name."""
    graph_def = graph if not hasattr(graph, "graph_def") else graph.graph_def
    wanted = [*outputs, *_load_time_nodes(graph)]
    functions = {each.signature.name: each for each in graph_def.library.function}
    called: set[str] = set()
    waiting = [("", list(_reachable(graph_def.node, wanted)))]
    while waiting:
        prefix, nodes = waiting.pop()
        for node in nodes:
            yield prefix + node.name, node
            for name in (set(_called_functions(node)) & functions.keys()) - called:
                called.add(name)
                waiting.append((f"{name}/", list(functions[name].node_def)))


def _load_time_nodes(graph: "tf.MetaGraphDef | tf.GraphDef") -> Iterator[str]:
    """Yield the nodes that TensorFlow runs at load, except those that restore variables."""
    if not hasattr(graph, "graph_def"):
        return
    signature = graph.signature_def.get("__saved_model_init_op")
    if signature is not None:
        yield from (info.name for info in signature.outputs.values())
    for key in ("saved_model_main_op", "legacy_init_op"):
        if key in graph.collection_def:
            yield from graph.collection_def[key].node_list.value


def _reachable(nodes: "Iterable[tf.NodeDef]", wanted: Iterable[str]) -> "Iterator[tf.NodeDef]":
    by_name: Mapping[str, tf.NodeDef] = {node.name: node for node in nodes}
    waiting = [edge(name)[0] for name in wanted]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in by_name:
            continue
        seen.add(name)
        yield by_name[name]
        waiting.extend(edge(each)[0] for each in by_name[name].input)


def _called_functions(node: "tf.NodeDef") -> Iterator[str]:
    """Yield the names of the functions that *node* may call."""
    yield node.op
    for attribute in node.attr.values():
        kind = attribute.WhichOneof("value")
        if kind == "func":
            yield attribute.func.name
        elif kind == "list":
            yield from (function.name for function in attribute.list.func)


def _is_risky(node: "tf.NodeDef") -> bool:
    if node.op == "PrintV2":  # it writes to standard error by default
        return bytes(node.attr["output_stream"].s).startswith(b"file://")
    return RISKY_OPERATION.fullmatch(node.op) is not None
